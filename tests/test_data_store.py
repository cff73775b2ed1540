"""The store: what comes out is what went in, whole episodes or none, whatever happens to the writer."""

import dataclasses
import os
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from counting_episodes import episode
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.config import preset
from ludus.data import EpisodeStore
from ludus.record import Record
from ludus.types import Episode, LudusError


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore.create(tmp_path / "run", preset("tiny"))
    yield store
    store.record.close()


def same(one: Episode, other: Episode) -> bool:
    plain = [f.name for f in dataclasses.fields(Episode) if f.name not in ("observations", "actions", "snapshot")]
    arrays = [(e.observations | {"": e.actions, " ": e.snapshot}) for e in (one, other)]
    return (
        all(getattr(one, f) == getattr(other, f) for f in plain)
        and arrays[0].keys() == arrays[1].keys()
        and all(np.array_equal(v, arrays[1][k]) and v.dtype == arrays[1][k].dtype for k, v in arrays[0].items())
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_went_in_comes_out_in_order(tmp_path_factory, lengths):
    store = EpisodeStore.create(tmp_path_factory.mktemp("run"), preset("tiny"))
    given, batches = [], []
    for k, batch in enumerate(lengths):
        batches.append([episode(10 * k + i, n, range(3, n, 3), resets=[6]) for i, n in enumerate(batch)])
        store.append(batches[-1], step=f"collect/{k}")
        given += batches[-1]
    again = EpisodeStore(Record.open(store.record.directory, write=False))
    for s in (store, again):
        assert len(s) == len(given) and s.ids() == [e.id for e in given]
        assert all(same(x, y) for x, y in zip(s, given, strict=True))
        assert all(same(s.load(e.id), e) for e in reversed(given))
        assert s.n_steps == sum(e.n_steps for e in given)
        s.verify()
    for k, (shard, batch) in enumerate(zip(store.shards(), batches, strict=True)):
        assert {r.step for r in shard.episodes} == {f"collect/{k}"}
        assert np.array_equal(store.actions(shard), np.concatenate([e.actions for e in batch]))
        counters = np.concatenate([e.observations["counter"] for e in batch])
        assert np.array_equal(store.observations(shard)["counter"], counters)
    store.record.close()


def test_episodes_exist_with_the_commit_of_their_step(store):
    with EpisodeStore.open(store.record.directory, write=False).record as record:
        looking = EpisodeStore(record)
        with store.record.commit("round/1/collect"):
            store.append([episode(0, 5)])
            store.append([episode(1, 5), episode(2, 3)])  # a second shard of the same step
            assert len(store) == len(looking) == 0
        assert len(store) == len(looking) == 3 and len(store.shards()) == 2
        assert same(looking.load("e2"), episode(2, 3))


def test_a_step_that_fails_leaves_no_episodes_and_can_be_redone(store):
    class Stop(Exception): ...

    def attempt(episodes, stop):
        with store.record.commit("a"):
            store.append(episodes)
            if stop:
                raise Stop

    with pytest.raises(Stop):
        attempt([episode(0, 5), episode(1, 5)], stop=True)
    assert len(store) == 0 and os.listdir(store.record.path("shards")) == [
        "a.safetensors"
    ]  # an orphan: no row names it
    attempt([episode(7, 4)], stop=False)
    assert store.ids() == ["e7"] and same(store.load("e7"), episode(7, 4))
    assert os.listdir(store.record.path("shards")) == ["a.safetensors"]
    store.verify()


def test_leftovers_of_a_killed_writer_are_swept(store):
    leftover = store.record.path("shards", "x.safetensors.tmp")
    leftover.write_bytes(b"half")
    EpisodeStore(Record.open(store.record.directory, write=False))
    assert leftover.exists()  # who only looks touches nothing
    EpisodeStore(store.record)
    assert not leftover.exists()


def wrong(**changes) -> Episode:
    return dataclasses.replace(episode(5, 4), **changes)


def observed(group: str, array: np.ndarray) -> Episode:
    return wrong(observations=episode(5, 4).observations | {group: array})


NAN = np.full((5, 1), np.nan, np.float32)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (episode(5, 4, world="other"), "is of world other, .* holds episodes of world counting; two worlds do not mix"),
        (episode(0, 4), "'e0' is already in the store"),
        (observed("a", NAN), "observations/a is not finite at row 0"),
        (wrong(actions=np.full((4, 3), np.inf, np.float32)), "actions is not finite"),
        (wrong(snapshot=np.array([0, np.nan])), "snapshots is not finite"),
        (observed("c", NAN), "has arrays .*observations/c"),
        (observed("a", np.zeros((5, 2), np.float32)), r"observations/a is float32 \(5, 2\), expected float32 \(5, 1\)"),
        (observed("a", np.zeros((4, 1), np.float32)), r"expected float32 \(5, 1\)"),
        (observed("a", np.zeros((5, 1))), "observations/a is float64"),
        (wrong(actions=np.zeros((4, 2), np.float32)), r"actions is float32 \(4, 2\), expected float32 \(4, 3\)"),
        (wrong(segments=()), r"segments start at \[\]"),
        (wrong(segments=episode(5, 9, [4]).segments), r"segments start at \[0, 4\]; they rise from 0 and stay below 4"),
    ],
)
def test_bad_episodes_are_refused_by_name(store, bad, why):
    store.append([episode(0, 5)], step="a")
    with pytest.raises(LudusError, match=why):
        store.append([episode(1, 5), bad], step="b")
    assert store.ids() == ["e0"] and not store.record.done("b")


def test_bad_calls_are_explained(store):
    with pytest.raises(LudusError, match="needs an open step"):
        store.append([episode(0, 5)])
    with pytest.raises(LudusError, match="unknown episode 'e1'"):
        store.load("e1")
    with store.record.commit("a"):
        store.append([])
        store.append([episode(0, 5)])
        with pytest.raises(LudusError, match="'e0' is already in the store"):
            store.append([episode(0, 5)])
        with pytest.raises(LudusError, match="two worlds do not mix"):
            store.append([episode(1, 5, world="other")])
    with pytest.raises(LudusError, match=r"step 'a' of .* is already done"):
        store.append([episode(9, 5)], step="a")


def test_a_broken_shard_is_named(store):
    store.append([episode(0, 5)], step="a")
    path = store.record.path("shards", "a.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LudusError, match=r"a.safetensors cannot be read: its checksum is"):
        store.verify()
    path.write_bytes(data[:100])
    with pytest.raises(LudusError, match=r"a.safetensors cannot be read: .*restore it from a copy"):
        store.load("e0")
    path.unlink()
    for read in (store.verify, lambda: store.load("e0")):
        with pytest.raises(LudusError, match=r"a.safetensors cannot be read"):
            read()


def collect(directory, tell=lambda: None):
    """Sixty batches of ten episodes, from wherever the store stands."""
    begun = directory.with_suffix(".begun")
    store = EpisodeStore.open(directory) if begun.exists() else EpisodeStore.create(directory, preset("tiny"))
    begun.touch()
    for k in range(60):
        if not store.record.done(f"collect/{k}"):
            store.append([episode(10 * k + i, 300) for i in range(10)], step=f"collect/{k}")
            tell()
    store.record.close()


def test_a_writer_killed_mid_shard_loses_no_closed_episode(tmp_path):
    draw = np.random.default_rng(1)
    hear, say = os.pipe()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                collect(tmp_path / "killed", lambda: os.write(say, b"."))
            os._exit(0)
        for _ in range(draw.integers(1, 5)):
            os.read(hear, 1)
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        store = EpisodeStore.open(tmp_path / "killed", write=False)
        store.verify()
        assert len(store) == 10 * len(store.record.steps()) > 0
        assert all(same(e, episode(i, 300)) for i, e in enumerate(store))
    collect(tmp_path / "killed")
    collect(tmp_path / "whole")
    killed, whole = (EpisodeStore.open(tmp_path / name, write=False) for name in ("killed", "whole"))
    assert len(whole) == 600 and whole.record.content() == killed.record.content()
    assert sorted(os.listdir(whole.record.path("shards"))) == sorted(os.listdir(killed.record.path("shards")))
