"""One writer per run directory. The kernel holds the lock, so it vanishes with its process, `kill -9` included."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ludus.types import LudusError


class DirectoryLock:
    """An exclusive `flock` on `<directory>/lock`, which also names its owner's process id.

    `flock` rather than POSIX record locks: it also excludes a second Record in the same process, and closing some
    other descriptor of the file does not drop it.

    Raises:
        LudusError: another process holds it.
    """

    def __init__(self, directory: Path):
        self._descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise LudusError(
                f"run directory {directory} is already running (pid {owner}); wait for it, stop it, "
                f"or start another run in a directory of its own"
            ) from None
        # Overwrite, then cut: a reader never finds the file empty.
        line = f"{os.getpid()}\n".encode()
        os.pwrite(self._descriptor, line, 0)
        os.ftruncate(self._descriptor, len(line))

    def release(self) -> None:
        """Give the directory free; calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
