"""Memory and time of the sampler: what a refresh by a tenth needs at its peak, and how long a batch takes.

    python benchmarks/sampler.py                          # this tree alone
    python benchmarks/sampler.py --against ../before/src  # and another one, by turns: ratios, and whether the bits agree

Random observations of three blocks under the base library; JSON. `peak_mb` is the highest resident memory while refreshing
and `rss_mb` the resident memory afterwards, both less what the process held before the sampler was made (Linux).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

EPISODE_STEPS, EPISODES_PER_SHARD = 200, 100


def rss() -> dict[str, float]:
    """Resident memory of this process now and at its highest, MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split()[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"rss": int(values["VmRSS:"]) / 1e3, "peak": int(values["VmHWM:"]) / 1e3}


def measure(episodes: int, more: int, memory: str) -> dict[str, Any]:
    from ludus.config import AgentConfig, SamplingConfig, preset
    from ludus.data import EpisodeStore, Sampler
    from ludus.types import Episode, Segment
    from ludus.worlds.blocks.world import BlocksWorld

    world = BlocksWorld(3, 1, 1)
    library, spec = world.library(), world.spec
    captions = library.captions

    def episode(number: int) -> Episode:
        draw = np.random.default_rng(number)
        n, told = EPISODE_STEPS, [captions[int(i)] for i in draw.integers(0, len(captions), 2)]
        return Episode(
            id=f"e{number}",
            observations={
                g.name: draw.normal(0, 0.1, (n + 1, g.size)).astype(np.float32) for g in spec.observation.groups
            },
            actions=draw.uniform(-1, 1, (n, len(spec.actions))).astype(np.float32),
            segments=tuple(Segment(k * n // 2, c, library[c].hash) for k, c in enumerate(told)),
            actor="random",
            world=spec.fingerprint,
            seed=number,
            start="scattered",
            snapshot=np.zeros(1),
        )

    with tempfile.TemporaryDirectory() as folder, EpisodeStore.create(Path(folder) / "run", preset("tiny")).record as r:
        store = EpisodeStore(r)

        def append(first: int, last: int) -> None:
            for k in range(first, last, EPISODES_PER_SHARD):
                store.append([episode(i) for i in range(k, min(k + EPISODES_PER_SHARD, last))], step=f"collect/{k}")

        append(0, episodes)
        before = rss()["rss"]
        sampler = Sampler(
            store, library, AgentConfig().per_step(20), SamplingConfig(memory=memory), 0, folder=Path(folder)
        )
        append(episodes, episodes + more)
        Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory is counted from here
        started = time.perf_counter()
        sampler.refresh()
        refresh_s = time.perf_counter() - started
        resident = rss()
        digest, times = hashlib.blake2b(digest_size=16), []
        for _ in range(200):
            started = time.thread_time()
            batch = sampler.next()
            times.append(time.thread_time() - started)
            for array in (
                *batch.observations.values(),
                *batch.next_observations.values(),
                batch.actions,
                batch.returns,
            ):
                digest.update(array.tobytes())
            for array in (batch.discounts, batch.skills):
                digest.update(array.tobytes())
    world.close()
    found: dict[str, Any] = {
        "transitions": sampler.n_transitions,
        "skills": len(captions),
        "digest": digest.hexdigest(),
    }
    found |= {f"{k}_mb": v - before for k, v in resident.items()}
    return found | {"refresh_s": refresh_s, "next_ms": 1e3 * median(times), "next_ms_min": 1e3 * min(times)}


def in_a_process(source: Path, options: argparse.Namespace) -> dict[str, Any]:
    words = [f"--{name}={getattr(options, name)}" for name in ("episodes", "add", "memory")]
    words = [sys.executable, __file__, "--alone", *words]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(source)}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000, help="of 200 steps, there at first")
    parser.add_argument("--add", type=float, default=0.1, help="share of them that the refresh adds")
    parser.add_argument("--memory", choices=["ram", "mapped"], default="ram")
    parser.add_argument("--against", type=Path, help="the src folder of another tree")
    parser.add_argument(
        "--repeat", type=int, default=5, help="processes per tree, by turns; numbers are the least of them"
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.episodes, int(options.add * options.episodes), options.memory)))
        return
    trees = {"here": Path(__file__).parents[1] / "src"} | ({"against": options.against} if options.against else {})
    found: dict[str, dict[str, Any]] = {name: {} for name in trees}
    for _ in range(options.repeat):
        for name, tree in trees.items():
            for key, value in in_a_process(tree, options).items():
                old = found[name].get(key, value)
                found[name][key] = min(old, value)
    report: dict[str, Any] = {n: f | {"peak_over_rss": f["peak_mb"] / f["rss_mb"]} for n, f in found.items()}
    if options.against:
        here, other = found["here"], found["against"]
        report["ratios"] = {k: here[k] / other[k] for k in ("rss_mb", "peak_mb", "refresh_s", "next_ms", "next_ms_min")}
        report["same_batches"] = here["digest"] == other["digest"]
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
