"""Fixed durations against conditional switching: the same policy, seeds and plans. Prints one JSON object per line.

    python benchmarks/switching.py CHECKPOINT [--episodes 256] [--starts scattered drifting] [--ways fixed conditional]
        [--temperature 0.33] [--out FILE]

Each plan runs from each start under each way of switching (`WAYS`). `success` is the plan's goal at the last observation of
the episode; `time_to_success_s` the quartiles of the first time from which the goal holds for half a second, among the episodes
where it does; `episode_s` the mean length; `switches` the changes of command per episode; `endings` why skills were over.
From 'drifting' one block slides over the table: the numbers stand for each part that this block plays in the plan.

With --stalls instead: how long rewards stand still in skills that succeed afterwards, and in those that do not. Three random
skills per episode, from every start; a skill ends on success or at its time.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ludus.agents.policy import Policy, load_policy
from ludus.lab import program
from ludus.lab.analysis import wilson
from ludus.lab.embodiment import run
from ludus.lab.rollout import RolloutSpec, Switching
from ludus.lab.switching import first_held
from ludus.seeding import child, rng
from ludus.skills import expression
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Observations
from ludus.worlds.blocks.world import BlocksWorld

STACKED = "on(red, green) and released(red) and still(red)"
PLANS = {
    "stack red on green": STACKED,
    "lift red; stack red on green": STACKED,
    "grasp red; lift red; hover red above green; stack red on green": STACKED,
    "stack green on blue; stack red on green": f"on(green, blue) and {STACKED}",
}
"""Plan -> the condition that it is judged by."""
PROGRAMS = {
    "repeat until on(red, green) at most 4 times { open the gripper; stack red on green }": STACKED,
    "repeat until on(green, blue) and on(red, green) at most 3 times "
    "{ if not on(green, blue) { stack green on blue }; stack red on green }": f"on(green, blue) and {STACKED}",
}
WAYS = {
    "fixed": None,
    "conditional": Switching(),
    "no-stall": Switching(stall_s=0),
    "last-held": Switching(hold_last=True),
}


def roles(text: str, episodes: Sequence[Episode], objects: Sequence[str]) -> list[str]:
    """What the sliding block of each episode is to the plan: carried, target, or other; '' where none slides."""
    found = []
    for e in episodes:
        speeds = [float(np.abs(e.observations[name][1, 8])) for name in objects]  # along y, after one step
        name = objects[int(np.argmax(speeds))]
        part = "target" if f"on {name}" in text or f"above {name}" in text else "carried" if name in text else "other"
        found.append(part if max(speeds) > 0.01 else "")
    return found


def summary(episodes: Sequence[Episode], goal: expression.Expression, hz: float) -> dict:
    """The numbers of some episodes."""
    at_end, times = 0, []
    for e in episodes:
        holds = goal.evaluate(e.observations)[1:]
        at_end += bool(holds[-1])
        first = first_held(holds, round(hz / 2))
        times += [] if first is None else [(first + 1) / hz]
    n = len(episodes)
    return {
        "n": n,
        "success": round(at_end / n, 4),
        "wilson": [round(x, 3) for x in wilson(at_end, n)],
        "time_to_success_s": np.quantile(times, [0.25, 0.5, 0.75]).round(2).tolist() if times else None,
        "episode_s": round(float(np.mean([e.n_steps for e in episodes])) / hz, 2),
        "switches": round(float(np.mean([len(e.segments) - 1 for e in episodes])), 2),
        "endings": dict(sorted(Counter(x for e in episodes for x in e.info.get("endings", ())).items())),
    }


def longest_flat(library: SkillLibrary, caption: str, seen: Observations) -> int:
    """The most control steps in which the reward did not rise by `stall_gain` above its best, before success first held."""
    reward, success = library.rewards(caption, seen)
    best, flat, longest = -np.inf, 0, 0
    for r in reward[: int(success.argmax()) if success.any() else len(reward)]:
        rises = r > best + Switching().stall_gain
        best, flat = (r, 0) if rises else (best, flat + 1)
        longest = max(longest, flat)
    return longest


def stalls(world: BlocksWorld, policy: Policy, n: int, seed: int) -> dict:
    """Shares of skills whose reward stood still for so many seconds, of those that succeeded in the end and of those that did
    not."""
    library, hz, draw = world.library(), world.spec.control_hz, rng(seed, "stalls")
    rule, starts = Switching(stall_s=0), world.spec.starts
    rollouts = [
        RolloutSpec(
            tuple(draw.choice(library.captions, 3).tolist()),
            child(seed, "stalls", i),
            starts[i % len(starts)],
            switching=rule,
        )
        for i in range(n)
    ]
    flats: dict[str, list[int]] = {"success": [], "time": []}
    for e in run(world, library, rollouts, policy, "stalls")[0]:
        for (segment, first, last), why in zip(e.segment_bounds(), e.info["endings"], strict=True):
            seen = {g: v[first + 1 : last + 1] for g, v in e.observations.items()}
            flats[why].append(longest_flat(library, segment.caption, seen))
    shares = {
        f"{s} s": {k: round(float(np.mean(np.array(v) >= s * hz)), 4) for k, v in flats.items()}
        for s in (1, 1.5, 2, 3, 4)
    }
    return {"n": {k: len(v) for k, v in flats.items()}} | shares


def main() -> None:
    """Every start, plan and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--starts", nargs="+", default=["scattered", "drifting"])
    parser.add_argument("--ways", nargs="+", default=["fixed", "conditional"], choices=list(WAYS))
    parser.add_argument("--temperature", type=float, default=0.33)
    parser.add_argument("--stalls", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of physics; results do not depend on it")
    parser.add_argument("--out", type=Path, help="also written here, a line per row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = BlocksWorld(3, 128, options.threads)
    library, policy = world.library(), load_policy(options.checkpoint, world.spec, options.temperature)
    if options.stalls:
        print(json.dumps(stalls(world, policy, options.episodes, options.seed)))
        return
    lines = []
    for start in options.starts:
        for text, condition in (PLANS | PROGRAMS).items():
            goal, steps = expression.parse(condition, world.vocabulary), program.check(program.parse(text), library)
            seeds = [child(options.seed, "switching", start, i) for i in range(options.episodes)]
            for way in options.ways:
                rollouts = [
                    RolloutSpec(program.captions_of(steps), s, start, program=steps, switching=WAYS[way]) for s in seeds
                ]
                episodes, _ = run(world, library, rollouts, policy, "switching")
                parts = np.array(roles(text, episodes, world.spec.objects))
                for part in ("any", *sorted(set(parts) - {""})):
                    some = [e for e, p in zip(episodes, parts, strict=True) if part in ("any", p)]
                    row = {"start": start, "plan": text, "way": way} | ({} if parts[0] == "" else {"sliding": part})
                    lines.append(json.dumps(row | summary(some, goal, world.spec.control_hz)))
                    print(lines[-1], flush=True)
                    if options.out:
                        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
