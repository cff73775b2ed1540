"""A `Collector` whose tasks run on a Ray cluster: handed out in order, taken back in order, at most so many at a time."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ludus.config import CollectionConfig
from ludus.data.shards import unpack
from ludus.lab.collector import Admit, CollectResult, CollectTask, all_of
from ludus.lab.rollout import Advance
from ludus.record.storage import PATIENCE_S, Storage, StorageError, checksum
from ludus.scale import environment
from ludus.scale.driver import ClusterDriver, LostError
from ludus.scale.spec import FleetSpec
from ludus.scale.worker import MARK, Order
from ludus.types import LudusError

LOG = "driver.log"
FOLDER = "ray"
"""Of a run's directory: token, log, and what is exchanged unless `collection.storage` says where. Nothing in it is needed once no
process collects."""


@dataclass(frozen=True)
class _Ahead:
    """A task that was handed out."""

    task: CollectTask
    key: int


class RayCollector:
    """See the module's docstring. The cluster is reached, or started, when the first task is asked for."""

    def __init__(self, config: CollectionConfig, directory: Path, session: str, cores: int, threads: int) -> None:
        """
        Args:
            directory: of the run.
            session: names the run in the storage.
            cores: of a task.
            threads: of torch; a policy's bits depend on it.
        """
        self._config, self._cores, self._threads = config, cores, threads
        self._folder = directory.absolute() / FOLDER
        self._session = session
        self._url = (
            f"{config.storage.rstrip('/')}/{session}" if config.storage else f"file://{self._folder / 'exchange'}"
        )
        self._storage: Storage | None = None
        self._driver: ClusterDriver | None = None
        self._sent: set[str] = set()
        """Checkpoints in the storage."""
        self._keys = 0

    def map(
        self, tasks: Iterable[CollectTask], advance: Advance | None = None, admitted: Admit = all_of
    ) -> Iterator[CollectResult]:
        """See `Collector.map`.

        Raises:
            LudusError: no such cluster, or it was lost; a task that failed too often; other versions on a node; see also
                `run_batch`.
        """
        waiting, ahead = iter(tasks), deque[_Ahead]()
        window = 1
        try:
            while True:
                while len(ahead) < window and (task := next(waiting, None)) is not None:
                    if not ahead:
                        slots = self._started().slots
                        window = self._config.in_flight or 2 * slots
                    ahead.append(self._hand_out(task))
                if not ahead:
                    return
                first = ahead.popleft()
                if (task := admitted(first.task)).rollouts != first.task.rollouts:
                    self._drop([first])
                    first = self._hand_out(task) if task.rollouts else _Ahead(task, 0)
                ahead.appendleft(first)
                result = self._fetch(first)
                ahead.popleft()
                if advance is not None:
                    advance(sum(e.n_steps for e in result.episodes))
                yield result
        except StorageError as error:
            raise LudusError(
                f"{error}. What was committed is safe; when that is mended, go on with `ludus resume` or the same command"
            ) from error
        except LostError as error:
            raise LudusError(
                f"the Ray cluster {self._config.address or 'that was started here'} is lost: {error}. What was committed is "
                f"safe; when it is there again, go on with `ludus resume` or the same command (log: {self._folder / LOG})"
            ) from error
        finally:
            self._drop(ahead)

    def close(self) -> None:
        """End the cluster that was started here, or leave the one that was there, and remove what was exchanged."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
        if self._storage is not None:
            self._storage.remove()
            self._storage = None
            self._sent.clear()

    def _started(self) -> ClusterDriver:
        """The driver of the cluster; a new one where there was none or its cluster was lost meanwhile."""
        if self._driver is not None and self._driver.alive:
            return self._driver
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        Storage(self._url).put(MARK, self._session.encode())  # one that cannot be used at all is not waited for
        self._storage = Storage(self._url, patience_s=PATIENCE_S)
        self._storage.remove()  # what a run that was killed has left
        self._storage.put(MARK, self._session.encode())
        config = self._config
        self._driver = ClusterDriver(environment.variables(config, self._folder, os.environ), self._folder / LOG)
        arguments = environment.arguments(config, self._driver.temporary)
        try:
            self._driver.start(FleetSpec(arguments, self._cores, config.timeout_s, config.retries))
        except LostError as error:
            where = (
                f"at collection.address={config.address} is not reached" if config.address else "does not start here"
            )
            raise LudusError(f"the Ray cluster {where}: {error}") from error
        return self._driver

    # --- one task -----------------------------------------------------------------------------------------------

    def _hand_out(self, task: CollectTask) -> _Ahead:
        assert self._driver is not None and self._storage is not None
        actor, world = task.actor, replace(task.world, threads=task.world.threads or 1)
        if actor.checkpoint is not None:
            data = Path(actor.checkpoint).read_bytes() if Path(actor.checkpoint).is_file() else b""
            if not data:
                raise LudusError(f"checkpoint {actor.checkpoint} is missing; give the path of a file")
            name = f"checkpoints/{checksum(data)}.pt"
            if name not in self._sent:
                self._storage.put(name, data)
                self._sent.add(name)
            actor = replace(actor, checkpoint=name)
        order = Order(replace(task, actor=actor, world=world), self._url, self._session, self._threads)
        self._keys += 1
        self._driver.send("run", self._keys, task.step, pickle.dumps(order))
        return _Ahead(task, self._keys)

    def _fetch(self, one: _Ahead) -> CollectResult:
        """The result of a task, once it is there and whole."""
        if not one.task.rollouts:
            return CollectResult(one.task.step, (), ())
        assert self._driver is not None and self._storage is not None
        while True:
            name, expected = self._driver.answer(one.key)
            try:
                data = self._storage.get(name, expected)
                break
            except StorageError as error:
                self._driver.send("again", one.key, f"what a node has written is not here: {error}")
        self._driver.send("drop", [one.key])
        self._storage.remove(name)
        episodes, outcomes = unpack(data)
        return CollectResult(one.task.step, tuple(episodes), tuple(outcomes))

    def _drop(self, some: Iterable[_Ahead]) -> None:
        keys = [one.key for one in some]
        if self._driver is not None and keys:
            self._driver.send("drop", keys)
