"""Executes answers in the blocks world, by its scripted teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ludus.experimenter.planner import Planner
from ludus.experimenter.roles import DecomposeQuestion, RetrieveQuestion, Scene, SkillStats
from ludus.lab import embodiment
from ludus.lab.rollout import RolloutSpec
from ludus.seeding import child
from ludus.skills.expression import Expression, condition
from ludus.types import Episode, Observations, Plan, Proposal
from ludus.worlds.blocks.skills import extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

N_ENVS = 16


@dataclass(frozen=True)
class Rollout:
    """One execution: these skills from the scene of this start and seed, by a teacher with this noise."""

    captions: tuple[str, ...]
    start: str
    seed: int
    noise: float = 0.0
    number: int = 0
    """Another number draws other noise."""


class Simulator:
    """A blocks world with `n_blocks` blocks and every skill that the teacher knows. Threads: 0 takes every core."""

    def __init__(self, n_blocks: int, n_envs: int = N_ENVS, threads: int = 0) -> None:
        self.world = BlocksWorld(n_blocks, n_envs, threads)
        self.library = self.world.library().add(*extra_skills(self.world.spec.objects))
        self.vocabulary = self.world.vocabulary
        self.max_steps = self.world.spec.episode_steps // self.world.spec.skill_steps
        self._planner = Planner(self.vocabulary, 0)

    def look(self, scenes: Sequence[tuple[str, int]]) -> Observations:
        """The scenes of `(start, seed)`: `[n, size]` per group."""
        return embodiment.look(self.world, [seed for _, seed in scenes], [start for start, _ in scenes])

    def run(self, executions: Sequence[Rollout]) -> list[Episode]:
        """The episodes, in order. Skills that do not fit into an episode are left out.

        Raises:
            LudusError: a rollout without captions, or with an unknown one.
        """
        rollouts = [
            RolloutSpec(t.captions, t.seed, t.start, None, {"noise": t.noise, "number": t.number}) for t in executions
        ]
        if not rollouts:
            return []
        return embodiment.run(self.world, self.library, rollouts, _Robot(Teacher(self.world.spec)), "exam")[0]

    def plan(
        self, scene: Scene, proposal: Proposal, stats: tuple[SkillStats, ...], steps: Sequence[str] | None = None
    ) -> Plan:
        """The built-in planner's steps, or the given ones, and their skills by the built-in matcher."""
        if steps is None:
            steps = self._planner.decompose(DecomposeQuestion("exam", scene, proposal, stats, self.max_steps))
        found = tuple(self._planner.retrieve(RetrieveQuestion("exam", step, scene, stats)) for step in steps)
        return Plan("exam", proposal, tuple(steps), found)

    def fits(self, plan: Plan) -> bool:
        """Every step is a skill, and all of them fit into one episode."""
        if plan.gaps or not plan.captions:
            return False
        return embodiment.fits(plan.captions, self.library, self.world.spec)

    def condition(self, text: str | None) -> Expression | None:
        """The expression, where it is a condition of the language."""
        return condition(text, self.vocabulary)

    def close(self) -> None:
        """Free the simulators."""
        self.world.close()


class Simulators:
    """One simulator per number of blocks, made when first needed."""

    def __init__(self, n_envs: int = N_ENVS, threads: int = 0) -> None:
        self._n_envs, self._threads = n_envs, threads
        self._simulators: dict[int, Simulator] = {}

    def __getitem__(self, n_blocks: int) -> Simulator:
        if n_blocks not in self._simulators:
            self._simulators[n_blocks] = Simulator(n_blocks, self._n_envs, self._threads)
        return self._simulators[n_blocks]

    def close(self) -> None:
        """Free the simulators."""
        for simulator in self._simulators.values():
            simulator.close()
        self._simulators.clear()


def at_end(goal: Expression, episode: Episode) -> bool:
    """Whether the goal holds at the last observation."""
    return bool(goal.evaluate({g: a[-1] for g, a in episode.observations.items()}))


class _Robot:
    """The teacher, with the noise of each rollout's `info`."""

    name = "teacher"

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def begin(self, rollouts: Sequence[RolloutSpec]) -> None:
        seeds = [child(r.seed, "exam", r.info["number"]) for r in rollouts]
        self._teacher.begin(seeds, np.array([r.info["noise"] for r in rollouts]))

    def act(self, observations: Mapping[str, np.ndarray], captions: Sequence[str]) -> np.ndarray:
        return self._teacher.act(dict(observations), captions)
