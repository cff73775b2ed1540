"""What the command line reads out of its words."""

import os
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest
from command import ludus

from ludus import cli
from ludus.config import Config, override

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = [
    line.partition(" #")[0].strip()
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("ludus ")
]


@pytest.fixture
def read(monkeypatch):
    """`read(*words)`: what the command is called with, instead of calling it."""
    called = []
    for command in cli.COMMANDS.values():
        monkeypatch.setattr(command, "__call__", lambda self: called.append(dict(vars(self))))
    return lambda *words: ludus(*words) or called.pop()


@pytest.mark.parametrize("line", WRITTEN)
def test_every_command_of_the_pages_is_read_as_it_is_meant(read, line):
    given, words = read(*shlex.split(line)[1:]), shlex.split(line)
    if "--" in words:  # another command follows
        words, others = words[: words.index("--")], words[words.index("--") + 1 :]
        assert given["arguments"] == tuple(others)
        assert given.pop("arguments") and read(given["what"], *others)
    settings = [word for word in words if re.match(r"[a-z_]+\.[a-z_.]+=", word)]
    assert list(given.pop("overrides", ())) == settings
    assert not any(setting in repr(given) for setting in settings)
    override(Config(), settings)


def test_version():
    assert ludus("--version").split() == ["ludus", version("ludus")]


def test_settings_may_stand_anywhere(read):
    assert len(WRITTEN) > 25
    ways = (
        ["a", "agent.alpha=1", "seed=3", "--data", "x", "y"],
        ["agent.alpha=1", "a", "--data", "x", "y", "seed=3"],
        ["a", "--data", "x", "agent.alpha=1", "y", "seed=3"],
    )
    first, *others = [read("train", *words) for words in ways]
    assert first["overrides"] == ("agent.alpha=1", "seed=3") and all(other == first for other in others)
    assert read("resume", "budget.usd=5") == {"record": None, "dir": None, "overrides": ("budget.usd=5",)}
    # 'alpha' is no setting and is then refused
    assert read("train", "a", "alpha", "--data", "x", "agent.alpha=1")["overrides"] == ("alpha", "agent.alpha=1")


def test_a_run_may_be_called_like_a_setting_that_there_is_not(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lr=0.1", "sed=3", "a.b=c"):
        assert read("eval", name, "world.n_blocks=3") == read("eval", "x", "world.n_blocks=3") | {"dir": Path(name)}
        assert read("train", name, "--data", "x", name, "seed=3")["data"] == ((Path("x"), Path(name)),)
        assert read("resume", name)["dir"] == Path(name)
    assert read("eval", "agent.alhpa=1")["overrides"] == ("agent.alhpa=1",)  # is then refused
    (tmp_path / "seed=3").mkdir()
    assert "seed=3 is a setting, and the name of what is there: write ./seed=3" in ludus("eval", "seed=3", code=2)
    assert read("eval", "./seed=3")["dir"] == Path("./seed=3")


def test_a_seed_may_be_given_as_a_setting(read):
    for name, more in (("run", ()), ("collect", ("x",)), ("train", ("x",)), ("exam", ("planner",)), ("do", ("lift",))):
        assert read(name, *more, "seed=7")["seed"] == 7 == read(name, *more, "seed=7", "--seed", 7)["seed"]
        assert "--seed 5 and seed=7 are two seeds; give one" in ludus(name, *more, "seed=7", "--seed", 5, code=2)
        assert "'x' is not of type int; give a whole number" in ludus(name, *more, "seed=x", code=2)
    assert read("eval", "x", "seed=7")["seed"] == 7 and read("eval", "x")["seed"] == 1


@pytest.mark.parametrize(
    "words",
    ["run --dir=", "run --dir ''", "collect ''", "train x --data ''", "do --film ''", "export '' --run x", "status ''"],
)
def test_an_empty_word_is_no_place(words):
    """As of `--dir "$UNSET"`, which would fill the current folder."""
    assert "an empty text names no place; give the path, or ." in ludus(*shlex.split(words), code=2)


def test_the_current_folder_may_be_meant_and_may_be_gone(read, tmp_path, monkeypatch):
    assert read("collect", ".")["dir"] == Path() and read("export", "x", "--run", ".", "--skill", "")["run"] == Path()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the current folder cannot be used (No such file" in ludus("do", "lift red", code=2)


def test_the_latest_run_is_found_while_runs_are_written(tmp_path, monkeypatch):
    from ludus.cli.common import latest

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    os.utime(tmp_path / "runs" / "b" / "run.json", (1, 1))
    assert latest() == Path("runs/a")
    (tmp_path / "runs" / "a" / "gone.tmp").symlink_to("nowhere")
    assert latest() in (Path("runs/a"), Path("runs/b"))
