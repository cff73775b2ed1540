"""The page beside a run (`ludus run --serve`): a process of its own at a lower priority, which the run starts and ends, and whose
end is nothing to the run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from ludus.record.files import typed
from ludus.types import LudusError

PORT = 8080
"""Any that is free, where this one is not."""
NICENESS = 10
PATIENCE_S = 5.0
"""How long the run waits at its end for the page's process."""


def check() -> None:
    """
    Raises:
        LudusError: what the page needs is not installed.
    """
    if find_spec("nicegui") is None:
        raise LudusError("--serve needs NiceGUI; `pip install 'ludus[serve]'` brings it, or leave --serve out")


@contextmanager
def page_beside(directory: Path, say: Callable[[str], None], secrets: Mapping[str, str]) -> Iterator[None]:
    """Inside, another process serves the page of the run in `directory`, to this machine only.

    Args:
        say: is told the address once the page answers, and at the end how to see it again.
        secrets: environment variables of that process, see `Reader.secrets`.
    """
    command = [sys.executable, "-m", "ludus.views.page.beside", str(directory)]
    quiet = subprocess.DEVNULL
    # a session of its own: Ctrl-C is meant for the run
    page = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=quiet,
        text=True,
        start_new_session=True,
        env=os.environ | secrets,
    )
    assert page.stdin is not None and page.stdout is not None
    lines, opened = page.stdout, threading.Event()

    def relay() -> None:
        for line in lines:
            opened.set()
            say(line.strip())

    threading.Thread(target=relay, daemon=True).start()
    try:
        yield
    finally:
        with suppress(OSError):  # it has died
            page.stdin.close()
        try:
            page.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            page.kill()
        ended = "has ended with the run" if opened.is_set() else "did not come up while the run went on"
        say(f"The page {ended}; `ludus serve {typed(directory)}` shows it.")


def main(directory: Path) -> None:
    """Serve until the standard input ends, as it does with the process that started this one, however that dies."""
    from ludus.views.page.place import Place
    from ludus.views.page.server import serve

    def end() -> None:
        sys.stdin.read()
        os._exit(0)

    os.nice(NICENESS)
    threading.Thread(target=end, daemon=True).start()
    for port in (PORT, 0):
        with suppress(LudusError):  # the port is taken
            serve(Place(directory), "127.0.0.1", port, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
