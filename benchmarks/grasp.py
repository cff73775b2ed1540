"""How many grasps survive a violent shake, and what a second of simulation costs, per physics timestep. Prints JSON.

    python benchmarks/grasp.py [--envs 256] [--threads 0] [--timesteps 0.01 0.005 ...]

Every simulation starts with a block in the closed gripper. For 20 s, each of the four velocities of the hand is set to
plus or minus full scale at random, anew every 0.2 s, with the gripper closed. A block is kept if both pads touch it and
it lies within 2.5 cm of the point between them; `slip_mm` is how far the kept ones are from that point at the end.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from ludus import seeding
from ludus.worlds.blocks import control
from ludus.worlds.blocks.world import BlocksWorld

REDRAW_S = 0.2
CHECKS_S = (5, 20)


def shake(timestep: float, n_envs: int, threads: int) -> dict[str, float]:
    """Shake `n_envs` held blocks."""
    world = BlocksWorld(n_blocks=3, n_envs=n_envs, threads=threads, timestep=timestep)
    held = np.argmin(_distance(world, world.reset(range(n_envs), "held")), axis=1)
    rng, rows = seeding.rng(0, "shake"), np.arange(n_envs)
    actions = np.ones((n_envs, 5))
    result: dict[str, float] = {"timestep_ms": round(timestep * 1e3, 3)}
    took, steps = 0.0, round(CHECKS_S[-1] * control.HZ)
    for step in range(1, steps + 1):
        if step % round(REDRAW_S * control.HZ) == 1:
            actions[:, :4] = rng.choice([-1.0, 1.0], (n_envs, 4))
        began = time.perf_counter()
        observations = world.step(actions)
        took += time.perf_counter() - began
        if step / control.HZ in CHECKS_S:
            get = world.spec.observation.get
            both = [
                get(observations, c, "touch_left") * get(observations, c, "touch_right") for c in world.spec.objects
            ]
            distance = _distance(world, observations)[rows, held]
            kept = (np.concatenate(both, axis=1)[rows, held] > 0) & (distance < 0.025)
            result[f"kept_{step / control.HZ:.0f}s"] = round(float(kept.mean()), 3)
            result["slip_mm"] = round(float(np.median(distance[kept])) * 1e3, 2) if kept.any() else float("nan")
    return result | {"control_steps_per_s": round(steps * n_envs / took)}


def _distance(world: BlocksWorld, observations: dict[str, np.ndarray]) -> np.ndarray:
    """`[E, N]` m from the point between the pads to each block."""
    get = world.spec.observation.get
    blocks = np.stack([get(observations, c, "position") for c in world.spec.objects], axis=1)
    return np.linalg.norm(blocks - get(observations, "gripper", "position")[:, None], axis=-1)


def main() -> None:
    """Run every timestep and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--timesteps", type=float, nargs="+", default=[0.01, 0.005, 1 / 300, 0.0025, 0.002])
    options = parser.parse_args()
    rows = [shake(t, options.envs, options.threads) for t in options.timesteps]
    print(json.dumps({"envs": options.envs, "timesteps": rows}, indent=1))


if __name__ == "__main__":
    main()
