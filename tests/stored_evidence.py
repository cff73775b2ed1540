"""Stored observations of the blocks world for checks on candidates: tests/data/blocks-episodes.npz.

`python tests/stored_evidence.py` makes the file again (a minute): episodes of the noisy teacher, half of them with base skills
only, half with all skills. What no predicate reads is left out; the rest is rounded to 0.1 mm and 1 mm/s.
"""

from pathlib import Path

import numpy as np

from ludus.skills.verify import Evidence
from ludus.types import Observations, ObservationSpec

PATH = Path(__file__).parent / "data" / "blocks-episodes.npz"
FIELDS = {
    "position": 1e-4,
    "width": 1e-4,
    "command": 0.1,
    "velocity": 1e-3,
    "touch_left": 1,
    "touch_right": 1,
    "size": 1e-4,
}
EPISODES = 64
"""Of each half."""


def columns(spec: ObservationSpec) -> list[tuple[str, slice, float]]:
    """`(group, columns, unit of the stored integers)` of what is kept."""
    groups = [g for g in spec.groups if g.kind != "arm"]
    return [(g.name, g.slices[f.name], FIELDS[f.name]) for g in groups for f in g.fields if f.name in FIELDS]


def load(spec: ObservationSpec) -> Evidence:
    with np.load(PATH) as stored:
        kept, ends, starts = stored["observations"], stored["ends"], stored["starts"]
    episodes = [_unpack(part, spec) for part in np.split(kept, ends[:-1])]
    return Evidence(tuple(episodes), _unpack(starts, spec))


def _unpack(kept: np.ndarray, spec: ObservationSpec) -> Observations:
    seen = {g.name: np.zeros((len(kept), g.size), np.float32) for g in spec.groups}
    first = 0
    for group, where, unit in columns(spec):
        width = where.stop - where.start
        seen[group][:, where] = kept[:, first : first + width] * np.float32(unit)
        first += width
    return seen


def _pack(seen: Observations, spec: ObservationSpec) -> np.ndarray:
    parts = [np.round(seen[group][:, where] / unit).astype(np.int16) for group, where, unit in columns(spec)]
    return np.concatenate(parts, axis=1)


def main() -> None:
    from ludus.config import SeedDataConfig
    from ludus.lab.actors import SeedActor, seed_rollouts
    from ludus.lab.embodiment import look, run
    from ludus.seeding import child
    from ludus.worlds.blocks.skills import extra_skills
    from ludus.worlds.blocks.teacher import Teacher
    from ludus.worlds.blocks.world import BlocksWorld

    world = BlocksWorld(3, EPISODES, 1)
    base, packed = world.library(), []
    for half, library in (("base", base), ("all", base.add(*extra_skills(world.spec.objects)))):
        rollouts = seed_rollouts(library, SeedDataConfig(episodes=EPISODES), child(0, "stored-evidence", half))
        episodes, _ = run(world, library, rollouts, SeedActor(Teacher(world.spec)), half)
        packed += [_pack(e.observations, world.spec.observation) for e in episodes]
    starts = look(world, [child(0, "stored-evidence", "start", i) for i in range(64)])
    ends = np.cumsum([len(p) for p in packed])
    observations, first = np.concatenate(packed), _pack(starts, world.spec.observation)
    np.savez_compressed(PATH, observations=observations, ends=ends, starts=first)


if __name__ == "__main__":
    main()
