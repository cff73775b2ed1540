"""PostgreSQL: engines that say when a server has gone, the session that holds a run, and the patience of its process.

A run whose rows are on a server is written by one session, which holds an advisory lock of the run. So a process whose
connection has ended cannot commit: it needs a new session, and gets none while another process has the run. A new session goes on
only where the run's heartbeat is the one that this process wrote last, or was writing: nobody has written it meanwhile, and the
server has lost nothing that it confirmed.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ludus.record import tables
from ludus.types import LudusError

AGAIN = "mend that, then give the command again, or `ludus resume` to a run, of which all that was committed is kept"
"""What to do where a server cannot be used."""
CONNECT_S = 10
"""How long a server may take to accept a connection, unless its URL says `connect_timeout`."""
SILENT_S = 60
"""How long a connection may be silent before it is looked whether its other end is still there, and how long what was sent may
stay without a sign of it; unless its URL says `keepalives_idle` and `tcp_user_timeout`."""
OUTAGE_S = 300.0
"""How long the process of a run tries to reach a server that has gone."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
"""Between two attempts; each wait is twice as long as the one before."""
REST_S = 10.0
"""For so long after a failed attempt nothing is tried that may as well be left out."""
LOCKED_S = 1.0
"""How long a run that another session holds is asked for: that of a process that was killed ends in a moment."""
READERS = {"pool_size": 2, "max_overflow": 4}
"""Connections of a process that looks at runs."""
TRANSIENT = ("40001", "40P01", "25006", "53300")
"""SQLSTATEs that pass: transactions that got in each other's way, a standby that is not the primary yet, too many clients."""
DISK_FULL = "53100"

# A server notices that a machine has died within a minute and a half, not after two hours, and lets go of its runs. A confirmed
# commit is on its disk, whatever its default is.
SESSION = """
    SELECT set_config(name, value, false) FROM (VALUES
        ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6'),
        ('tcp_user_timeout', '90000'), ('idle_session_timeout', '0')) AS settings (name, value)
    UNION ALL SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
LOCK = "hashtextextended(current_schema() || '/' || %(run_id)s, 0)"
HOLDER = f"""
    SELECT pid, application_name, backend_start::text FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = {LOCK}
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
ME = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
BEAT = ("pid", "host", "at")

T = TypeVar("T")
Beat = tuple[Any, ...] | None
logger = logging.getLogger(__name__)


class Gone(LudusError):
    """A server that cannot be used now. `why` is what it, or its client, said."""

    def __init__(self, message: str, why: str):
        super().__init__(message)
        self.why = why


def connect(url: sa.URL, json_serializer: Callable[[Any], str], alone: bool) -> sa.Engine:
    """See `database.connect`."""
    # A server that was started anew is noticed before the next query, one that does not answer in the end.
    limits = {"connect_timeout": CONNECT_S, "keepalives_idle": SILENT_S, "tcp_user_timeout": 1000 * SILENT_S}
    ways = limits | {"application_name": f"ludus pid {os.getpid()} on {socket.gethostname()}"[:63]}
    ways = {name: str(value) for name, value in ways.items() if name not in url.query}
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": OUTAGE_S} if alone else READERS
    engine = sa.create_engine(url, json_serializer=json_serializer, pool_pre_ping=True, connect_args=ways, **pool)

    @event.listens_for(engine, "handle_error")
    def explain(context: sa.ExceptionContext) -> None:
        error = context.original_exception
        why, state = (str(error).splitlines() or ["unknown"])[0], getattr(error, "sqlstate", None)
        if context.is_pre_ping:
            return  # a new connection is made in place of this one
        if state == DISK_FULL:
            full = f"the disk of the server of {url!s} is full ({why}); free some space there, then `ludus resume`"
            raise LudusError(full) from error
        if context.is_disconnect or state in TRANSIENT:
            context.is_disconnect = True  # a standby's session stays one
            kept = "what was committed is kept: start the server, then `ludus resume`"
            raise Gone(f"the database {url!s} has gone ({why}); {kept}", why) from error
        if context.connection is None:  # it was not reached
            mend = (
                "make it with `createdb`, or name another" if re.search('database ".*" does not exist', why) else AGAIN
            )
            raise Gone(f"cannot use the database {url!s}: {why}; {mend}", why) from error

    return engine


def holder(connection: sa.Connection, run_id: str) -> str | None:
    """Who holds the lock of a run, as 'pid 12 on host'; None: nobody."""
    found = connection.exec_driver_sql(HOLDER, {"run_id": run_id}).first()
    return None if found is None else _named(found[1])


def _named(application: str) -> str:
    return application.removeprefix("ludus ") or "an unknown process"


@dataclass(frozen=True)
class _Backend:
    """A process of the server. Their numbers are used again, after a restart soon."""

    pid: int
    started: str


class Session:
    """The session by which the process of a run reads and writes its rows, one thread at a time.

    Args:
        engine: connects `alone`; belongs to the session from here on.

    Raises:
        LudusError: another process has the run.
    """

    def __init__(self, engine: sa.Engine, run_id: str) -> None:
        self._engine, self._run_id = engine, run_id
        self.go_on = "`ludus resume`"  # how the run is continued, as a part of a sentence
        self._backend: _Backend | None = None
        self._beats: tuple[Beat, ...] | None = None  # one of which the run's heartbeat is; None: not known yet
        self._failed_at = -REST_S
        self._over: LudusError | None = None
        self._released = False
        engine.dispose()
        event.listen(engine, "connect", self._hold)
        with engine.connect():
            pass

    def release(self) -> None:
        """Give the run to whoever wants it: now, not when the server has noticed that the connection has ended."""
        if not self._released and self._over is None:
            with suppress(LudusError, SQLAlchemyError), self._engine.connect() as connection:
                connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        self._released = True
        self._engine.dispose()

    # --- whose the run is --------------------------------------------------------------------------------------------

    def begin(self, connection: sa.Connection) -> None:
        """Remember the heartbeat that is there, once the run's row is."""
        self._beats = (self._beat(connection),)

    def beats(self, row: Mapping[str, Any]) -> None:
        """This heartbeat is being written."""
        assert self._beats is not None
        self._beats = (*self._beats, tuple(row[name] for name in BEAT))

    def beaten(self) -> None:
        """It was committed."""
        assert self._beats is not None
        self._beats = self._beats[-1:]

    def _beat(self, connection: sa.Connection) -> Beat:
        h = tables.heartbeats.c
        row = connection.execute(sa.select(*(h[name] for name in BEAT)).where(h.run_id == self._run_id)).first()
        return None if row is None else tuple(row)

    def _hold(self, connection: Any, _: Any) -> None:
        """Make a new connection the session: psycopg's, before anybody uses it."""
        if self._released:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(SESSION)
                self._take(cursor)
                if self._beats is not None:
                    self._check(cursor)
                cursor.execute(ME)
                self._backend = _Backend(*cursor.fetchone())
            connection.commit()
        except BaseException:
            connection.close()
            raise

    def _take(self, cursor: Any) -> None:
        """Take the run's lock. A session of this process that holds it has lost its connection, and is told to end.

        Raises:
            Gone: that did not end yet.
            LudusError: another process has it.
        """
        until = time.monotonic() + LOCKED_S
        while True:
            cursor.execute(f"SELECT pg_try_advisory_lock({LOCK})", {"run_id": self._run_id})
            if cursor.fetchone()[0]:
                return
            cursor.execute(HOLDER, {"run_id": self._run_id})
            pid, name, started = cursor.fetchone() or (0, "", "")
            mine = pid == 0 or _Backend(pid, started) == self._backend
            if mine and pid:
                cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
            if time.monotonic() > until:
                break
            time.sleep(LOCKED_S / 20)
        what = f"run {self._run_id!r} in {self._engine.url!s}"
        if mine:
            raise Gone(f"{what} is still held by a session that has no connection; {AGAIN}", "a session ends slowly")
        if self._beats is None:
            raise LudusError(
                f"{what} is already running ({_named(name)}); wait for it, stop it, or start another run in a directory of "
                "its own"
            )
        raise LudusError(
            f"{what} was taken over by another process ({_named(name)}) while this one had no connection; this one ends, and "
            "has written nothing since"
        )

    def _check(self, cursor: Any) -> None:
        """
        Raises:
            LudusError: somebody else has written the run meanwhile, or the server has lost what it had confirmed.
        """
        assert self._beats is not None
        cursor.execute("SELECT pid, host, at FROM heartbeats WHERE run_id = %s", (self._run_id,))
        found = cursor.fetchone()
        if found in self._beats:
            return
        what = f"run {self._run_id!r} in {self._engine.url!s}"
        kept = self._beats[0]
        if found is None or (kept is not None and found[:2] == kept[:2] and found[2] < kept[2]):
            raise LudusError(
                f"{what} has lost rows that were committed: a standby took over that did not have them, or a copy was "
                f"restored; {self.go_on} does what is missing again"
            )
        raise LudusError(
            f"{what} was written by another process (pid {found[0]} on {found[1]}) while this one had no connection; this one "
            f"ends, and has written nothing since. See what `ludus status` says, then continue with {self.go_on}"
        )

    # --- when the server has gone ------------------------------------------------------------------------------------

    def patiently(self, work: Callable[[bool], T]) -> T:
        """What `work` returns, which is called again for `OUTAGE_S` while the server cannot be used; it is told whether it was
        called before, and its transaction may then have been committed.

        Raises:
            LudusError: the time is over. Whoever asks later is told so at once.
        """
        began, wait, again = None, FIRST_WAIT_S, False
        while True:
            if self._over is not None:
                raise self._over
            try:
                found = work(again)
            except Gone as error:
                self._failed_at = now = time.monotonic()
                if began is None:
                    began = now
                    logger.warning("the database has gone (%s); it is tried again for %.0f s", error.why, OUTAGE_S)
                left = began + OUTAGE_S - now
                if left <= 0:
                    self._over = self._given_up(error)
                    raise self._over from error
                time.sleep(min(wait, left))
                wait, again = min(2 * wait, LONGEST_WAIT_S), True
            else:
                if began is not None:
                    logger.warning("the database is there again after %.1f s", time.monotonic() - began)
                return found

    def once(self, work: Callable[[bool], T]) -> T:
        """What `work` returns, which may as well be left out where the server cannot be used.

        Raises:
            LudusError: it cannot.
        """
        if self._over is not None:
            raise self._over
        if time.monotonic() - self._failed_at < REST_S:
            raise LudusError(f"the database {self._engine.url!s} has gone")
        try:
            return work(False)
        except Gone:
            self._failed_at = time.monotonic()
            raise

    def _given_up(self, error: Gone) -> LudusError:
        return LudusError(
            f"the database {self._engine.url!s} could not be used for {OUTAGE_S:.0f} s ({error.why}); what was committed is "
            f"kept: start the server, then continue with {self.go_on}"
        )
