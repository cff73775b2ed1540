"""Speed of the learner: `python benchmarks/learner.py [--sizes xs base] [--networks perceiver mlp] [--seconds 20]`.

Prints one JSON object. Data are teacher episodes collected on the spot, drawn by the real sampler; what is timed is
`Trainer.fit`. `fraction_of_matmul_peak` is the floating-point work of an update (matrix products and attention of both
networks, forward and backward, counted by torch) per second over the best rate of one large matrix product on the
same device, in the same number format, with all of its cores, measured in the same run. A CPU's peak is that of one
thread per second of its own CPU time, times the number of cores: what other programs take from a shared machine then
lowers the fraction and cannot raise it. `load` is how many programs wanted a core, on average over the last minute,
when the run ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ludus import machine
from ludus.agents.backends import MAX_WORKER_PARAMETERS
from ludus.agents.backends.captured import CapturedBackend
from ludus.agents.batches import BatchReader
from ludus.agents.trainer import Trainer
from ludus.config import AgentConfig, Config, TrainingConfig, override, preset
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.lab.actors import SeedActor, seed_rollouts
from ludus.lab.embodiment import run_batches
from ludus.skills.library import SkillLibrary
from ludus.worlds.base import World
from ludus.worlds.registry import world_kind

BATCH = {"xs": 512, "s": 512, "base": 512, "m": 256, "l": 4096, "140m": 4096, "1b": 2048}
"""Rows per update; of the largest two, what keeps a GPU busy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+")
    parser.add_argument("--networks", nargs="+", default=["perceiver", "mlp"])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--batch", type=int, help="rows per update, instead of what suits each size")
    parser.add_argument("--processes", type=int, help="instead of one per core for small networks and 1 for large")
    parser.add_argument("--threads", type=int, help="of each process, per operation; instead of all cores' share")
    parser.add_argument("--plain", action="store_true", help="on a GPU: without CUDA graphs")
    parser.add_argument("--data-on-device", action="store_true", help="training.data_on_device=true")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="instead of bfloat16 on GPUs only")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cores = machine.cores()
    sizes = options.sizes or (["base", "140m"] if device == "cuda" else ["xs", "s", "base"])
    runs = []
    with tempfile.TemporaryDirectory() as folder, _data(Path(folder)) as data:
        for size in sizes:
            for network in options.networks:
                config = AgentConfig(size=size, network=network, batch_size=options.batch or BATCH[size])
                runs.append(_measure(data, config, device, cores, options))
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    print(json.dumps({"device": name, "cores": cores, "torch": torch.__version__, "runs": runs}, indent=1))


@dataclass(frozen=True)
class Data:
    """Teacher episodes, and what they were made with."""

    config: Config
    world: World
    library: SkillLibrary
    stores: tuple[EpisodeStore, ...]


@contextmanager
def _data(folder: Path) -> Iterator[Data]:
    config = override(preset("cpu"), ["world.n_envs=64", "seed_data.episodes=128"])
    kind = world_kind(config.world)
    world = kind.make(config.world)
    library, store = world.library(), EpisodeStore.create(folder / "run", config)
    rollouts, actor = seed_rollouts(library, config.seed_data, 0), SeedActor(kind.make_teacher(world.spec))
    for k, (episodes, _) in enumerate(run_batches(world, library, rollouts, actor, "seed")):
        store.append(episodes, step=f"seed/{k}")
    try:
        yield Data(config, world, library, (store,))
    finally:
        store.record.close()
        world.close()


def _measure(data: Data, config: AgentConfig, device: str, cores: int, options: Any) -> dict[str, Any]:
    learner = Trainer(config, data.world.spec, 10**6, 0)
    small = learner.n_parameters < MAX_WORKER_PARAMETERS and device == "cpu"
    processes = options.processes or (cores if small else 1)
    precision = options.precision or ("bfloat16" if device == "cuda" else "float32")
    threads = options.threads or max(1, cores // processes)
    training = TrainingConfig(
        microbatches=max(processes, 4 if small else 1),
        processes=processes,
        threads=threads,
        device=device,
        precision=precision,
        data_on_device=options.data_on_device,
    )
    torch.set_num_threads(threads)
    CapturedBackend._recordable = not options.plain
    sampler = Sampler(data.stores, data.library, config.per_step(data.world.spec.control_hz), data.config.sampling, 0)
    flops = _flops(config, data, sampler)
    learner = Trainer(config, data.world.spec, 10**6, 0, training)
    peak = _peak(device, cores, precision)
    learner.fit(sampler, 3)
    updates = max(3, int(options.seconds * learner.fit(sampler, 5)["time/updates_per_s"]))
    metrics = learner.fit(sampler, updates)
    rate = metrics["time/updates_per_s"]
    peak = max(peak, _peak(device, cores, precision))
    return {
        "size": config.size,
        "network": config.network,
        "params": learner.n_parameters,
        "batch": config.batch_size,
        "device": device if device == "cpu" else f"{device}, {'one kernel at a time' if options.plain else 'graphs'}",
        "precision": training.precision,
        "data_on_device": training.data_on_device,
        "processes": processes,
        "threads": threads,
        "updates_per_s": round(rate, 2),
        "transitions_per_s": round(rate * config.batch_size),
        "gflop_per_update": round(flops / 1e9, 2),
        "matmul_peak_gflops": round(peak / 1e9, 1),
        "fraction_of_matmul_peak": round(rate * flops / peak, 3),
        "data_wait_share": round(metrics["time/data_wait_share"], 4),
        "load": round(os.getloadavg()[0], 1),
    }


def _flops(config: AgentConfig, data: Data, sampler: Sampler) -> float:
    """Of one update, from one of a 64th of the rows."""
    rows = max(4, config.batch_size // 64)
    some = dataclasses.replace(config, batch_size=rows)
    learner = Trainer(some, data.world.spec, 1, 0, TrainingConfig(microbatches=1, processes=1))
    source = Sampler(data.stores, data.library, some.per_step(data.world.spec.control_hz), data.config.sampling, 0)
    learner.fit(source, 1)
    batch = BatchReader(source, data.world.spec).next()
    with FlopCounterMode(display=False) as counter:
        learner.backend.start_prepare(batch, 1)
        learner.backend.start_gradient()
    return counter.get_total_flops() * config.batch_size / rows


def _peak(device: str, cores: int, precision: str) -> float:
    """Best rate of one matrix product on the whole device, FLOP/s."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    on_cpu = device == "cpu"
    clock, n = (time.thread_time, 1024) if on_cpu else (time.perf_counter, 8192)
    a = torch.randn(n, n, device=device, dtype=getattr(torch, precision))
    best = 0.0
    for _ in range(16):
        started = clock()
        for _ in range(3):
            b = a @ a
        float(b[0, 0])  # waits for a GPU
        best = max(best, 3 * 2 * n**3 / (clock() - started))
    torch.set_num_threads(before)
    return best * cores if on_cpu else best


if __name__ == "__main__":
    main()
