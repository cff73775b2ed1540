"""Runs on a cluster of three nodes of which something is killed every few seconds: a worker, a raylet, the head, the driver, the
run itself. What stopped goes on, and when enough was killed, every run is compared with one of a single process. Prints JSON.

    python tests/ray_chaos.py [--kills 50] [--seed 0] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from machines import Forbidden, Machines
from ray_nodes import Nodes, below, kill, raylets, said, send
from run_processes import RUN, content

KINDS = {"worker": 0.4, "raylet": 0.2, "driver": 0.15, "run": 0.15, "head": 0.1}
"""How often each is drawn."""
CHAOS = (*RUN, "world.n_envs=4", "seed_data.episodes=128", "experiment.rounds=2")
"""32 tasks of seed data, 8 in each of two rounds."""
PAUSE_S = 25.0
"""At most between two kills."""
RUN_S = 7200.0
OTHERS = (2, 3)
"""Numbers of the machines without the head; the first has the run."""


class Cluster:
    """Three nodes, which come back after they were killed."""

    def __init__(self, nodes: Nodes, machines: Machines | None) -> None:
        self._nodes, self._machines = nodes, machines
        self._others = {number: nodes.start(machine=number) for number in OTHERS}

    @property
    def address(self) -> str:
        return self._nodes.address

    def within(self) -> tuple[str, ...]:
        return self._machines.within(OTHERS[0]) if self._machines else ()

    def mend(self) -> None:
        """Begin again what has ended; all of it, where the head has."""
        whole = bool(raylets(self._nodes.head))
        if not whole:
            for node in (*self._others.values(), self._nodes.head):
                kill(node)
            self._nodes.start_head()
        for number, node in self._others.items():
            if not whole or not raylets(node):
                kill(node)
                self._others[number] = self._nodes.start(machine=number)

    def found(self, kind: str, run: subprocess.Popen[bytes]) -> list[psutil.Process] | list[subprocess.Popen[Any]]:
        """What of this kind there is to be killed."""
        if kind == "run":
            return [run]
        if kind == "head":
            return [self._nodes.head] if raylets(self._nodes.head) else []
        if kind == "driver":
            return [p for p in below(run) if "ludus.scale.fleet" in said(p)]
        if kind == "raylet":
            return [p for node in self._others.values() for p in raylets(node)]
        everything = [p for node in (self._nodes.head, *self._others.values()) for p in below(node)]
        return [p for p in everything if said(p).startswith("ray::") and "Agent" not in said(p)]


class Chaos:
    """Kills until there were enough."""

    def __init__(self, cluster: Cluster, folder: Path, kills: int, seed: int) -> None:
        self._cluster, self._folder, self._kills = cluster, folder, kills
        self._draw = np.random.default_rng(seed)
        self.killed: Counter[str] = Counter()
        self.resumed = 0

    def __call__(self, seed: int) -> bool:
        """A run with this seed under fire: whether it is that of one process."""
        here, there = self._folder / f"here-{seed}", self._folder / f"there-{seed}"
        if not (here / "report.html").is_file():  # else the folder is that of a chaos that goes on
            assert self._begin("run", "--dir", here, *CHAOS, f"--seed={seed}", at=()).wait(RUN_S) == 0, self._said()
        on = ("collection.on=ray", f"collection.address={self._cluster.address}", "collection.retries=1000",
              f"collection.token={self._folder / 'token'}")  # fmt: skip
        end = time.monotonic() + RUN_S
        while True:
            begun = (there / "run.json").is_file()
            what = ("resume", there, *on) if begun else ("run", "--dir", there, *CHAOS, f"--seed={seed}", *on)
            run = self._begin(*what, at=self._cluster.within())
            self._fire(run, end)
            if run.returncode == 0:
                return content(here) == content(there)
            assert run.returncode in (2, -signal.SIGKILL) and "Traceback" not in self._said(), self._said()
            self.resumed += 1
            self._cluster.mend()

    def _fire(self, run: subprocess.Popen[bytes], end: float) -> None:
        """Until the run has ended."""
        while run.poll() is None:
            time.sleep(self._draw.uniform(0, PAUSE_S))
            assert time.monotonic() < end, f"not within {RUN_S} s: {self._said()}"
            if self.killed.total() >= self._kills:
                continue
            kind = self._draw.choice(list(KINDS), p=list(KINDS.values()))
            if run.poll() is None and (found := self._cluster.found(kind, run)):
                victim = found[self._draw.integers(len(found))]
                kill(victim) if kind == "head" else send(victim, signal.SIGKILL)
                self.killed[kind] += 1
                print(f"{time.strftime('%X')} kill {self.killed.total()}: {kind}", file=sys.stderr, flush=True)
            if kind == "raylet":
                self._cluster.mend()

    def _begin(self, *words: object, at: tuple[str, ...]) -> subprocess.Popen[bytes]:
        command = [*at, sys.executable, "-m", "ludus.cli", *map(str, words)]
        with (self._folder / "said.txt").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _said(self) -> str:
        return (self._folder / "said.txt").read_text(errors="replace")


def chaos(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """So many kills, and what came of the runs."""
    began, equal = time.monotonic(), list[bool]()
    with _cluster(folder) as (cluster, kind):
        fire = Chaos(cluster, folder, kills, seed)
        while fire.killed.total() < kills:
            equal.append(fire(len(equal)))
            print(f"{time.strftime('%X')} run {len(equal)}: equal {equal[-1]}", file=sys.stderr, flush=True)
    return {
        "seed": seed, "nodes": kind, "kills": fire.killed.total(), "by_kind": dict(fire.killed), "resumes": fire.resumed,
        "runs": len(equal), "equal": sum(equal), "seconds": round(time.monotonic() - began),
    }  # fmt: skip


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[Cluster, str]]:
    """In namespaces, where they can be made."""
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)))
        try:
            machines, kind = stack.enter_context(Machines(3, temporary)), "namespaces"
        except Forbidden:
            machines, kind = None, "processes"
        nodes = stack.enter_context(Nodes(folder / "token", machines, temporary))
        yield Cluster(nodes, machines), kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where runs are kept; a temporary one if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(chaos(folder, given.kills, given.seed), indent=1))


if __name__ == "__main__":
    main()
