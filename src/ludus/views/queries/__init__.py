"""Questions to a record, answered with plain data.

Every query takes an open record (`ludus.record.Reader`) and, where templates matter, the run's `SkillLibrary`. It returns
frozen dataclasses of numbers, texts and tuples, which `dataclasses.asdict` turns into JSON. Queries print nothing, draw
nothing, and hold nothing open, so a page may ask them again every second. Only what was committed is seen, besides messages and
calls, which are visible at once.
"""

from ludus.views.queries.dialogue import (
    Chat,
    ModelCalls,
    PlanEntry,
    Posting,
    RoleCalls,
    Topic,
    chat,
    model_calls,
    plans,
)
from ludus.views.queries.learning import (
    Change,
    CurvePoint,
    CurveVerdict,
    Growth,
    LearningCurves,
    NewSkill,
    Rate,
    SkillEntry,
    Success,
    SuccessRow,
    TemplateCurve,
    growth,
    learning_curves,
    rate_of,
    skills,
    success,
)
from ludus.views.queries.runs import (
    Collection,
    NotableEpisode,
    PhaseTime,
    RunHeader,
    RunStatus,
    RunSummary,
    notable_episodes,
    phase_times,
    run_header,
    run_status,
    runs,
)

__all__ = [
    "Change",
    "Chat",
    "Collection",
    "CurvePoint",
    "CurveVerdict",
    "Growth",
    "LearningCurves",
    "ModelCalls",
    "NewSkill",
    "NotableEpisode",
    "PhaseTime",
    "PlanEntry",
    "Posting",
    "Rate",
    "RoleCalls",
    "RunHeader",
    "RunStatus",
    "RunSummary",
    "SkillEntry",
    "Success",
    "SuccessRow",
    "TemplateCurve",
    "Topic",
    "chat",
    "growth",
    "learning_curves",
    "model_calls",
    "notable_episodes",
    "phase_times",
    "plans",
    "rate_of",
    "run_header",
    "run_status",
    "runs",
    "skills",
    "success",
]
