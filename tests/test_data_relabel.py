"""Relabelling: what was seen online is what is found later; columns are computed once, and never believed blindly."""

import numpy as np
import pytest
from counting_episodes import COUNT, LIBRARY, MARK_A, MARK_B, VOCABULARY, episode
from counting_world import SPEED, CountingWorld
from safetensors.numpy import load, save

from ludus.config import preset
from ludus.data import EpisodeStore, Relabeller, outcomes
from ludus.record import Record
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import Episode, LudusError, Segment


class Counted(SkillLibrary):
    """Remembers which captions it scored on how many observations."""

    def __init__(self, *args):
        super().__init__(*args)
        self.scored: list[tuple[tuple[str, ...], int]] = []

    def score(self, observations, captions=None):
        self.scored.append((tuple(captions or self.captions), len(next(iter(observations.values())))))
        return super().score(observations, captions)


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore.create(tmp_path / "run", preset("tiny"))
    store.append([episode(0, 700, [300], a=[5, 700], b=range(100, 200)), episode(1, 6, a=[0])], step="a")
    yield store
    store.record.close()


def test_outcomes_are_those_of_each_segment():
    # Steps 0..3 count, 4..7 mark a, 8.. count; observations after an action of the second segment: 5..8.
    e = episode(3, 10, [4, 8], a=[4, 6])
    first, second, third = outcomes(LIBRARY, [e])
    assert (second.episode, second.segment, second.caption, second.skill) == ("e3", 1, "mark a", MARK_A.hash)
    assert (second.success_at_end, second.success_once, second.reward) == (False, True, 0)
    assert first.reward == pytest.approx(np.mean([1, 2, 3, 4]) / 1000) and not first.success_once
    assert third.reward == pytest.approx(np.mean([9, 10]) / 1000)
    assert outcomes(LIBRARY, [episode(3, 10, [4, 8], a=[8])])[1].success_at_end
    before = outcomes(LIBRARY, [episode(3, 10, [4, 8], a=[4, 9])])[1]  # marked before and after, not within
    assert not before.success_at_end and not before.success_once
    many = [episode(i, 5 + i, [2], a=[i]) for i in range(6)]
    assert outcomes(LIBRARY, many) == [o for e in many for o in outcomes(LIBRARY, [e])]
    with pytest.raises(LudusError, match="unknown skill 'count'"):
        outcomes(SkillLibrary(VOCABULARY, [MARK_A]), [e])


def test_columns_are_the_librarys_scores(store):
    relabeller = Relabeller(store, LIBRARY)
    (shard,) = store.shards()
    expected = LIBRARY.score(store.observations(shard))
    for _ in range(2):  # computed, then read back
        reward, success = relabeller.columns(shard)
        assert np.array_equal(reward, expected[0]) and np.array_equal(success, expected[1])
        assert reward.dtype == np.float32 and success.dtype == bool
    assert np.array_equal(relabeller.columns(shard, ["mark b"])[1], expected[1][2:])


def test_a_new_skill_costs_only_its_own_column(store):
    (shard,) = store.shards()
    n = 701 + 7
    library = Counted(VOCABULARY, [COUNT, MARK_A])
    Relabeller(store, library).columns(shard)
    assert library.scored == [(("count", "mark a"), n)]
    grown = Counted(VOCABULARY, [COUNT, MARK_A, MARK_B])
    Relabeller(store, grown).columns(shard)
    assert [s for s in grown.scored if s[1] == n] == [(("mark b",), n)]
    again = Counted(VOCABULARY, [COUNT, MARK_A, MARK_B])
    Relabeller(store, again).columns(shard)
    assert all(rows < n for _, rows in again.scored)  # a spot check
    redefined = Counted(VOCABULARY, [COUNT, Skill("mark a", "0.5", "marked(a)"), MARK_B])
    assert Relabeller(store, redefined).columns(shard)[0][1, 0] == 0.5  # the caption is old, the hash is new


@pytest.mark.parametrize("damage", ["garbage", "cut", "stale"])
def test_a_cache_that_is_wrong_is_computed_anew(store, damage):
    (shard,) = store.shards()
    relabeller = Relabeller(store, LIBRARY)
    expected = relabeller.columns(shard)
    (path,) = store.record.path("relabel").rglob("*.safetensors")
    data = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"nonsense" * 100)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:  # as if the code behind a predicate had changed
        path.write_bytes(save({k: v if v.dtype == bool else v + np.float32(0.01) for k, v in load(data).items()}))
    for _ in range(2):
        found = relabeller.columns(shard)
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


def test_a_read_only_record_gets_no_cache(store):
    looking = EpisodeStore(Record.open(store.record.directory, write=False))
    reward, _ = Relabeller(looking, LIBRARY).columns(looking.shards()[0])
    assert len(reward) == 3 and not store.record.path("relabel").exists()


def test_online_success_is_relabelled_success(tmp_path):
    """Scored step by step while acting, and later from the shard: the same bits."""
    world = CountingWorld(n_envs=8)
    library = world.library()
    captions = [library.captions[i % 4] for i in range(8)]
    observations = [world.reset(range(8))]
    actions = []
    for _ in range(world.spec.episode_steps):
        goals = np.stack([observations[-1][c.split()[-1]][i, :2] for i, c in enumerate(captions)])
        there = np.clip((goals - observations[-1]["point"][:, :2]) / SPEED, -1, 1)
        actions.append(np.concatenate([there, np.ones((8, 1), np.float32)], axis=1))
        observations.append(world.step(actions[-1]))
    online = [library.score(o) for o in observations]
    episodes = [
        Episode(
            id=f"e{i}",
            observations={g: np.stack([o[g][i] for o in observations]) for g in observations[0]},
            actions=np.stack([a[i] for a in actions]),
            segments=(Segment(0, captions[i], library[captions[i]].hash),),
            actor="walker",
            world=world.spec.fingerprint,
            seed=i,
            start="far",
            snapshot=np.zeros(3),
        )
        for i in range(8)
    ]
    with EpisodeStore.create(tmp_path / "run", preset("tiny")).record as record:
        store = EpisodeStore(record)
        store.append(episodes, step="a")
        reward, success = Relabeller(store, library).columns(store.shards()[0])
        for i, outcome in enumerate(outcomes(library, list(store))):
            column = library.captions.index(captions[i])
            assert np.array_equal(np.stack([r[:, i] for r, _ in online], 1), reward[:, 31 * i : 31 * (i + 1)])
            assert np.array_equal(np.stack([s[:, i] for _, s in online], 1), success[:, 31 * i : 31 * (i + 1)])
            assert outcome.success_at_end == online[-1][1][column, i]
            assert outcome.success_once == any(s[column, i] for _, s in online[1:])
    assert success.any()
