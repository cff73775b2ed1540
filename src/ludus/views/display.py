"""Printing that cannot fail, and that shows text as it stands.

The record of a run is its product; what is printed may be lost with the terminal, the reader of the pipe or the disk of the
log.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from rich.console import Console

FILE_WIDTH = 10_000
"""Characters of a line where the output is no terminal: no table is squeezed."""
TERMINAL_WIDTH = 80
"""Of one that does not say how wide it is."""
PLAIN = {"–": "-", "—": "-", "→": "->", "…": "..."}
"""What stands for signs that a terminal's encoding may lack; '?' stands for all others."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that change the direction of writing."""

logger = logging.getLogger(__name__)


class LossyStream:
    """A text stream that drops what it cannot write, after one complaint to the log.

    Args:
        complaint: a format with one `%s`, the error; with None there is no complaint.
        expected: error numbers that are nothing to complain of.
    """

    def __init__(self, stream: Any, complaint: str | None, expected: tuple[int, ...] = ()) -> None:
        self._stream, self._complaint, self._expected = stream, complaint, expected
        self.lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, said: str) -> int:
        def attempt() -> None:
            try:
                self._stream.write(said)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(_plain(said, encoding).encode(encoding, "replace").decode(encoding))

        self._try(attempt)
        return len(said)

    def flush(self) -> None:
        self._try(lambda: self._stream.flush())

    def discard(self) -> None:
        """Redirect the stream to nowhere, what is waiting to be written included."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed, or another encoding error
            first, self.lost = not self.lost, True
            number = error.errno if isinstance(error, OSError) else None
            if number in (errno.EPIPE, errno.EIO):
                self.discard()  # the reader or the terminal will not come back
            if first and self._complaint is not None and number not in self._expected:
                logger.warning(self._complaint, error)


def _plain(said: str, encoding: str) -> str:
    def lacks(sign: str) -> bool:
        try:
            sign.encode(encoding)
        except UnicodeEncodeError:
            return True
        return False

    return said.translate({ord(sign): PLAIN[sign] for sign in PLAIN if sign in said and lacks(sign)})


@contextmanager
def lasting() -> Iterator[LossyStream]:
    """Inside, nothing that is printed or logged can fail, whatever happens to the standard streams, and nothing typed either:
    one that is closed is replaced by an empty one. Yields standard output, which knows whether it lost something."""
    for descriptor in range(3):
        with suppress(OSError):
            _occupy(descriptor)
    before = sys.stdin, sys.stdout, sys.stderr
    complaint = "output cannot be written any more (%s); the work goes on"
    out = LossyStream(before[1] or io.StringIO(), complaint, (errno.EPIPE,))  # `ludus status | head`
    sys.stdout, sys.stderr = cast(Any, out), cast(Any, LossyStream(before[2] or io.StringIO(), None))
    if sys.stdin is None:
        sys.stdin = io.StringIO()
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    try:
        yield out
    finally:
        for stream in (out, cast(LossyStream, sys.stderr)):
            stream.flush()
            if stream.lost:  # what it still holds would be tried again, and fail, when Python ends
                stream.discard()
        sys.stdin, sys.stdout, sys.stderr = before


def _occupy(descriptor: int) -> None:
    """Open a standard descriptor that is closed: the next file that is opened would take it, and whoever prints would write
    into that file."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def clean(text: str) -> str:
    """The text without control characters: a caption or a message of a model must not steer a terminal or hide what it says."""
    return CONTROL.sub("", text)


class PlainConsole(Console):
    """Prints text without characters that would steer the terminal: in a caption, in the name of a file."""

    def print(self, *objects: Any, **how: Any) -> None:
        super().print(*(clean(o) if isinstance(o, str) else o for o in objects), **how)


def console(stderr: bool = False) -> Console:
    """Standard output or error for text as it stands: brackets mean nothing, and lines are not broken, so that paths and
    commands can be copied."""
    made = PlainConsole(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)
    given = os.environ.get("COLUMNS", "")
    if not given.isdecimal() or not int(given):  # nothing is shown in no columns
        made.width = made.width or TERMINAL_WIDTH if made.is_terminal else FILE_WIDTH
    return made
