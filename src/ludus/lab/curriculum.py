"""The curriculum module: asks for a task, its steps and their skills, and reports what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict

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
from ludus.lab.context import PlanContext, SceneContext, Wish, facts
from ludus.lab.oversight import EFFECT, CommandOutcome
from ludus.lab.prefetch import Prefetch, concurrently
from ludus.lab.room import GUIDANCE, NullRoom, Room
from ludus.seeding import rng
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError, Observations, Plan, Proposal, Retrieval, WorldSpec, unknown

Pictures = Callable[[str, Observations], tuple[str, ...]]
"""`(name, observations of one scene [size]) -> paths of its pictures relative to the run directory`.
Raises LudusError where nothing can be rendered."""
Values = Callable[[Observations, Sequence[str]], np.ndarray]
"""`(scenes [n, size], captions) -> [n, len(captions)]` in [0, 1]: the critic's value of each skill in each scene."""
INSTRUCTED = "a person asked for it"
"""`Proposal.why` of what a person said."""
PRACTISE = "no proposal could be executed"
"""`Proposal.why` of a plan that practises a skill because no proposal of its scene could be executed."""


class _Refused(LudusError):
    """A task that people, or their rules, have forbidden."""

    def __init__(self, task: str, why: str) -> None:
        super().__init__(why)
        self.task = task


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
            affordance: see `ExperimenterConfig.affordance`; 0 ignores the critic.
        """
        self.experimenter = experimenter
        self.room = room
        self.spec = spec
        self.seed = seed
        self.pictures = pictures
        self.attempts = attempts
        self.affordance = affordance

    def context(
        self,
        round_: int,
        observations: Observations,
        vocabulary: Vocabulary,
        stats: Sequence[SkillStats],
        history: Sequence[Attempt] = (),
        gaps: Sequence[str] = (),
        seek_gap: bool = False,
    ) -> PlanContext:
        """What to plan from: a round's scenes with their facts and, where one can be made, a picture; and what is known.

        Args:
            observations: `[n scenes, size]` per group, see `embodiment.look`.
        """
        scenes = []
        for i, facts_ in enumerate(facts(vocabulary, observations, stats)):
            name, images, remark = f"r{round_}-s{i}", (), ""
            here = {g: a[i] for g, a in observations.items()}
            try:
                images = self.pictures(name, here) if self.pictures else ()
            except LudusError as error:
                remark = f" (no picture: {error})"
            scenes.append(SceneContext(name, Scene(self.spec.objects, facts_, images), here, remark))
        return PlanContext(tuple(scenes), tuple(stats), tuple(history), tuple(gaps), seek_gap)

    def plans(self, context: PlanContext, values: Values | None = None) -> list[Plan]:
        """One executable plan per scene, in order; before it, those of its proposals that had a gap. Where none of the
        proposals can be executed, the executable plan practises the weakest skill (its proposal's `why` is `PRACTISE`).

        Call it inside a step of the record: messages are keyed by it.

        Args:
            values: the critic, needed for `affordance`.

        Raises:
            LudusError: an answer out of bounds; an affordance weight without `values`; no question can be put any more.
        """
        if self.affordance and values is None:
            raise LudusError(
                f"experimenter.affordance={self.affordance:g} weighs skills by the critic's values; give `values`, or set it to 0"
            )
        plans: list[Plan] = []
        # prefetched answers are all there: the messages of a round come at the same time anyway
        with self.room.batched() if self.experimenter.is_remote else nullcontext():
            if context.remarks:
                text = (
                    f"Shown with this round's questions, as people's remarks: {'; '.join(map(repr, context.remarks))}."
                )
                payload = {"remarks": list(context.remarks)}
                self.room.post("curriculum", "experimenter", GUIDANCE, text, payload=payload)
            scenes = context.scenes
            for i, scene_context in enumerate(scenes):
                asked = context.asked[len(scenes) - 1 - i :: len(scenes)]
                scene = scene_context.scene
                text = (
                    f"The scene: {', '.join(scene.objects)}. True now: {', '.join(scene.facts) or 'nothing of note'}."
                    f"{scene_context.remark}"
                )
                self.room.post("curriculum", "experimenter", "scene", text, scene.images, asdict(scene))
                plans += self._plans_of_scene(scene_context, context, values, asked)
                context = dataclasses.replace(context, seek_gap=False)
        return plans

    def instructed(self, name: str, scene: Scene, words: str, stats: Sequence[SkillStats]) -> Plan:
        """The plan for what a person asked for, with gaps where no skill fits.

        Raises:
            LudusError: no words; an answer out of bounds; no question can be put any more.
        """
        proposal, known = check_proposal(Proposal(" ".join(words.split()), INSTRUCTED, 0.5)), tuple(stats)
        steps = self._decompose(name, scene, proposal, known)
        return Plan(name, proposal, steps, tuple(self._retrieve_all(name, scene, steps, known)))

    def prefetch(self, context: PlanContext) -> Prefetch:
        """Ask in the background what `plans` of the same context will ask, all scenes at the same time; nothing is posted.
        Of use only where answers are kept, see `Ledger`."""
        silent = Curriculum(self.experimenter, NullRoom(), self.spec, self.seed, None, self.attempts)
        others = dataclasses.replace(context, seek_gap=False)

        def ask(scene: SceneContext) -> list[Plan]:
            return silent._plans_of_scene(scene, context if scene is context.scenes[0] else others, None)

        return Prefetch(ask, context.scenes)

    def _plans_of_scene(
        self, scene: SceneContext, context: PlanContext, values: Values | None, asked: Sequence[Wish] = ()
    ) -> list[Plan]:
        plans: list[Plan] = []
        for k, wish in enumerate(asked):
            plan = self._wished(f"{scene.name}-p{k}", scene, wish, context, values)
            plans += [plan] if plan else []
        if any(not plan.gaps for plan in plans):
            return plans
        for attempt in range(self.attempts):
            try:
                plan = self._plan(f"{scene.name}-a{attempt}", scene, context, values)
            except NoAnswer as error:
                self.room.post("curriculum", "all", "note", f"{error}.")
                continue
            except _Refused as refused:
                context = dataclasses.replace(context, refused=(*context.refused, refused.task))
                continue
            plans.append(plan)
            if not plan.gaps:
                return plans
            context = dataclasses.replace(context, gaps=(*context.gaps, plan.proposal.task), seek_gap=False)
        practice = self._practise(f"{scene.name}-practise", context)
        return [*plans, practice] if practice else plans

    def _wished(
        self, name: str, scene: SceneContext, wish: Wish, context: PlanContext, values: Values | None
    ) -> Plan | None:
        """The plan for a task that a person wants; None where there is none. Posts what came of their wish."""
        proposal = Proposal(wish.task, f"{wish.author} asked for it", 0.5, wish.goal)
        payload = asdict(proposal) | {"plan": name}
        self.room.post(wish.author, "curriculum", "proposal", f"{wish.task}.", payload=payload)
        try:
            plan = self._planned(name, scene, proposal, context, values)
        except (NoAnswer, _Refused) as error:
            self._answer(wish, "refused", f"{wish.task!r} is not planned: {str(error).rstrip('.')}.")
            return None
        how = f"is planned as {name}: {', then '.join(plan.captions)}"
        if plan.gaps:
            how = f"is planned as {name} and cannot be executed yet: no skill does {plan.gaps[0].step!r}"
        self._answer(wish, "done", f"{wish.task!r} {how}.", {"plan": name})
        return plan

    def _answer(self, wish: Wish, outcome: CommandOutcome, text: str, about: Mapping[str, str] = {}) -> None:
        payload = {"command": wish.key, "outcome": outcome, **about}
        self.room.post("oversight", wish.author, EFFECT, text, payload=payload)

    def _plan(self, name: str, scene: SceneContext, context: PlanContext, values: Values | None) -> Plan:
        proposal = self._propose(name, scene.scene, context)
        return self._planned(name, scene, proposal, context, values)

    def _planned(
        self, name: str, scene: SceneContext, proposal: Proposal, context: PlanContext, values: Values | None
    ) -> Plan:
        """The steps of a task and their skills.

        Raises:
            _Refused: people, or their rules, have forbidden it.
        """
        self._check(proposal, context)
        steps = self._decompose(name, scene.scene, proposal, context.stats)
        retrievals = self._retrieve_all(name, scene.scene, steps, context.stats)
        if values is not None:
            retrievals[0] = self._grounded(retrievals[0], scene, name, values)
        plan = Plan(name, proposal, steps, tuple(dataclasses.replace(r, options=()) for r in retrievals))
        self._check(proposal, context, plan.captions)
        if plan.gaps:
            missing = "; ".join(r.missing or r.step for r in plan.gaps)
            text = f"Capability gap, {proposal.task!r} cannot be executed. Missing: {missing}."
            self.room.post("curriculum", "all", "gap", text, payload=asdict(plan))
        else:
            text = f"{proposal.task}: {' → '.join(plan.captions)}."
            if len(plan.captions) > self.max_steps:
                text += f" Only the first {self.max_steps} fit into an episode."
            self.room.post("curriculum", "embodiment", "plan", text, payload=asdict(plan))
        return plan

    def _check(self, proposal: Proposal, context: PlanContext, captions: Sequence[str] = ()) -> None:
        known = {s.caption: s.success for s in context.stats}
        why = context.refusal(proposal.task, proposal.goal, *(known[c] for c in captions))
        if why is not None:
            self.room.post("oversight", "all", "refusal", f"{proposal.task!r} is not executed: {why}.")
            raise _Refused(proposal.task, why)

    def _propose(self, name: str, scene: Scene, context: PlanContext) -> Proposal:
        known = (context.stats, context.history, context.gaps)
        about = (self.max_steps, context.seek_gap, context.remarks, context.refused)
        question = ProposeQuestion(f"{name}/propose", scene, *known, *about)
        proposal = check_proposal(self.experimenter.propose(question))
        text = f"{proposal.task} (P(success) {proposal.success_probability:.0%}). Why: {proposal.why}."
        payload = asdict(proposal) | {"plan": name}
        self.room.post("experimenter", "curriculum", "proposal", text, payload=payload)
        return proposal

    def _decompose(self, name: str, scene: Scene, proposal: Proposal, stats: tuple[SkillStats, ...]) -> tuple[str, ...]:
        question = DecomposeQuestion(f"{name}/decompose", scene, proposal, stats, self.max_steps)
        steps = tuple(self.experimenter.decompose(question))
        if not steps:
            raise LudusError(
                f"{proposal.task!r} was decomposed into no steps at all; a decomposer must name at least one"
            )
        text = "; ".join(f"{k + 1}. {step}" for k, step in enumerate(steps))
        self.room.post("experimenter", "curriculum", "steps", text, payload={"plan": name, "steps": list(steps)})
        return steps

    def _retrieve_all(
        self, name: str, scene: Scene, steps: Sequence[str], stats: tuple[SkillStats, ...]
    ) -> list[Retrieval]:
        questions = [RetrieveQuestion(f"{name}/retrieve/{k}", step, scene, stats) for k, step in enumerate(steps)]
        if self.experimenter.is_remote:
            return concurrently(self._retrieve, questions)
        return [self._retrieve(question) for question in questions]

    def _practise(self, name: str, context: PlanContext) -> Plan | None:
        """The weakest skill alone: what robots do when no proposal can be executed. None where every skill is forbidden."""
        if not context.stats:
            raise LudusError("no skill to practise: the library is empty")
        stats = [s for s in context.stats if context.refusal(s.caption, s.success) is None]
        if not stats:
            self.room.post("curriculum", "all", "note", "Nothing to execute: every skill is forbidden.")
            return None
        draw = rng(self.seed, "practise", name)
        skill = min(stats, key=lambda c: (c.competence, draw.random()))
        proposal = Proposal(skill.caption, PRACTISE, round(skill.competence, 3), skill.success)
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

    def _grounded(self, retrieval: Retrieval, scene: SceneContext, name: str, values_of: Values) -> Retrieval:
        """Of the skills considered for a first step, the one with the highest (model's probability) x (critic's value)^w.
        Source: SayCan, Ahn et al. 2022, arXiv 2204.01691."""
        options = retrieval.options
        if not (self.affordance and retrieval.caption and len(options) > 1):
            return retrieval
        captions = [c for c, _ in options]
        here = {g: a[None] for g, a in scene.observations.items()}
        values = np.maximum(values_of(here, captions)[0], 0.0)
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
