"""A world of one's own: the file of docs/add-a-world.md in every command, moved, changed, broken; a package's world; options."""

import json
import pickle
import re
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from command import ludus

import ludus as package
from ludus.config import Config, WorldConfig, as_dict, from_dict, override
from ludus.experiment.policy_file import TrainedPolicy
from ludus.lab.actors import ActorSpec
from ludus.lab.collector import LocalCollector, collect_tasks, run_task
from ludus.lab.rollout import RolloutSpec
from ludus.record import Record
from ludus.types import LudusError
from ludus.worlds.registry import make_world, world_kind

PAGE = Path(__file__).parents[1] / "docs" / "add-a-world.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
MAX_EXAMPLE_LINES = 60
NAME, FAST = "world.name=my_world.py:plane", "world.options.speed=0.2"
TINY = ("--preset", "tiny", "world.n_envs=4", NAME, FAST)
TRAIN = ("training.updates=4", "training.evaluate_every=4", "training.evaluation_episodes=1")
RUN = (
    *("seed_data.episodes=8", "training.round_updates=4", "experiment.rounds=1", "experiment.episodes_per_round=4"),
    *("experiment.final_episodes=1",),
)
SKILLS = """
[[skill]]
caption = "visit home"
reward = "1 - distance(home)"
success = "at(home) and distance(shop) > 0.01"
steps = 20
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the file, episodes made in its world, and a policy that learned from them."""
    folder = tmp_path_factory.mktemp("own") / "work"
    folder.mkdir()
    (folder / "my_world.py").write_text(EXAMPLE)
    (folder / "skills.toml").write_text(SKILLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert "go to X" in ludus("collect", "data", *TINY, "-n", 8)
        ludus("train", "learned", *TINY, *TRAIN, "--data", "data", "--library", "skills.toml")
    return folder


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """A copy of it elsewhere, made absent where it was, as the working directory."""
    there = tmp_path / "moved"
    shutil.copytree(made, there)
    made.rename(made.with_name("away"))
    monkeypatch.chdir(there)
    yield there
    made.with_name("away").rename(made)


def version(record):
    return record.config.world.version


def test_the_example_is_small_and_every_command_takes_it(made, monkeypatch):
    assert EXAMPLE.count("\n") < MAX_EXAMPLE_LINES
    monkeypatch.chdir(made)
    ludus("collect", "data", *TINY, "-n", 8)  # goes on: nothing is left to do
    ludus("eval", "learned", "-n", 2, "--json", "measured.json")
    measured = json.loads(Path("measured.json").read_text())
    assert {row["caption"] for row in measured["measured"][0]["skills"]} == {"visit home", "go to home", "go to shop"}
    assert measured["world"]["name"] == f"{made / 'my_world.py'}:plane" and measured["world"]["options"] == {
        "speed": 0.2
    }
    ludus("run", *TINY, *TRAIN, *RUN, "--library", "skills.toml", "--dir", "grown")
    assert "visit home" in ludus("skills", "grown") and "done" in ludus("status", "grown")
    with Record.open("grown", write=False) as record, Record.open("data", write=False) as data:
        assert version(record) == version(data) != ""
        assert record.settings["world.options.speed"] == 0.2 and "from_run" not in record.settings
        assert from_dict(json.loads(json.dumps(as_dict(record.config)))) == record.config


def test_a_run_and_its_file_are_moved_together(work):
    assert "visit home" in ludus("skills", "learned")
    assert "visit home" in ludus("eval", "learned", "-n", 1)
    ludus("collect", "data", *TINY, "-n", 8)  # the same command
    with Record.open("learned", write=False) as record:
        assert record.config.world.file == work / "my_world.py"
    ludus("export", "--policy", "policy.pt", "--run", "learned")
    (work / "further").mkdir()
    for name in ("policy.pt", "my_world.py"):
        (work / name).rename(work / "further" / name)
    trained = TrainedPolicy.of(work / "further" / "policy.pt")
    assert trained.world.file == work / "further" / "my_world.py" and trained.world.version
    package.load_policy(work / "further" / "policy.pt")
    output = ludus("eval", "learned", "-n", 1, code=2)
    assert "my_world.py cannot be read (No such file or directory); put it there" in output


def test_a_changed_file_is_said_and_mixes_with_nothing_unasked(work, caplog):
    with (work / "my_world.py").open("a") as file:
        file.write("# changed\n")
    changed = world_kind_version(work)
    for looking in (("eval", "learned", "-n", 1), ("export", "--policy", "kept.pt", "--run", "learned")):
        caplog.clear()
        ludus(*looking)
        assert f"version {changed} now, this was begun with" in caplog.text
        assert "going on with the new one" in caplog.text
    for command in (("collect", "data", *TINY, "--name", "more", "-n", 4), ("resume", "learned")):
        output = ludus(*command, code=2)
        assert "put the old one back, begin anew, or go on with the new one by" in output
        assert output.endswith(f"world.version={changed}")
    caplog.clear()
    ludus("train", "again", *TINY, *TRAIN, "--data", "data")
    assert f"which is {changed} now; by its fingerprint they are alike" in caplog.text
    ludus("collect", "data", *TINY, "--name", "more", "-n", 4, f"world.version={changed}")
    ludus("resume", "learned", f"world.version={changed}")
    for run in ("data", "learned"):
        with Record.open(run, write=False) as record:
            assert [m.text for m in record.messages() if changed in m.text and m.sender == "world"]
    assert "is of version" in ludus("collect", "new", *TINY, "world.version=1234", code=2)
    assert not Path("new").exists()


def world_kind_version(folder):
    from ludus.worlds.registry import bound

    return bound(Config(world=WorldConfig(f"{folder / 'my_world.py'}:plane"))).world.version


def test_options_are_typed_and_part_of_what_is_compared(work):
    assert "option of world.name=" in (output := ludus("eval", "learned", "world.options.sped=1", code=2))
    assert "'sped'; nearest: 'speed'" in output
    for wrong, words in (("fast", "world.options.speed=fast is not of type float"), ("true", "is not of type float")):
        with pytest.raises(LudusError, match=words):
            make_world(override(Config(), [NAME, f"world.options.speed={wrong}"]).world)
    with pytest.raises(
        LudusError, match=r"world\.options\.speed=0\.2: world\.name=blocks has no options; leave it out"
    ):
        make_world(override(Config(), [FAST]).world)
    world = package.make_world("my_world.py:plane", n_envs=1, options={"speed": 1})
    assert world.speed == 1.0 and isinstance(world.speed, float)  # type: ignore[attr-defined]
    slow = ("--preset", "tiny", "world.n_envs=4", NAME)
    output = ludus("collect", "data", *slow, "-n", 8, code=2)
    assert "world.options.speed=0.2 there, none here" in output
    output = ludus("train", "mixed", *slow, *TRAIN, "--data", "data", code=2)
    assert "episodes of another world (world.options.speed=0.2 there, none here)" in output
    output = ludus("train", "mixed", "--preset", "tiny", *TRAIN, "--data", "data", code=2)  # its name was forgotten
    assert re.search(r"another world \(world\.name=\S*my_world\.py:plane there, blocks here\); give", output)


def test_another_process_loads_the_same_file_or_says_so(tmp_path):
    file = tmp_path / "it's 100%.py"
    file.write_text(EXAMPLE)
    config = override(Config(), [f"world.name={file}:plane", "world.n_envs=2", FAST]).world
    world = make_world(config)
    library, rollouts = world.library(), [RolloutSpec(("go to home",), seed) for seed in range(2)]
    (task,) = collect_tasks("some", rollouts, ActorSpec("teacher"), library, config, world.spec)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(run_task, pickle.loads(pickle.dumps(task))).result(300)
        (here,) = LocalCollector(world).map([task])
        assert there.outcomes == here.outcomes
        assert [e.actions.tobytes() for e in there.episodes] == [e.actions.tobytes() for e in here.episodes]
        assert not list(tmp_path.rglob("*.pyc"))
        file.write_text(EXAMPLE.replace("0.15", "0.25"))
        assert (
            make_world(config).vocabulary.by_name["at"] is not library.vocabulary.by_name["at"]
        )  # in one process, too
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(Exception, match="terminated abruptly"):
        pool.submit(run_task, task).result(300)


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        (None, "plane", r"bad\.py cannot be read \(No such file or directory\); put it there, or name it"),
        ("x = (", "plane", r"bad\.py cannot be loaded: line 1, SyntaxError: '\(' was never closed; mend the file"),
        ("\n\nimport nonsense", "plane", r"line 3, ModuleNotFoundError: No module named 'nonsense'; mend"),
        ("def f():\n  raise ValueError('two\\nlines')\nf()", "plane", "line 2, ValueError: two lines; mend"),
        ("raise SystemExit", "plane", "line 1, SystemExit; mend"),
        ("\0", "plane", "SyntaxError"),
        ("x = 1", "plane", "has no WorldKind 'plane'; add one"),
        ("x = 1", "x", "'x' in .* is a int, not a WorldKind"),
        (EXAMPLE, "plan", "'plan'; nearest: 'plane'"),
        (EXAMPLE, "", "WorldKind in .*, given as .*NAME: ''; known: 'plane'"),
        (EXAMPLE.replace('"m"', '"m", "", "flot"'), "plane", None),
    ],
)
def test_a_bad_file_ends_in_one_sentence(tmp_path, source, name, words):
    file = tmp_path / "bad.py"
    if source is not None:
        file.write_text(source)
    if words is None:  # what is wrong is seen when it is made, where the world says it itself
        with pytest.raises(LudusError, match="dtype 'flot'"):
            make_world(WorldConfig(f"{file}:{name}"))
        return
    with pytest.raises(LudusError, match=words) as caught:
        world_kind(WorldConfig(f"{file}:{name}" if name else str(file)))
    assert "\n" not in str(caught.value)
    assert f"ludus: {' '.join(str(caught.value).split())}" in ludus(
        "collect", tmp_path / "run", f"world.name={file}:{name}", code=2
    )
    assert not (tmp_path / "run").exists()


def test_a_file_is_named_from_here_or_from_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert WorldConfig("a/b.py:kind").name == f"{tmp_path}/a/b.py:kind"
    assert WorldConfig("~/b.py:kind").file == tmp_path / "me" / "b.py"
    assert WorldConfig("blocks").file is None and WorldConfig("blocks").name == "blocks"
    with pytest.raises(LudusError, match=r"unknown world 'my\.world'.*FILE\.py:NAME"):
        world_kind(WorldConfig("my.world"))


def test_what_lies_beside_the_file_can_be_imported(tmp_path):
    (tmp_path / "beside_it.py").write_text("SPEED = 0.5\n")
    (tmp_path / "w.py").write_text(EXAMPLE.replace("import numpy", "from beside_it import SPEED\nimport numpy"))
    try:
        world_kind(WorldConfig(f"{tmp_path / 'w.py'}:plane"))
    finally:
        sys.path.remove(str(tmp_path))


def offer(folder, distribution, target):
    info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[ludus.worlds]\nplane = {target}\n")


def test_a_package_offers_a_world(tmp_path, monkeypatch):
    site, work = tmp_path / "site", tmp_path / "work"
    site.mkdir()
    (site / "plane_worlds.py").write_text(EXAMPLE)
    offer(site, "plane-worlds", "plane_worlds:plane")
    monkeypatch.syspath_prepend(site)
    ludus("collect", work / "data", "--preset", "tiny", "world.name=plane", "-n", 2, "world.n_envs=2")
    with Record.open(work / "data", write=False) as record:
        assert version(record) == "plane-worlds==1.2" and record.config.world.name == "plane"
        newer = override(record.config, ["world.version=plane-worlds==1.1"])
    with pytest.raises(LudusError, match=r"'plane' is of version plane-worlds==1\.2 now, this was begun with"):
        make_world(newer.world)
    with pytest.raises(LudusError, match="unknown world 'plan'; nearest: 'plane'"):
        make_world(WorldConfig("plan"))
    offer(tmp_path / "other", "other-worlds", "plane_worlds:Plane")
    monkeypatch.syspath_prepend(tmp_path / "other")
    with pytest.raises(LudusError, match="'plane' is offered by other-worlds and plane-worlds; uninstall all but one"):
        make_world(WorldConfig("plane"))
    shutil.rmtree(site / "plane_worlds-1.2.dist-info")
    with pytest.raises(
        LudusError, match=r"other-worlds \(plane_worlds:Plane\) is a ABCMeta, not a WorldKind|_ProtocolMeta"
    ):
        make_world(WorldConfig("plane"))
