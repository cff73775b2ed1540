"""Limits on the size of what stands in the house: what is larger is more than one thing."""

import ast
import tomllib
import traceback
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from command import ludus

from ludus.agents.trainer import EagerAdamW

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src" / "ludus"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 350, 60, 7
MAX_LOOP_LINES = 150
MAX_CALLS, MAX_FILES = 5, 4
"""From a command to the gradient step."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.parts[p.parts.index("ludus") + 1 :]))
def test_files_and_functions_are_small(path):
    text = path.read_text()
    found = [f"{text.count(chr(10))} lines"] if text.count("\n") > MAX_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            n, lines = sum(a.arg not in ("self", "cls") for a in arguments), node.end_lineno - node.lineno + 1
            found += [f"{node.name} has {n} parameters"] if n > MAX_PARAMETERS else []
            found += [f"{node.name} has {lines} lines"] if lines > MAX_FUNCTION_LINES else []
    assert not found


def test_no_files_import_each_other_in_a_circle():
    graph = grimp.build_graph("ludus")
    TopologicalSorter({m: graph.find_modules_directly_imported_by(m) for m in graph.modules}).prepare()


def test_the_wheel_holds_every_file_of_the_package():
    """An editable installation, as of these tests, does not show what is missing."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = {p for pattern in settings["tool"]["setuptools"]["package-data"]["ludus"] for p in PACKAGE.glob(pattern)}
    files = {p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert files <= packed


def test_the_method_stands_on_one_page():
    (loop,) = (p for p in SOURCES if p.parts[-2:] == ("experiment", "loop.py"))
    assert loop.read_text().count("\n") < MAX_LOOP_LINES


def test_few_calls_lead_from_the_command_to_the_gradient_step(tmp_path, monkeypatch):
    class FoundError(Exception):
        pass

    def step(*_, **__):
        raise FoundError

    tiny = ("--preset", "tiny", "world.n_envs=4")
    ludus("collect", tmp_path / "data", *tiny, "--episodes", 4)
    monkeypatch.setattr(EagerAdamW, "step", step)
    with pytest.raises(FoundError) as found:
        ludus("train", tmp_path / "run", *tiny, "training.evaluation_episodes=0", "--data", tmp_path / "data")
    frames = [f for f in traceback.extract_tb(found.tb) if "/ludus/" in f.filename]
    (command,) = (i for i, f in enumerate(frames) if f.filename.endswith("cli/train.py"))
    way = frames[command:]
    assert len(way) - 1 <= MAX_CALLS and len({f.filename for f in way}) <= MAX_FILES, [f.name for f in way]
