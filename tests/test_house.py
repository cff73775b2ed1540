"""Limits on the size of what stands in the house: what is larger is more than one thing."""

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "src" / "ludus").rglob("*.py"))
MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 350, 60, 7
MAX_LOOP_LINES = 150


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


def test_the_method_stands_on_one_page():
    (loop,) = (p for p in SOURCES if p.parts[-2:] == ("experiment", "loop.py"))
    assert loop.read_text().count("\n") < MAX_LOOP_LINES
