"""The driver of a Ray cluster, a process of its own: `python -m ludus.scale.fleet DESCRIPTOR`. It hands tasks to the cluster, has
those done again whose worker died or does not answer, and notices when the cluster is lost.

Ray's own retries are off: they do not count what they do, and know no time limit. So is its choice of a node: with 'SPREAD' one
node that hangs holds up the tasks of all others, for minutes or for ever (ray-project/ray#63405).

Messages over the connection are tuples that begin with a word. In: `run` key step order, `again` key why, `drop` keys, `ping`.
Out: `ready` slots, `done` key name checksum, `failed` key sentence, `lost` sentence, `pong`.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ludus.scale.spec import FleetSpec
from ludus.scale.worker import carry_out, versions
from ludus.types import LudusError

TICK_S = 1.0
LOOK_S = 5.0
"""Between two looks at the nodes of the cluster."""
LOST_S = 10.0
"""The head of a cluster is lost when nothing listens at its address for so long."""
SHOWN = 300
"""Characters of somebody else's error."""


@dataclass
class _Job:
    """A task that was handed out and not taken back."""

    step: str
    order: bytes
    waits: bool = True
    """For a node."""
    ref: Any = None
    """Of the try under way, if one is."""
    node: str = ""
    began: float = 0.0
    failures: int = 0
    avoided: set[str] = field(default_factory=set)
    """Nodes on which it failed."""


class Fleet:
    """See the module's docstring."""

    def __init__(self, connection: Connection, spec: FleetSpec) -> None:
        self._out, self._spec = connection, spec
        self._in: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self._jobs: dict[int, _Job] = {}
        self._versions = versions()
        self._remote = ray.remote(num_cpus=spec.cores, max_retries=0)(carry_out)
        self._nodes: dict[str, int] = {}
        """Those that live: how many tasks each can run at a time."""
        self._silent: set[str] = set()
        """Those that did not answer in time, and not since."""
        self._checked = self._looked = self._heard = self._roomy = time.monotonic()
        self._node = ray.get_runtime_context().get_node_id()
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head = host.strip("[]"), int(port)

    def serve(self) -> None:
        """Until the other end of the connection is closed, or the cluster is lost."""
        self._look()
        if not self._nodes:
            raise LudusError(
                f"no node of the Ray cluster has the {self._spec.cores} cores that a task takes; give world.threads and "
                "training.threads that fit a node, or collection.workers of a cluster that is started here"
            )
        self._out.send(("ready", sum(self._nodes.values())))
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            try:
                word, *said = self._in.get(timeout=TICK_S)
            except queue.Empty:
                word, said = "tick", []
            if word == "end":
                return
            getattr(self, f"_{word}")(*said)
            self._watch()
            self._place()

    def _listen(self) -> None:
        try:
            while True:
                self._in.put(self._out.recv())
        except (EOFError, OSError):
            self._in.put(("end",))

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _tick(self) -> None: ...

    def _ping(self, _: None) -> None:
        self._out.send(("pong",))

    def _run(self, key: int, step: str, order: bytes) -> None:
        self._jobs[key] = _Job(step, order)

    def _again(self, key: int, why: str) -> None:
        if key in self._jobs:
            self._failed(key, why)

    def _drop(self, keys: list[int]) -> None:
        for key in keys:
            job = self._jobs.pop(key, None)
            if job is not None and job.ref is not None:
                ray.cancel(job.ref, force=True)

    def _answered(self, key: int, ref: Any, answer: Any, error: BaseException | None) -> None:
        """A try is over."""
        job = self._jobs.get(key)
        if job is None or job.ref is not ref:  # given up meanwhile
            return
        job.ref = None
        if isinstance(error, exceptions.RayTaskError):
            self._out.send(("failed", key, _bug(job.step, error)))
        elif isinstance(error, exceptions.LocalRayletDiedError):
            raise LudusError("the node of the Ray cluster on this machine has died")
        elif error is not None:
            self._failed(key, f"{type(error).__name__}: {' '.join(str(error).split())[:SHOWN]}")
        else:
            self._silent.discard(job.node)
            kind, said, more = answer
            if kind == "unready":
                self._failed(key, said)
            else:
                self._out.send(("failed", key, said) if kind == "refused" else ("done", key, said, more))

    # --- tries ------------------------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Begin tries on the nodes that have most room, as long as there is some."""
        free = dict(self._nodes)
        for job in self._jobs.values():
            if job.ref is not None and job.node in free:
                free[job.node] -= 1
        for node in self._silent & set(free):
            free[node] -= self._nodes[node] - 1  # one at a time, to see whether it answers again
        for key, job in self._jobs.items():
            if not job.waits:
                continue
            if job.avoided >= set(free):
                job.avoided.clear()
            node = max(set(free) - job.avoided, key=lambda n: (free[n], n), default=None)
            if node is not None and free[node] > 0:
                free[node] -= 1
                self._begin(key, job, node)

    def _begin(self, key: int, job: _Job, node: str) -> None:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        ref = self._remote.options(name=job.step, scheduling_strategy=there).remote(job.order, self._versions)
        job.ref, job.node, job.began, job.waits = ref, node, time.monotonic(), False
        ref.future().add_done_callback(lambda f: self._in.put(("answered", key, ref, *_outcome(f))))

    def _give_up(self, key: int, why: str) -> None:
        """End a job's try under way."""
        ref, self._jobs[key].ref = self._jobs[key].ref, None
        ray.cancel(ref, force=True)
        self._failed(key, why)

    def _failed(self, key: int, why: str) -> None:
        """Of a job whose try is over."""
        job = self._jobs[key]
        job.failures += 1
        job.avoided.add(job.node)
        job.waits = job.failures <= self._spec.retries
        with suppress(OSError):  # the log is for people; its disk may be full
            print(f"{job.step}: {why}", file=sys.stderr, flush=True)
        if not job.waits:
            text = (
                f"{job.step} failed {job.failures} times on the Ray cluster, in the end: {why}. What was committed is safe; mend "
                "it and go on with `ludus resume` or the same command, with more collection.retries where nodes are often lost"
            )
            self._out.send(("failed", key, text))

    def _watch(self) -> None:
        """Tries that take too long are ended; a cluster that is gone is an error."""
        now = time.monotonic()
        for key, job in self._jobs.items():
            if job.ref is not None and now - job.began > self._spec.timeout_s:
                self._silent.add(job.node)
                self._give_up(key, f"no answer within {self._spec.timeout_s:g} s (collection.timeout_s)")
        if now - self._checked < TICK_S:
            return
        self._checked = now
        if _listens(self._head):
            self._heard = now
        elif now - self._heard > LOST_S:
            raise LudusError("the head of the Ray cluster does not answer any more")
        else:
            return  # a question to it would wait
        if now - self._looked > LOOK_S:
            self._look()

    def _look(self) -> None:
        nodes = [n for n in ray.nodes() if n["Alive"]]
        self._looked, cores = time.monotonic(), self._spec.cores
        room = {n["NodeID"]: int(n["Resources"].get("CPU", 0) // cores) for n in nodes}
        self._nodes = {node: n for node, n in room.items() if n}
        if self._nodes:
            self._roomy = self._looked
        elif self._looked - self._roomy > self._spec.timeout_s:
            raise LudusError(f"no node that is left has the {cores} cores that a task takes")
        if self._node not in room:
            raise LudusError("the node of the Ray cluster on this machine has died")
        for key, job in self._jobs.items():
            if job.ref is not None and job.node not in room:  # Ray itself waits on for its answer
                self._give_up(key, "its node is lost")


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True


def _outcome(future: Any) -> tuple[Any, BaseException | None]:
    error = future.exception()
    return (None, error) if error is not None else (future.result(), None)


def _bug(step: str, error: exceptions.RayTaskError) -> str:
    """The sentence for an error that no task should end with."""
    last = str(error).strip().splitlines()[-1][:SHOWN]
    if "No module named" in str(error):
        return f"{step}: a node lacks a package ({last}); install ludus with the same extras on every node"
    return f"{step} ended on the Ray cluster with an error of ludus: {last}\n{error}"


def _begin(arguments: dict[str, Any]) -> None:
    """Connect to the cluster, or start it."""
    address = arguments["address"]
    host, _, port = address.rpartition(":")
    if address != "local" and not (port.isdigit() and _listens((host.strip("[]"), int(port)))):
        raise LudusError("nothing listens there; give host:port of the head that `ray start --head` has named")
    try:
        ray.init(**arguments)
    except (ConnectionError, exceptions.AuthenticationError) as error:
        why = " ".join(str(error).split())[:SHOWN]
        raise LudusError(
            f"what listens there does not let this process in ({why}); give the file of the token that the cluster was started "
            "with by collection.token, and the address of a head"
        ) from error


def main() -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    spec: FleetSpec = connection.recv()
    try:
        _begin(spec.arguments)
        Fleet(connection, spec).serve()
    except LudusError as error:
        connection.send(("lost", str(error)))
        os._exit(1)  # an orderly end asks the head
    except Exception as error:
        connection.send(("lost", f"{type(error).__name__}: {' '.join(str(error).split())[:SHOWN]}"))
        raise
    ray.shutdown()


if __name__ == "__main__":
    main()
