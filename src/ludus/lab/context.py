"""Contents of the experimenter's questions: scenes with their facts, statistics of skills, tasks tried so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ludus.experimenter.effects import denied
from ludus.experimenter.roles import Attempt, Scene, SkillStats
from ludus.skills.expression import atom_text, condition, parse
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.vocabulary import Atom, Vocabulary, is_predicate
from ludus.types import Episode, Observations, Outcome, Plan, SuccessCount


@dataclass(frozen=True)
class SceneContext:
    """One scene to plan for."""

    name: str
    """'r1-s0': the scene's number within its round."""
    scene: Scene
    observations: Observations
    """`[size]` per group."""
    remark: str = ""
    """Why there is no picture."""


Refusal = Callable[..., str | None]
"""`(task, goal or None, success of each of its skills ...)`, expressions -> why it is not executed, None where it may be."""


@dataclass(frozen=True)
class Wish:
    """A task that a person wants to be planned."""

    key: str
    """Of the message in which they said so."""
    task: str
    goal: str | None
    author: str


def nothing_refused(task: str, *conditions: str | None) -> str | None:
    """A `Refusal` of nothing."""
    return None


@dataclass(frozen=True)
class PlanContext:
    """All that the plans of a round are based on."""

    scenes: tuple[SceneContext, ...]
    stats: tuple[SkillStats, ...]
    """What is known of each skill, see `skill_stats`."""
    history: tuple[Attempt, ...] = ()
    """Tasks tried so far."""
    gaps: tuple[str, ...] = ()
    """Tasks that had a step which none of these skills fits."""
    seek_gap: bool = False
    """Whether the first question of the round asks for a task that needs a new skill."""
    remarks: tuple[str, ...] = ()
    """What people who watch have said, oldest first."""
    refused: tuple[str, ...] = ()
    """Tasks that may not be executed."""
    refusal: Refusal = nothing_refused
    asked: tuple[Wish, ...] = ()
    """Each is planned in place of the first proposal of a scene, the last scene first."""


def facts(
    vocabulary: Vocabulary, observations: Observations, skills: Iterable[Skill | SkillStats] = ()
) -> list[tuple[str, ...]]:
    """The conditions that hold in each of n scenes (`[n, size]` per group), as expressions: all predicates, 'on(red, green)', and
    the comparisons that these skills bring about or need, 'distance(red, goal) <= 0.05'."""
    n = len(next(iter(observations.values())))
    true: list[list[str]] = [[] for _ in range(n)]
    for predicate in vocabulary.predicates:
        if predicate.result != "bool":
            continue
        for objects in permutations(vocabulary.objects, len(predicate.parameters)):
            text = atom_text((predicate.name, objects))
            for i in np.flatnonzero(vocabulary.holds((predicate.name, objects), observations)):
                true[i].append(text)
    known = (condition(text, vocabulary) for s in skills for text in (s.success, s.prerequisites))
    for atom in dict.fromkeys(a for c in known if c is not None for a in c.conditions()):
        if is_predicate(atom) or denied(atom, vocabulary):
            continue
        text = atom_text(atom)
        for i in np.flatnonzero(parse(text, vocabulary).evaluate(observations)):
            true[i].append(text)
    return [tuple(t) for t in true]


def skill_stats(
    library: SkillLibrary, counts: Iterable[SuccessCount], outcomes: Iterable[Outcome] = (), recent: int = 32
) -> tuple[SkillStats, ...]:
    """What is known of each skill of the library, in its order: the sum of its counts, its `recent` latest outcomes. Counts
    and outcomes of other skills are ignored."""
    n = dict.fromkeys(library.captions, 0)
    successes, latest = dict(n), {c: [] for c in n}
    for count in counts:
        if count.caption in n:
            n[count.caption] += count.n
            successes[count.caption] += count.successes
    for outcome in outcomes:
        if outcome.caption in n:
            latest[outcome.caption].append(outcome.success_at_end)
    return tuple(
        SkillStats(
            s.caption,
            s.success,
            n[s.caption],
            successes[s.caption],
            tuple(latest[s.caption][-recent:]),
            s.prerequisites,
        )
        for s in library
    )


def achieved(library: SkillLibrary) -> set[Atom]:
    """The conditions that the skills bring about."""
    return {atom for skill in library for atom in library.parse(skill)[1].conditions()}


def attempts_of(
    plans: Sequence[Plan], episodes: Iterable[Episode], outcomes: Iterable[Outcome], vocabulary: Vocabulary, round_: int
) -> dict[str, list[Attempt]]:
    """Plan id -> its executions. A task succeeded if its goal holds at the end of the plan's commands; without a goal in the
    language, if the last of them succeeded. Episodes name their plan in `info['plan']`, and in `info['n_plan_commands']` how many
    of their commands it is; by default all."""
    by_id = {p.id: p for p in plans}
    told = {(o.episode, o.segment): o.success_at_end for o in outcomes}
    attempts: dict[str, list[Attempt]] = {}
    for episode in episodes:
        plan = by_id.get(episode.info.get("plan", ""))
        if plan is None:
            continue
        n = min(episode.info.get("n_plan_commands", len(episode.segments)), len(episode.segments))
        at = episode.segments[n].start if n < len(episode.segments) else -1
        success = _reached(plan, {g: a[at] for g, a in episode.observations.items()}, vocabulary)
        if success is None:
            cut_short = episode.ended == "terminal" and len(episode.segments) < len(plan.captions)
            success = told[episode.id, n - 1] and not cut_short
        attempts.setdefault(plan.id, []).append(Attempt(plan.proposal.task, success, round_))
    return attempts


def _reached(plan: Plan, observation: Observations, vocabulary: Vocabulary) -> bool | None:
    """Whether the plan's goal holds; None for a goal that is no condition of the language."""
    goal = condition(plan.proposal.goal, vocabulary)
    return None if goal is None else bool(goal.evaluate(observation))
