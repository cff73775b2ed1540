"""Collection on a Ray cluster against one process, and a simulated fleet. Prints JSON.

    python benchmarks/scale.py workers [--workers 1 2] [--tasks 6] [--repeats 2] [--envs 128]
    python benchmarks/scale.py fleet [--collectors 1 10 30 100] [--waves 3] [--envs 128]

`workers`: the same tasks by one process, by a cluster of one core, of two and so on, by turns. `rate` is episodes per second once
each worker has done a task; `ratio` that of the medians to one process; `cpu_ratio` the same of the processors' time per
episode, which others on the machine disturb less. `start_s` is until the cluster takes tasks, `first_s` from there to the first
result less that of a task: what it takes a worker to import ludus.

`fleet`: waves (tasks of `--envs` episodes) are recorded once, with their real time and their shards. Then so many collectors,
which sleep this time and return these shards, stand in for the cluster behind the run's own collector, driver and record.
`waves_s` is the rate of commits, `ideal_s` that of the collectors if nobody waited, `queue` the finished waves that wait for
their commit, `wait_s` for how long, `behind` the waves that were committed between a wave's start and its own commit;
`limit_waves_s` is the rate of commits of waves that take no time.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import psutil

from ludus.config import CollectionConfig, Config, SeedDataConfig, WorldConfig
from ludus.data.shards import pack
from ludus.data.store import EpisodeStore
from ludus.experiment.collection import Driver
from ludus.experiment.library import begin
from ludus.lab.actors import ActorSpec, seed_rollouts
from ludus.lab.collector import Collector, CollectTask, LocalCollector, collect_tasks
from ludus.lab.rollout import RolloutSpec
from ludus.record import Record
from ludus.record.progress import Progress
from ludus.record.storage import Storage, checksum
from ludus.scale.ray_collector import RayCollector
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Outcome
from ludus.worlds.base import World
from ludus.worlds.registry import make_world


def rollouts_of(library: SkillLibrary, n: int) -> list[RolloutSpec]:
    """The default run's seed data."""
    return seed_rollouts(library, SeedDataConfig(episodes=n), seed=0)


# --- workers --------------------------------------------------------------------------------------------------------


def cpu_s() -> float:
    """Processors' time of this process and all below it, of those that live."""
    found = 0.0
    for process in (me := psutil.Process(), *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found += times.user + times.system
    return found


def timed(collector: Collector, tasks: Sequence[CollectTask], warm: int) -> dict[str, float]:
    """Run the tasks; the first `warm` are not counted."""
    started = time.perf_counter()
    results = collector.map(tasks)
    n, first_s, since, cpu = 0, 0.0, started, cpu_s()
    for k, result in enumerate(results):
        if not k:
            first_s = time.perf_counter() - started
        if k < warm:
            since, cpu = time.perf_counter(), cpu_s()
        else:
            n += len(result.episodes)
    return {
        "rate": n / (time.perf_counter() - since),
        "cpu_s": (cpu_s() - cpu) / n,
        "first_s": first_s,
    }


def workers(n_workers: Sequence[int], n_tasks: int, repeats: int, n_envs: int) -> dict[str, Any]:
    """Compare one process with so many workers."""
    config = WorldConfig(n_envs=n_envs, threads=1)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("process", *(f"ray-{n}" for n in n_workers))}
    with closing(make_world(config)) as world, tempfile.TemporaryDirectory() as folder:
        library = world.library()
        warm = max(2, *n_workers)
        rollouts = rollouts_of(library, n_envs * (n_tasks + warm))
        tasks = collect_tasks("benchmark", rollouts, ActorSpec("teacher"), library, config, world.spec)
        for repeat in range(repeats):
            found["process"].append(timed(LocalCollector(world), tasks, warm) | {"start_s": 0.0})
            for n in n_workers:
                directory = Path(folder, f"{repeat}-{n}")
                collector = RayCollector(CollectionConfig(on="ray", workers=n), directory, "benchmark", 1, 1)
                with closing(collector):
                    began = time.perf_counter()
                    collector._started()
                    start_s = time.perf_counter() - began
                    found[f"ray-{n}"].append(timed(collector, tasks, warm) | {"start_s": start_s})
    task_s = n_envs / median(f["rate"] for f in found["process"])
    rows = {name: {k: median(f[k] for f in all_) for k in all_[0]} for name, all_ in found.items()}
    for row in rows.values():
        row["ratio"] = row["rate"] / rows["process"]["rate"]
        row["cpu_ratio"] = rows["process"]["cpu_s"] / row["cpu_s"]
        row["first_s"] -= task_s
    return {
        "episodes_per_task": n_envs,
        "task_s": round(task_s, 2),
        **{name: {k: round(v, 4) for k, v in row.items()} for name, row in rows.items()},
    }


LIMIT = 20
"""Collectors whose waves take no time: what run and record can commit."""


# --- a simulated fleet -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wave:
    """A recorded task."""

    seconds: float
    cpu_s: float
    episodes: Sequence[Episode]
    outcomes: Sequence[Outcome]


def record_waves(world: World, tasks: Sequence[CollectTask]) -> list[Wave]:
    """Run the tasks here."""
    waves = []
    for task in tasks:
        began, cpu = time.perf_counter(), time.process_time()
        (result,) = LocalCollector(world).map([task])
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        waves.append(Wave(seconds, used, result.episodes, result.outcomes))
    return waves


class Fleet:
    """Stands in for `ClusterDriver`: so many collectors, each of which sleeps a wave's time. Takes no thread and no time
    of this process: when a wave is over follows from when it was handed out."""

    alive = True

    def __init__(self, n: int, waves: Sequence[float], shards: Sequence[tuple[str, str]]) -> None:
        self.slots, self._waves, self._shards = n, waves, shards
        self._free = [time.perf_counter()] * n
        self.began: list[float] = []
        self.over: list[float] = []

    def send(self, word: str, *about: Any) -> None:
        if word != "run":
            return
        began = max(time.perf_counter(), heapq.heappop(self._free))
        over = began + self._waves[len(self.over) % len(self._waves)]
        heapq.heappush(self._free, over)
        self.began.append(began)
        self.over.append(over)

    def answer(self, key: int) -> tuple[str, str]:
        time.sleep(max(0.0, self.over[key - 1] - time.perf_counter()))
        return self._shards[key - 1]

    def close(self) -> None: ...


class SimulatedCollector(RayCollector):
    """The run's own collector with a fleet in place of a cluster; notes when a wave's result was taken."""

    def __init__(self, fleet: Fleet, storage: Storage, directory: Path) -> None:
        super().__init__(CollectionConfig(on="ray"), directory, "benchmark", 1, 1)
        self._driver, self._storage = fleet, storage  # type: ignore[assignment]
        self._fleet = fleet
        self.taken: list[float] = []

    def _started(self) -> Any:
        return self._fleet

    def map(self, *about: Any, **more: Any) -> Iterator[Any]:
        for result in super().map(*about, **more):
            yield result
            self.taken.append(time.perf_counter())  # asked for the next: this one is committed


def shards_of(waves: Sequence[Wave], tasks: Sequence[CollectTask], storage: Storage) -> Iterable[tuple[str, str]]:
    """A recorded wave's shard for each task, under the task's ids."""
    for k, task in enumerate(tasks):
        wave = waves[k % len(waves)]
        episodes = [replace(e, id=id) for e, id in zip(wave.episodes, task.ids, strict=True)]
        named = {e.id: id for e, id in zip(wave.episodes, task.ids, strict=True)}
        data = pack(episodes, [replace(o, episode=named[o.episode]) for o in wave.outcomes])
        storage.put(f"shards/{k}", data)
        yield f"shards/{k}", checksum(data)


def fleet_of(
    n: int, waves: Sequence[Wave], config: WorldConfig, world: World, per_collector: int, folder: Path
) -> dict:
    """One size of fleet."""
    library, n_waves = world.library(), n * per_collector
    rollouts = rollouts_of(library, config.n_envs * n_waves)
    with Record.create(folder / "run", Config(world=config)) as record:
        begin(record, world, library, "collecting")
        tasks = collect_tasks("collect/fleet", rollouts, ActorSpec("teacher"), library, config, world.spec)
        storage = Storage(f"file://{folder / 'exchange'}")
        fleet = Fleet(n, [w.seconds for w in waves], list(shards_of(waves, tasks, storage)))
        os.sync()
        collector = SimulatedCollector(fleet, storage, folder)
        driver = Driver(record, EpisodeStore(record), config, world, collector, Progress(record))
        began, cpu = time.perf_counter(), time.process_time()
        fleet._free = [began] * n
        driver.collect("collect/fleet", rollouts, ActorSpec("teacher"), library)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        size = sum(p.stat().st_size for p in (folder / "run").glob("ludus.db*"))
    done = [*collector.taken, time.perf_counter()][: len(fleet.over)]
    ideal_s = per_collector * mean(w.seconds for w in waves)
    waits = [d - o for d, o in zip(done, fleet.over, strict=True)]
    queue = [sum(o <= d for o in fleet.over[k:]) for k, d in enumerate(done)]
    behind = [sum(b < d for d in done[:k]) for k, b in enumerate(fleet.began)]
    return {
        "collectors": n,
        "waves": n_waves,
        "waves_s": round(n_waves / seconds, 3),
        "ideal_s": round(n_waves / ideal_s, 3) if ideal_s else None,
        "queue": [round(mean(queue), 1), max(queue)],
        "wait_s": [round(mean(waits), 2), round(max(waits), 2)],
        "behind": [round(mean(behind), 1), max(behind)],
        "driver_cpu_s_per_wave": round(cpu / n_waves, 4),
        "database_bytes_per_episode": round(size / (n_waves * config.n_envs)),
    }


def fleet(sizes: Sequence[int], per_collector: int, n_envs: int) -> dict[str, Any]:
    """All sizes, of the same recorded waves."""
    config = WorldConfig(n_envs=n_envs, threads=1)
    with closing(make_world(config)) as world:
        library = world.library()
        tasks = collect_tasks(
            "recorded", rollouts_of(library, 4 * n_envs), ActorSpec("teacher"), library, config, world.spec
        )
        waves = record_waves(world, tasks)
        at_once = [replace(w, seconds=0.0) for w in waves]
        shard = len(pack(waves[0].episodes, waves[0].outcomes))
        rows = []
        for n in (*sizes, LIMIT):
            with tempfile.TemporaryDirectory(dir=".") as folder:
                rows.append(
                    fleet_of(n, at_once if n == LIMIT else waves, config, world, per_collector, Path(folder).absolute())
                )
    n_episodes = sum(len(w.episodes) for w in waves)
    return {
        "episodes_per_wave": n_envs,
        "wave_s": [round(w.seconds, 2) for w in waves],
        "core_s_per_episode": round(sum(w.cpu_s for w in waves) / n_episodes, 4),
        "control_steps_per_episode": round(sum(e.n_steps for w in waves for e in w.episodes) / n_episodes, 1),
        "shard_bytes_per_episode": round(shard / n_envs),
        "rows_per_episode": round(1 + sum(len(w.outcomes) for w in waves) / n_episodes, 2),
        "fleets": rows[:-1],
        "limit_waves_s": rows[-1]["waves_s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("workers", "fleet"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tasks", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--envs", type=int, default=128)
    parser.add_argument("--collectors", type=int, nargs="*", default=[1, 10, 30, 100])
    parser.add_argument("--waves", type=int, default=3, help="per collector")
    options = parser.parse_args()
    if options.what == "workers":
        found = workers(options.workers, options.tasks, options.repeats, options.envs)
    else:
        found = fleet(options.collectors, options.waves, options.envs)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
