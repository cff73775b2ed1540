"""Reading hundreds of SQLite files, a little of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from ludus.record.database import FROZEN, SQLITE

VISIT_S = 0.5
"""How long a `Visitor` waits for a file that somebody else has locked."""


class Visitor:
    """Reads one SQLite file after another by one engine, so that what is asked of hundreds of files is compiled once. For one
    thread at a time."""

    def __init__(self) -> None:
        self._path = Path()
        self._engine = sa.create_engine(f"{SQLITE}://", creator=self._opened, poolclass=sa.StaticPool)

    @contextmanager
    def at(self, path: Path) -> Iterator[sa.Engine]:
        """The engine, which reads this file inside the context.

        Raises:
            DatabaseError: inside, where that cannot be read, or stays locked for `VISIT_S`. No error says which file.
        """
        self._path = path
        try:
            yield self._engine
        finally:
            self._engine.dispose()

    def _opened(self) -> sqlite3.Connection:
        where = f"{FROZEN}{quote(str(self._path))}?mode=rw"  # makes none that is not there
        return sqlite3.connect(where, timeout=VISIT_S, check_same_thread=False, uri=True)
