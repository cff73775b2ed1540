"""The Gymnasium faces, checked by Gymnasium and by a real outside learner."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import ludus.worlds.gym  # noqa: F401 - registers the environment
from ludus.config import WorldConfig
from ludus.skills.library import Skill
from ludus.types import LudusError
from ludus.worlds.blocks.world import BlocksWorld
from ludus.worlds.from_gym import GymTask, gym_world
from ludus.worlds.gym import LudusEnv, LudusVectorEnv


@pytest.fixture
def env():
    env = gymnasium.make("ludus/Blocks-v0", caption="reach red", n_blocks=2)
    yield env
    env.close()


def test_gymnasium_accepts_it(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    assert env.metadata["render_fps"] == 20


def test_an_episode_is_truncated_after_the_skills_steps(env):
    env.reset(seed=3)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(80)]
    assert [e for e, _ in ends] == [False] * 80
    assert [t for _, t in ends] == [False] * 79 + [True]


def test_the_vector_face_resets_in_the_step_after_the_last():
    envs = LudusVectorEnv(BlocksWorld(2, 3, 1), "reach red")
    first, _ = envs.reset(seed=5)
    assert envs.observation_space.contains(first)
    for t in range(80):
        last, reward, terminated, truncated, info = envs.step(np.zeros((3, 5), np.float32))
        assert truncated.all() == (t == 79)
    assert info["success"].shape == reward.shape == (3,) and info["is_success"] is info["success"]
    assert envs.single_observation_space.is_bounded() and envs.metadata["render_fps"] == 20  # type: ignore
    assert not terminated.any()
    again, reward, _, truncated, _ = envs.step(np.zeros((3, 5), np.float32))
    assert not truncated.any()
    assert (reward == 0).all()
    assert not np.array_equal(again, last)
    repeated, _ = envs.reset(seed=5)
    assert np.array_equal(repeated, first)
    envs.close()


def test_seeds_of_numpy_and_lists_with_none():
    envs = LudusVectorEnv(BlocksWorld(2, 3, 1), "reach red")
    first, _ = envs.reset(seed=[5, 6, 7])
    second, _ = envs.reset()
    for seeds in ((5, 6, 7), np.array([5, 6, 7]), [np.int64(5), np.uint8(6), 7]):
        assert np.array_equal(envs.reset(seed=seeds)[0], first)  # type: ignore
    mixed, _ = envs.reset(seed=[None, 6, None])
    assert np.array_equal(mixed[[0, 2]], second[[0, 2]]) and np.array_equal(mixed[1], first[1])
    assert np.array_equal(envs.reset(seed=np.int64(4))[0], envs.reset(seed=4)[0])  # type: ignore
    assert not np.array_equal(envs.reset(seed=2**70)[0], envs.reset(seed=2**70 + 1)[0])
    for wrong in ([1, 2], [1, 2, -3], [1, 2, 0.5], -1, "5", 1.0):
        with pytest.raises(LudusError, match="seed"):
            envs.reset(seed=wrong)  # type: ignore
    envs.close()


def test_one_simulation_takes_seeds_of_numpy(env):
    assert np.array_equal(env.reset(seed=np.int64(3))[0], env.reset(seed=3)[0])
    for wrong in (-1, 0.5):
        with pytest.raises(LudusError, match=f"seed {wrong} makes no sense; give a whole number from 0"):
            env.reset(seed=wrong)


def test_unknown_caption_names_the_nearest():
    with pytest.raises(LudusError, match="reach red"):
        LudusVectorEnv(BlocksWorld(2, 1, 1), "reach rad")


def test_stable_baselines_trains_on_it(env):
    sac = pytest.importorskip("stable_baselines3").SAC
    torch.set_num_threads(1)  # on busy cores torch's threads wait for each other for minutes
    model = sac("MlpPolicy", env, learning_starts=100, batch_size=32, seed=0, policy_kwargs={"net_arch": [32, 32]})
    model.learn(300)
    assert model.num_timesteps == 300


def cart_pole(n_envs):
    balance = Skill("balance", "task_reward()", "not ended()", steps=60)
    task = GymTask("CartPole-v1", rewards=(0, 1), skills=[balance])
    return gym_world(task).make(WorldConfig("it", n_envs=n_envs, threads=1))


def test_an_end_of_the_world_terminates():
    env = LudusEnv(lambda: cart_pole(1), "balance")
    check_env(env)
    env.reset(seed=3)
    steps = [env.step(np.array([1, -1], np.float32)) for _ in range(12)]  # always to the left
    over = [terminated for _, _, terminated, _, _ in steps].index(True)
    assert 7 < over < 12 and not any(truncated for _, _, _, truncated, _ in steps)
    assert not steps[over][-1]["is_success"] and steps[over - 1][-1]["is_success"]


def test_those_that_ended_wait_for_the_others():
    envs = LudusVectorEnv(cart_pole(2), "balance")
    envs.reset(seed=3)
    left_and_both = [np.array([[1, -1], [t % 2, 0.5]], np.float32) for t in range(60)]
    steps = [envs.step(actions) for actions in left_and_both]
    rewards, terminated, truncated = (np.stack([s[k] for s in steps]) for k in (1, 2, 3))
    last = int(np.flatnonzero((terminated | truncated).any(1))[0])
    fell = int(rewards[: last + 1, 0].sum())
    assert 7 < fell < 12 and not rewards[fell : last + 1, 0].any()
    assert terminated[last, 0] and last > fell
    assert terminated[last, 1] != truncated[last, 1] == (last == 59)


def test_stable_baselines_takes_a_whole_world():
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy

    from ludus.worlds.sb3 import LudusVecEnv

    torch.set_num_threads(1)
    envs = LudusVecEnv(BlocksWorld(2, 4, 1), "reach red")
    envs.seed(3)
    first = envs.reset()
    for t in range(80):
        observations, rewards, dones, infos = envs.step(np.zeros((4, 5), np.float32))
        assert dones.all() == (t == 79) and rewards.shape == (4,)
    assert infos[0]["TimeLimit.truncated"] and not np.array_equal(infos[0]["terminal_observation"], observations[0])
    assert set(infos[1]) == {"is_success", "terminal_observation", "TimeLimit.truncated"}
    envs.seed(3)
    assert np.array_equal(envs.reset(), first)
    monitored = vec_env.VecMonitor(envs, info_keywords=("is_success",))
    model = PPO("MlpPolicy", monitored, n_steps=40, batch_size=80, n_epochs=1, seed=0, policy_kwargs={"net_arch": [16]})
    model.learn(320)
    assert len(model.ep_info_buffer or ()) == 4 and model.num_timesteps == 320
    evaluate_policy(model, monitored, n_eval_episodes=4)
    envs.close()
