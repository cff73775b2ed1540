"""One task on a node: check that it would give the same bits here, read the checkpoint by its hash, run, leave a shard.

Nothing but checkpoints (`cache.py`) is kept between two tasks, so one that was interrupted anywhere is simply run again. What was
half done before is a file that nobody asks for.
"""

from __future__ import annotations

import hashlib
import pickle
import platform
import secrets
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from ludus import machine
from ludus.data.shards import pack
from ludus.lab.collector import CollectTask, run_task
from ludus.record.storage import Storage, StorageError, checksum
from ludus.scale.cache import bring
from ludus.types import LudusError

MARK = "session"
"""File by which a worker finds out that its storage is the driver's."""
PATIENCE_S = 60.0
"""A store that does not answer is asked again for so long; after that another node may reach it."""
PACKAGES = ("numpy", "torch", "mujoco")
"""Other versions of these give other bits."""
SOURCES = Path(__file__).parents[1]


@dataclass(frozen=True)
class Order:
    """A task, and what its worker needs besides. Pickles."""

    task: CollectTask
    """Its actor's checkpoint is the name of a file in the storage: the file's checksum."""
    storage: str
    session: str
    """What the storage's `MARK` says."""
    threads: int
    """Of torch."""


Answer = tuple[Literal["done", "refused", "unready"], str, str]
"""'done' with name and checksum of a shard; 'refused' with the sentence, wherever it is run; 'unready' with a sentence about this
node: another may be able to."""


@cache
def versions() -> dict[str, str]:
    """What the bits of an episode depend on, besides the kind of CPU."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    found = {"Python": platform.python_version(), "ludus": f"{machine.version('ludus')}, sources {digest.hexdigest()}"}
    return found | {name: machine.version(name) for name in PACKAGES}


def carry_out(order: bytes, expected: Mapping[str, str]) -> Answer:
    """Run one task; what Ray calls.

    Args:
        order: a pickled `Order`, unpickled only where the versions are those of the driver.
        expected: `versions()` of the driver.
    """
    here = versions()
    for name, version in expected.items():
        if here.get(name) != version:
            return (
                "refused",
                f"node {socket.gethostname()} has {name} {here.get(name)}, the run {version}: episodes would not be the same; "
                "install the same on every node (pip install --constraint constraints.txt)",
                "",
            )
    try:
        return ("done", *_carried_out(pickle.loads(order)))
    except StorageError as error:
        return "unready", f"node {socket.gethostname()} {error}", ""
    except OSError as error:  # a full or broken disk of this node
        return "unready", f"node {socket.gethostname()}: {error}", ""
    except LudusError as error:
        return "refused", str(error), ""


def _carried_out(order: Order) -> tuple[str, str]:
    storage, task = Storage(order.storage, patience_s=PATIENCE_S), order.task
    if storage.get(MARK).decode() != order.session:
        raise StorageError(f"sees another folder under {order.storage} than the run; give one that every node reaches")
    with tempfile.TemporaryDirectory(prefix="ludus-") as folder:
        if (named := task.actor.checkpoint) is not None:
            path = Path(folder, "checkpoint.pt")
            bring(storage, named, Path(named).stem, path)
            task = replace(task, actor=replace(task.actor, checkpoint=str(path)))
        result = run_task(task, order.threads)
    data = pack(result.episodes, result.outcomes)
    name = f"shards/{task.step.replace('/', '.')}-{secrets.token_hex(8)}.safetensors"
    storage.put(name, data)
    return name, checksum(data)
