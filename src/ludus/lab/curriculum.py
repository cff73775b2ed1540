"""The curriculum module: asks for a task, its steps and their skills; finds capability gaps; tells what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np

from ludus.experimenter.roles import (
    Attempt,
    DecomposeQuestion,
    Experimenter,
    NoAnswer,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    SkillStats,
    check_proposal,
)
from ludus.lab.prefetch import Prefetch, concurrently
from ludus.lab.room import NullRoom, Room
from ludus.seeding import rng
from ludus.skills.expression import condition, quote
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.predicates import Vocabulary
from ludus.types import (
    Episode,
    LudusError,
    Observations,
    Outcome,
    Plan,
    Proposal,
    Retrieval,
    SuccessCount,
    WorldSpec,
    unknown,
)

Pictures = Callable[[str, Observations], tuple[str, ...]]
"""`(name, observations of one scene [size]) -> paths of its pictures relative to the run directory`.
Raises LudusError where nothing can be rendered."""
Values = Callable[[Observations, Sequence[str]], np.ndarray]
"""`(scenes [n, size], captions) -> [n, len(captions)]` in [0, 1]: the critic's value of each skill in each scene."""


@dataclass(frozen=True)
class SceneContext:
    """One scene to plan for."""

    name: str
    """'r1-s0'."""
    scene: Scene
    observations: Observations
    """`[size]` per group."""
    remark: str = ""
    """Why there is no picture."""


@dataclass(frozen=True)
class PlanContext:
    """All that the plans of a round are based on."""

    places: tuple[SceneContext, ...]
    stats: tuple[SkillStats, ...]
    """What is known of each skill, see `skill_cards`."""
    history: tuple[Attempt, ...] = ()
    """Tasks tried so far."""
    gaps: tuple[str, ...] = ()
    """Tasks that had a step which none of these skills fits."""


class Curriculum:
    """Makes plans by three separate questions: propose, decompose, retrieve."""

    def __init__(
        self,
        experimenter: Experimenter,
        room: Room | NullRoom,
        spec: WorldSpec,
        seed: int,
        pictures: Pictures | None = None,
        attempts: int = 3,
        affordance: float = 0.0,
    ) -> None:
        """
        Args:
            attempts: proposals per scene until one can be executed.
            affordance: see `ExperimenterConfig.affordance`; needs `values` to be set.
        """
        self.experimenter = experimenter
        self.room = room
        self.spec = spec
        self.seed = seed
        self.pictures = pictures
        self.attempts = attempts
        self.affordance = affordance
        self.values: Values | None = None

    def context(
        self,
        round_: int,
        observations: Observations,
        vocabulary: Vocabulary,
        stats: Sequence[SkillStats],
        history: Sequence[Attempt] = (),
        gaps: Sequence[str] = (),
    ) -> PlanContext:
        """What to plan from: the round's scenes, `[n, size]` per group (see `Embodiment.look`), with a picture where one
        can be made, and what is known now."""
        places = []
        for i, facts_ in enumerate(facts(vocabulary, observations)):
            name, images, remark = f"r{round_}-s{i}", (), ""
            here = {g: a[i] for g, a in observations.items()}
            try:
                images = self.pictures(name, here) if self.pictures else ()
            except LudusError as error:
                remark = f" (no picture: {error})"
            places.append(SceneContext(name, Scene(self.spec.objects, facts_, images), here, remark))
        return PlanContext(tuple(places), tuple(stats), tuple(history), tuple(gaps))

    def plans(self, context: PlanContext) -> list[Plan]:
        """One executable plan per scene, in order; before it, those of its proposals that had a gap.

        Call it inside a step of the record: messages are keyed by it.
        """
        plans: list[Plan] = []
        # answers that were waited for are all there: nobody could read along
        with self.room.batched() if self.experimenter.is_remote else nullcontext():
            for place in context.places:
                scene = place.scene
                text = (
                    f"The scene: {', '.join(scene.objects)}. True now: {', '.join(scene.facts) or 'nothing of note'}."
                    f"{place.remark}"
                )
                self.room.post("curriculum", "experimenter", "scene", text, scene.images, asdict(scene))
                plans += self._plans_of_scene(place, context)
        return plans

    def prefetch(self, context: PlanContext) -> Prefetch:
        """Asks in the background what `plans` of the same brief will ask, all scenes at the same time, and says nothing
        in the room. Only of use where answers are kept, see `Ledger`."""
        silent = Curriculum(self.experimenter, NullRoom(), self.spec, self.seed, None, self.attempts)
        return Prefetch(lambda place: silent._plans_of_scene(place, context), context.places)

    def _plans_of_scene(self, place: SceneContext, context: PlanContext) -> list[Plan]:
        plans: list[Plan] = []
        for attempt in range(self.attempts):
            try:
                plan = self._plan(f"{place.name}-a{attempt}", place, context)
            except NoAnswer as error:
                self.room.post("curriculum", "all", "note", f"{error}.")
                continue
            plans.append(plan)
            if not plan.gaps:
                return plans
            context = dataclasses.replace(context, gaps=(*context.gaps, plan.proposal.task))
        return [*plans, self._practise(f"{place.name}-practise", context.stats)]

    def _plan(self, name: str, place: SceneContext, context: PlanContext) -> Plan:
        ask, scene, skills, max_steps = self.experimenter, place.scene, context.stats, self.max_steps
        proposal = check_proposal(
            ask.propose(ProposeQuestion(f"{name}/propose", scene, skills, context.history, context.gaps, max_steps))
        )
        self.room.post(
            "experimenter",
            "curriculum",
            "proposal",
            f"{proposal.task} (P(success) {proposal.success_probability:.0%}). Why: {proposal.why}.",
            payload=asdict(proposal) | {"plan": name},
        )
        steps = ask.decompose(DecomposeQuestion(f"{name}/decompose", scene, proposal, skills, max_steps))
        if not steps:
            raise LudusError(
                f"{proposal.task!r} was decomposed into no steps at all; a decomposer must name at least one"
            )
        text = "; ".join(f"{k + 1}. {step}" for k, step in enumerate(steps))
        self.room.post("experimenter", "curriculum", "steps", text, payload={"plan": name, "steps": list(steps)})
        questions = [RetrieveQuestion(f"{name}/retrieve/{k}", step, scene, skills) for k, step in enumerate(steps)]
        retrievals = (
            concurrently(self._retrieve, questions) if ask.is_remote else [self._retrieve(q) for q in questions]
        )
        retrievals[0] = self._grounded(retrievals[0], place, name)
        retrievals = tuple(dataclasses.replace(r, options=()) for r in retrievals)
        plan = Plan(name, proposal, tuple(steps), retrievals)
        if plan.gaps:
            missing = "; ".join(r.missing or r.step for r in plan.gaps)
            text = f"Capability gap, {proposal.task!r} cannot be executed. Missing: {missing}."
            self.room.post("curriculum", "all", "gap", text, payload=asdict(plan))
        else:
            text = f"{proposal.task}: {' → '.join(plan.captions)}."
            if len(plan.captions) > max_steps:
                text += f" Only the first {max_steps} fit into an episode."
            self.room.post("curriculum", "embodiment", "plan", text, payload=asdict(plan))
        return plan

    def _practise(self, name: str, stats: Sequence[SkillStats]) -> Plan:
        """When nothing that was proposed can be done, robots do not stand idle."""
        if not stats:
            raise LudusError("no skill to practise: the library is empty")
        draw = rng(self.seed, "practise", name)
        skill = min(stats, key=lambda c: (c.competence, draw.random()))
        proposal = Proposal(skill.caption, "no proposal could be executed", round(skill.competence, 3), skill.success)
        plan = Plan(name, proposal, (skill.caption,), (Retrieval(skill.caption, skill.caption),))
        text = (
            f"After {self.attempts} proposals that cannot be executed: practise {skill.caption!r}, the weakest skill."
        )
        self.room.post("curriculum", "embodiment", "plan", text, payload=asdict(plan))
        return plan

    def _retrieve(self, question: RetrieveQuestion) -> Retrieval:
        try:
            retrieval = self.experimenter.retrieve(question)
        except NoAnswer:
            return Retrieval(question.step, None, question.step)
        known, options = [s.caption for s in question.skills], retrieval.options
        if retrieval.caption is not None and retrieval.caption not in known:
            raise unknown("skill retrieved", retrieval.caption, known)
        return dataclasses.replace(retrieval, options=tuple((c, p) for c, p in options if c in known))

    def _grounded(self, retrieval: Retrieval, place: SceneContext, name: str) -> Retrieval:
        """Of the skills considered for a first step, the one that is both likely meant and possible now."""
        options = retrieval.options
        if not (self.affordance and self.values and retrieval.caption and len(options) > 1):
            return retrieval
        captions = [c for c, _ in options]
        here = {g: a[None] for g, a in place.observations.items()}
        values = np.maximum(self.values(here, captions)[0], 0.0)
        scores = np.array([p for _, p in options]) * values**self.affordance
        chosen = captions[int(np.argmax(scores))]
        rows = [
            f"{c!r}: {p:.2f} x {v:.3f}^{self.affordance:g} = {s:.3f}"
            for (c, p), v, s in zip(options, values, scores, strict=True)
        ]
        text = f"What is possible now, of {retrieval.step!r}: {'; '.join(rows)}. Taken: {chosen!r}."
        payload = {
            "plan": name,
            "model": dict(options),
            "values": dict(zip(captions, values.tolist(), strict=True)),
            "taken": chosen,
        }
        self.room.post("curriculum", "all", "affordance", text, payload=payload)
        return dataclasses.replace(retrieval, caption=chosen, missing=None)

    @property
    def max_steps(self) -> int:
        """Skills of the world's usual length that fit into an episode."""
        return max(1, self.spec.episode_steps // self.spec.skill_steps)

    def tell(self, attempts: Mapping[str, Sequence[Attempt]], plans: Sequence[Plan]) -> None:
        """Post what came of each plan that was executed."""
        for plan in plans:
            tries = attempts.get(plan.id, ())
            if tries:
                successes = sum(a.success for a in tries)
                text = f"{plan.proposal.task}: {successes} of {len(tries)} robots succeeded."
                payload = {"plan": plan.id, "task": plan.proposal.task, "n": len(tries), "successes": successes}
                self.room.post("embodiment", "all", "outcome", text, payload=payload)


# --- what the questions are made of -------------------------------------------------------------------------------


def facts(vocabulary: Vocabulary, observations: Observations) -> list[tuple[str, ...]]:
    """The conditions that hold in each of n scenes `[n, size]`, as atoms of the language: 'on(red, green)'."""
    n = len(next(iter(observations.values())))
    true: list[list[str]] = [[] for _ in range(n)]
    for predicate in vocabulary.predicates:
        if predicate.result != "bool":
            continue
        for objects in permutations(vocabulary.objects, len(predicate.parameters)):
            text = f"{predicate.name}({', '.join(map(quote, objects))})"
            for i in np.flatnonzero(vocabulary.holds((predicate.name, objects), observations)):
                true[i].append(text)
    return [tuple(t) for t in true]


def skill_stats(
    library: SkillLibrary, counts: Iterable[SuccessCount], outcomes: Iterable[Outcome] = (), recent: int = 32
) -> tuple[SkillStats, ...]:
    """What is known of each skill of the library: counts of the tallies added up, the latest outcomes in order."""
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
        SkillStats(s.caption, s.success, n[s.caption], successes[s.caption], tuple(latest[s.caption][-recent:]))
        for s in library
    )


def attempts_of(
    plans: Sequence[Plan], episodes: Iterable[Episode], outcomes: Iterable[Outcome], vocabulary: Vocabulary, round_: int
) -> dict[str, list[Attempt]]:
    """Plan id -> its executions. A task succeeded if its goal holds at the end of the episode; without a goal in the
    language, if its last skill succeeded. Episodes name their plan in `info['plan']`."""
    by_id = {p.id: p for p in plans}
    last = {o.episode: o for o in sorted(outcomes, key=lambda o: o.segment)}
    attempts: dict[str, list[Attempt]] = {}
    for episode in episodes:
        plan = by_id.get(episode.info.get("plan", ""))
        if plan is None:
            continue
        success = _reached(plan, episode, vocabulary)
        if success is None:
            success = last[episode.id].success_at_end
        attempts.setdefault(plan.id, []).append(Attempt(plan.proposal.task, success, round_))
    return attempts


def fill_gaps(plans: Sequence[Plan], library: SkillLibrary, candidates: Sequence[Skill]) -> list[Skill]:
    """Which of `candidates` the gaps of these plans ask for.

    For each part of a goal that no skill of the library brings about: the simplest candidate that does, and its template
    (the same caption about other objects), because who can put red beside green can put blue there. Simple ones first,
    then those asked for most often.
    """
    vocabulary = library.vocabulary
    known = {atom for skill in library for atom in library.parse(skill)[1].atoms()}
    offers = {s.caption: library.parse(s)[1].atoms() for s in candidates if s.caption not in library}

    asked: dict[str, int] = {}
    for plan in plans:
        goal = condition(plan.proposal.goal, vocabulary) if plan.gaps else None
        for atom in goal.atoms() if goal is not None else ():
            able = [c for c, atoms in offers.items() if atom in atoms]
            if atom not in known and len(atom[1]) > 1 and able:
                simplest = min(able, key=lambda c: sum(len(a[1]) > 1 for a in offers[c]))
                asked[library.template(simplest)] = asked.get(library.template(simplest), 0) + 1
    wanted = [s for s in candidates if s.caption in offers and library.template(s.caption) in asked]
    n_relations = {s.caption: sum(len(a[1]) > 1 for a in offers[s.caption]) for s in wanted}
    return sorted(wanted, key=lambda s: (n_relations[s.caption], -asked[library.template(s.caption)]))


def _reached(plan: Plan, episode: Episode, vocabulary: Vocabulary) -> bool | None:
    goal = condition(plan.proposal.goal, vocabulary)
    return None if goal is None else bool(goal.evaluate({g: a[-1] for g, a in episode.observations.items()}))
