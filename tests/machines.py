"""Machines of a cluster that are namespaces of this one: each has an address, a folder of its own, and a wire that can be cut."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

from ray_nodes import until

ADDRESSES = f"10.231.{os.getpid() % 256}."
"""The first three numbers. Nothing of the namespaces is seen outside, so they may be in use there; but Ray takes heads of other
tests, which it sees as processes, for its own where the address is the same."""
FOLDER_MB = 500
SWITCH = 0


class Forbidden(Exception):
    """This user may not make namespaces here."""


class Machines:
    """Numbered from 1. A context manager that leaves nothing."""

    def __init__(self, n: int, folder: Path) -> None:
        """
        Args:
            folder: is there; each machine has another, empty and of 500 MB, in its place.

        Raises:
            Forbidden: see there.
        """
        self._holders: list[subprocess.Popen[bytes]] = []
        try:
            self._hold("--net")
            self._do(SWITCH, "ip link add bridge type bridge && ip link set bridge up")
            for number in range(1, n + 1):
                self._hold("--net", "--mount")
                self._connect(number, self._holders[number].pid)
                self._do(number, f"mount -t tmpfs -o size={FOLDER_MB}m none {folder}")
        except (OSError, AssertionError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise Forbidden(f"cannot make machines of namespaces here: {error}") from error

    def address(self, number: int) -> str:
        return f"{ADDRESSES}{number}"

    def within(self, number: int, *variables: str) -> tuple[str, ...]:
        """The words by which a command is run on a machine.

        Args:
            variables: NAME=VALUE, of its environment.
        """
        pid = str(self._holders[number].pid)
        kind = ("-n",) if number == SWITCH else ("-n", "-m")
        return "nsenter", "-t", pid, *kind, "env", *variables

    def cut(self, number: int) -> None:
        """Pull the plug of a machine: what is sent to it and from it is lost, and nobody is told."""
        self._do(SWITCH, f"ip link set wire{number} nomaster")

    def mend(self, number: int) -> None:
        self._do(SWITCH, f"ip link set wire{number} master bridge")

    def slow(self, number: int, kilobits: int) -> None:
        """So many a second go to a machine and come from it, and wait in line for up to a second."""
        line = f"root tbf rate {kilobits}kbit burst 16kbit latency 1s"
        self._do(SWITCH, f"tc qdisc add dev wire{number} {line}")
        self._do(number, f"tc qdisc add dev eth0 {line}")

    def mount(self, number: int, folder: Path, kilobytes: int) -> None:
        """A disk of this size in place of a folder."""
        self._do(number, f"mount -t tmpfs -o size={kilobytes}k none {folder}")

    def fill(self, number: int, folder: Path) -> None:
        """Leave no room in a machine's folder."""
        self._do(number, f"head -c {FOLDER_MB}M /dev/zero > {folder}/filler || true")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def _hold(self, *kinds: str) -> None:
        """A process that keeps a namespace; it is there once its namespace is another than this process's."""
        held = subprocess.Popen(["unshare", *kinds, "sleep", "infinity"], stderr=subprocess.DEVNULL)
        self._holders.append(held)
        here = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{held.pid}/ns/net") != here and "sleep" in _name(held.pid), 10, held)
        self._do(len(self._holders) - 1, "ip link set lo up")

    def _connect(self, number: int, pid: int) -> None:
        self._do(SWITCH, f"ip link add wire{number} type veth peer name eth0 netns {pid}")
        self._do(SWITCH, f"ip link set wire{number} master bridge up")
        self._do(number, f"ip addr add {self.address(number)}/24 dev eth0 && ip link set eth0 up")

    def _do(self, number: int, what: str) -> None:
        subprocess.run([*self.within(number), "sh", "-c", what], check=True, stderr=subprocess.DEVNULL)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()
