"""What the command line reads out of its words."""

import re
import shlex
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
    given = read(*shlex.split(line)[1:])
    settings = [word for word in shlex.split(line) if re.match(r"[a-z_]+\.[a-z_.]+=", word)]
    assert list(given.pop("overrides", ())) == settings
    assert not any(setting in repr(given) for setting in settings)
    override(Config(), settings)


def test_settings_may_stand_anywhere(read):
    assert len(WRITTEN) > 25
    ways = (
        ["a", "agent.alpha=1", "seed=3", "--data", "x", "y"],
        ["agent.alpha=1", "a", "--data", "x", "y", "seed=3"],
        ["a", "--data", "x", "agent.alpha=1", "y", "seed=3"],
    )
    first, *others = [read("train", *words) for words in ways]
    assert first["overrides"] == ("agent.alpha=1", "seed=3") and all(other == first for other in others)
    assert read("resume", "budget.usd=5") == {"dir": None, "overrides": ("budget.usd=5",)}
    # 'alpha' is no setting and is then refused
    assert read("train", "a", "alpha", "--data", "x", "agent.alpha=1")["overrides"] == ("alpha", "agent.alpha=1")
