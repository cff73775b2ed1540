"""When a skill is over: on success that holds, on stall, at its time; and an episode says truly what its robot was told."""

import numpy as np
import pytest
from counting_world import SPEED, CountingWorld, Walker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lab_program import LIBRARY as WORDS
from test_lab_program import programs

from ludus.data.relabel import outcomes as relabelled
from ludus.lab.embodiment import run
from ludus.lab.program import Do, captions_of, parse
from ludus.lab.rollout import RolloutSpec, Switching, rollouts_of, switching_of
from ludus.lab.switching import Watch, first_held, rollout_steps
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import LudusError, Plan, Proposal, Retrieval

RULE = Switching(hold_s=0.5, stall_s=0)  # 5 control steps of 0.1 s


class Script:
    """Moves along x by given numbers of steps' lengths, whatever it is told; afterwards it stays."""

    name = "script"

    def __init__(self, *moves: float) -> None:
        self.moves, self.told = moves, []

    def begin(self, rollouts) -> None:
        self._t = 0

    def act(self, observations, captions):
        self.told.append(tuple(captions))
        actions = np.zeros((len(captions), 3), np.float32)
        actions[:, 0] = self.moves[self._t] if self._t < len(self.moves) else 0
        self._t += 1
        return actions


def live(plan, actor, rule=RULE, n_envs=1, episode_steps=60, seed=3, start="there", **about):
    """The episode and outcomes of one rollout in a world of 60 steps, from home, where skills last 20."""
    world = CountingWorld(n_envs, episode_steps=episode_steps)
    library = SkillLibrary(world.vocabulary, [Skill(s.caption, s.reward, s.success, 20) for s in world.library()])
    steps = parse(plan)
    rollout = RolloutSpec(captions_of(steps), seed, start, program=steps, switching=rule, **about)
    (episode,), outcomes = run(world, library, [rollout], actor, "e")
    return episode, outcomes


def told(episode):
    return [(s.caption, first, last) for s, first, last in episode.segment_bounds()]


def test_success_that_holds_for_half_a_second_ends_a_skill():
    episode, outcomes = live("go to home; go to shop", Script())
    assert told(episode) == [("go to home", 0, 5), ("go to shop", 5, 40)]  # what was left over is the next one's
    assert episode.info["endings"] == ["success", "time"]
    assert [o.success_at_end for o in outcomes] == [True, False]
    assert episode.n_steps == len(episode.actions) == 40


def test_a_flicker_does_not():
    out_and_back = (0, 0, 0, 1, 1, -1, -1)  # home holds after 0, 1, ..., 4 steps but for the fifth and what follows
    episode, _ = live("go to home; go to shop", Script(*out_and_back))
    holds = episode.observations["point"][:, :2] - episode.observations["home"][:, :2]
    holds = np.linalg.norm(holds, axis=1)[1:] <= 0.15
    assert holds[:8].tolist() == [True, True, True, True, False, True, True, True]
    assert told(episode)[0] == ("go to home", 0, 10) and episode.info["endings"][0] == "success"


def test_a_success_that_was_true_before_must_hold_again_under_its_own_skill():
    episode, _ = live("go to home; go to home", Script())
    assert told(episode) == [("go to home", 0, 5), ("go to home", 5, 10)]
    assert episode.info["endings"] == ["success", "success"] and episode.n_steps == 10


def test_a_reward_that_does_not_rise_ends_a_skill_if_another_follows():
    rule = Switching(hold_s=0.5, stall_s=0.8, stall_gain=0.001)
    away = (2, 2, 2)  # actions are clipped to 1: 0.3 m away from home, then it stays
    episode, _ = live("go to home; go to home", Script(*away), rule)
    # home holds at first; from the second step on the reward falls: best at 1, eight steps later it is over
    assert told(episode) == [("go to home", 0, 9), ("go to home", 9, 40)]
    assert episode.info["endings"] == ["stall", "time"]


def test_a_reward_that_rises_slowly_does_not_stall():
    rule = Switching(hold_s=0.5, stall_s=0.8, stall_gain=0.05)
    slow, _ = live("go to home; go to shop", Script(*[0.2] * 20), rule, seed=6, start="far")  # home lies 0.7 m ahead
    assert slow.info["endings"][0] == "time" and told(slow)[0] == ("go to home", 0, 20)
    still, _ = live("go to home; go to shop", Script(), rule, seed=6, start="far")
    assert still.info["endings"][0] == "stall" and told(still)[0] == ("go to home", 0, 9)


def test_stalling_is_not_for_what_succeeds():
    rule = Switching(hold_s=1.5, stall_s=0.3)
    episode, _ = live("go to home; go to shop", Script(), rule)
    assert told(episode)[0] == ("go to home", 0, 15) and episode.info["endings"][0] == "success"


def test_the_time_limit_ends_a_skill():
    episode, outcomes = live("mark home; go to home", Script())
    assert told(episode) == [("mark home", 0, 20), ("go to home", 20, 25)]
    assert episode.info["endings"] == ["time", "success"] and not outcomes[0].success_once


def test_the_last_skill_may_be_held_until_the_time_is_over():
    episode, outcomes = live("go to home; go to home", Script(), Switching(stall_s=0, hold_last=True))
    assert told(episode) == [("go to home", 0, 5), ("go to home", 5, 40)]
    assert episode.info["endings"] == ["success", "success"] and outcomes[1].success_at_end


def test_a_loop_ends_when_its_condition_holds_and_at_its_limit():
    never, _ = live("repeat until marked(home) at most 2 times { go to home }", Script())
    assert told(never) == [("go to home", 0, 5), ("go to home", 5, 10)]
    walker = Walker(CountingWorld(1))
    found, _ = live("repeat until marked(shop) at most 3 times { go to home; mark shop }; go to home", walker)
    assert [c for c, _, _ in told(found)] == ["go to home", "mark shop", "go to home"]
    assert found.info["endings"] == ["success"] * 3


def test_a_branch_reads_the_scene_when_the_program_comes_to_it():
    here, _ = live("if at(home) { mark home } else { go to home; mark home }", Walker(CountingWorld(1)))
    there, _ = live("if at(home) { mark home } else { go to home; mark home }", Walker(CountingWorld(1)), start="far")
    assert [c for c, _, _ in told(here)] == ["mark home"]
    assert [c for c, _, _ in told(there)] == ["go to home", "mark home"]
    after, _ = live("go to shop; if at(home) { mark home } else { mark shop }", Walker(CountingWorld(1)))
    assert [c for c, _, _ in told(after)] == ["go to shop", "mark shop"]


def test_a_program_with_nothing_to_do_is_an_episode_of_one_step():
    episode, _ = live("repeat until at(home) { go to home }", Script())
    assert told(episode) == [("go to home", 0, 1)]


def test_a_program_can_have_fixed_durations():
    episode, _ = live("repeat until marked(home) at most 2 times { go to home }", Script(), None)
    assert told(episode) == [("go to home", 0, 20), ("go to home", 20, 40)] and "endings" not in episode.info


def test_wrong_programs_are_refused_before_anything_moves():
    world = CountingWorld(1)
    for text, said in (("go to hom", "unknown skill"), ("if at(hom) { go to home }", "unknown object")):
        steps = parse(text)
        with pytest.raises(LudusError, match=said):
            run(world, world.library(), [RolloutSpec(("go to home",), 1, program=steps)], Walker(world), "e")
    assert not world.resets


rules = st.builds(
    Switching,
    hold_s=st.sampled_from([0.1, 0.3, 0.5]),
    stall_s=st.sampled_from([0, 0.3, 0.6]),
    stall_gain=st.sampled_from([0.0, 0.05]),
    hold_last=st.booleans(),
)
some_rollouts = st.lists(
    st.builds(
        lambda p, rule, seed, start: RolloutSpec(captions_of(p), seed, start, program=p, switching=rule),
        programs,
        rules | st.none(),
        st.integers(0, 50),
        st.sampled_from(["far", "there"]),
    ),
    min_size=1,
    max_size=5,
)


def content(episode):
    arrays = [*episode.observations.values(), episode.actions]
    return episode.segments, episode.info, [a.tobytes() for a in arrays]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some_rollouts)
def test_segments_are_what_the_robot_was_told_and_depend_on_nobody_else(rollouts):
    world = CountingWorld(len(rollouts))
    walker = Walker(world, 0.3)
    episodes, outcomes = run(world, WORDS, rollouts, walker, "e")
    order = sorted(range(len(rollouts)), key=lambda i: rollout_steps(rollouts[i], WORDS, world.spec))
    for robot, i in enumerate(order):
        episode, bounds = episodes[i], episodes[i].segment_bounds()
        assert 1 <= episode.n_steps <= rollout_steps(rollouts[i], WORDS, world.spec)
        assert bounds[0][1] == 0 and all(first < last for _, first, last in bounds)
        commands = [s.caption for s, first, last in bounds for _ in range(first, last)]
        assert commands == [captions[robot] for captions in walker.told[: episode.n_steps]]
        alone = CountingWorld(1)
        (again,), _ = run(alone, WORDS, [rollouts[i]], Walker(alone, 0.3), "e")
        assert content(again) == content(episode)
    assert [(o.success_at_end, o.success_once) for o in relabelled(WORDS, episodes)] == [
        (o.success_at_end, o.success_once) for o in outcomes
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(WORDS.captions), min_size=1, max_size=4).map(tuple), st.integers(0, 99), rules)
def test_every_ending_has_its_reason(captions, seed, rule):
    world = CountingWorld(1)
    fixed, free = RolloutSpec(captions, seed), RolloutSpec(captions, seed, switching=rule)
    (episode,), _ = run(world, WORDS, [free], Walker(world, 0.3), "e")
    (whole,), _ = run(world, WORDS, [fixed], Walker(world, 0.3), "e")
    assert episode.n_steps <= whole.n_steps and len(episode.segments) == len(episode.info["endings"])
    assert [s.caption for s in episode.segments] == list(captions[: len(episode.segments)])
    hold, granted = round(rule.hold_s * 10), 0
    for k, ((segment, first, last), why) in enumerate(
        zip(episode.segment_bounds(), episode.info["endings"], strict=True)
    ):
        granted += WORDS[segment.caption].steps
        is_last = k == len(episode.segments) - 1
        if is_last and rule.hold_last:
            assert episode.n_steps == whole.n_steps
            continue
        _, success = WORDS.rewards(
            segment.caption, {g: a[first + 1 : last + 1] for g, a in episode.observations.items()}
        )
        held = len(success) >= hold and bool(success[-hold:].all())
        assert held == (why == "success")
        if why == "time":
            assert last == min(granted, world.spec.episode_steps)
        if why == "stall":
            assert rule.stall_s and not success[-1] and not is_last and last - first >= round(rule.stall_s * 10)


@given(st.lists(st.sampled_from(WORDS.captions), min_size=1, max_size=5).map(tuple), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_list_of_captions_is_a_program_of_them(captions, seed):
    world = CountingWorld(1)
    listed, written = RolloutSpec(captions, seed), RolloutSpec(captions, seed, program=tuple(map(Do, captions)))
    runs = [run(world, WORDS, [r], Walker(world, 0.3), "e") for r in (listed, written)]
    assert content(runs[0][0][0]) == content(runs[1][0][0]) and runs[0][1] == runs[1][1]


def test_fixed_and_conditional_robots_share_a_batch():
    world = CountingWorld(4)
    rollouts = [
        RolloutSpec(("go to home", "mark home"), 5, "there"),
        RolloutSpec(("go to home",) * 2, 5, "there", switching=RULE),
    ]
    steps: list[int] = []
    episodes, _ = run(world, world.library(), rollouts, Walker(world), "e", steps.append)
    assert [e.n_steps for e in episodes] == [17, 10] and sum(steps) == 27
    assert [e.info for e in episodes] == [{}, {"endings": ["success", "success"]}]


def test_plans_carry_the_rule_of_the_setting():
    plan = Plan("p", Proposal("p", "", 0.5), ("go",), (Retrieval("go", "go to home"),))
    assert [r.switching for r in rollouts_of([plan], [1, 2])] == [None, None]
    assert rollouts_of([plan], [1], switching=switching_of("conditional"))[0].switching == Switching()
    assert switching_of("fixed") is None


def test_a_watch_counts_each_robot_by_itself():
    watch = Watch(np.array([2, 3]))
    watch.start(0, 10)
    watch.start(1, 2)
    watch.see(np.array([True, True]))
    assert not (watch.succeeded | watch.timed_out | watch.stalled).any()
    watch.see(np.array([True, True]))
    assert watch.succeeded.tolist() == [True, False] and watch.timed_out.tolist() == [False, True]
    watch.start(0, 5)
    assert not watch.succeeded[0]


def test_the_first_time_that_success_holds():
    holds = np.array([0, 1, 0, 1, 1, 1, 0, 1], bool)
    assert [first_held(holds, n) for n in (1, 2, 3)] == [1, 3, 3]
    assert first_held(holds, 4) == 7 and first_held(holds[:7], 4) is None  # to the end, if less is left
    assert SPEED == 0.1  # what the scripts above move per step
