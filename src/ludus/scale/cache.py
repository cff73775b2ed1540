"""Checkpoints that tasks on this node have read, by their sha256: the next task with the same policy reads it here. Every task
compares what it reads with its checksum; what is damaged, or cannot be kept, is fetched again."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from ludus.record.storage import Storage, checksum

KEPT = 4
"""Checkpoints at a time: those of the policies of a round, for two runs."""
FOLDER = "ludus-checkpoints"


def folder() -> Path | None:
    """Of this user on this node, beside the folders of its tasks; None where it cannot be had."""
    path = Path(tempfile.gettempdir(), f"{FOLDER}-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return path if is_own else None


def bring(storage: Storage, name: str, expected: str, to: Path) -> None:
    """Put a file of the storage at `to`, from this node's cache if it is there.

    Args:
        expected: its sha256.
        to: in the temporary folder.

    Raises:
        StorageError: it cannot be read from the storage, or is another.
        OSError: it cannot be written at `to`.
    """
    kept = folder()
    if kept is not None and _taken(kept / expected, to):
        return
    to.write_bytes(storage.get(name, expected))
    if kept is not None:
        with suppress(OSError):  # another task has kept it meanwhile, or nothing can be kept here
            os.link(to, kept / expected)
            for one in sorted(kept.iterdir(), key=lambda one: one.stat().st_mtime)[:-KEPT]:
                one.unlink(missing_ok=True)


def _taken(kept: Path, to: Path) -> bool:
    """Whether the file, which is called as its checksum, is there and whole; it then is at `to`, too."""
    with suppress(OSError):
        os.link(kept, to)  # whatever other tasks do with the cache now
        os.utime(to)
        if checksum(to.read_bytes()) == kept.name:
            return True
        kept.unlink(missing_ok=True)
    to.unlink(missing_ok=True)
    return False
