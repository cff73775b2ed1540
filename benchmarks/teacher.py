"""How often, and how fast, the scripted teacher does what it is told. Prints one JSON object per skill.

    python benchmarks/teacher.py [--verbs stack tower] [--start held] [--noise 0.4] [--episodes 256] [--steps 80]

`success_at_end` is that at the last step, `success_once` at any step; `steps` are the median and 95th percentile of the
first successful control step among episodes that succeed at all.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.skills.names import ObjectNames
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.blocks.teacher import VERBS, Teacher
from ludus.worlds.blocks.world import BlocksWorld

BASE = ("open", "reach", "grasp", "lift", "hover", "stack", "leave")
LONG = {"beside": 160, "tower": 320, "pyramid": 320}
"""Control steps that the skills outside the base set may take; the others have the world's 80."""


def evaluate(world: BlocksWorld, library: SkillLibrary, captions: list[str], seeds: list[int], **how) -> dict:
    """One episode per simulation, the captions dealt out in turn."""
    captions = [captions[i % len(captions)] for i in range(world.n_envs)]
    teacher = Teacher(world.spec)
    teacher.begin(seeds, np.full(world.n_envs, how["noise"]))
    observations = world.reset(seeds, how["start"])
    success = np.zeros((how["horizon"], world.n_envs), bool)
    for t in range(how["horizon"]):
        observations = world.step(teacher.act(observations, captions))
        for caption in set(captions):
            rows = [i for i, c in enumerate(captions) if c == caption]
            success[t, rows] = library.rewards(caption, {g: v[rows] for g, v in observations.items()})[1]
    first = success.argmax(0)[success.any(0)] + 1
    quantiles = np.quantile(first, [0.5, 0.95]).round().astype(int).tolist() if len(first) else None
    rates = {"success_at_end": round(success[-1].mean(), 3), "success_once": round(success.any(0).mean(), 3)}
    return rates | {"steps": quantiles}


def main() -> None:
    """Measure every verb asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbs", nargs="+", default=[*BASE, *LONG], choices=sorted(VERBS.values()))
    parser.add_argument("--start", default="scattered")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--steps", type=int, help="of each episode; by default 80, and more for long skills")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    world = BlocksWorld(options.blocks, options.episodes, options.threads)
    objects = world.spec.objects
    library = SkillLibrary(world.vocabulary, base_skills(objects) + extra_skills(objects))
    names = ObjectNames(objects)
    for verb in options.verbs:
        pattern = next(p for p, v in VERBS.items() if v == verb)
        captions = [c for c in library.captions if names.replace(c, "#") == pattern]
        if not captions:
            continue  # too few blocks
        seeds = [child(0, "benchmark", verb, i) for i in range(options.episodes)]
        how = {"start": options.start, "noise": options.noise, "horizon": options.steps or LONG.get(verb, 80)}
        print(json.dumps({"verb": verb, **how, **evaluate(world, library, captions, seeds, **how)}), flush=True)


if __name__ == "__main__":
    main()
