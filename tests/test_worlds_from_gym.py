"""Gymnasium environments as worlds: their words, entries, actions, ends, processes; the pages' example in every command."""

import json
import multiprocessing
import os
import pickle
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from command import ludus
from gymnasium import spaces

from ludus.agents.encoders import make_encoder
from ludus.config import NoOptions, WorldConfig
from ludus.skills.library import Skill
from ludus.types import LudusError
from ludus.worlds.from_gym import GymField, GymGroup, GymTask, gym_world
from ludus.worlds.gym import LudusVectorEnv
from ludus.worlds.registry import make_world

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add-a-world.md").read_text()
(PENDULUM,) = re.findall(r'```python\n("""my_pendulum.*?)```', PAGE, re.DOTALL)
TINY = ("--preset", "tiny", "world.n_envs=4", "world.name=my_pendulum.py:pendulum")
TRAIN = ("training.updates=4", "training.evaluate_every=4", "training.evaluation_episodes=1")
RUN = (
    *("seed_data.episodes=8", "training.round_updates=4", "experiment.rounds=1", "experiment.episodes_per_round=4"),
    *("experiment.final_episodes=1",),
)


class Slide(gymnasium.Env):
    """A puck that is pushed along a line to a goal; goal-conditioned, and as bad as it is asked to be."""

    metadata = {"render_fps": 10}  # noqa: RUF012
    action_space = spaces.Box(np.float32(-0.2), np.float32(0.4), (1,))

    def __init__(self, bad="", limit=30):
        self.bad, self.limit = bad, limit
        point = spaces.Box(-1, 1, (1,))
        self.observation_space = spaces.Dict(
            observation=spaces.Box(-np.inf, np.inf, (2,)),
            achieved_goal=point,
            desired_goal=point,
            colour=spaces.Discrete(3),
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-1, 1, (2, 1))
        self.t = 0
        return self.seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        self.at = np.clip(self.at + action, -1, 1)
        if self.bad and self.t == 3:
            if self.bad == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("no more\nthan three")
        near = abs(self.at - self.goal)[0] < 0.1
        info = {} if self.bad == "silent" else {"is_success": float(near)}
        return self.seen(), float(near) - 1, self.t == self.limit, False, info

    def seen(self):
        position = np.float32(self.at)
        state = np.array([position[0], self.t], np.float32)
        return {
            "observation": state,
            "achieved_goal": position,
            "desired_goal": np.float32(self.goal),
            "colour": self.t % 3,
        }


@dataclass(frozen=True)
class Options:
    bad: str = ""
    limit: int = 30


def make(environment=Slide, n_envs=3, threads=1, options=None, **described):
    declared = Options if environment is Slide else NoOptions
    described = {"rewards": (-1, 0), "episode_steps": 50, **described}
    config = WorldConfig("slide", n_envs=n_envs, threads=threads, options=options or {})
    return gym_world(GymTask(environment, **described), options=declared).make(config)


def limited():
    return gymnasium.make("Pendulum-v1")


def drive(world, n, seeds=(1, 2, 3)):
    """Observations of n steps with the same actions for everybody."""
    first, size = world.reset(seeds), len(world.spec.actions)
    return [first, *(world.step(np.full((world.n_envs, size), np.sin(t))) for t in range(n))]


def test_a_goal_conditioned_space_needs_no_description():
    world = make()
    assert world.spec.objects == ("achieved", "desired") and world.vocabulary.movable == {"achieved"}
    (skill,) = world.library()
    assert (skill.caption, skill.reward, skill.success, skill.steps) == (
        "solve the task",
        "task_reward()",
        "solved()",
        50,
    )
    seen = world.reset((1, 2, 3))
    assert world.spec.control_hz == 10 and (seen["task"] == 0).all()
    for _ in range(20):  # rescaled: actions of -1 to 1 are -0.2 to 0.4
        step = (np.clip(seen["desired"] - seen["achieved"], -0.2, 0.4) + 0.2) / 0.3 - 1
        seen = world.step(step)
    reward, success = world.library().rewards("solve the task", seen)
    assert success.all() and (reward == 1).all()


def test_a_description_names_entries_and_scales_them_by_their_bounds():
    groups = (
        GymGroup(
            "hand",
            "effector",
            (GymField("place", ("observation", 0), "m"), GymField("time", ("observation", [1]))),
        ),
        GymGroup("puck", "object", (GymField("position", "achieved_goal"), GymField("colour", "colour", scale=2))),
    )
    world = make(groups=groups)
    by_name = world.spec.observation.by_name
    assert [(f.name, f.size, f.centre, f.scale) for f in by_name["puck"].fields] == [
        ("position", 1, (0.0,), (1.0,)),
        ("colour", 3, (0.5, 0.5, 0.5), 2.0),
    ]
    assert by_name["hand"].fields[0].unit == "m" and by_name["hand"].fields[1].scale == (1.0,)
    seen = drive(world, 4)[-1]
    assert (seen["hand"][:, 1] == 4).all() and (seen["puck"][:, 1:] == (0, 1, 0)).all()
    assert np.array_equal(seen["hand"][:, 0], seen["puck"][:, 0])


def test_processes_neighbours_and_threads_change_nothing():
    here, there, alone = make(), make(threads=2), make(n_envs=1)
    try:
        one, other = drive(here, 5), drive(there, 5)
        for a, b, c in zip(one, other, drive(alone, 5, [3]), strict=True):
            for group in a:
                assert a[group].tobytes() == b[group].tobytes()
                assert a[group][2:].tobytes() == c[group].tobytes()
        assert here.spec.fingerprint == there.spec.fingerprint
        assert here.snapshot().tolist() == [[1, 5], [2, 5], [3, 5]]
    finally:
        for world in (here, there, alone):
            world.close()


def test_processes_that_a_signal_ended_first_are_no_error_of_the_world_when_it_closes():
    world = make(threads=2)
    drive(world, 2)
    mine = multiprocessing.active_children()
    assert mine
    for process in mine:
        process.terminate()
        process.join()
    world.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("threads", [1, 2])
def test_who_rests_stays_as_it_was_until_it_is_reset(threads):
    world, rests = make(threads=threads), np.array([False, True, False])
    try:
        whole, first = drive(world, 5), world.reset((1, 2, 3))
        world.rest(rests)
        some = [world.step(np.full((3, 1), np.sin(t))) for t in range(5)]
        for seen, alike in zip(some, whole[1:], strict=True):
            assert all(np.array_equal(seen[g][~rests], alike[g][~rests]) for g in seen)
            assert all(np.array_equal(seen[g][rests], first[g][rests]) for g in seen)
        assert all(np.array_equal(a[g], b[g]) for a, b in zip(drive(world, 5), whole, strict=True) for g in a)
    finally:
        world.close()


def test_the_end_of_an_environment_stays():
    world = make(options={"limit": 4})
    seen = drive(world, 8)
    for group in ("robot", "achieved"):
        assert all(np.array_equal(seen[4][group], later[group]) for later in seen[5:])
    assert [(o["task"][:, 2] > 0).all() for o in seen] == [False] * 4 + [True] * 5
    solved = seen[4]["task"][:, 1] > 0
    assert solved.any() and np.array_equal(world.ended(), ~solved)  # a success is no end for the learner
    assert (seen[8]["task"][~solved, 0] == 0).all() and (seen[8]["task"][solved, 0] == 1).all()
    assert not (world.reset((1, 2, 3))["task"]).any()


def test_discrete_actions_take_the_largest_choice_and_rewards_are_clipped(caplog):
    upright = Skill("balance", "task_reward()", "not ended()", steps=60)
    world = make(
        "CartPole-v1", rewards=(0, 0.5), skills=[upright], actions=("left", "right"), episode_steps=0, n_envs=2
    )
    assert world.spec.episode_steps == 500 and world.spec.control_hz == 50 and "solved" not in world.vocabulary.by_name
    scales = world.spec.observation.by_name["robot"].fields[0].scale
    assert scales[0] == pytest.approx(4.8) and scales[1] == 1  # the velocity's bounds say nothing
    world.reset((1, 2))
    left_right = np.array([[0.3, 0.2], [-0.9, -0.8]])
    for _ in range(5):
        seen = world.step(left_right)
    assert seen["robot"][0, 1] < -0.5 and seen["robot"][1, 1] > 0.5
    assert (seen["task"][:, 0] == 1).all() and caplog.text.count("gave a reward of 1, outside of rewards=(0, 0.5)") == 1
    for _ in range(20):
        seen = world.step(left_right)
    reward, success = world.library().rewards("balance", seen)
    assert not success.any() and not reward.any()


@pytest.mark.parametrize(
    ("bad", "threads", "words"),
    [
        (
            "raises",
            1,
            r"'Slide' fails in step: .*test_worlds_from_gym.py line \d+, RuntimeError: no more than three; mend it",
        ),
        (
            "raises",
            2,
            r"'Slide' fails in step: .*test_worlds_from_gym.py line \d+, RuntimeError: no more than three; mend it",
        ),
        ("dies", 2, "'Slide' ended its process in step; mend it"),
        ("silent", 1, "info of 'Slide' has no 'is_success', only .*give GymTask"),
    ],
)
def test_a_bad_environment_ends_in_one_sentence(bad, threads, words):
    world = make(n_envs=2, threads=threads, options={"bad": bad})
    with pytest.raises(LudusError, match=words) as caught:
        drive(world, 5, (1, 2))
    assert "\n" not in str(caught.value)
    world.close()


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"rewards": (0, 0)}, r"rewards=\(0, 0\) of 'Slide': give the lowest and the highest"),
        ({"groups": [GymGroup("a", "object", (GymField("x", "observed"),))]}, "'observed'; nearest: 'observation'"),
        (
            {"groups": [GymGroup("a", "object", (GymField("x", ("observation", 2)),))]},
            "'x' of 'Slide' is at .* out of bounds",
        ),
        (
            {"groups": [GymGroup("a", "object", (GymField("x", 1),))]},
            "of 'Slide' '1'; known: 'observation', 'achieved_goal'",
        ),
        (
            {"groups": [GymGroup("task", "object", (GymField("x", "colour"),))]},
            "is called 'task', as what the environment",
        ),
        ({"actions": ("x", "y")}, "2 names of actions for 1 dimensions of 'Slide'"),
        ({"environment": "Pendulum-v1"}, r"the description of 'Pendulum-v1' has no skills; give skills, or success"),
        (
            {"environment": "Pendulum-v1", "success": "x", "groups": [GymGroup("a", "arm", (GymField("x", "cos"),))]},
            "have no keys; give indices",
        ),
        (
            {"environment": limited, "episode_steps": 201},
            "episode_steps=201 of 'limited', which ends after 200; give fewer",
        ),
        (
            {"environment": "Pendulun-v1"},
            "'Pendulun-v1' fails in being made: .*NameNotFound.* Did you mean: `Pendulum`",
        ),
        ({"options": {"limit": "x"}}, "world.options.limit=x is not of type int"),
        ({"episode_steps": 0}, r"'Slide' does not say its episode_steps; give GymTask\(episode_steps"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(described, words):
    with pytest.raises(LudusError, match=words) as caught:
        make(**described)
    assert "\n" not in str(caught.value)


class Home(Slide):
    """Its goal is at 0."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goal[:] = 0
        return self.seen(), {}


def task(environment, name, **described):
    skill = Skill(f"slide {name}", "task_reward()", "solved()", steps=50)
    usual = {"rewards": (-1, 0), "episode_steps": 50, "name": name, "skills": [skill]}
    return GymTask(environment, **{**usual, **described})


def together(*tasks, n_envs):
    return gym_world(tasks, name="both").make(WorldConfig("both", n_envs=n_envs, threads=1))


def test_several_tasks_are_one_world_with_a_start_for_each():
    world, alone = (together(task(Slide, "out"), task(Home, "to-0"), n_envs=n) for n in (3, 1))
    try:
        assert (world.spec.name, world.spec.starts) == ("both", ("any", "out", "to-0"))
        assert [world.start_of(c) for c in ("slide out", "slide to-0", "juggle")] == ["out", "to-0", "any"]
        starts, seeds = ["to-0", "out", "to-0"], (1, 2, 3)
        world.reset(seeds, "out")  # the next reset makes environments of the other task; two of these stay idle
        first, other = world.reset(seeds, starts), alone.reset(seeds[2:], starts[2:])
        for _ in range(20):
            step = (np.clip(first["desired"] - first["achieved"], -0.2, 0.4) + 0.2) / 0.3 - 1
            first, other = world.step(step), alone.step(step[2:])
            assert all(first[g][2:].tobytes() == other[g].tobytes() for g in first)
        assert first["desired"][[0, 2]].tolist() == [[0], [0]] and first["desired"][1] != 0
        assert world.snapshot().tolist() == [[1, 20, 1], [2, 20, 0], [3, 20, 1]]
        rewards, success = pickle.loads(pickle.dumps(world.library())).score(first)
        assert success.tolist() == [[False, True, False], [True, False, True]]  # a task's skill is of no use in another
        assert (rewards == success).all()
        hidden = [g.name for g in world.spec.observation.groups if g.hidden]
        assert hidden == ["task"] and make_encoder(world.spec).pack(first).shape == (3, 2 + 1 + 1)
        face = LudusVectorEnv(world, "slide to-0")
        assert face.reset(seed=0)[0].shape == (3, 4) and (world.observe()["desired"] == 0).all()
        drawn = [world.reset([seed] * 3)["desired"].ravel().tolist() for seed in range(8)]
        assert 0 < drawn.count([0, 0, 0]) < 8  # which task is the seed's choice
    finally:
        world.close(), alone.close()


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"name": "out"}, "tasks of 'both' are called out, out; give each a name of its own"),
        ({"control_hz": 5}, "'home' runs at 5 Hz, 'out' at 10; give control_hz"),
        ({"actions": ("push",)}, "the actions of 'home' and 'out' differ; give both the same names"),
        ({"groups": [GymGroup("robot", "effector", (GymField("state", "colour"),))]}, "the observation of 'home' and"),
    ],
)
def test_tasks_that_do_not_fit_together_are_refused(second, words):
    with pytest.raises(LudusError, match=words):
        together(task(Slide, "out"), task(Home, **{"name": "home", **second}), n_envs=1)


def test_the_example_of_the_page_in_every_command(tmp_path, monkeypatch):
    assert PENDULUM.count("\n") <= 15
    (tmp_path / "my_pendulum.py").write_text(PENDULUM)
    monkeypatch.chdir(tmp_path)
    assert "swing up" in ludus("collect", "data", *TINY, "--actor", "random", "-n", 8)
    ludus("train", "learned", *TINY, *TRAIN, "--data", "data")
    ludus("eval", "learned", "-n", 2, "--json", "measured.json")
    measured = json.loads(Path("measured.json").read_text())["measured"][0]["skills"]
    assert [(row["caption"], row["n"]) for row in measured] == [("swing up", 2)]
    ludus("run", *TINY, *TRAIN, *RUN, "--dir", "grown")
    assert "done" in ludus("status", "grown")


@pytest.mark.parametrize(
    ("package", "kind"), [("minigrid", "minigrid_world.py:grid"), ("gymnasium_robotics", "fetch_world.py:fetch")]
)
def test_the_examples_fit_their_environments(package, kind):
    pytest.importorskip(package)
    if package == "gymnasium_robotics" and mujoco.__version__ >= "4":
        pytest.skip("gymnasium-robotics 1.4.2 knows MuJoCo up to 3")
    world = make_world(WorldConfig(f"{ROOT / 'examples' / kind}", n_envs=2, threads=1))
    seen = drive(world, 5, (1, 2))[-1]
    rewards, success = world.library().score(seen)
    assert np.isfinite(rewards).all() and not success.all()
    world.close()
