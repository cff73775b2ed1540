"""The other end of `ludus.worlds.served`: makes a world, or its teacher, in an interpreter of its own and answers calls.

Runs where NumPy and pydantic are installed beside what the world needs; nothing here may import more than that.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ludus.config import WorldConfig
from ludus.types import LudusError, WorldSpec
from ludus.worlds import files
from ludus.worlds.guard import declared
from ludus.worlds.memory import arrays
from ludus.worlds.registry import kind_and_version

ORPHANED_EVERY_S = 1.0
"""How often to look whether the process that asks is still there."""


def main(connection: int, memory: int) -> None:
    """Answers calls on one file descriptor until it is closed; the other is of a file that both processes map."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    pipe, served = Connection(connection), _Served(memory)
    while True:
        try:
            method, args = pipe.recv()
        except EOFError:
            return served.close()
        try:
            answer = "done", getattr(served, method)(*args)
        except LudusError as error:
            answer = "refused", str(error)
        except (Exception, SystemExit) as error:
            answer = "raised", files.reason(error, served.file)
        sys.stdout.flush()
        pipe.send(answer)


class _Served:
    """A world or a teacher; each public method is a call."""

    def __init__(self, memory: int) -> None:
        self.file: str | None = None
        self._memory = memory
        self._made: Any = None
        self._shared: Mapping[str, np.ndarray] = {}

    def make_world(self, settings: dict[str, Any]) -> tuple[Any, ...]:
        """`(spec, vocabulary, library)` of the world that the settings name."""
        config = self._config(settings)
        world = self._made = kind_and_version(config)[0].make(config)
        return world.spec, world.vocabulary, world.library()

    def make_teacher(self, settings: dict[str, Any], spec: WorldSpec) -> None:
        self._made = kind_and_version(self._config(settings))[0].make_teacher(spec)

    def share(self) -> None:
        """The file has its size now."""
        self._shared, _ = arrays(self._made.spec, self._made.n_envs, mmap.mmap(self._memory, 0))

    def reset(self, seeds: list[int], start: str | list[str]) -> None:
        self._show("reset", self._made.reset(seeds, start))

    def step(self) -> None:
        self._show("step", self._made.step(self._shared["actions"].copy()))

    def observe(self) -> None:
        self._show("observe", self._made.observe())

    def restore(self, snapshot: np.ndarray) -> None:
        self._show("restore", self._made.restore(snapshot))

    def close(self) -> None:
        if hasattr(self._made, "close"):
            self._made.close()

    def obeys(self, caption: str) -> bool:
        """Whether the teacher obeys it."""
        return not hasattr(self._made, "obeys") or self._made.obeys(caption)

    def call(self, method: str, *args: Any) -> Any:
        """Whatever else the world or teacher can do."""
        return getattr(self._made, method)(*args)

    def _config(self, settings: dict[str, Any]) -> WorldConfig:
        config = WorldConfig(**settings)
        self.file = str(config.file) if config.file else None
        return config

    def _show(self, what: str, observations: Any) -> None:
        for name, seen in declared(observations, self._made.spec, self._made.n_envs, what).items():
            self._shared[f"observed/{name}"][...] = seen
        self._shared["ended"][...] = self._made.ended()


def _end_with(parent: int) -> None:
    """Ends this process when the one that asks is gone, also in the middle of a call."""
    while os.getppid() == parent:
        time.sleep(ORPHANED_EVERY_S)
    os._exit(1)
