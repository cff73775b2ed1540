"""Collection past one process, without a cluster: what a worker does with a task, the storage, how Ray is set up."""

import errno
import os
import pickle
import stat
from dataclasses import replace

import numpy as np
import pytest

from ludus.agents.trainer import Trainer
from ludus.config import AgentConfig, CollectionConfig, Config, SeedDataConfig, TrainingConfig, WorldConfig, override
from ludus.data.shards import pack, unpack
from ludus.lab.actors import ActorSpec, seed_rollouts
from ludus.lab.collector import LocalCollector, collect_tasks
from ludus.record import files
from ludus.record.storage import Storage, StorageError, checksum
from ludus.scale import environment
from ludus.scale.cache import bring
from ludus.scale.driver import last_words
from ludus.scale.worker import MARK, Order, carry_out, versions
from ludus.types import LudusError
from ludus.worlds.registry import make_world

WORLD = WorldConfig(n_blocks=1, n_envs=2, threads=1)


@pytest.fixture(scope="module")
def world():
    world = make_world(WORLD)
    yield world
    world.close()


@pytest.fixture
def storage(tmp_path):
    storage = Storage(f"file://{tmp_path}/a folder/run-1")
    storage.put(MARK, b"run-1")
    return storage


def task_of(world, actor):
    library = world.library()
    rollouts = seed_rollouts(library, SeedDataConfig(episodes=2, segments=1), seed=4)
    (task,) = collect_tasks("round/1/collect", rollouts, actor, library, WORLD, world.spec)
    return task


def done(order, storage):
    kind, name, expected = carry_out(pickle.dumps(order), versions())
    assert kind == "done", name
    return unpack(storage.get(name, expected))


def assert_same(found, result):
    episodes, outcomes = found
    assert tuple(outcomes) == result.outcomes
    for x, y in zip(episodes, result.episodes, strict=True):
        for name in ("id", "segments", "actor", "world", "seed", "start", "ended", "info"):
            assert getattr(x, name) == getattr(y, name)
        for a, b in (
            (x.actions, y.actions),
            (x.snapshot, y.snapshot),
            *((x.observations[g], y.observations[g]) for g in y.observations),
        ):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_a_worker_leaves_the_shard_of_its_task(world, storage, tmp_path):
    path = tmp_path / "policy.pt"
    config = AgentConfig(width=16, latents=2, action_bins=11, value_atoms=21)
    Trainer(config, world.spec, 10, 0, TrainingConfig(processes=1)).save(path)
    task = task_of(world, ActorSpec("policy", str(path), 0.5))
    (here,) = LocalCollector(world).map([task])
    name = f"checkpoints/{checksum(path.read_bytes())}.pt"
    storage.put(name, path.read_bytes())
    order = Order(replace(task, actor=replace(task.actor, checkpoint=name)), storage.url, "run-1", 1)
    assert_same(done(order, storage), here)
    assert_same(unpack(pack(here.episodes, here.outcomes)), here)


def test_a_node_reads_a_checkpoint_once(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read = []
    monkeypatch.setattr(
        storage, "get", lambda name, expected: read.append(name) or Storage.get(storage, name, expected)
    )

    def task(data):
        name, to = f"checkpoints/{checksum(data)}.pt", tmp_path / "task" / "checkpoint.pt"
        storage.put(name, data)
        to.parent.mkdir()
        read.clear()
        bring(storage, name, checksum(data), to)
        assert to.read_bytes() == data
        files.remove(to.parent)
        return len(read)

    assert [task(b"one"), task(b"one")] == [1, 0]
    kept = tmp_path / f"ludus-checkpoints-{os.getuid()}"
    (kept / checksum(b"one")).write_bytes(b"damaged")
    assert [task(b"one"), task(b"one")] == [1, 0]
    assert [task(bytes([n])) for n in range(4)] == [1] * 4
    assert len(list(kept.iterdir())) == 4 and task(b"one") == 1, "the oldest made room"
    kept.chmod(0o777)
    assert [task(b"one"), task(b"one")] == [1, 1], "others could write there"


def test_a_worker_says_what_is_wrong_with_its_node(world, storage, tmp_path):
    task = task_of(world, ActorSpec("random"))
    order = Order(task, storage.url, "run-1", 1)

    def answer(order, **other):
        return carry_out(pickle.dumps(order), versions() | other)

    kind, said, _ = answer(order, torch="1.0")
    assert kind == "refused" and f"has torch {versions()['torch']}, the run 1.0" in said and "on every node" in said
    assert answer(order, ludus="0.1.0, sources 00")[0] == "refused"
    kind, said, _ = answer(replace(order, storage=f"file://{tmp_path}/elsewhere"))
    assert kind == "unready" and "cannot read" in said and "collection.storage" in said
    kind, said, _ = answer(replace(order, session="run-2"))
    assert kind == "unready" and "another folder" in said
    policy = replace(task, actor=ActorSpec("policy", f"checkpoints/{'0' * 64}.pt"))
    storage.put(policy.actor.checkpoint, b"cut sho")
    kind, said, _ = answer(replace(order, task=policy))
    assert kind == "unready" and "cut short or overwritten" in said
    storage.put(policy.actor.checkpoint, b"")
    wrong = f"checkpoints/{checksum(b'')}.pt"
    storage.put(wrong, b"")
    kind, said, _ = answer(replace(order, task=replace(task, actor=ActorSpec("policy", wrong))))
    assert kind == "refused" and "checkpoint" in said  # as it would be anywhere
    assert carry_out(b"no pickle", versions() | {"numpy": "0"})[0] == "refused"  # nothing is unpickled before


def test_what_is_stored_is_what_was_sent(storage):
    storage.put("shards/a", b"episodes")
    assert storage.get("shards/a", checksum(b"episodes")) == b"episodes"
    with pytest.raises(StorageError, match=r"has the sha256 .*, not .*; it was cut short"):
        storage.get("shards/a", checksum(b"others"))
    storage.remove("shards/a")
    storage.remove("shards/a")
    with pytest.raises(StorageError, match=r"No such file or directory.*every node reaches"):
        storage.get("shards/a")
    storage.remove()
    with pytest.raises(StorageError):
        storage.get(MARK)
    with pytest.raises(LudusError, match=r"collection\.storage=nowhere://a cannot be used"):
        Storage("nowhere://a")
    with pytest.raises(LudusError, match="are no shard of episodes"):
        unpack(b"12345678901234567890")


def test_what_does_not_fit_into_the_storage_leaves_nothing_there(storage, tmp_path, monkeypatch):
    def half(path, data):
        with open(path, "wb") as file:
            file.write(data[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage._files._files, "pipe_file", half)
    with pytest.raises(
        StorageError, match=r"cannot write .*shards/a \(No space left on device\); free some space there"
    ):
        storage.put("shards/a", b"episodes")
    assert not list(tmp_path.rglob("shards/*"))


def test_last_words_are_not_a_stack():
    fatal = "[C 16591 16591] raylet_ipc_client.cc:85: Failed to connect to socket at address:/tmp/ray/sockets/raylet"
    frames = "/packages/ray/_raylet.so(+0x1812b9a) [0x7f1123c12b9a] ray::operator<<()\n/bin/python(_start+0x21) [0x5582] _start"
    assert last_words(f"begun\n{fatal}\n*** StackTrace Information ***\n{frames}\n\n") == f"; it said last: {fatal}"
    assert last_words("\n") == ""


def test_the_traps_of_ray_are_set_in_one_place(tmp_path):
    outside = {
        "RAY_ADDRESS": "elsewhere:1",
        "RAY_AUTH_TOKEN": "s",
        "RAY_USAGE_STATS_ENABLED": "1",
        "HOME": str(tmp_path),
    }
    own = environment.variables(CollectionConfig(on="ray"), tmp_path, outside)
    assert own["RAY_USAGE_STATS_ENABLED"] == "0" and own["RAY_AUTH_MODE"] == "token"
    assert "RAY_ADDRESS" not in own and "RAY_AUTH_TOKEN" not in own
    token = tmp_path / "token"
    assert own["RAY_AUTH_TOKEN_PATH"] == str(token) and len(token.read_text()) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    first = token.read_text()
    environment.variables(CollectionConfig(on="ray"), tmp_path, {})
    assert token.read_text() != first
    there = CollectionConfig(on="ray", address="host:1")
    assert (
        environment.variables(there, tmp_path, {})["RAY_AUTH_MODE"] == "disabled"
    )  # else Ray looks into the home directory
    assert environment.variables(there, tmp_path, outside)["RAY_AUTH_TOKEN"] == "s"
    given = environment.variables(replace(there, token=str(token)), tmp_path, outside)
    assert given["RAY_AUTH_TOKEN_PATH"] == str(token) and "RAY_AUTH_TOKEN" not in given
    with pytest.raises(LudusError, match=r"collection\.token=nothing is no file"):
        environment.variables(replace(there, token="nothing"), tmp_path, {})
    arguments = environment.arguments(CollectionConfig(on="ray", workers=2), "/tmp/r")
    assert arguments["include_dashboard"] is False and arguments["num_cpus"] == 2
    assert arguments["_node_ip_address"] == "127.0.0.1"
    assert environment.arguments(there, "/tmp/r")["address"] == "host:1"
    assert "RAY_AUTH_MODE" not in os.environ


def test_settings_that_make_no_sense_are_refused():
    for setting, message in (
        ("collection.on=rey", "nearest: 'ray'"),
        ("collection.address=ray://host:1", "is no host:port"),
        ("collection.timeout_s=0", "more than 0"),
        ("collection.retries=-1", "0 or more"),
    ):
        with pytest.raises(LudusError, match=message):
            override(Config(), [setting])
