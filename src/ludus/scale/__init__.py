"""Collection past one process: tasks on the machines of a Ray cluster. The run's process imports no Ray.

The run's process (`ray_collector.py`) hands tasks out in order and takes shards back in order; only it writes to the record. A
child process (`fleet.py`) is the driver of the cluster: Ray ends the driver's process when it loses its head, and this way that
is not the run. A worker (`worker.py`) runs one task and leaves its shard in a storage that all reach (`storage.py`).
"""

from __future__ import annotations

import importlib.util

from ludus.config import CollectionConfig, Config
from ludus.lab.collector import Collector, LocalCollector
from ludus.record import Record
from ludus.types import LudusError
from ludus.worlds.base import World


def make_collector(record: Record, config: Config, world: World) -> Collector:
    """The collector that `config.collection` asks for.

    Raises:
        LudusError: see `check`.
    """
    check(config.collection)
    if config.collection.on == "local":
        return LocalCollector(world)
    from ludus.scale.ray_collector import RayCollector

    cores = max(config.world.threads or 1, config.training.threads)
    return RayCollector(config.collection, record.directory, record.run_id, cores, config.training.threads)


def check(config: CollectionConfig) -> None:
    """
    Raises:
        LudusError: what collects is not installed.
    """
    if config.on == "ray":
        for package in ("ray", "fsspec"):
            if importlib.util.find_spec(package) is None:
                raise LudusError(f"collection.on=ray needs the package {package}; pip install 'ludus[ray]'")
