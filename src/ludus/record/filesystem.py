"""What the file system of a folder can do. Network and shared ones often lack what keeps two processes from writing the same run:
Lustre without `-o flock`, NFS without its lock daemon, GPFS, 9p, FUSE."""

from __future__ import annotations

import fcntl
import mmap
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

from ludus.types import LudusError

FLOCK, POSIX_LOCKS, SHARED_MAPS = "flock", "POSIX locks", "shared maps"
ABILITIES: dict[str, Callable[[IO[bytes]], object]] = {
    FLOCK: lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB),
    POSIX_LOCKS: lambda file: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB),
    SHARED_MAPS: lambda file: mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED).close(),
}
"""Each is tried on an unnamed file of its own, which nobody else can hold: whatever is refused does not exist."""

WHY = {
    FLOCK: "keeps a second process out of a run",
    POSIX_LOCKS: "SQLite needs",
    SHARED_MAPS: "mapped transitions need",
}
INSTEAD = {
    FLOCK: "mount it with that (Lustre: -o flock)",
    POSIX_LOCKS: "keep the rows elsewhere (--record FILE, or postgresql://...)",
    SHARED_MAPS: "sampling.memory=ram",
}


def missing(folder: Path, abilities: Collection[str] = tuple(ABILITIES)) -> dict[str, str]:
    """The abilities that the file system of `folder`, which need not exist yet, lacks, each with the system's reason.

    Raises:
        OSError: no file can be made there.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    reasons = {}
    for name in abilities:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(mmap.PAGESIZE)
            try:
                ABILITIES[name](file)
            except OSError as error:
                reasons[name] = error.strerror or str(error)
    return reasons


def check(folder: Path, *abilities: str) -> None:
    """
    Raises:
        LudusError: the file system of `folder` lacks one of them.
        OSError: no file can be made there.
    """
    for name, reason in missing(folder, abilities).items():
        raise LudusError(
            f"the file system of {folder} has no {name} ({reason}), which {WHY[name]}; give a folder of a local disk, or "
            f"{INSTEAD[name]}"
        )
