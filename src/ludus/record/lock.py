"""One writer per run: a lock of its directory by the kernel, which ends with its process, `kill -9` included, and where the rows
are on a server, one of the run there, see `server.py`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ludus.record import filesystem
from ludus.record.server import Session
from ludus.types import LudusError

LOCK = "lock"
WAIT_S = 0.2
"""How long to try: `is_held` holds the lock for a moment."""


class DirectoryLock:
    """The exclusive lock of a run directory, `<directory>/lock`. The file names its owner's process id.

    A second DirectoryLock in the same process is excluded too. On a file system without `flock` locking fails; it does
    not fall back to a lock file, which would outlive a killed process.

    Raises:
        LudusError: another process, or another Record of this one, holds it.
        OSError: the file cannot be written, or the file system has no locks.
    """

    def __init__(self, directory: Path):
        path = directory / LOCK
        self._lock = _file_lock(path)
        try:
            self._lock.acquire(timeout=WAIT_S, poll_interval=WAIT_S / 10)
        except Timeout:
            raise LudusError(
                f"run directory {directory} is already running (pid {owner(directory)}); wait for it, stop it, "
                f"or start another run in a directory of its own"
            ) from None
        try:
            self._sign(path)
        except BaseException:
            self._lock.release()
            raise

    def _sign(self, path: Path) -> None:
        # Overwrite, then cut: a reader never finds the file empty.
        line = f"{os.getpid()}\n".encode()
        with path.open("r+b", buffering=0) as file:
            file.write(line)
            file.truncate()

    def release(self) -> None:
        """Release the directory; calling it twice is harmless."""
        self._lock.release()


@dataclass(frozen=True)
class Claim:
    """What a process holds of the run that it writes."""

    directory: DirectoryLock | None
    session: Session | None
    """Where the rows are on a server."""

    def release(self) -> None:
        """Give the run to whoever wants it."""
        if self.session:
            self.session.release()
        if self.directory:
            self.directory.release()


def lock_directory(directory: Path, needed: bool) -> DirectoryLock | None:
    """The lock of a directory that exists; None where the file system has none and it is not `needed`, for the rows are on a
    server.

    Raises:
        LudusError: somebody else holds it.
        OSError: nothing can be written there, or it is needed and there is none.
    """
    return DirectoryLock(directory) if needed or not filesystem.missing(directory, [filesystem.FLOCK]) else None


def owner(directory: Path) -> str:
    """Process id of the last owner of the lock, or 'unknown'."""
    try:
        return (directory / LOCK).read_text(errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"


def is_held(directory: Path) -> bool | None:
    """Whether a process on this machine holds the lock; None where that cannot be found out (no right to write there)."""
    path = directory / LOCK
    if not path.exists():
        return False
    lock = _file_lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:
        return None
    lock.release()
    return False


def _file_lock(path: Path) -> FileLock:
    # Not thread-local: a Record may be closed by another thread than the one that opened it.
    return FileLock(path, mode=0o644, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
