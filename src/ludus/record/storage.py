"""A folder that other machines reach, too: an s3:// URL (`s3.py`) or one of fsspec. What is read from it is compared with the
checksum by which it was named."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ludus.record import files
from ludus.record.s3 import Bucket, S3Error
from ludus.types import LudusError

T = TypeVar("T")
S3 = "s3://"
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
PATIENCE_S = 300.0
"""How long a run asks a store again that has stopped answering: as long as the server of its rows."""
logger = logging.getLogger("ludus")


class StorageError(LudusError):
    """The storage cannot be used from here, or holds other bytes than it should: elsewhere or later it may go well."""


class _Files(Protocol):
    def put(self, path: str, data: bytes) -> None: ...

    def get(self, path: str) -> bytes: ...

    def remove(self, path: str, below: bool) -> None: ...


def checksum(data: bytes) -> str:
    """sha256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class Storage:
    """Files by their names under a URL. Each is written whole or not at all."""

    def __init__(self, url: str, setting: str = "collection.storage", patience_s: float = 0.0) -> None:
        """
        Args:
            setting: says the URL; for sentences.
            patience_s: a server that does not answer is asked again for so long.

        Raises:
            LudusError: no kind of URL that can be used here, or no key for it.
        """
        self.url, self._setting, self._patience_s = url.rstrip("/"), setting, patience_s
        self._files, self._root = _opened(self.url, setting)

    def put(self, name: str, data: bytes) -> None:
        """
        Raises:
            StorageError: it cannot be written.
        """
        self._asked("write", name, lambda path: self._files.put(path, data))

    def get(self, name: str, expected: str | None = None) -> bytes:
        """
        Args:
            expected: the checksum.

        Raises:
            StorageError: it cannot be read, or is another.
        """
        data = self._asked("read", name, self._files.get)
        if expected is not None and (found := checksum(data)) != expected:
            raise StorageError(
                f"{self.url}/{name} has the sha256 {found[:12]}, not {expected[:12]}; it was cut short or overwritten"
            )
        return data

    def remove(self, name: str = "") -> None:
        """Delete a file, or everything, if it is there and can be deleted."""
        try:
            self._files.remove(self._path(name) if name else self._root, below=not name)
        except Exception:  # what is left behind takes room, no more
            return

    def _asked(self, what: str, name: str, work: Callable[[str], T]) -> T:
        until, wait = None, FIRST_WAIT_S
        while True:
            try:
                found = work(self._path(name))
            except Exception as error:  # each file system has errors of its own
                now = time.monotonic()
                if until is None:
                    until = now + self._patience_s
                    if self._passes(error):
                        logger.warning(
                            "%s; it is tried again for %.0f s", self._unusable(what, name, error), self._patience_s
                        )
                if not self._passes(error) or now >= until:
                    raise self._unusable(what, name, error) from error
                time.sleep(min(wait, max(0.0, until - now)))
                wait = min(2 * wait, LONGEST_WAIT_S)
            else:
                if until is not None:
                    logger.warning("%s is there again", self.url)
                return found

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if self._root else name

    def _passes(self, error: Exception) -> bool:
        return self._patience_s > 0 and isinstance(error, S3Error) and error.passing

    def _unusable(self, what: str, name: str, error: Exception) -> StorageError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        place = "a place that every node reaches" if self._setting == "collection.storage" else "another place"
        advice = f"; give {place} with {self._setting}, such as file:///shared/folder"
        if isinstance(error, S3Error):
            advice = ""
        elif what == "write" and files.is_full(error, Path(self._root)):
            advice = "; free some space there"
        return StorageError(f"cannot {what} {self.url}/{name} ({why}){advice}")


class _Fsspec:
    """Files of what fsspec and its plugins know."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def put(self, path: str, data: bytes) -> None:
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            self._files.pipe_file(path, data)
        except Exception:  # each file system has errors of its own
            with suppress(Exception):
                self._files.rm(path)  # the first part of it, where there was room for that
            raise

    def get(self, path: str) -> bytes:
        return self._files.cat_file(path)

    def remove(self, path: str, below: bool) -> None:
        self._files.rm(path, recursive=below)


def _opened(url: str, setting: str) -> tuple[_Files, str]:
    if url.startswith(S3):
        bucket = Bucket(url)
        return bucket, bucket.root
    try:
        import fsspec

        found: Any = fsspec.url_to_fs(url)[0]
        return _Fsspec(found), found._strip_protocol(url)
    except (ImportError, ValueError) as error:
        raise LudusError(
            f"{setting}={url} cannot be used: {error}; give s3://bucket/folder or file:///a/folder that all machines reach, or "
            "install what it names"
        ) from error
