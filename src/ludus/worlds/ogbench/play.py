"""Play data, made as OGBench makes its `play` sets: the package's open-loop oracle carries one cube after the other to
random goals, with the package's noise, for 1,000 steps. Two differences: every random number is drawn from the episode's
own seed; and of the other cubes' goals, which OGBench hides, half lie somewhere on the table, as in its evaluation tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from ludus import machine
from ludus.seeding import child, rng
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Observations, Segment, WorldSpec
from ludus.worlds.ogbench.world import SKILL_STEPS, CubesWorld, goal_of, move, show_other_goals

STEPS = 1000
"""Actions per episode (OGBench: 1,001 observations)."""
NOISE, NOISE_SMOOTHING = 0.1, 0.5
"""OGBench's defaults for play data."""
COPIES = 4
"""Hindsight-labelled copies per play episode."""
CUBE_POSE = slice(0, 7)
"""Position and quaternion in a cube's observation."""
HIDDEN = (0, 0, -0.3, 1, 0, 0, 0)
"""Pose that OGBench gives to a hidden goal, below the table."""


def play(
    variant: str, library: SkillLibrary, seeds: Sequence[int], name: str, hindsight: bool = False, processes: int = 0
) -> Iterator[Episode]:
    """Episodes of play in the order of their seeds. `processes` = 0 takes every core. A snapshot holds the
    oracle's first goals, also where the captions were labelled in hindsight.

    Args:
        hindsight: replace the oracle's goals, as OGBench's data sets do. Each play then gives `COPIES` episodes: every 100
            steps a random cube's goal becomes one of the next 200 poses of that cube. Otherwise each play gives one episode
            with a segment 'put X at X goal' for each goal of the oracle.
    """
    processes = min(machine.threads(processes), len(seeds))
    hashes = {s.caption: s.hash for s in library}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for i, (seen, actions, labelled, snapshot, spec) in enumerate(
            pool.map(_episode, [variant] * len(seeds), seeds)
        ):
            copies = [(seen, labelled)]
            if hindsight:
                copies = [_relabelled(spec, seen, rng(seeds[i], "hindsight", k)) for k in range(COPIES)]
            for k, (observations, captions) in enumerate(copies):
                yield Episode(
                    id=f"{name}-{i:05d}" + (f"-{k}" if hindsight else ""),
                    observations=observations,
                    actions=actions,
                    segments=tuple(Segment(t, c, hashes[c], reset=t > 0) for t, c in captions),
                    actor="play",
                    world=spec.fingerprint,
                    seed=seeds[i],
                    start="scattered",
                    snapshot=snapshot,
                    info={"noise": NOISE, "hindsight": hindsight},
                )


def _relabelled(
    spec: WorldSpec, seen: Observations, draw: np.random.Generator
) -> tuple[Observations, list[tuple[int, str]]]:
    cubes = [o for o in spec.objects if not o.endswith(" goal")]
    captions: list[tuple[int, str]] = []
    relabelled = {g: a.copy() for g, a in seen.items()}
    for first in range(0, STEPS, SKILL_STEPS):
        shown = slice(first + 1 if first else 0, first + SKILL_STEPS + 1)
        cube = cubes[draw.integers(len(cubes))]
        captions.append((first, f"put {cube} at {goal_of(cube)}"))
        for other in cubes:
            later = draw.integers(first + 1, min(first + 2 * SKILL_STEPS, STEPS) + 1)
            relabelled[goal_of(other)][shown, CUBE_POSE] = seen[other][later, CUBE_POSE]
            if other != cube and draw.random() < 0.5:
                relabelled[goal_of(other)][shown, CUBE_POSE] = HIDDEN
    return relabelled, captions


@cache
def _world(variant: str) -> CubesWorld:
    return CubesWorld(variant, 1, 1)


def _episode(variant: str, seed: int) -> tuple[Any, ...]:
    """Runs in a process of its own, because OGBench's oracle draws from numpy's global generator."""
    from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle

    world = _world(variant)
    simulation = world.simulations[0]
    np.random.seed(child(seed, "oracle") % 2**32)  # noqa: NPY002
    world.reset([seed])
    draw = rng(seed, "later goals")
    snapshot = world.snapshot()[0]
    oracle = CubePlanOracle(env=simulation, noise=NOISE, noise_smoothing=NOISE_SMOOTHING)
    rows, actions, labelled = [world.row(simulation, 0.0)], [], []
    fresh = True
    simulation.pre_step()
    info = simulation.compute_ob_info()
    for t in range(STEPS):
        if fresh:
            cube = world.cubes[simulation._target_block]
            labelled.append((t, f"put {cube} at {goal_of(cube)}"))
            oracle.reset(None, info)
        action = np.clip(oracle.select_action(None, info), -1, 1).astype(np.float32)
        move(simulation, action)
        actions.append(action)
        # The last observation of a segment still shows its goal, by which it is judged; the next one's first is the same
        # row, so a new goal is seen one step late.
        rows.append(world.row(simulation, float(action[4])))
        fresh = oracle.done and t + 1 < STEPS
        if fresh:
            simulation.set_new_target(return_info=False)
            show_other_goals(simulation, draw, 0.5)
        info = simulation.compute_ob_info()
    seen = world.split(np.array(rows, np.float32))
    return (
        {g: np.ascontiguousarray(a) for g, a in seen.items()},
        np.array(actions),
        labelled,
        snapshot,
        world.spec,
    )
