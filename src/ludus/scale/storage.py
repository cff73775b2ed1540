"""A folder that every node reaches, by an fsspec URL: checkpoints go out through it and shards come back. What is read from it
is compared with the checksum by which it was named."""

from __future__ import annotations

import hashlib
from typing import Any

from ludus.types import LudusError


class StorageError(LudusError):
    """The storage cannot be used from here, or holds other bytes than it should: elsewhere or later it may go well."""


def checksum(data: bytes) -> str:
    """sha256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class Storage:
    """Files by their names under a URL."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            LudusError: no kind of URL that fsspec or its plugins know.
        """
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._files: Any = fsspec.url_to_fs(self.url)[0]
            self._root = self._files._strip_protocol(self.url)
        except (ImportError, ValueError) as error:
            raise LudusError(
                f"collection.storage={url} cannot be used: {error}; give file:///a/folder that all nodes reach, or install what "
                "it names"
            ) from error

    def put(self, name: str, data: bytes) -> None:
        """
        Raises:
            StorageError: it cannot be written.
        """
        path = f"{self._root}/{name}"
        try:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, data)
        except Exception as error:  # each file system has errors of its own
            raise self._unusable("write", name, error) from error

    def get(self, name: str, expected: str | None = None) -> bytes:
        """
        Args:
            expected: the checksum.

        Raises:
            StorageError: it cannot be read, or is another.
        """
        try:
            data = self._files.cat_file(f"{self._root}/{name}")
        except Exception as error:
            raise self._unusable("read", name, error) from error
        if expected is not None and (found := checksum(data)) != expected:
            raise StorageError(
                f"{self.url}/{name} has the sha256 {found[:12]}, not {expected[:12]}; it was cut short or overwritten"
            )
        return data

    def remove(self, name: str = "") -> None:
        """Delete a file, or everything, if it is there and can be deleted."""
        path = f"{self._root}/{name}".rstrip("/")
        try:
            self._files.rm(path, recursive=not name)
        except Exception:  # what is left behind takes room, no more
            return

    def _unusable(self, what: str, name: str, error: Exception) -> StorageError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return StorageError(
            f"cannot {what} {self.url}/{name} ({why}); give a place that every node reaches with collection.storage, such as "
            "file:///shared/folder or s3://bucket/folder"
        )
