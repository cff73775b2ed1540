"""The table of roles: each is declared once, with how its question is put to a model and to a person, how their answers are
read, and who answers where neither is asked.

A new role is a question type, a `Role` in `ROLES`, a prompt `prompts/<name>.md` and a setting `experimenter.<name>` (its field
and its name in `ludus.config`). A variant with a method of the role's name answers itself; the others use what stands here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel

from ludus.experimenter import answers, writing
from ludus.experimenter.answers import NONE_FITS, clean
from ludus.experimenter.context import RoleContext
from ludus.experimenter.curves import weak_members
from ludus.experimenter.roles import (
    AnalyseQuestion,
    Attempt,
    DecomposeQuestion,
    NoAnswer,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    SkillStats,
)
from ludus.skills.expression import condition
from ludus.types import Judgement, Proposal, Retrieval, Verdict

ModelAnswer = Mapping[str, Any]
"""A model's answer as JSON that fits the role's type."""


@dataclass(frozen=True)
class Role:
    """One role. `question` stands for its question, which has a `key` and may have `images` or a `scene` with images."""

    name: str
    answer_type: Callable[[Any], type[BaseModel]]
    """question -> the type that a model's answer must fit; its JSON schema is sent."""
    variables: Callable[[Any, RoleContext], Mapping[str, str]]
    """question -> variables of the prompt `prompts/<name>.md`."""
    read: Callable[[Any, Sequence[ModelAnswer], RoleContext], Any]
    """question, the usable ones of a model's `samples` answers (at least one) -> the answer. Raises NoAnswer, whose text goes
    on after the name of who was asked: 'could not tell ...'."""
    text: Callable[[Any], str]
    """question -> how a person is asked."""
    read_text: Callable[[Any, str], Any]
    """question, a person's line without complaint -> the answer. Raises NoAnswer."""
    complaint: Callable[[Any, str], str | None] = lambda question, line: None
    """question, a person's line -> why it is asked for again, or None."""
    images: Callable[[Any], tuple[str, ...]] | None = None
    """question -> paths of the pictures that a model gets; None for a role without pictures."""
    builtin: Callable[[Any, RoleContext], Any] | None = None
    """question -> the answer of the built-in variants ('planner', 'random', 'oracle', ...) without a method of this name."""
    prompt: str = ""
    """Name of the prompt's file, where it is not the role's."""
    is_planning: bool = False
    """Whether it is asked while a round is planned; see `Experimenter.is_remote`."""


# --- propose -----------------------------------------------------------------------------------------------------


SEEK_GAP = "There is time to learn a new skill: name a task that needs one which is not among the skills."
"""What is added to the question where a gap is sought."""
REMARKS = "People who watch this run remark, as guidance for which task to name and nothing else: {}."
"""What is added to the question where people have said something."""
REFUSED = "These tasks are forbidden here: {}."
"""What is added to the question where people have forbidden some."""


def propose_variables(q: ProposeQuestion, context: RoleContext) -> dict[str, str]:
    """Scene, skills, history, gaps and the words that a goal may use."""
    return scene_variables(q.scene, context) | {
        "skills": _skills(q.skills),
        "history": _history(q.history),
        "gaps": ", ".join(map(_quote, q.gaps)) or "none",
        "wanted": _wanted(q),
        "max_steps": str(q.max_steps),
        "words": ", ".join(p.signature for p in context.vocabulary.predicates if p.result == "bool"),
    }


def _wanted(q: ProposeQuestion) -> str:
    said = REMARKS.format("; ".join(map(_quote, q.remarks))) if q.remarks else ""
    forbidden = REFUSED.format(", ".join(map(_quote, q.refused))) if q.refused else ""
    return " ".join(filter(None, (SEEK_GAP if q.seek_gap else "", said, forbidden)))


def first_task(q: ProposeQuestion, given: Sequence[ModelAnswer]) -> ModelAnswer:
    """The first answer that names a task. Raises: NoAnswer: none does."""
    for answer in given:
        if clean(answer["task"]):
            return answer
    raise NoAnswer(f"could not tell what to propose for {q.key!r}")


def proposal(answer: ModelAnswer, context: RoleContext) -> Proposal:
    """A goal that is not in the language is left out."""
    goal = answer["goal"] if condition(answer["goal"], context.vocabulary) else None
    return Proposal(clean(answer["task"]), clean(answer["why"]), answer["success_probability"], goal)


def _propose_text(q: ProposeQuestion) -> str:
    return (
        f"Objects: {', '.join(q.scene.objects)}. True now: {', '.join(q.scene.facts) or 'nothing of note'}."
        f"{_pictures(q.scene.images)}"
        f"\nWhich task should the robot try next? At most {q.max_steps} skills long. {_wanted(q)}".rstrip()
    )


def _propose_line(q: ProposeQuestion, line: str) -> Proposal:
    if not line:
        raise NoAnswer("could not tell what to propose")
    return Proposal(line, "a person says so", 0.5)


# --- decompose ---------------------------------------------------------------------------------------------------


def _decompose_variables(q: DecomposeQuestion, context: RoleContext) -> dict[str, str]:
    return scene_variables(q.scene, context) | {"task": _quote(q.proposal.task), "max_steps": str(q.max_steps)}


def _decompose_read(q: DecomposeQuestion, given: Sequence[ModelAnswer], context: RoleContext) -> tuple[str, ...]:
    return steps(q, Counter(tuple(map(clean, g["steps"])) for g in given).most_common(1)[0][0])


def steps(q: DecomposeQuestion, texts: Sequence[str]) -> tuple[str, ...]:
    """Those that are not empty. Raises: NoAnswer: none is left."""
    found = tuple(filter(None, texts))
    if not found:
        raise NoAnswer(f"could not tell the steps of {q.proposal.task!r}")
    return found


# --- retrieve ----------------------------------------------------------------------------------------------------


def captions(q: RetrieveQuestion) -> list[str]:
    return [s.caption for s in q.skills]


def retrieve_variables(q: RetrieveQuestion, context: RoleContext) -> dict[str, str]:
    """The captions and the step."""
    return {"captions": ", ".join(map(_quote, captions(q))) or "none", "step": _quote(q.step)}


def retrieval(step: str, answer: ModelAnswer) -> Retrieval:
    """Of one answer `{caption, missing}`."""
    if answer["caption"] == NONE_FITS:
        return Retrieval(step, None, clean(answer["missing"]) or step)
    return Retrieval(step, answer["caption"])


def _retrieve_read(q: RetrieveQuestion, given: Sequence[ModelAnswer], context: RoleContext) -> Retrieval:
    winner = Counter(g["caption"] for g in given).most_common(1)[0][0]
    return retrieval(q.step, next(g for g in given if g["caption"] == winner))


def _rank_read(q: RetrieveQuestion, given: Sequence[ModelAnswer], context: RoleContext) -> Retrieval:
    weight: Counter[str] = Counter()
    for option in (o for g in given for o in g["options"]):
        weight[option["caption"]] += option["probability"] / len(given)
    winner = max(weight, key=lambda c: weight[c])
    missing = next((g["missing"] for g in given if g["missing"]), None)
    chosen = retrieval(q.step, {"caption": winner, "missing": missing})
    return replace(chosen, options=tuple((c, min(1.0, p)) for c, p in weight.items()))


def _retrieve_text(q: RetrieveQuestion) -> str:
    return f"Which skill does {q.step!r}? One of: {'; '.join(captions(q))}; or '{NONE_FITS}: ...'"


def _retrieve_line(q: RetrieveQuestion, line: str) -> Retrieval:
    if line in captions(q):
        return Retrieval(q.step, line)
    return Retrieval(q.step, None, line.removeprefix(NONE_FITS).strip(" :") or q.step)


def _retrieve_complaint(q: RetrieveQuestion, line: str) -> str | None:
    if line in captions(q) or line.startswith(NONE_FITS) or not line:
        return None
    return f"{line!r} is no skill of the library; copy a caption, or write: {NONE_FITS}: what is missing"


# --- analyse -----------------------------------------------------------------------------------------------------


def _analyse_variables(q: AnalyseQuestion, context: RoleContext) -> dict[str, str]:
    points = zip(q.curve.updates, q.curve.successes, q.curve.n, strict=True)
    return {
        "caption": _quote(q.curve.caption),
        "points": (", ".join(f"{s} of {n} at {u}" for u, s, n in points) or "none yet") + _behind(q),
    }


def _behind(q: AnalyseQuestion) -> str:
    """Names the members that the pooled curve hides, so that whoever is asked sees them too."""
    weak = weak_members(q.curve, q.members)
    if not weak:
        return ""
    shown = (f"{_quote(m.caption)} ({m.successes[-1]} of {m.n[-1]} at the last point)" for m in weak)
    return f". Behind the others: {', '.join(shown)}"


def _analyse_read(q: AnalyseQuestion, given: Sequence[ModelAnswer], context: RoleContext) -> Verdict:
    weight: Counter[Judgement] = Counter()
    for g in given:
        weight[g["judgement"]] += g["probability"]
    judgement = max(weight, key=lambda j: weight[j])
    why = next(clean(g["why"]) for g in given if g["judgement"] == judgement)
    return Verdict(q.curve.caption, judgement, weight[judgement] / len(given), why or "no reason given")


def _analyse_text(q: AnalyseQuestion) -> str:
    c = q.curve
    points = ", ".join(f"{s}/{n} at {u}" for u, s, n in zip(c.updates, c.successes, c.n, strict=True))
    shown = f"{c.caption!r}: {points or 'no points yet'}{_behind(q)}.{_pictures(q.images)}"
    return f"{shown}\nWould three times the training help? {', '.join(get_args(Judgement))}?"


def _analyse_line(q: AnalyseQuestion, line: Any) -> Verdict:
    return Verdict(q.curve.caption, line or "unclear", 0.8 if line else 0.5, "a person says so")


def _analyse_complaint(q: AnalyseQuestion, line: str) -> str | None:
    kinds = get_args(Judgement)
    return None if not line or line in kinds else f"{line!r} is none of {', '.join(kinds)}"


# --- the table ---------------------------------------------------------------------------------------------------

ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role(
            "propose",
            answer_type=lambda q: answers.ProposeAnswer,
            variables=propose_variables,
            read=lambda q, given, context: proposal(first_task(q, given), context),
            text=_propose_text,
            read_text=_propose_line,
            images=lambda q: q.scene.images,
            is_planning=True,
        ),
        Role(
            "decompose",
            answer_type=lambda q: answers.DecomposeAnswer,
            variables=_decompose_variables,
            read=_decompose_read,
            text=lambda q: f"Steps of {q.proposal.task!r}? Part them by semicolons.",
            read_text=lambda q, line: steps(q, [s.strip() for s in line.split(";")]),
            images=lambda q: q.scene.images,
            is_planning=True,
        ),
        Role(
            "retrieve",
            answer_type=lambda q: answers.retrieve_answer(captions(q)),
            variables=retrieve_variables,
            read=_retrieve_read,
            text=_retrieve_text,
            read_text=_retrieve_line,
            complaint=_retrieve_complaint,
            is_planning=True,
        ),
        Role(
            "analyse",
            answer_type=lambda q: answers.AnalyseAnswer,
            variables=_analyse_variables,
            read=_analyse_read,
            text=_analyse_text,
            read_text=_analyse_line,
            complaint=_analyse_complaint,
            images=lambda q: q.images,
        ),
        Role(
            "write_skill",
            answer_type=lambda q: answers.WriteSkillAnswer,
            variables=lambda q, context: scene_variables(q.scene, context) | writing.variables(q, context.vocabulary),
            read=lambda q, given, context: writing.read(q, given, context.vocabulary),
            text=writing.text,
            read_text=writing.read_line,
            complaint=writing.complaint,
            images=lambda q: q.scene.images,
            builtin=lambda q, context: writing.write(q, context.vocabulary),
        ),
    )
}

EXPERIMENT = replace(
    ROLES["propose"],
    prompt="experiment",
    answer_type=lambda q: answers.experiment_answer([s.caption for s in q.skills]),
)
"""Propose with steps and skills in one answer: `experimenter.one_call`."""
RANK = replace(
    ROLES["retrieve"], prompt="rank", answer_type=lambda q: answers.rank_answer(captions(q)), read=_rank_read
)
"""Retrieve with a probability for each of several skills: `experimenter.affordance`."""


# --- parts of prompts --------------------------------------------------------------------------------------------


def scene_variables(scene: Scene, context: RoleContext) -> dict[str, str]:
    """Objects and, with `experimenter.facts`, what holds of them."""
    facts = "True now: " + (", ".join(scene.facts) or "nothing of note") + "." if context.config.facts else ""
    return {"objects": ", ".join(map(_quote, scene.objects)), "facts": facts}


def _skills(stats: Sequence[SkillStats]) -> str:
    return ", ".join(f"{_quote(s.caption)} ({s.successes} of {s.n})" for s in stats) or "none"


def _history(history: Sequence[Attempt]) -> str:
    n, successes = Counter(a.task for a in history), Counter(a.task for a in history if a.success)
    return ", ".join(f"{_quote(t)} ({successes[t]} of {n[t]})" for t in n) or "none"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _pictures(paths: Sequence[str]) -> str:
    return f"\nIn the run's directory: {', '.join(paths)}" if paths else ""
