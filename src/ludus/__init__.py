"""ludus: an RL experimenter run by a vision-language model.

The names in `__all__` are what a program needs that uses ludus as a library; docs/library.md shows them at work. They are
imported when they are first used (PEP 562): `import ludus` alone loads neither NumPy nor torch nor a simulator. What ludus
has to say while it works goes to the logger 'ludus'.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ludus import machine  # noqa: F401  before torch, see there

if TYPE_CHECKING:
    from ludus.agents.policy import Policy
    from ludus.api import do, evaluate, load_policy, make_world, run
    from ludus.config import PRESETS, Config, WorldConfig, as_dict, from_dict, override, preset, read_options
    from ludus.data.store import EpisodeStore
    from ludus.experiment.evaluation import EvalResult
    from ludus.experiment.instruction import Done
    from ludus.lab.rollout import RolloutSpec
    from ludus.record.record import Record
    from ludus.skills.library import Skill, SkillLibrary
    from ludus.skills.vocabulary import Vocabulary, predicate
    from ludus.types import (
        Episode,
        Field,
        Group,
        LudusError,
        ObservationSpec,
        Outcome,
        Segment,
        SuccessCount,
        WorldSpec,
    )
    from ludus.worlds.base import World
    from ludus.worlds.registry import WorldKind

__all__ = [
    "PRESETS",
    "Config",
    "Done",
    "Episode",
    "EpisodeStore",
    "EvalResult",
    "Field",
    "Group",
    "LudusError",
    "ObservationSpec",
    "Outcome",
    "Policy",
    "Record",
    "RolloutSpec",
    "Segment",
    "Skill",
    "SkillLibrary",
    "SuccessCount",
    "Vocabulary",
    "World",
    "WorldConfig",
    "WorldKind",
    "WorldSpec",
    "as_dict",
    "do",
    "evaluate",
    "from_dict",
    "load_policy",
    "make_world",
    "override",
    "predicate",
    "preset",
    "read_options",
    "run",
]

_MODULES = {
    "agents.policy": ("Policy",),
    "api": ("do", "evaluate", "load_policy", "make_world", "run"),
    "config": ("PRESETS", "Config", "WorldConfig", "as_dict", "from_dict", "override", "preset", "read_options"),
    "data.store": ("EpisodeStore",),
    "experiment.evaluation": ("EvalResult",),
    "experiment.instruction": ("Done",),
    "lab.rollout": ("RolloutSpec",),
    "record.record": ("Record",),
    "skills.library": ("Skill", "SkillLibrary"),
    "skills.vocabulary": ("Vocabulary", "predicate"),
    "types": (
        *("Episode", "Field", "Group", "LudusError", "ObservationSpec"),
        *("Outcome", "Segment", "SuccessCount", "WorldSpec"),
    ),
    "worlds.base": ("World",),
    "worlds.registry": ("WorldKind",),
}
_WHERE = {name: f"ludus.{module}" for module, names in _MODULES.items() for name in names}

logging.getLogger("ludus").addHandler(logging.NullHandler())  # a program that sets up no logging sees nothing


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ludus' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
