"""A robot does what it is told: the policy that comes with ludus, policy files, and the command."""

import dataclasses

import numpy as np
import pytest
from command import ludus

import ludus as package
from ludus.experiment.instruction import Robot
from ludus.experiment.policy_file import SHIPPED, TrainedPolicy
from ludus.types import LudusError

TOWER = "put red on green, then blue on red"


@pytest.fixture(scope="module")
def robot():
    with Robot(TrainedPolicy.of(SHIPPED)) as made:
        yield made


def test_the_policy_that_comes_with_ludus_does_what_it_says(robot):
    trained = TrainedPolicy.of(SHIPPED)
    written = [s for s in trained.skills if not s.base]
    assert written and {c.caption for c in trained.counts} == set(robot.library.captions)
    assert SHIPPED.stat().st_size < 1_100_000
    assert min(c.successes / c.n for c in trained.counts if robot.library[c.caption].base) > 0.9
    done = [robot.carry_out(robot.plan(TOWER, seed), seed) for seed in range(3)]
    assert sum(d.success for d in done) >= 2
    assert all(d.plan.captions == ("stack red on green", "stack blue on red") for d in done)


def test_each_step_is_judged_where_it_ends(robot):
    done = robot.carry_out(robot.plan("lift red, then open the gripper and open the gripper"), 0)
    lift, release = done.steps
    assert lift.success and "lifted(red)" in lift.facts and lift.tries >= 1
    assert release.success and "lifted(red)" not in release.facts
    assert sum(s.seconds for s in done.steps) == pytest.approx(done.episode.n_steps / robot.world.spec.control_hz)
    again = robot.carry_out(done.plan, 0)
    assert again.steps == done.steps


def test_what_holds_already_is_left_out_and_what_fails_is_told_again(robot):
    seen = []

    class Still:
        """Never moves, so that only what holds already succeeds."""

        name = "still"

        def begin(self, rollouts):
            pass

        def act(self, observations, captions):
            seen.append(captions[0])
            return np.zeros((1, len(robot.world.spec.actions)), np.float32)

    still = Robot(TrainedPolicy.of(SHIPPED))
    with still:
        still.policy = Still()
        done = still.carry_out(still.plan("open the gripper, then lift red"), 0)
    first, second = done.steps
    assert (first.success, first.tries, first.seconds) == (True, 0, 0.0)
    assert (second.success, second.tries) == (False, 2) and set(seen) == {"lift red"}


def test_words_that_no_skill_fits_are_refused(robot):
    with pytest.raises(LudusError, match=r"no skill does 'fly to the moon'.*without words"):
        robot.plan("lift red, then fly to the moon")
    with pytest.raises(LudusError, match=r"no skill does '(ab){28}a\.\.\.': ") as found:
        robot.plan("ab" * 5000)
    assert len(str(found.value)) < 500
    with pytest.raises(LudusError, match="needs a task"):
        robot.plan("  ")


def test_a_policy_file_is_read_as_it_was_written(tmp_path):
    trained = TrainedPolicy.of(SHIPPED)
    trained.write(tmp_path / "again.pt")
    again = TrainedPolicy.of(tmp_path / "again.pt")
    assert dataclasses.replace(again, checkpoint=SHIPPED) == trained
    policies = [package.load_policy(path) for path in (SHIPPED, tmp_path / "again.pt")]
    world = package.make_world("blocks", n_envs=2)
    observations = world.reset(seeds=[0, 1])
    world.close()
    acts = [policy.act(observations, ["reach red", "lift blue"]) for policy in policies]
    assert (acts[0] == acts[1]).all()


def test_more_blocks_than_it_was_trained_with():
    with Robot(TrainedPolicy.of(SHIPPED), n_blocks=4) as robot:
        assert robot.plan("lift yellow").captions == ("lift yellow",)


def test_a_run_is_exported_and_told_what_to_do(tmp_path):
    run, file = tmp_path / "run", tmp_path / "policy.pt"
    settings = ("world.n_envs=4", "seed_data.episodes=4", "training.updates=4", "training.evaluate_every=4")
    ludus("run", "--preset", "tiny", *settings, "experiment.rounds=0", "--dir", run)
    assert "ludus do --policy" in ludus("export", "--policy", file, "--run", run)
    skills = ludus("do", "--policy", file)
    assert (
        skills == ludus("do", "--policy", run) and "stack X on Y and leave" in skills and "X, Y and Z are red" in skills
    )
    assert "nothing to export" in ludus("export", "--run", run, code=2)
    assert "does not exist" in ludus("do", "--policy", tmp_path / "none", code=2)
    file.write_bytes(b"?")
    assert "is no policy file" in ludus("do", "--policy", file, code=2)


def test_without_opengl_the_states_are_told(tmp_path, monkeypatch):
    from ludus.worlds import render

    monkeypatch.setattr(render, "probe", lambda *_: None)
    output = ludus("do", "lift", "red", "--film", tmp_path / "film.gif")  # quotes are not needed
    assert "Plan: lift red" in output and "No film: no OpenGL" in output and "lifted(red)" in output
    assert not (tmp_path / "film.gif").exists()
    assert "changes nothing of an instruction" in ludus("do", "lift red", "training.updates=3", code=2)
    assert "films are GIFs; give film.gif" in ludus("do", "lift red", "--film", "film.mp4", code=2)
    assert "world.n_blocks=2: the policy's skills are about 3 objects; give 3 or more" in ludus(
        "do", "lift red", "world.n_blocks=2", code=2
    )
    assert "cannot write" in ludus("do", "lift red", "--film", tmp_path / "no" / "film.gif", code=2)


@pytest.mark.render
def test_a_film_shows_it(tmp_path):
    from PIL import Image

    output = ludus("do", TOWER, "--film", tmp_path / "film.gif")
    assert "stack red on green, then stack blue on red" in output and "Film:" in output
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames > 20 and film.size[0] >= 320
    assert package.do("lift red", film=tmp_path / "other.gif").success and (tmp_path / "other.gif").stat().st_size
