"""The run's end of the connection to the process that is the driver of the cluster (`fleet.py`)."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from ludus.types import LudusError

START_S = 300.0
"""For a cluster to start or answer: 8 to 60 s on two busy cores."""
PATIENCE_S = 60.0
"""A driver that says nothing for so long is asked whether it is there, and has as long to answer."""
END_S = 30.0
MAX_WORDS = 300
FRAME = re.compile(r"\[0x[0-9a-f]+\]|^\*\*\* StackTrace")
"""In a line of a stack of C++."""


class LostError(LudusError):
    """The cluster is not there, or not any more."""


class ClusterDriver:
    """One process that runs `ludus.scale.fleet`. It ends with this object, and the cluster that it started ends with it.

    Not `multiprocessing`: that would import the program that uses ludus once more.
    """

    def __init__(self, variables: dict[str, str], log: Path) -> None:
        """
        Args:
            variables: the environment of the process.
            log: what it says is written there.
        """
        self._log = log
        self.temporary = tempfile.mkdtemp(prefix="ludus-ray-")
        ours, theirs = socket.socketpair()
        file = log.open("wb")
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ludus.scale.fleet", str(theirs.fileno())],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a Ctrl-C at the terminal is for the run
            )
        self._process, self._pipe = process, Connection(ours.detach())
        self._answers: dict[int, tuple[str, ...]] = {}
        self.slots = 0
        """Tasks that the cluster can run at a time, as it began."""
        self.close = weakref.finalize(self, _end, process, self._pipe, file, self.temporary)

    @property
    def alive(self) -> bool:
        return self.close.alive and self._process.poll() is None

    def start(self, spec: Any) -> None:
        """Connect to the cluster, or start it.

        Args:
            spec: a `FleetSpec`.

        Raises:
            LostError: it cannot be reached.
        """
        self.send(spec)
        self.slots = self._heard(START_S)[0]

    def send(self, *message: Any) -> None:
        """Tell it something; that it is gone is found out with the next answer."""
        with suppress(OSError):
            self._pipe.send(message[0] if len(message) == 1 else message)

    def answer(self, key: int) -> tuple[str, str]:
        """Name and checksum of the shard of the task with this key, once it is there. Those of others are kept for later.

        Raises:
            LudusError: the task failed.
            LostError: the cluster is lost.
        """
        while key not in self._answers:
            other, *said = self._heard(PATIENCE_S)
            self._answers[other] = tuple(said)
        kind, said, *more = self._answers.pop(key)
        if kind == "failed":
            raise LudusError(said)
        return said, more[0]

    def _heard(self, patience_s: float) -> tuple[Any, ...]:
        """The next answer: slots, or key, kind and what belongs to it."""
        asked = False
        try:
            while True:
                if not self._pipe.poll(patience_s):
                    if asked or patience_s == START_S:
                        raise self._lost(f"its driver did not answer for {patience_s:g} s")
                    asked = True
                    self.send("ping", None)
                    continue
                word, *said = self._pipe.recv()
                asked = False
                if word == "lost":
                    raise self._lost(said[0])
                if word == "ready":
                    return tuple(said)
                if word in ("done", "failed"):
                    return said[0], word, *said[1:]
        except (EOFError, OSError):
            raise self._lost(f"its driver ended ({self._status()}){self._last_words()}") from None

    def _lost(self, why: str) -> LostError:
        self.close()
        return LostError(why)

    def _status(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "without a status"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _last_words(self) -> str:
        return last_words(self._log.read_text(errors="replace"))


def last_words(log: str) -> str:
    """The last line that says something, as the end of a sentence. Where Ray ends a process, its stack comes behind."""
    said = [line for line in map(str.strip, log.splitlines()) if line and not FRAME.search(line)]
    return f"; it said last: {said[-1][:MAX_WORDS]}" if said else ""


def _end(process: subprocess.Popen[bytes], pipe: Connection, log: IO[bytes], temporary: str) -> None:
    pipe.close()  # which asks it to end
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
    shutil.rmtree(temporary, ignore_errors=True)
