"""What a control step of the blocks world costs beyond its physics, and how that compares with ogbench. Prints JSON.

    python benchmarks/world.py [--envs 128] [--threads 0] [--chunks 6] [--blocks 3]

A chunk is one skill of 80 control steps in E simulations, done by a noisy teacher whose own time is not counted. It is
run three ways, one after the other, so that a busy machine slows all alike:

* full: actions to observations (inverse kinematics, physics, contacts), recorded into arrays, and at the end of the
  skill the reward and success of every step under each simulation's own skill;
* raw: `Batch.step` alone, from the same state with the same controls, ending in the same bits (asserted);
* ogbench: `cube-triple-v0`, one process, random actions, no pixels; one step is 0.05 s too.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import numpy as np

from ludus import seeding
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

OGBENCH_STEPS = 150


class Chunks:
    """One world, its library and its teacher."""

    def __init__(self, n_blocks: int, n_envs: int, threads: int) -> None:
        self.world = BlocksWorld(n_blocks, n_envs, threads)
        self.library = self.world.library()
        self.teacher = Teacher(self.world.spec)
        self.steps = self.world.spec.skill_steps

    def full(self, chunk: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Seconds, physics state before the first step, controls `[T, E, nu]`."""
        world, n, rng = self.world, self.world.n_envs, seeding.rng(0, "benchmark", chunk)
        observations = world.reset([seeding.child(chunk, i) for i in range(n)])
        captions = rng.choice(self.library.captions, n).tolist()
        self.teacher.begin([seeding.child(chunk, i) for i in range(n)], rng.uniform(0, 0.6, n))
        state, controls = world.batch.state.copy(), []
        seen = {g: np.empty((n, self.steps + 1, a.shape[-1]), np.float32) for g, a in observations.items()}
        done = np.empty((n, self.steps, len(world.spec.actions)), np.float32)
        took = 0.0
        for t in range(self.steps):
            actions = self.teacher.act(observations, captions)
            began = time.perf_counter()
            observations = world.step(actions)
            done[:, t] = actions
            for group, array in observations.items():
                seen[group][:, t + 1] = array
            took += time.perf_counter() - began
            controls.append(world.batch.ctrl.copy())
        began = time.perf_counter()
        names = np.array(captions)
        for caption in np.unique(names):
            which = np.flatnonzero(names == caption)
            self.library.rewards(str(caption), {g: a[which, 1:] for g, a in seen.items()})
        return took + time.perf_counter() - began, state, np.stack(controls)

    def raw(self, state: np.ndarray, controls: np.ndarray) -> float:
        """Seconds for the same physics."""
        batch, end = self.world.batch, self.world.batch.state.copy()
        batch.state[:] = state
        ctrl, took = batch.bind("ctrl"), 0.0
        for control in controls:
            ctrl[:] = control
            began = time.perf_counter()
            batch.step(None, self.world.substeps)
            took += time.perf_counter() - began
        assert np.array_equal(batch.state, end), "raw physics left the path of the full steps"
        return took


class Ogbench:
    """cube-triple under random actions."""

    def __init__(self) -> None:
        warnings.simplefilter("ignore")  # gymnasium's and glfw's remarks on screens and precision
        import gymnasium
        import ogbench.manipspace  # noqa: F401  registers the environments

        self.env = gymnasium.make("cube-triple-v0")
        self.env.reset(seed=0)
        self.env.action_space.seed(0)

    def run(self) -> float:
        """Seconds for `OGBENCH_STEPS`."""
        took = 0.0
        for _ in range(OGBENCH_STEPS):
            action = self.env.action_space.sample()
            began = time.perf_counter()
            *_, terminated, truncated, _ = self.env.step(action)
            took += time.perf_counter() - began
            if terminated or truncated:
                self.env.reset()
        return took


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=128)
    parser.add_argument("--threads", type=int, default=0, help="0: every core this process may use")
    parser.add_argument("--chunks", type=int, default=6)
    parser.add_argument("--blocks", type=int, default=3)
    options = parser.parse_args()
    chunks, ogbench = Chunks(options.blocks, options.envs, options.threads), Ogbench()
    chunks.raw(*chunks.full(-1)[1:])
    ogbench.run()
    full, raw, other = [], [], []
    for chunk in range(options.chunks):
        took, state, controls = chunks.full(chunk)
        full.append(took)
        raw.append(chunks.raw(state, controls))
        other.append(ogbench.run())
    n = options.envs * chunks.steps
    ours, theirs = n / np.median(full), OGBENCH_STEPS / np.median(other)
    result = {
        "env_steps_per_s": round(ours),
        "raw_steps_per_s": round(n / np.median(raw)),
        "ratio_to_raw": round(float(np.median(np.array(raw) / full)), 3),
        "ogbench_cube_triple_steps_per_s": round(theirs),
        "ratio_to_ogbench": round(float(np.median(n / np.array(full) / (OGBENCH_STEPS / np.array(other)))), 2),
        "threads": chunks.world.batch.nthread,
        "E": options.envs,
        "n_blocks": options.blocks,
        "substeps": chunks.world.substeps,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
