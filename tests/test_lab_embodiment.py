"""Rollouts: nothing is dropped, reordered or mixed up, whatever the batch; scores equal those computed afterwards."""

import numpy as np
import pytest
from counting_world import CountingWorld, Walker
from hypothesis import given
from hypothesis import strategies as st

from ludus.config import SeedDataConfig
from ludus.lab import embodiment
from ludus.lab.actors import EpsilonZGreedy, GoalScheduler, RandomActor, SeedActor, seed_rollouts
from ludus.lab.context import attempts_of
from ludus.lab.embodiment import EvalSpec, episode_steps, look, run
from ludus.lab.rollout import RolloutSpec, Switching, rollouts_of
from ludus.types import LudusError, Plan, Proposal, Retrieval

ROLLOUTS = [
    RolloutSpec(("go to home",), 11),
    RolloutSpec(("go to home", "mark shop", "mark home"), 12, "there"),
    RolloutSpec(("mark shop", "mark shop"), 13, None, None, {"plan": "p"}),
    RolloutSpec(("go to shop", "go to home", "go to shop"), 14),
    RolloutSpec(("mark home",), 15),
    RolloutSpec(("go to shop", "mark shop", "go to home", "mark home"), 16),
]


@pytest.fixture
def world():
    return CountingWorld()


@pytest.fixture
def library(world):
    return world.library()


def same(a, b):
    assert (a.id, a.segments, a.seed, a.start, a.actor, dict(a.info)) == (
        b.id,
        b.segments,
        b.seed,
        b.start,
        b.actor,
        dict(b.info),
    )
    for group in a.observations:
        np.testing.assert_array_equal(a.observations[group], b.observations[group])
    np.testing.assert_array_equal(a.actions, b.actions)
    np.testing.assert_array_equal(a.snapshot, b.snapshot)


class Homes(CountingWorld):
    """Going home begins there."""

    def start_of(self, caption):
        return "there" if caption == "go to home" else "far"


def test_a_rollout_that_names_no_start_begins_where_its_first_caption_does():
    world = Homes()
    episodes, _ = run(world, world.library(), ROLLOUTS, Walker(world), "e")
    assert [e.start for e in episodes] == ["there", "there", "far", "far", "far", "far"]
    assert {(e.seed, e.start) for e in episodes} <= set(world.resets)


def test_every_step_is_recorded_once_and_in_order(world, library):
    spec = world.spec.observation
    episodes, _ = run(world, library, ROLLOUTS, Walker(world, 0.3), "e")
    assert [e.id for e in episodes] == [f"e-{i:05d}" for i in range(len(ROLLOUTS))]
    for episode, rollout in zip(episodes, ROLLOUTS, strict=True):
        clock = spec.get(episode.observations, "point", "clock")[:, 0]
        np.testing.assert_array_equal(clock, np.arange(episode.n_steps + 1))
        np.testing.assert_array_equal(spec.get(episode.observations, "point", "last")[1:], episode.actions)
        assert episode.n_steps == episode_steps(rollout.captions, library, world.spec)
        assert (episode.seed, episode.start) == (rollout.seed, rollout.start or "far")
        assert all(a.dtype == np.float32 for a in (*episode.observations.values(), episode.actions))


def test_skills_switch_at_their_steps(world, library):
    walker = Walker(world)
    episode = run(world, library, [ROLLOUTS[5]], walker, "e")[0][0]
    assert [(s.start, s.caption) for s in episode.segments] == [
        (0, "go to shop"),
        (10, "mark shop"),
        (17, "go to home"),
        (27, "mark home"),  # cut by the end of the episode, at 30
    ]
    assert [c[0] for c in walker.told] == ["go to shop"] * 10 + ["mark shop"] * 7 + ["go to home"] * 10 + [
        "mark home"
    ] * 3
    assert [s.skill for s in episode.segments] == [library[s.caption].hash for s in episode.segments]


def test_an_episode_does_not_depend_on_its_batch():
    runs = []
    for n_envs in (1, 3, 16):
        world = CountingWorld(n_envs)
        runs.append(run(world, world.library(), ROLLOUTS, Walker(world, 0.3), "e"))
    for episodes, outcomes in runs[1:]:
        assert outcomes == runs[0][1]
        for a, b in zip(runs[0][0], episodes, strict=True):
            same(a, b)


def test_a_batch_on_its_own_is_the_same_batch(world, library):
    batches = list(embodiment.run_batches(world, library, ROLLOUTS, Walker(world, 0.3), "e"))
    groups = embodiment.batches(ROLLOUTS, library, world.spec, world.n_envs)
    assert len(batches) == 2 and sorted(i for group in groups for i in group) == list(range(len(ROLLOUTS)))
    ids = [f"e-{i:05d}" for i in groups[1]]
    rollouts = [ROLLOUTS[i] for i in groups[1]]
    episodes, outcomes = embodiment.run_batch(world, library, rollouts, ids, Walker(world, 0.3))
    assert outcomes == batches[1][1]
    for a, b in zip(batches[1][0], episodes, strict=True):
        same(a, b)
    with pytest.raises(LudusError, match="6 rollouts in one batch of 4 simulations"):
        embodiment.run_batch(world, library, ROLLOUTS, ids, Walker(world))


def test_snapshot_replays_the_episode(world, library):
    episode = run(world, library, ROLLOUTS, Walker(world, 0.3), "e")[0][3]
    other = CountingWorld(1)
    other.restore(episode.snapshot[None])
    for t, action in enumerate(episode.actions):
        seen = other.step(action[None])
        for group, array in episode.observations.items():
            np.testing.assert_array_equal(seen[group][0], array[t + 1])


def test_outcomes_equal_those_computed_from_the_episode(world, library):
    episodes, outcomes = run(world, library, ROLLOUTS, Walker(world, 0.3), "e")
    expected = []
    for episode in episodes:
        for k, (segment, first, last) in enumerate(episode.segment_bounds()):
            span = {g: a[first + 1 : last + 1] for g, a in episode.observations.items()}
            reward, success = library.rewards(segment.caption, span)
            mean = float(np.mean(reward, dtype=np.float64))
            expected.append((episode.id, k, segment.caption, bool(success[-1]), bool(success.any()), mean))
    assert [(o.episode, o.segment, o.caption, o.success_at_end, o.success_once, o.reward) for o in outcomes] == expected
    assert any(o.success_at_end for o in outcomes) and not all(o.success_at_end for o in outcomes)


def test_look_shows_the_scenes_that_episodes_begin_in(world, library):
    scenes = look(world, [j.seed for j in ROLLOUTS[2:]])
    episodes, _ = run(world, library, ROLLOUTS[2:], Walker(world), "e")
    for i, episode in enumerate(episodes):
        for group, array in scenes.items():
            np.testing.assert_array_equal(array[i], episode.observations[group][0])
    each = look(world, [j.seed for j in ROLLOUTS[2:]], [episode.start for episode in episodes])
    for group, array in scenes.items():
        np.testing.assert_array_equal(each[group], array)


def test_evaluate_counts_each_skill_and_repeats_itself(world, library):
    captions = ("go to shop", "mark home", "go to home")
    counts = embodiment.evaluate(world, library, Walker(world), EvalSpec(captions, 5, seed=3))
    assert [(t.caption, t.n) for t in counts] == [(c, 5) for c in captions]
    assert counts[0].skill == library["go to shop"].hash
    assert all(0 <= t.successes <= t.successes_once <= t.n for t in counts)
    assert sum(t.successes for t in counts) > 8
    assert counts == embodiment.evaluate(world, library, Walker(world), EvalSpec(captions, 5, seed=3))
    drawn = {s for s, _ in world.resets}
    world.resets.clear()
    embodiment.evaluate(world, library, Walker(world), EvalSpec(captions, 5, seed=4))
    assert not drawn & {s for s, _ in world.resets}


def test_progress_counts_every_step(world, library):
    steps: list[int] = []
    episodes, _ = run(world, library, ROLLOUTS, Walker(world), "e", advance=steps.append)
    assert sum(steps) == sum(e.n_steps for e in episodes)


def test_a_rollout_needs_a_known_skill(world, library):
    with pytest.raises(LudusError, match="at least one skill"):
        run(world, library, [RolloutSpec((), 1)], Walker(world), "e")
    with pytest.raises(LudusError, match="unknown skill 'go to hom'; nearest: 'go to home'"):
        run(world, library, [RolloutSpec(("go to hom",), 1)], Walker(world), "e")


def test_plans_are_dealt_out_in_turn():
    def plan(name, *captions):
        retrievals = tuple(Retrieval(c or "fly", c) for c in captions)
        return Plan(name, Proposal(name, "", 0.5), tuple(c or "fly" for c in captions), retrievals)

    rollouts = rollouts_of(
        [plan("a", "go to home"), plan("b", "mark home", "go to shop")], [7, 8, 9], "there", {"round": 2}
    )
    assert [(j.captions, j.seed, j.info["plan"]) for j in rollouts] == [
        (("go to home",), 7, "a"),
        (("mark home", "go to shop"), 8, "b"),
        (("go to home",), 9, "a"),
    ]
    assert rollouts[0].start == "there" and rollouts[0].info["round"] == 2
    with pytest.raises(LudusError, match="cannot be executed: no skill for 'fly'"):
        rollouts_of([plan("c", "go to home", None)], [1])
    with pytest.raises(LudusError, match="no plan"):
        rollouts_of([], [1])


def test_seed_rollouts_have_the_asked_shares(library):
    config = SeedDataConfig(episodes=2000)
    rollouts = seed_rollouts(library, config, seed=1)
    assert rollouts == seed_rollouts(library, config, seed=1) != seed_rollouts(library, config, seed=2)
    assert all(len(j.captions) == 2 for j in rollouts) and len({j.seed for j in rollouts}) == 2000
    noise = np.array([j.info["noise"] for j in rollouts])
    chance = np.array([j.actor == "random" for j in rollouts])
    assert abs(chance.mean() - 0.08) < 0.02 and abs((noise[~chance] == 0).mean() - 0.10 / 0.92) < 0.02
    assert noise.max() <= 0.6 and abs(noise[noise > 0].mean() - 0.3) < 0.02
    same_thing = np.mean([j.captions[0].split()[-1] == j.captions[1].split()[-1] for j in rollouts])
    assert abs(same_thing - 0.75) < 0.04  # half stay, and of the rest half hit the same of two things


def test_seed_actor_hands_noise_and_chance_to_the_teacher(world, library):
    class Teacher:
        def begin(self, seeds, noise, random_mask):
            self.got = seeds, noise, random_mask

        def act(self, observations, captions):
            return np.zeros((len(captions), 3), np.float32)

    teacher = Teacher()
    rollouts = [
        RolloutSpec(("go to home",), 5, None, "teacher", {"noise": 0.25}),
        RolloutSpec(("go to home",), 6, None, "random"),
    ]
    episodes, _ = run(world, library, rollouts, SeedActor(teacher), "e")
    seeds, noise, mask = teacher.got
    assert [e.actor for e in episodes] == ["teacher", "random"] and episodes[0].info["noise"] == 0.25
    assert len(set(seeds[:2])) == 2 and list(noise[:2]) == [0.25, 0] and list(mask[:2]) == [False, True]


def test_random_actor_is_a_function_of_the_seeds(world, library):
    a, _ = run(world, library, ROLLOUTS, RandomActor(world.spec), "e")
    b, _ = run(world, library, ROLLOUTS[::-1], RandomActor(world.spec), "e")
    for x, y in zip(a, b[::-1], strict=True):
        np.testing.assert_array_equal(x.actions, y.actions)
    assert np.abs(a[0].actions).max() <= 1 and len(np.unique(a[1].actions[:, 0])) > 3


def test_exploring_makes_some_stretches_random_and_leaves_the_rest():
    class Still:
        name = "still"

        def begin(self, rollouts):
            pass

        def act(self, observations, captions):
            return np.full((len(captions), 3), 0.25, np.float32)

    def actions(share):
        exploring = EpsilonZGreedy(Still(), share)
        exploring.begin([RolloutSpec(("go to home",), seed) for seed in range(200)])
        return np.stack([exploring.act({}, ["go to home"] * 200) for _ in range(60)])

    some = actions(0.3)
    np.testing.assert_array_equal(some, actions(0.3))
    other = some != 0.25
    assert abs(other.mean() - 0.15) < 0.02 and abs(some[other].mean()) < 0.05
    begun = other[1:] & ~other[:-1]
    kept = (some[1:] == some[:-1]) & other[1:]
    assert abs(kept.sum() / begun.sum() - 4) < 1  # five steps each
    assert (actions(0) == 0.25).all() and abs((actions(1) != 0.25).mean() - 0.5) < 0.02


def test_switching_tells_what_does_not_hold_yet_and_gives_up_for_a_while(world, library):
    walker = Walker(world)
    skills = ("mark home", "mark shop", "go to home")
    first_home = lambda seen: np.tile([1.0, 0.0, 2.0], (4, 1))  # noqa: E731
    switching = GoalScheduler(walker, library, skills, first_home, world.spec.control_hz)
    episode = run(world, library, [RolloutSpec(("go to home", "go to shop", "mark shop"), 3)], switching, "e")[0][0]
    told = [captions[0] for captions in walker.told]
    # the lowest first; one that holds for half a second gives way to the next that does not
    holds = {c: library.rewards(c, episode.observations)[1][:-1] for c in skills}
    assert told[0] == "mark shop" and list(dict.fromkeys(told)) == ["mark shop", "mark home", "go to home"]
    for t in range(1, len(told)):
        if told[t] != told[t - 1]:
            had_its_time = told[max(0, t - 7) : t] == [told[t - 1]] * 7
            assert had_its_time or holds[told[t - 1]][t - 4 : t].all()
    assert holds["mark home"][-1] and holds["mark shop"][-1]


class Cliff(CountingWorld):
    """A simulation ends where the point has gone beyond x = .5."""

    def ended(self):
        return self.state[:, 0] > 0.5


def test_an_episode_stops_where_its_world_ended_and_its_neighbours_go_on(library):
    worlds = Cliff(), CountingWorld()
    (ended, outcomes), (whole, _) = (run(w, library, ROLLOUTS, Walker(w, 0.3), "e") for w in worlds)
    assert {e.ended for e in ended} == {"terminal", "time"} and {e.ended for e in whole} == {"time"}
    for episode, other in zip(ended, whole, strict=True):
        beyond = other.observations["point"][1:, 0] > 0.5
        n = int(np.argmax(beyond)) + 1 if beyond.any() else other.n_steps
        assert (episode.n_steps, episode.ended) == (n, "terminal" if beyond.any() else "time")
        np.testing.assert_array_equal(episode.actions, other.actions[:n])
        np.testing.assert_array_equal(episode.observations["point"], other.observations["point"][: n + 1])
        assert episode.segments == tuple(s for s in other.segments if s.start < n)
        scored = [o.segment for o in outcomes if o.episode == episode.id]
        assert scored == list(range(len(episode.segments)))


class Tired(Cliff):
    """Notes who rests from which step on."""

    def __init__(self, n_envs):
        super().__init__(n_envs)
        self.rested, self.steps = [], 0

    def step(self, actions):
        self.steps += 1
        return super().step(actions)

    def rest(self, resting):
        self.rested.append((self.steps, resting.tolist()))


def test_simulations_rest_that_have_no_rollout_or_whose_episode_is_over(library):
    world = Tired(len(ROLLOUTS) + 2)
    ids = [f"e{i}" for i in range(len(ROLLOUTS))]
    episodes, _ = embodiment.run_batch(world, library, ROLLOUTS, ids, Walker(world, 0.3))
    assert world.rested[0] == (0, [False] * len(ROLLOUTS) + [True] * 2)
    for step, resting in world.rested:
        assert resting == [e.n_steps <= step for e in episodes] + [True] * 2


def test_a_plan_cut_short_by_the_end_did_not_succeed(library):
    plan = Plan("p", Proposal("go", "", 1), ("a", "b"), (Retrieval("a", "go to home"), Retrieval("b", "go to shop")))
    for world, success in ((CountingWorld(1), True), (Cliff(1), False)):
        seed = next(
            s for s in range(99) if world.reset([s])["home"][0, 0] > 0.6 and world.observe()["shop"][0, 0] < 0.4
        )
        rollouts = rollouts_of([plan], [seed], switching=Switching())
        (episode,), outcomes = run(world, library, rollouts, Walker(world), "e")
        (attempt,) = attempts_of([plan], [episode], outcomes, world.vocabulary, 1)["p"]
        assert attempt.success == success and len(episode.info["endings"]) == len(episode.segments)
        assert (episode.info["endings"][-1] == "terminal") != success


@given(st.integers(0, 2**63 - 1), st.integers(1, 60))
def test_a_measurement_takes_each_of_a_worlds_given_starts_once(seed, n):
    seeds = [r.seed for r in EvalSpec(("reach red",), n, seed).rollouts]
    assert len({s % n for s in seeds}) == n and all(0 <= s < 2**63 for s in seeds)
    assert set(seeds).isdisjoint(r.seed for r in EvalSpec(("reach green",), n, seed).rollouts)
