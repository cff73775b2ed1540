"""A robot that does what it is told: words become a plan, the plan is carried out once, and each step is judged."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from PIL import Image

from ludus.agents.policy import Policy, load_policy
from ludus.config import BudgetConfig, ExperimenterConfig
from ludus.config.limits import said
from ludus.experiment.policy_file import TrainedPolicy
from ludus.experimenter import asks_others, assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Ledger, NullCalls
from ludus.experimenter.roles import Scene
from ludus.lab.context import facts, skill_stats
from ludus.lab.curriculum import Curriculum
from ludus.lab.embodiment import look, run_batch
from ludus.lab.program import Do, Program, Repeat
from ludus.lab.rollout import RolloutSpec, Switching
from ludus.lab.room import NullRoom
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, Observations, Plan
from ludus.worlds.base import World
from ludus.worlds.registry import make_world

TRIES = 2
"""Of each step: where it fails, it is told once more."""


@dataclass(frozen=True)
class StepResult:
    """What came of one step of a plan."""

    step: str  # in words
    caption: str  # what the policy was told
    success: bool  # at the end of the step
    tries: int  # 0: it was so already
    seconds: float
    facts: tuple[str, ...]  # that hold then: 'on(red, green)'


@dataclass(frozen=True)
class Done:
    """An instruction that was carried out."""

    plan: Plan
    steps: tuple[StepResult, ...]
    episode: Episode

    @property
    def success(self) -> bool:
        """Whether every step succeeded."""
        return all(s.success for s in self.steps)


class Robot:
    """One simulated robot with a trained policy. A context manager: the world holds a simulator and an OpenGL context.

    Args:
        n_blocks: another number of objects than the policy was trained with.

    Raises:
        LudusError: a world or checkpoint that cannot be used.
    """

    def __init__(self, trained: TrainedPolicy, n_blocks: int | None = None):
        torch.set_num_threads(1)
        if n_blocks is not None and n_blocks < trained.world.n_blocks:
            n = trained.world.n_blocks
            raise LudusError(f"world.n_blocks={n_blocks}: the policy's skills are about {n} objects; give {n} or more")
        settings = replace(trained.world, n_envs=1, n_blocks=n_blocks or trained.world.n_blocks)
        self.world: World = make_world(settings, look=True)
        more = SkillLibrary(self.world.vocabulary, ()) if n_blocks is None else self.world.library().base
        self.library = more.add(*[s for s in trained.skills if s.caption not in more])
        self.stats = skill_stats(self.library, trained.counts)
        self.policy: Policy = load_policy(trained.checkpoint, self.world.spec, trained.temperature)

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()

    def plan(
        self,
        words: str,
        seed: int = 0,
        config: ExperimenterConfig | None = None,
        budget: BudgetConfig | None = None,
        person: Callable[[str], str] | None = None,
    ) -> Plan:
        """The skills that these words ask for in the scene of this seed.

        Args:
            config: who decomposes and retrieves; the built-in planner by default.
            person: see `RoleContext.person`.

        Raises:
            LudusError: words that ask for something which no skill does; a model that cannot be used.
        """
        config, here = config or ExperimenterConfig(), look(self.world, [seed])
        pictures = self._pictures(here) if config.images and asks_others(config) else {}
        ledger = Ledger(NullCalls(), budget or BudgetConfig())
        context = RoleContext(self.world.vocabulary, seed, config, ledger, pictures.__getitem__, person)
        curriculum = Curriculum(assemble(context), NullRoom(), self.world.spec, seed)
        scene = Scene(self.world.spec.objects, facts(self.world.vocabulary, here, self.library)[0], tuple(pictures))
        plan = curriculum.instructed("do", scene, words, self.stats)
        for gap in plan.gaps:
            raise LudusError(
                f"no skill does {said(gap.step)!r}: {gap.missing}. `ludus do` without words says what can be said"
            )
        return plan

    def carry_out(self, plan: Plan, seed: int = 0) -> Done:
        """Do it in the scene of this seed: a step ends as soon as its success holds, is left out where it holds already, and
        is told again where it fails, as long as the episode lasts."""
        conditions = {c: self.library[c].success for c in plan.captions}
        program: Program = tuple(Repeat(conditions[c], (Do(c),), TRIES) for c in plan.captions)
        rollout = RolloutSpec(plan.captions, seed, self.world.spec.starts[0], program=program, switching=Switching())
        (episode,), _ = run_batch(self.world, self.library, [rollout], ["do"], self.policy)
        return Done(plan, tuple(self._steps(plan, episode)), episode)

    def _steps(self, plan: Plan, episode: Episode) -> list[StepResult]:
        bounds = [*(s.start for s in episode.segments[1:]), episode.n_steps]
        left, now, results = [*zip(episode.segments, bounds, strict=True)], 0, []
        for retrieval in plan.retrievals:
            caption, began, tries = retrieval.caption, now, 0
            assert caption is not None
            while left and left[0][0].caption == caption:
                now, tries = left.pop(0)[1], tries + 1
            seen: Observations = {g: a[now : now + 1] for g, a in episode.observations.items()}
            success = bool(self.library.rewards(caption, seen)[1][0])
            seconds = (now - began) / self.world.spec.control_hz
            then = facts(self.world.vocabulary, seen, self.library)[0]
            results.append(StepResult(retrieval.step, caption, success, tries, seconds, then))
        return results

    def _pictures(self, here: Observations) -> dict[str, bytes]:
        """Name -> PNG of the scene; empty where none can be made."""
        try:
            frame = self.world.frames(here)[0]
        except LudusError:
            return {}
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "PNG")
        return {"scene.png": buffer.getvalue()}
