"""A world in an interpreter of its own: its packages, their versions and its crashes stay there.

The simulations are spread over processes, one per thread of `world.threads`, each of which makes the same world with a share
of them: no simulation depends on its neighbours, so the bits are the same. Calls go through a pipe, actions and observations
through memory that both sides map. A file that declares such a world is imported on both sides; what only the other
interpreter has, it imports where the world is made.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np

from ludus import machine
from ludus.config import WorldConfig
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, Observations, WorldSpec
from ludus.worlds.base import World
from ludus.worlds.memory import arrays

LONGER = 10
"""As many times a call's limit may pass until a world is made or reset: simulators and their models are loaded meanwhile."""
ENDING_TAKES_S = 2.0
"""At most, until a process is killed."""
MAX_WORDS = 300
"""Characters of what a process wrote last."""
BOOT = """
import importlib.util, sys
found = importlib.util.spec_from_file_location("ludus", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["ludus"] = package = importlib.util.module_from_spec(found)
found.loader.exec_module(package)
from ludus.worlds import server
server.main(int(sys.argv[2]), int(sys.argv[3]))
"""
"""The package alone comes along, nothing that is installed beside it."""


class Refused(LudusError):
    """The world said why; it can be asked something else."""


class ServedWorld(World):
    """The `World` of these settings, made by `python` (path of an interpreter). Raises LudusError where one of its processes
    raises, ends, or does not answer within `timeout_s` seconds; then all are stopped."""

    def __init__(self, config: WorldConfig, python: str, timeout_s: float) -> None:
        self.n_envs = config.n_envs
        shares = [
            len(part) for part in np.array_split(np.arange(self.n_envs), machine.threads(config.threads)) if len(part)
        ]
        self._ends = np.cumsum(shares).tolist()
        self._processes = [_Process(config.name, python, timeout_s) for _ in shares]
        made = self._all("make_world", *[(asdict(replace(config, n_envs=n, threads=1)),) for n in shares])
        self.spec, self.vocabulary, self._library = made[0]
        for process, n in zip(self._processes, shares, strict=True):
            process.share(self.spec, n)
        self._all("share")

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] | None = None) -> Observations:
        if len(seeds) != self.n_envs:
            raise LudusError(f"{len(seeds)} seeds for {self.n_envs} simulations; give one for each")
        seeds = [int(seed) for seed in seeds]
        start = self.spec.starts[0] if start is None else start
        starts = [start] * self.n_envs if isinstance(start, str) else list(start)
        return self._observed("reset", *[(seeds[part], starts[part]) for part in self._parts()])

    def step(self, actions: np.ndarray) -> Observations:
        for process, part in zip(self._processes, self._parts(), strict=True):
            process.shared["actions"][...] = actions[part]
        return self._observed("step")

    def observe(self) -> Observations:
        return self._observed("observe")

    def ended(self) -> np.ndarray:
        return np.concatenate([p.shared["ended"] for p in self._processes])

    def rest(self, resting: np.ndarray) -> None:
        self._all("call", *[("rest", resting[part]) for part in self._parts()])

    def start_of(self, caption: str) -> str:
        return self._processes[0].call("call", "start_of", caption)

    def snapshot(self) -> np.ndarray:
        return np.concatenate(self._all("call", *[("snapshot",)] * len(self._processes)))

    def restore(self, snapshot: np.ndarray) -> Observations:
        return self._observed("restore", *[(snapshot[part],) for part in self._parts()])

    def library(self) -> SkillLibrary:
        return self._library

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        return self._processes[0].call("call", "frames", observations, camera, size)

    def close(self) -> None:
        for process in self._processes:
            process.close()

    def _parts(self) -> Iterator[slice]:
        return (slice(a, z) for a, z in zip([0, *self._ends], self._ends, strict=False))

    def _observed(self, method: str, *arguments: tuple[Any, ...]) -> Observations:
        self._all(method, *arguments)
        return {
            g.name: np.concatenate([p.shared[f"observed/{g.name}"] for p in self._processes])
            for g in self.spec.observation.groups
        }

    def _all(self, method: str, *arguments: tuple[Any, ...]) -> list[Any]:
        """Each process's answer; they work at the same time. What only some have done is no state to go on from: then all end."""
        answers, refused = [], []
        try:
            for process, args in zip(self._processes, arguments or [()] * len(self._processes), strict=True):
                process.ask(method, *args)
            for process in self._processes:
                try:
                    answers.append(process.answer())
                except Refused as error:
                    refused.append(error)
        except BaseException:
            self.close()
            raise
        if refused and answers:
            self.close()
        if refused:
            raise refused[0]
        return answers


class ServedTeacher:
    """The teacher of these settings' world, made by `python`."""

    def __init__(self, config: WorldConfig, spec: WorldSpec, python: str, timeout_s: float) -> None:
        self._process = _Process(config.name, python, timeout_s)
        self._process.call("make_teacher", asdict(config), spec)

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray) -> None:
        self._process.call("call", "begin", list(seeds), noise, random_mask)

    def obeys(self, caption: str) -> bool:
        return self._process.call("obeys", caption)

    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        return self._process.call("call", "act", dict(observations), list(captions))


class _Process:
    """One process that runs `ludus.worlds.server`, and what passes between it and this one. It ends with this object."""

    def __init__(self, world: str, python: str, timeout_s: float) -> None:
        self._world, self._timeout_s = world, timeout_s
        self.shared: dict[str, np.ndarray] = {}
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `_end`
        shared = machine.SHARED_MEMORY if machine.SHARED_MEMORY.is_dir() else None
        self._memory = tempfile.TemporaryFile(dir=shared)  # noqa: SIM115
        ours, theirs = socket.socketpair()
        fds = theirs.fileno(), self._memory.fileno()
        command = [python, "-I", "-u", "-c", BOOT, str(Path(__file__).parents[1]), *map(str, fds)]
        with theirs, machine.variables(machine.ONE_THREAD):
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, pass_fds=fds
                )
            except OSError as error:
                raise LudusError(
                    f"world {world!r}: its interpreter {python} does not start ({error.strerror}); `ludus worlds install` makes "
                    "one, or mend WorldKind.python"
                ) from error
        self._pipe = Connection(ours.detach())
        self._asked = ""
        self.close: Callable[[], Any] = weakref.finalize(
            self, _end, self._process, self._pipe, self._said, self._memory
        )

    def share(self, spec: WorldSpec, n_envs: int) -> None:
        """Make the arrays of `ludus.worlds.memory`."""
        os.ftruncate(self._memory.fileno(), arrays(spec, n_envs)[1])
        self.shared, _ = arrays(spec, n_envs, mmap.mmap(self._memory.fileno(), 0))

    def call(self, method: str, *args: Any) -> Any:
        self.ask(method, *args)
        return self.answer()

    def ask(self, method: str, *args: Any) -> None:
        self._asked = args[0] if method == "call" else method
        if self._pipe.closed:
            raise LudusError(f"world {self._world!r} was closed; make it anew")
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            self._pipe.send((method, args))

    def answer(self) -> Any:
        """
        Raises:
            LudusError: the world refused or raised, the process ended, or it did not answer in time.
        """
        limit = self._timeout_s * (LONGER if self._asked == "reset" or self._asked.startswith("make") else 1)
        try:
            if not self._pipe.poll(limit):
                raise self._error(f"did not answer within {limit:g} s (WorldKind.timeout_s) and was stopped")
            how, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise self._error(f"ended ({self._status()})") from None
        if how == "refused":
            raise Refused(value)
        if how == "raised":
            raise self._error(f"raised {value}", words=False)
        return value

    def _error(self, what: str, words: bool = True) -> LudusError:
        said = f"; it said last: {found}" if words and (found := self._last_words()) else ""
        self.close()
        return LudusError(
            f"world {self._world!r}, asked to {self._asked!r}: its process {what}{said}; mend that and go on"
        )

    def _status(self) -> str:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "without a status"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next((line.strip()[:MAX_WORDS] for line in reversed(lines) if line.strip()), "")


def _end(process: subprocess.Popen[bytes], pipe: Connection, *kept: IO[bytes]) -> None:
    pipe.close()  # which asks it to end
    try:
        process.wait(ENDING_TAKES_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for file in kept:
        file.close()
