"""Nodes of a Ray cluster as processes of this machine, or of machines that are namespaces of it, for tests that kill them."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from machines import Machines

RAY = Path(sys.executable).with_name("ray")
STARTS_S = 180
HEAD = 1
"""Number of the machine that has it."""


class Nodes:
    """A head and others, each a session of processes. A context manager that leaves none."""

    def __init__(self, token: Path, machines: Machines | None = None, temporary: Path | None = None) -> None:
        """
        Args:
            machines: of which the first has the head; if not given, all nodes are here.
            temporary: Ray's folder for sockets and logs, on all nodes; its path must be short.
        """
        self._temporary, self._machines = temporary or Path(tempfile.mkdtemp(prefix="ray-nodes-")), machines
        token.write_text(secrets.token_hex(32))
        self.address = f"{machines.address(HEAD)}:6379" if machines else f"127.0.0.1:{_free_port()}"
        self._environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._all: list[subprocess.Popen] = []
        self.head = self.start_head()

    def start_head(self) -> subprocess.Popen:
        """Again, too, where the one that was has ended."""
        port = self.address.rpartition(":")[2]
        self.head = self._start("--head", f"--port={port}", "--include-dashboard=false",
                                f"--temp-dir={self._temporary}", machine=HEAD)  # fmt: skip
        return self.head

    def start(self, *within: str, machine: int = 0) -> subprocess.Popen:
        """A node with one core.

        Args:
            within: a command that runs the one that follows it.
            machine: its number, if there are machines.
        """
        return self._start(f"--address={self.address}", within=within, machine=machine)

    def _start(self, *where: str, machine: int, within: tuple[str, ...] = (), tries: int = 3) -> subprocess.Popen:
        """Returns once the raylet lives."""
        named = ()
        if self._machines is not None:
            within = (*self._machines.within(machine), *within)
            named = (f"--node-ip-address={self._machines.address(machine)}",)
        elif "--head" in where:
            named = ("--node-ip-address=127.0.0.1",)
        command = [*within, RAY, "start", *where, *named, "--num-cpus=1", "--object-store-memory=100000000", "--block"]
        while True:
            node = subprocess.Popen(
                command,
                env=self._environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._all.append(node)
            until(lambda node=node: raylets(node) or node.poll() is not None, STARTS_S)
            if node.poll() is None:
                return node
            tries -= 1  # Ray gives a node 30 s, which on a busy machine may be too little
            assert tries, f"no node by {command}"

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self._all):
            kill(node)
        shutil.rmtree(self._temporary, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def kill(node: subprocess.Popen) -> None:
    """kill -9 of everything on a node."""
    for process in below(node):
        send(process, signal.SIGKILL)
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def raylets(node: subprocess.Popen) -> list[psutil.Process]:
    """The raylet of a node, if it lives."""
    return [p for p in below(node) if said(p).split(" ")[0].endswith("/raylet")]


def workers(process: subprocess.Popen | psutil.Process, task: str = "collect/") -> list[psutil.Process]:
    """Processes below this one that are at a task of this name."""
    return [p for p in below(process) if said(p).startswith(f"ray::{task}")]


def send(process: psutil.Process, what: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(what)


def until(found: Callable[[], Any], seconds: float, alive: subprocess.Popen | None = None) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < end, f"not within {seconds} s"
        assert alive is None or alive.poll() is None, "it ended"
        time.sleep(0.05)
    return answer


def below(process: subprocess.Popen | psutil.Process) -> list[psutil.Process]:
    """All that it has started, and they."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def said(process: psutil.Process) -> str:
    """Its command line."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
