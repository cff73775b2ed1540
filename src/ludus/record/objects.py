"""The files of a run on an object store (`record.objects`); the run's directory is their cache.

An object is called RUN_ID/NAME@SHA256: writing it again changes nothing, one that no row names disturbs nobody, and what is read
is compared with its name. The row in `objects` says which of them a file is.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ludus.record import database, tables
from ludus.record.location import Location
from ludus.record.storage import Storage, StorageError, checksum
from ludus.types import LudusError

SETTING = "record.objects"
LOOK_S = 10.0
"""A store that does not answer is asked again for so long by who only looks at a run: a page, say."""
HERE = Path("runs")
"""Where the files of a run are kept whose own directory is on another machine, in a folder that is called as the run's id."""

Known = tuple[int, int, int]


class Objects:
    """See the module's docstring. Opens nothing before it is used."""

    def __init__(
        self, url: str, directory: Path, run_id: str, row: Callable[[str], Mapping[str, Any] | None] = lambda name: None
    ) -> None:
        """
        Args:
            row: of a file in the table `objects`, None if it has none.
        """
        self.url, self._directory, self._run_id, self._row = url, directory, run_id, row
        self.patience_s = LOOK_S
        self._opened: Storage | None = None
        self._whole: dict[str, Known | None] = {}
        """Files of the directory that were compared with their checksums, as they were then."""

    def begin(self) -> None:
        """Find out whether the store can be written to, before there is something to lose.

        Raises:
            LudusError: it cannot.
        """
        Storage(self.url, SETTING).put(self._mark, json.dumps({"run_id": self._run_id}).encode())

    def withdraw(self) -> None:
        """Undo `begin`."""
        self._storage.remove(self._mark)

    def put(self, name: str, path: Path) -> dict[str, Any]:
        """Upload the file at `path`, which is or becomes `name` in the run's directory; returns its row.

        Raises:
            StorageError: the store cannot be written to.
        """
        data = path.read_bytes()
        digest = checksum(data)
        key = f"{self._run_id}/{name}@{digest}"
        self._storage.put(key, data)
        self._whole[name] = _known(path)
        return {"name": name, "key": key, "sha256": digest, "size": len(data), "origin": self._origin}

    def bring(self, name: str) -> Path:
        """The path of a file in the run's directory, where it is now, as it was written.

        Raises:
            LudusError: it is not, and the store does not have it or has other bytes.
        """
        path = self._directory / name
        now = _known(path)
        if now is not None and self._whole.get(name) == now:
            return path
        row = self._row(name)
        if row is None:
            return path
        if not _is(path, row):
            try:
                _put(path, self._storage.get(row["key"], row["sha256"]))
            except StorageError as error:
                here = "damaged" if path.exists() else "not here"
                raise LudusError(
                    f"{path} is {here}, and {error}; restore one of both from a copy, or begin the run anew (same seed and "
                    "configuration give the same files)"
                ) from error
            except OSError as error:
                raise LudusError(f"cannot keep {path}, a copy of {self.url}/{row['key']}: {error.strerror}") from error
        self._whole[name] = _known(path)
        return path

    def remove(self, row: Mapping[str, Any]) -> None:
        """Delete an object that this directory has written; those of the run that it is a copy of stay."""
        if row["origin"] == self._origin:
            self._storage.remove(row["key"])

    @property
    def _mark(self) -> str:
        return f"{self._run_id}/run.json"

    @property
    def _origin(self) -> str:
        return str(self._directory.resolve())

    @property
    def _storage(self) -> Storage:
        if self._opened is None:
            self._opened = Storage(self.url, SETTING, self.patience_s)
        return self._opened


def home(directory: Path, run_id: str) -> Path:
    """Where the files of a run are on this machine: its directory, which may be of another machine, or a folder below `HERE`."""
    try:
        place = Location.of(directory) if directory.is_dir() else None
    except (LudusError, OSError):
        place = None
    return directory if place is not None and place.run_id == run_id else HERE / run_id


def home_to_write(directory: Path, url: str | Path | sa.URL, run_id: str) -> Path:
    """As `home`, for a run whose row is in the database at `url`; it is made where there is none. The directory itself for a run
    without an object store.

    Raises:
        LudusError: the database cannot be read, or no folder can be made.
    """
    here = home(directory, run_id)
    if here == directory:
        return directory
    engine = database.connect(database.address(url))
    try:
        with database.explained(engine, directory), engine.connect() as connection:
            r = tables.runs.c
            config = connection.execute(sa.select(r.config).where(r.run_id == run_id)).scalar()
    finally:
        engine.dispose()
    if config is None or not url_of(config):
        return directory
    try:
        here.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LudusError(f"cannot make {here}, where the run's files would be: {error.strerror}") from error
    return here


def url_of(config: Mapping[str, Any]) -> str:
    """`record.objects` in the tree of settings that a run's row has; '' where it is not kept."""
    return config.get("record", {}).get("objects", "")


def _known(path: Path) -> Known | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _put(path: Path, data: bytes) -> None:
    """Several processes may fetch the same file. It need not survive a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is(path: Path, row: Mapping[str, Any]) -> bool:
    try:
        if path.stat().st_size != row["size"]:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == row["sha256"]
    except OSError:
        return False
