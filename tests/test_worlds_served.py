"""A world in an interpreter of its own: the same bits as here, and what happens to it is one sentence."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import ludus as command
from test_worlds_file import EXAMPLE

import ludus
from ludus import machine
from ludus.config import WorldConfig
from ludus.record import Record
from ludus.types import LudusError
from ludus.worlds import venvs
from ludus.worlds.registry import make_world, world_kind

ELSEWHERE = "Teacher, options=Options, python=sys.executable, timeout_s=5)"
STEP = "        self.places[:, 0] += self"
RESET = '    def reset(self, seeds, start="anywhere"):\n'
BEGINS = f"{RESET}        assert set(start) == {{'anywhere'}}\n"
RESTS = "    awake = 1\n\n    def rest(self, resting):\n        self.awake = ~resting[:, None]\n\n"
HAPPENS = """        if os.path.exists("ends"): print("a last word"); os._exit(3)
        if os.path.exists("hangs"): time.sleep(60)
        if os.path.exists("raises"): raise ValueError("no such joint")
"""


def settings(file="my_world.py"):
    return WorldConfig(f"{file}:plane", n_envs=5, threads=2)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """The file of the docs, and the same with an interpreter of its own in which something can happen."""
    monkeypatch.chdir(tmp_path)
    Path("here.py").write_text(EXAMPLE)
    served = (
        EXAMPLE.replace("Teacher, options=Options)", ELSEWHERE).replace(STEP, HAPPENS + STEP).replace(RESET, BEGINS)
    )
    Path("my_world.py").write_text("import os\nimport sys\nimport time\n" + served)


@pytest.fixture
def world():
    made = make_world(settings())
    made.reset(range(5))
    yield made
    made.close()


def test_it_is_the_world_that_it_would_be_here(world):
    here = make_world(settings("here.py"))
    assert world.start_of("go to home") == here.start_of("go to home") == "anywhere"
    assert world.spec == here.spec and world.library().captions == here.library().captions
    seen, its = world.reset(range(5)), here.reset(range(5))
    for actions in np.random.default_rng(0).uniform(-1, 1, (3, 5, 2)).astype(np.float32):
        assert all(np.array_equal(seen[g], its[g]) and seen[g].dtype == its[g].dtype for g in its)
        before, kept = seen["point"], seen["point"].copy()
        seen, its = world.step(actions), here.step(actions)
        assert np.array_equal(before, kept)  # what it returned once stays
    assert np.array_equal(world.snapshot(), here.snapshot())
    assert np.array_equal(world.observe()["home"], here.observe()["home"])
    teachers = [world_kind(settings(file)).teacher(here.spec) for file in ("my_world.py", "here.py")]
    for teacher in teachers:
        teacher.begin(range(5), np.zeros(5, np.float32), np.zeros(5, bool))
    acted = [teacher.act(its, ["go to home"] * 5) for teacher in teachers]
    assert np.array_equal(*acted)


def test_who_rests_is_told_to_the_process_that_has_it():
    text = EXAMPLE.replace(RESET, RESTS + RESET).replace("self.speed * np.clip", "self.awake * self.speed * np.clip")
    for file, where in (("my_world.py", ELSEWHERE), ("here.py", "Teacher, options=Options)")):
        Path(file).write_text("import sys\n" + text.replace("Teacher, options=Options)", where))
        world = make_world(settings(file))
        before, rests = world.reset(range(5))["point"], np.array([True, False, False, True, False])
        world.rest(rests)
        moved = (world.step(np.ones((5, 2), np.float32))["point"] != before).any(1)
        assert np.array_equal(moved, ~rests)
        world.close()


def test_it_says_what_has_ended_and_what_its_teacher_obeys():
    text = Path("my_world.py").read_text()
    text = text.replace("    def step(", "    def ended(self):\n        return self.places[:, 0, 0] > 0\n    def step(")
    text = text.replace("    def act(", "    def obeys(self, caption):\n        return 'home' in caption\n    def act(")
    Path("my_world.py").write_text(text)
    world = make_world(settings())
    assert np.array_equal(world.reset(range(5))["point"][:, 0] > 0, world.ended()) and 0 < world.ended().sum() < 5
    teacher = world_kind(settings()).make_teacher(world.spec)
    assert teacher.obeys("go to home") and not teacher.obeys("go to shop")
    world.close()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not name a process's threads")
def test_a_process_computes_with_the_one_thread_that_is_its_share(monkeypatch):
    for name in machine.ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    counts = 'len(os.listdir("/proc/self/task"))'
    computes = f"        np.ones((500, 500)) @ np.ones((500, 500)); raise ValueError(f'{{{counts}}} threads')\n"
    Path("my_world.py").write_text(Path("my_world.py").read_text().replace(STEP, computes + STEP))
    world = make_world(settings())
    world.reset(range(5))
    # the other looks whether this process is still there
    with pytest.raises(LudusError, match="ValueError: 2 threads;"):
        world.step(np.zeros((5, 2), np.float32))
    assert not {*machine.ONE_THREAD} & {*os.environ}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("ends", "its process ended (exit status 3); it said last: a last word"),
        ("raises", "ValueError: no such joint"),
    ],
)
def test_what_ends_it_is_one_sentence_and_another_can_be_made(world, what, said):
    Path(what).touch()
    with pytest.raises(LudusError, match=re.escape(said)) as raised:
        world.step(np.zeros((5, 2), np.float32))
    assert "\n" not in str(raised.value) and "'step'" in str(raised.value)
    with pytest.raises(LudusError, match="make it anew"):
        world.observe()
    Path(what).unlink()
    again = make_world(settings())
    again.reset(range(5))
    again.step(np.zeros((5, 2), np.float32))
    again.close()


def test_a_world_that_hangs_is_stopped():
    Path("my_world.py").write_text(Path("my_world.py").read_text().replace("timeout_s=5", "timeout_s=2"))
    world = make_world(settings())
    world.reset(range(5))
    Path("hangs").touch()
    with pytest.raises(LudusError, match=r"did not answer within 2 s \(WorldKind\.timeout_s\) and was stopped"):
        world.step(np.zeros((5, 2), np.float32))


def test_a_world_that_refuses_can_be_asked_something_else(world):
    with pytest.raises(LudusError, match="no pictures"):
        world.frames(world.observe())
    with pytest.raises(LudusError, match="4 seeds for 5 simulations"):
        world.reset(range(4))
    world.step(np.zeros((5, 2), np.float32))


def test_observations_that_are_not_as_declared_are_refused():
    Path("my_world.py").write_text(
        Path("my_world.py").read_text().replace("self.places[:, i].astype", "self.places[:, i, :1].astype")
    )
    world = make_world(settings())
    with pytest.raises(LudusError, match=r"group 'point' is float32 of shape \(3, 1\), it must be float32"):
        world.reset(range(5))


def test_a_killed_world_ends_a_collection_that_can_go_on():
    tiny = ("--preset", "tiny", "world.name=my_world.py:plane", "world.n_envs=4")
    command("collect", "whole", *tiny, "-n", 8)
    Path("ends").touch()
    assert "exit status 3" in command("collect", "stopped", *tiny, "-n", 8, code=2)
    Path("ends").unlink()
    command("collect", "stopped", *tiny, "-n", 8)
    with Record.open("whole", write=False) as whole, Record.open("stopped", write=False) as stopped:
        assert whole.content() == stopped.content()


def test_no_process_outlives_the_one_that_asks():
    code = "import os, ludus, sys\nw = ludus.make_world('my_world.py:plane', n_envs=2, threads=1)\n"
    code += "print(w._processes[0]._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    env = os.environ | {"PYTHONPATH": str(Path(ludus.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")


def test_a_world_that_needs_packages_says_how_to_install_them(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = Path("my_world.py").read_text().replace("python=sys.executable", "requirements=('metaworld==3.1.1',)")
    Path("my_world.py").write_text(text)
    with pytest.raises(
        LudusError, match=r"needs metaworld==3\.1\.1; install them by `ludus worlds install .*my_world\.py:plane`"
    ):
        make_world(settings())
    assert venvs.folder(("a", "b")) == venvs.folder(("b", "a")) != venvs.folder(("a",))
    assert "blocks" in command("worlds")
    assert "nothing to install" in command("worlds", "install", "here.py:plane")
