"""Makes the stored observations that the exam's part *write* judges skills on, into src/ludus/exam/data.

    python benchmarks/exam_write.py                # all worlds; minutes. The cubes need the package ogbench

Blocks: for every question, episodes of the teacher on its way to the reference, clean and noisy; and episodes of base skills with
noise, some of random actions. Cubes: OGBench's play.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from ludus.config import SeedDataConfig
from ludus.exam import stored
from ludus.exam.gaps import _objects
from ludus.lab.actors import SeedActor, seed_rollouts
from ludus.lab.embodiment import look, run
from ludus.lab.rollout import RolloutSpec
from ludus.seeding import child
from ludus.worlds.blocks.skills import extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

BLOCKS = (2, 3, 4, 5)
CUBES = ("double", "triple")
NOISE = (0.0, 0.0, 0.1, 0.2)
"""Of the teacher, one episode per question and level ..."""
OTHERS = 16
"""... and so many episodes of base skills with the noise of seed data."""
STARTS = 64
PLAYS, CHUNK = 6, 250
"""Episodes of play per variant, and the control steps that they are cut into."""


def questions(world: str) -> list[tuple[str, ...]]:
    """Captions with which the teacher reaches each question's reference."""
    data = json.loads((stored.FOLDER / "write.json").read_text())
    objects = BlocksWorld(int(world[-1]), 1, 1).spec.objects
    found = []
    for i, (at, name, *_) in enumerate(data["questions"]):
        if at == world:
            named = _objects(i, objects)
            found.append(tuple(caption.format(**named) for caption in data["references"][name]["shows"]))
    return found


def blocks(n_blocks: int, threads: int) -> None:
    """Write the file of a number of blocks."""
    name = f"blocks-{n_blocks}"
    world = BlocksWorld(n_blocks, 32, threads)
    library = world.library().add(*extra_skills(world.spec.objects))
    rollouts = [
        RolloutSpec(captions, child(0, "exam-write", name, i, k), "scattered", None, {"noise": noise})
        for i, captions in enumerate(questions(name))
        for k, noise in enumerate(NOISE)
    ]
    # the last step alone too: what a whole achieves must differ from what its parts do
    rollouts += [
        RolloutSpec(captions[-1:], child(0, "exam-write", name, i, "last"), "scattered", None, {"noise": 0.0})
        for i, captions in enumerate(questions(name))
        if len(captions) > 1
    ]
    seeds = SeedDataConfig(episodes=OTHERS)
    rollouts += seed_rollouts(world.library(), seeds, child(0, "exam-write", name, "others"))
    episodes, _ = run(world, library, rollouts, SeedActor(Teacher(world.spec)), name)
    kinds = world.spec.starts
    starts = look(world, [child(0, "exam-write", name, "start", i) for i in range(STARTS)],
                [kinds[i % len(kinds)] for i in range(STARTS)])  # fmt: skip
    write(name, world, [e.observations for e in episodes], starts)


def cubes(variant: str) -> None:
    """Write the file of a variant of OGBench's cubes."""
    from ludus.worlds.ogbench.play import play
    from ludus.worlds.ogbench.world import CubesWorld

    name = f"cubes-{variant}"
    world = CubesWorld(variant, 16)
    seeds = [child(0, "exam-write", name, i) for i in range(PLAYS)]
    parts = []
    for episode in play(variant, world.library(), seeds, name, processes=2):
        seen, n_steps = episode.observations, len(episode.observations["gripper"]) - 1
        parts += [{g: a[t : t + CHUNK + 1] for g, a in seen.items()} for t in range(0, n_steps, CHUNK)]
    kinds = world.spec.starts
    starts = look(world, [child(0, "exam-write", name, "start", i) for i in range(STARTS)],
                [kinds[i % len(kinds)] for i in range(STARTS)])  # fmt: skip
    write(name, world, parts, starts)


def write(name: str, world: Any, episodes: list[dict[str, np.ndarray]], starts: dict[str, np.ndarray]) -> None:
    spec, small = world.spec.observation, stored.reduced(world.spec.observation)
    packed = [stored.pack(e, spec, small) for e in episodes]
    about = {k: getattr(world.spec, k) for k in ("objects", "episode_steps", "skill_steps")}
    stored.save(name, small, packed, stored.pack(starts, spec, small), **about)
    print(f"{name}: {len(packed)} episodes, {sum(map(len, packed))} observations")
    world.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", help="such as blocks-3 or cubes-double; all if not given")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    for n in BLOCKS:
        if not args.worlds or f"blocks-{n}" in args.worlds:
            blocks(n, args.threads)
    for variant in CUBES:
        if not args.worlds or f"cubes-{variant}" in args.worlds:
            cubes(variant)


if __name__ == "__main__":
    main()
