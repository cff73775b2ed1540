"""The sampler, on episodes that count: no gap, no reorder, windows end where they must, labels have their shares."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from counting_episodes import COUNT, LIBRARY, MARK_A, MARK_B, VOCABULARY, episode
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.config import AgentConfig, SamplingConfig, preset
from ludus.data import EpisodeStore, Relabeller, Sampler
from ludus.data.labels import Focus
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import Batch, LudusError

PAC = AgentConfig(batch_size=64, n_step=4, gamma=0.9)


def make(directory, *batches, name="collect") -> EpisodeStore:
    store = EpisodeStore.create(directory, preset("tiny"))
    for k, batch in enumerate(batches):
        store.append(batch, step=f"{name}/{k}")
    return store


def equal(one: Batch, other: Batch) -> bool:
    arrays = [b.observations | {"next " + g: v for g, v in b.next_observations.items()} for b in (one, other)]
    rest = ("actions", "returns", "discounts", "skills", "bc_mask")
    return all(np.array_equal(v, arrays[1][k]) for k, v in arrays[0].items()) and all(
        np.array_equal(getattr(one, f), getattr(other, f)) for f in rest
    )


def check(batch: Batch, episodes, library, sampling: SamplingConfig, agent: AgentConfig = PAC) -> None:
    """Compare every row of a batch with the episode it says it is from."""
    for i in range(agent.batch_size):
        number, t = (int(x) for x in batch.observations["counter"][i])
        e = episodes[number]
        segment, _, end = next(s for s in e.segment_bounds() if s[1] <= t < s[2])
        caption = library.captions[batch.skills[i]]
        assert batch.bc_mask[i] == (caption == segment.caption)
        trajectory_end = next((s.start for s in e.segments if s.reset and s.start > t), e.n_steps)
        n = min(agent.n_step, (end if batch.bc_mask[i] else trajectory_end) - t)
        assert np.array_equal(batch.actions[i], [number, t, 0])
        for group in ("counter", "a", "b"):
            assert np.array_equal(batch.observations[group][i], e.observations[group][t])
            assert np.array_equal(batch.next_observations[group][i], e.observations[group][t + n])
        dense, success = library.rewards(caption, e.observations)
        reward = (1 - sampling.sparse) * dense + sampling.sparse * success
        assert batch.returns[i] == pytest.approx(sum(agent.gamma**k * reward[t + 1 + k] for k in range(n)), abs=1e-6)
        is_terminal = e.ended == "terminal" and t + n == e.n_steps
        assert batch.discounts[i] == (0 if is_terminal else pytest.approx(agent.gamma**n))
    assert batch.returns.dtype == batch.discounts.dtype == batch.actions.dtype == np.float32
    assert batch.skills.dtype == np.int64 and batch.bc_mask.dtype == bool


steps = st.integers(0, 25)
episode_strategy = st.tuples(
    st.integers(1, 25),
    st.lists(steps, max_size=3),
    st.sets(steps, max_size=6),
    st.sets(steps, max_size=6),
    st.sets(steps, max_size=12),
    st.sampled_from(["time", "terminal"]),
)


@settings(max_examples=25, deadline=None)
@given(
    drawn=st.lists(episode_strategy, min_size=1, max_size=6),
    split=st.integers(0, 6),
    own=st.sampled_from([0, 0.3, 0.6, 1]),
    balance=st.sampled_from([0, 0.5, 1]),
    horizon=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_every_row_is_what_it_says(tmp_path_factory, drawn, split, own, balance, horizon, seed):
    captions = ("mark b", "count", "mark a")
    episodes = [
        episode(k, n, [s for s in switches if s < n], captions, a, b, resets=resets - {0}, ended=ended)
        for k, (n, switches, a, b, resets, ended) in enumerate(drawn)
    ]
    batches = [b for b in (episodes[:split], episodes[split:]) if b]
    store = make(tmp_path_factory.mktemp("run"), *batches)
    sampling = SamplingConfig(own, 1 - own, horizon=horizon, balance=balance, balance_hindsight=balance)
    sampler = Sampler(store, LIBRARY, PAC, sampling, seed)
    assert sampler.captions == LIBRARY.captions and sampler.n_transitions == sum(e.n_steps for e in episodes)
    for _ in range(3):
        check(sampler.next(), episodes, LIBRARY, sampling)
    store.record.close()


def test_every_transition_is_drawn_equally_often(tmp_path):
    store = make(tmp_path / "run", [episode(0, 3), episode(1, 20, [7])], [episode(2, 1)])
    sampler = Sampler(store, LIBRARY, PAC, SamplingConfig(), 0)
    counts: Counter[tuple[int, int]] = Counter()
    for _ in range(150):
        counts.update(map(tuple, sampler.next().observations["counter"].astype(int).tolist()))
    assert set(counts) == {(0, t) for t in range(3)} | {(1, t) for t in range(20)} | {(2, 0)}
    assert min(counts.values()) > 300 and max(counts.values()) < 500  # 400 expected, standard deviation 20


def shares_of_labels(store, sampling, library=LIBRARY, where=lambda e, t: True) -> dict[str, float]:
    sampler = Sampler(store, library, PAC, sampling, 0)
    counts: Counter[str] = Counter()
    for _ in range(100):
        batch = sampler.next()
        for skill, (number, t) in zip(batch.skills, batch.observations["counter"].astype(int), strict=True):
            if where(number, t):
                counts[library.captions[skill]] += 1
    return {c: counts[c] / counts.total() for c in library.captions}


def test_labels_have_their_shares(tmp_path):
    store = make(tmp_path / "run", [episode(0, 100, a=[50])])
    # Own: count. Achieved before step 50: only mark a, afterwards nothing, so the own command stands in.
    early = shares_of_labels(
        store, SamplingConfig(commanded_ratio=0.6, hindsight_ratio=0.3, horizon=50), where=lambda e, t: t < 50
    )
    assert early == pytest.approx({"count": 0.6 + 0.1 / 3, "mark a": 0.3 + 0.1 / 3, "mark b": 0.1 / 3}, abs=0.03)
    late = shares_of_labels(
        store, SamplingConfig(commanded_ratio=0.6, hindsight_ratio=0.3, horizon=50), where=lambda e, t: t >= 50
    )
    assert late == pytest.approx({"count": 0.9 + 0.1 / 3, "mark a": 0.1 / 3, "mark b": 0.1 / 3}, abs=0.03)


def test_hindsight_looks_ahead_within_the_horizon_and_the_episode(tmp_path):
    hindsight = SamplingConfig(commanded_ratio=0, hindsight_ratio=1, horizon=10)
    store = make(tmp_path / "run", [episode(0, 60, a=[30]), episode(1, 60, b=[0, 5])])
    sampler = Sampler(store, LIBRARY, PAC, hindsight, 0)
    for _ in range(30):
        batch = sampler.next()
        for skill, (number, t) in zip(batch.skills, batch.observations["counter"].astype(int), strict=True):
            # A success at t + 1 .. t + 10, else the own command; at t = 0 b is marked already, but there is nothing else.
            within = ("mark a", range(20, 30)) if number == 0 else ("mark b", range(5))
            assert LIBRARY.captions[skill] == (within[0] if t in within[1] else "count")


def test_hindsight_credits_no_action_with_what_was_moved_from_outside(tmp_path):
    store = make(tmp_path / "run", [episode(0, 60, [25], ["count"], a=[30], resets=[25])])
    found = shares_of_labels(
        store, SamplingConfig(commanded_ratio=0, hindsight_ratio=1, horizon=10), where=lambda e, t: t < 25
    )
    assert found["mark a"] == 0
    found = shares_of_labels(
        store, SamplingConfig(commanded_ratio=0, hindsight_ratio=1, horizon=10), where=lambda e, t: 25 <= t < 30
    )
    assert found["mark a"] == 1


def test_hindsight_prefers_what_is_not_yet_so(tmp_path):
    hindsight = SamplingConfig(commanded_ratio=0, hindsight_ratio=1, horizon=10)
    store = make(tmp_path / "run", [episode(0, 20, a=[20], b=range(21))])
    assert shares_of_labels(store, hindsight, where=lambda e, t: t >= 10)["mark a"] == 1
    assert shares_of_labels(store, hindsight, where=lambda e, t: t < 10)["mark b"] == 1
    both = make(tmp_path / "both", [episode(0, 20, a=[20], b=[20])])
    found = shares_of_labels(both, hindsight, where=lambda e, t: t >= 10)
    assert found == pytest.approx({"count": 0, "mark a": 0.5, "mark b": 0.5}, abs=0.05)


def test_practised_skills_have_their_share_of_the_labels_of_each_kind(tmp_path):
    """Of 40 episodes one was told 'mark a' and one came to it by chance; the others were told to count."""
    episodes = [episode(i, 20, a=[20] if i < 2 else []) for i in range(40)]
    segment = dataclasses.replace(episodes[0].segments[0], caption="mark a")
    object.__setattr__(episodes[0], "segments", (segment,))
    store = make(tmp_path / "run", episodes)
    for kinds in ({"commanded_ratio": 1, "hindsight_ratio": 0}, {"commanded_ratio": 0, "hindsight_ratio": 0}):
        sampler = Sampler(store, LIBRARY, PAC, SamplingConfig(**kinds), 0)
        sampler.refresh(focus=[Focus(["mark a"], 0.5)])
        labels = Counter(LIBRARY.captions[i] for _ in range(100) for i in sampler.next().skills)
        random = 0 if kinds["commanded_ratio"] else 1 / 3
        assert labels["mark a"] / labels.total() == pytest.approx(0.5 + 0.5 * random, abs=0.03)
        sampler.refresh(focus=[Focus(["mark b"], 0.5)])  # nobody was told to: only labels that are any skill can be it
        labels = Counter(LIBRARY.captions[i] for _ in range(100) for i in sampler.next().skills)
        assert labels["mark b"] / labels.total() == pytest.approx(0.5 + 0.5 / 3 if random else 0, abs=0.03)


def test_each_focus_has_its_share(tmp_path):
    """Of what no command of the library was told for, every label is any skill."""
    store = make(tmp_path / "run", [episode(i, 20) for i in range(4)])
    sampler = Sampler(store, LIBRARY, PAC, SamplingConfig(commanded_ratio=0, hindsight_ratio=0), 0)
    sampler.refresh(focus=[Focus(["mark a"], 0.5), Focus(["mark b"], 0.2), Focus([], 0.1)])
    labels = Counter(LIBRARY.captions[i] for _ in range(200) for i in sampler.next().skills)
    assert labels["mark a"] / labels.total() == pytest.approx(0.5 + 0.3 / 3, abs=0.02)
    assert labels["mark b"] / labels.total() == pytest.approx(0.2 + 0.3 / 3, abs=0.02)
    with pytest.raises(LudusError, match=r"sum to 1\.2, more than 1"):
        sampler.refresh(focus=[Focus(["mark a"], 0.5), Focus(["mark b"], 0.7)])


def test_rows_of_each_focus_have_its_share(tmp_path):
    """Of 40 episodes one was told 'mark a' and one 'mark b'; the others were told to count."""
    episodes = [episode(i, 20) for i in range(40)]
    for e, caption in zip(episodes, ("mark a", "mark b"), strict=False):
        object.__setattr__(e, "segments", (dataclasses.replace(e.segments[0], caption=caption),))
    sampling = SamplingConfig(commanded_ratio=1, hindsight_ratio=0)
    sampler = Sampler(make(tmp_path / "run", episodes), LIBRARY, PAC, sampling, 0)
    sampler.refresh(focus=[Focus(["mark a"], 0.5), Focus(["mark b"], 0.2)])
    labels = Counter(LIBRARY.captions[i] for _ in range(200) for i in sampler.next().skills)
    assert labels["mark a"] / labels.total() == pytest.approx(0.5, abs=0.02)
    assert labels["mark b"] / labels.total() == pytest.approx(0.2, abs=0.02)


def test_a_practised_skill_is_cloned_only_where_it_succeeds(tmp_path):
    episodes = [episode(i, 20, a=[15] if i == 0 else []) for i in range(2)]
    for e in episodes:
        object.__setattr__(e, "segments", (dataclasses.replace(e.segments[0], caption="mark a"),))
    store = make(tmp_path / "run", episodes)
    sampler = Sampler(store, LIBRARY, PAC, SamplingConfig(commanded_ratio=1, hindsight_ratio=0), 0)
    assert all(sampler.next().bc_mask.all() for _ in range(10))
    sampler.refresh(focus=[Focus(["mark a"], 0.5)])
    for _ in range(20):
        batch = sampler.next()
        for (number, t), cloned in zip(batch.observations["counter"].astype(int), batch.bc_mask, strict=True):
            assert cloned == (number == 0 and t < 15)


def test_what_is_cloned(tmp_path):
    """By default what was commanded; with 'hindsight' what came of it; with only_successes nothing that failed."""
    counted = SkillLibrary(VOCABULARY, [MARK_A, MARK_B])
    episodes = [episode(i, 40, a=[40] * i) for i in range(2)]
    for e in episodes:
        object.__setattr__(e, "segments", (dataclasses.replace(e.segments[0], caption="mark a"),))
    store = make(tmp_path / "run", episodes)
    sampling = SamplingConfig(commanded_ratio=0.5, hindsight_ratio=0.5, horizon=10)

    def drawn(**settings):
        sampler = Sampler(store, counted, PAC, dataclasses.replace(sampling, **settings), 0)
        for _ in range(20):
            batch = sampler.next()
            yield from zip(batch.observations["counter"].astype(int).tolist(), batch.bc_mask.tolist(), strict=True)

    assert all(cloned for _, cloned in drawn())
    hindsight = {
        (number, t >= 30): cloned
        for (number, t), cloned in drawn(bc_labels="hindsight", commanded_ratio=0.0, hindsight_ratio=1.0)
    }
    assert hindsight == {(0, False): False, (0, True): False, (1, False): False, (1, True): True}
    assert {number for (number, _), _ in drawn(only_successes=True)} == {1}
    with pytest.raises(LudusError, match=r"sampling\.bc_labels"):
        next(drawn(bc_labels="all"))


def test_commands_that_the_library_does_not_know_are_labelled_otherwise(tmp_path):
    library = SkillLibrary(VOCABULARY, [MARK_A, MARK_B])
    store = make(tmp_path / "run", [episode(0, 50)])  # told to count
    found = shares_of_labels(store, SamplingConfig(commanded_ratio=1, hindsight_ratio=0), library)
    assert found == pytest.approx({"mark a": 0.5, "mark b": 0.5}, abs=0.05)
    batch = Sampler(store, library, PAC, SamplingConfig(commanded_ratio=1, hindsight_ratio=0), 0).next()
    assert not batch.bc_mask.any()


def test_the_cursor_is_all_there_is_to_restore(tmp_path):
    store = make(tmp_path / "run", [episode(0, 30, [9], a=[20]), episode(1, 10)])
    first, second = (Sampler(store, LIBRARY, PAC, SamplingConfig(), 5) for _ in range(2))
    for _ in range(4):
        first.next()
    state = json.loads(json.dumps(first.state()))
    expected = [first.next() for _ in range(3)]
    second.restore(state)
    assert all(equal(second.next(), e) for e in expected) and second.state() == first.state()
    other = Sampler(store, LIBRARY, PAC, SamplingConfig(), 6)
    other.restore(state)
    assert not equal(other.next(), expected[0])


def test_growing_step_by_step_equals_loading_at_once(tmp_path):
    episodes = [episode(i, 10 + i, [5], a=[7, 12]) for i in range(6)]
    store = make(tmp_path / "run", episodes[:2])
    small = SkillLibrary(VOCABULARY, [COUNT, MARK_A])
    grown = Sampler(store, small, PAC, SamplingConfig(), 0)
    check(grown.next(), episodes, small, SamplingConfig())
    store.append(episodes[2:4], step="collect/1")
    grown.refresh()
    check(grown.next(), episodes, small, SamplingConfig())
    grown.refresh(LIBRARY)
    assert grown.captions == LIBRARY.captions
    store.append(episodes[4:], step="collect/2")
    grown.refresh(LIBRARY)
    whole = Sampler(store, LIBRARY, PAC, SamplingConfig(), 0)
    whole.restore(grown.state())
    for _ in range(5):
        batch = whole.next()
        assert equal(batch, grown.next())
        check(batch, episodes, LIBRARY, SamplingConfig())
    with pytest.raises(LudusError, match="may only grow at its end"):
        grown.refresh(SkillLibrary(VOCABULARY, [MARK_A, COUNT, MARK_B]))


def test_mapped_or_in_memory_the_batches_are_the_same(tmp_path):
    store = make(tmp_path / "run", [episode(0, 30, [9], a=[20]), episode(1, 10)], [episode(2, 15, b=[3])])
    ram, mapped = (Sampler(store, LIBRARY, PAC, SamplingConfig(memory=m), 5) for m in ("ram", "mapped"))
    store.append([episode(3, 20)], step="collect/9")
    for sampler in (ram, mapped):
        sampler.refresh()
    assert all(equal(ram.next(), mapped.next()) for _ in range(5))
    for sampler in (ram, mapped):
        sampler.refresh(LIBRARY.add(Skill("mark both", "0", "marked(a) and marked(b)")))
    assert all(equal(ram.next(), mapped.next()) for _ in range(5))
    rows = mapped._table.rows
    assert all(isinstance(a, np.memmap) for a in vars(rows).values())
    with pytest.raises(LudusError, match="nearest: 'mapped'"):
        Sampler(store, LIBRARY, PAC, SamplingConfig(memory="maped"), 5)


def test_a_batch_is_the_callers(tmp_path):
    store = make(tmp_path / "run", [episode(0, 30)])
    one, other = (Sampler(store, LIBRARY, PAC, SamplingConfig(), 0) for _ in range(2))
    batch = one.next()
    for array in (*batch.observations.values(), *batch.next_observations.values(), batch.actions, batch.returns):
        array[:] = -1
    other.next()
    assert equal(one.next(), other.next())


def test_balance_draws_rare_commands_as_often(tmp_path):
    store = make(tmp_path / "run", [episode(0, 100, [90])])  # 90 steps count, 10 steps mark a

    def rare(balance: float) -> float:
        return shares_of_labels(store, SamplingConfig(commanded_ratio=1, hindsight_ratio=0, balance=balance))["mark a"]

    assert rare(0) == pytest.approx(0.1, abs=0.02)
    assert rare(1) == pytest.approx(0.5, abs=0.03)
    assert rare(0.5) == pytest.approx(1 / 4, abs=0.03)  # sqrt(10) to sqrt(90)


def test_what_is_rarely_achieved_can_be_labelled_as_often(tmp_path):
    # Mark a is achieved after every step but the last ten, mark b after the first five.
    store = make(tmp_path / "run", [episode(0, 100, captions=["count"], a=range(91), b=[5])])

    def rare(balance: float) -> float:
        sampling = SamplingConfig(commanded_ratio=0, hindsight_ratio=1, horizon=5, balance_hindsight=balance)
        return shares_of_labels(store, sampling, where=lambda e, t: t < 90)["mark b"]

    assert rare(0) < 0.06
    assert rare(1) == pytest.approx(0.5, abs=0.05)


def test_sources_have_their_shares(tmp_path):
    store = make(tmp_path / "run", [episode(0, 90)], name="seed-data")
    store.append([episode(1, 10)], step="round/1/collect")
    store.append([episode(2, 10)], step="other/1")

    def drawn(shares, balance=0.0) -> Counter:
        sampling = SamplingConfig(balance=balance, balance_hindsight=balance)
        sampler = Sampler(store, LIBRARY, PAC, sampling, 0, shares=shares)
        return Counter(int(n) for _ in range(60) for n in sampler.next().observations["counter"][:, 0])

    for balance in (0.0, 1.0):
        counts = drawn({"seed-data": 0.5, "round": 0.5}, balance)
        assert set(counts) == {0, 1} and counts[0] / counts.total() == pytest.approx(0.5, abs=0.03)
    counts = drawn({"seed-data": 3, "absent": 5, "": 1})  # shares of what is there; '' takes the rest
    assert counts[0] / counts.total() == pytest.approx(0.75, abs=0.03) and counts[1] > 0 and counts[2] > 0
    assert set(drawn({"seed-data": 0, "round": 1})) == {1}
    for shares, why in (({"absent": 1}, "no episode is of a step"), ({"round": 0}, "the share 0")):
        with pytest.raises(LudusError, match=why):
            drawn(shares)


def test_bad_settings_are_explained(tmp_path):
    store = make(tmp_path / "empty")
    with pytest.raises(LudusError, match="holds no episodes to sample; collect some first"):
        Sampler(store, LIBRARY, PAC, SamplingConfig(), 0)
    for own, achieved in ((0.8, 0.3), (-0.1, 0.3)):
        with pytest.raises(
            LudusError, match=f"sampling.commanded_ratio {own} and sampling.hindsight_ratio {achieved} are shares"
        ):
            Sampler(
                store,
                LIBRARY,
                PAC,
                dataclasses.replace(SamplingConfig(), commanded_ratio=own, hindsight_ratio=achieved),
                0,
            )


@pytest.mark.parametrize("memory", ["ram", "mapped"])
def test_a_refresh_that_failed_can_be_repeated(tmp_path, monkeypatch, memory):
    """The first of two new shards is in when the second fails: it is drawn after the next refresh, and only once."""
    episodes = [episode(i, 10 + i, [5], a=[7, 12]) for i in range(6)]
    store = make(tmp_path / "run", episodes[:2])
    sampler = Sampler(store, LIBRARY, PAC, SamplingConfig(memory=memory), 0)
    expected = Sampler(store, LIBRARY, PAC, SamplingConfig(), 0).next()
    store.append(episodes[2:4], step="collect/1")
    store.append(episodes[4:], step="collect/2")
    columns, calls = Relabeller.columns, iter([True, False])

    def failing(self, shard, captions=None):
        if next(calls):
            return columns(self, shard, captions)
        raise LudusError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Relabeller, "columns", failing)
        with pytest.raises(LudusError, match="disk is gone"):
            sampler.refresh()
    assert equal(sampler.next(), expected)  # as before
    sampler.refresh()
    whole = Sampler(store, LIBRARY, PAC, SamplingConfig(), 0)
    whole.restore(sampler.state())
    assert all(equal(sampler.next(), whole.next()) for _ in range(5))


@settings(max_examples=25, deadline=None)
@given(
    memory=st.sampled_from(["ram", "mapped"]),
    piece=st.integers(1, 40),
    growth=st.lists(st.one_of(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.just("skill")), max_size=6),
)
def test_however_it_grew_the_batches_are_the_same(tmp_path_factory, memory, piece, growth):
    store = make(tmp_path_factory.mktemp("run"), [episode(0, 5, a=[3])])
    library, n_episodes = SkillLibrary(VOCABULARY, [COUNT]), 1
    sampling = SamplingConfig(memory=memory, balance_hindsight=0.5)
    sampler = Sampler(store, library, PAC, sampling, 0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ludus.data.rows.PIECE", piece)
        for k, more in enumerate(growth):
            if more == "skill":
                library = library.add(Skill(f"mark {k}", f"{k / 10}", "marked(a)" if k % 2 else "marked(b)"))
            else:
                new = [episode(n_episodes + i, n, [n // 2], a=[1, n], b=[2]) for i, n in enumerate(more)]
                store.append(new, step=f"more/{k}")
                n_episodes += len(new)
            sampler.refresh(library)
            whole = Sampler(store, library, PAC, dataclasses.replace(sampling, memory="ram"), 0)
            whole.restore(sampler.state())
            assert all(equal(sampler.next(), whole.next()) for _ in range(2))
    store.record.close()
