"""Is the reward of a written skill usable? A short training on it, beside one on the reference's reward.

    python benchmarks/write_training.py --seed 0

For a sample of the exam's gaps (part *write*, two blocks) the built-in writer writes the skill. Episodes of the scripted teacher
on the way to the reference, with noise, are labelled with it; the same agent is trained on them once with the written reward and
success, once with the reference's. What counts is the *reference's* success at the end of episodes of the trained policy.
Prints a line per gap and training.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from ludus.agents.trainer import Trainer
from ludus.config import Config, TrainingConfig, override, preset
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.exam.gaps import WriteItem, write_items
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.lab import embodiment
from ludus.lab.actors import SeedActor
from ludus.lab.rollout import RolloutSpec
from ludus.seeding import child, rng
from ludus.skills.expression import parse
from ludus.skills.library import Skill
from ludus.types import Episode, Segment
from ludus.worlds.blocks.skills import extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

N_ENVS = 64
NOISE = (0.2, 0.5)
"""Of the teacher: it succeeds in a minority of its episodes."""
KINDS = "beside", "high pair", "near by", "stack", "hover", "stack and leave", "beside and leave", "lift"
"""Gaps over two blocks that can be tried from scattered starts."""


def collect(world: BlocksWorld, caption: str, n: int, seed: int) -> list[Episode]:
    """Episodes of the noisy teacher under one caption."""
    draw = rng(seed, "write-training", caption)
    rollouts = [
        RolloutSpec(
            (caption,), child(seed, "write-training", caption, i), None, None, {"noise": float(draw.uniform(*NOISE))}
        )
        for i in range(n)
    ]
    library = world.library().add(*extra_skills(world.spec.objects))
    return embodiment.run(world, library, rollouts, SeedActor(Teacher(world.spec)), "teacher")[0]


def share(item: WriteItem, world: BlocksWorld, episodes: list[Episode]) -> float:
    """Of episodes that end with the reference's success."""
    success = parse(item.reference.success, world.vocabulary)
    ends = [bool(success.evaluate({g: a[-1:] for g, a in e.observations.items()})[0]) for e in episodes]
    return sum(ends) / len(ends)


def train(world: BlocksWorld, skill: Skill, episodes: list[Episode], config: Config, n: int) -> list[Episode]:
    """Episodes of a policy trained on these episodes under one skill."""
    library = world.library()
    library = library if skill.caption in library else library.add(skill)
    hash_ = library[skill.caption].hash
    labelled = [replace(e, segments=(Segment(0, skill.caption, hash_),)) for e in episodes]
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore.create(Path(folder) / "run", config)
        store.append(labelled, step="seed-data/0")
        agent = config.agent.per_step(world.spec.control_hz)
        sampler = Sampler(store, library, agent, config.sampling, config.seed)
        training = TrainingConfig(microbatches=1, processes=1, threads=1)
        trainer = Trainer(config.agent, world.spec, config.training.updates, config.seed, training)
        trainer.fit(sampler, config.training.updates)
        store.record.close()
    policy = trainer.policy(config.training.evaluation_temperature)
    starts = [child(config.seed, "write-training", "evaluate", i) for i in range(n)]
    return embodiment.run(world, library, [RolloutSpec((skill.caption,), s) for s in starts], policy, "policy")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--episodes", type=int, default=512)
    parser.add_argument("--tries", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    world = BlocksWorld(2, N_ENVS, 1)
    settings = "world.n_blocks=2", f"training.updates={args.updates}", "agent.network=mlp", f"seed={args.seed}"
    config = override(preset("cpu"), settings)
    ask = assemble(RoleContext(world.vocabulary))
    for i, item in enumerate(write_items()):
        if item.world != "blocks-2" or item.kind not in args.kinds:
            continue
        candidate = ask.write_skill(replace(item.question(f"exam/write/{i}"), goal=item.goal))
        episodes = collect(world, item.shows[0], args.episodes, args.seed)
        print(f"{item.kind} ({item.missing!r}): the data itself {share(item, world, episodes):.2f}", flush=True)
        for name, skill in (("written", candidate.skill), ("reference", item.reference.skill)):
            found = share(item, world, train(world, skill, episodes, config, args.tries))
            print(f"  trained on the {name} reward: {found:.2f} of {args.tries}  [{skill.caption}]", flush=True)


if __name__ == "__main__":
    main()
