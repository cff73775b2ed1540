"""Commands, settings and paths that README, AGENTS.md, docs/ and benchmarks/results/ show are those of today."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from ludus import config as configs
from ludus.cli import COMMANDS
from ludus.cli.common import is_setting

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = sorted(p.name for p in (ROOT / "src" / "ludus").iterdir() if p.is_dir() and p.name != "__pycache__")
PLACES = (ROOT, ROOT / "src" / "ludus", ROOT / "docs")
"""What a path in a page may be relative to."""
LUDUS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:torchrun .*-m ludus\.cli|\S*ludus) (?P<arguments>[a-z].*)")
STUB = """#!{python}
import json, pathlib, sys
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
if "--json" in sys.argv:
    pathlib.Path(sys.argv[sys.argv.index("--json") + 1]).touch()
"""


def blocks(page: Path) -> Iterator[str]:
    """Lines of the page's ```bash blocks."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        yield from block.splitlines()


def inline(page: Path) -> Iterator[str]:
    """Commands between backticks, one by one."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for span in re.findall(r"`(ludus [a-z][^`]*)`", text):
        yield from (command.strip() for command in " ".join(span.split()).split(";"))


def sections(page: Path) -> set[str]:
    """What a link calls the page's sections: as GitHub does, words without punctuation, joined by dashes."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parse(arguments: list[str]) -> None:
    """Fails where `ludus` would refuse the arguments."""
    if arguments[0] == "cluster":  # behind two dashes another command follows
        parse([arguments[1], *arguments[arguments.index("--") + 1 :]])
    settings = [a for a in arguments if is_setting(a)]
    rest = [a for a in arguments if not is_setting(a)]
    try:
        command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="ludus", args=rest)
    except SystemExit:
        pytest.fail(f"does not parse: ludus {shlex.join(arguments)}")
    settings += getattr(command, "overrides", ())
    configs.override(configs.preset(getattr(command, "preset", "cpu")), settings)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_blocks_parse(page: Path) -> None:
    for line in blocks(page):
        if match := LUDUS.match(line):
            parse(shlex.split(match["arguments"], comments=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_in_sentences_name_options_that_exist(page: Path) -> None:
    for text in inline(page):
        if not text.startswith("ludus "):
            continue
        _, name, *rest = re.findall(r"'[^']*'|\S+", text)
        assert name in COMMANDS, text
        options = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(COMMANDS[name])} | {
            "-n",
            "--help",
        }
        assert {a for a in rest if a.startswith("-")} <= options, text
        known = [a for a in rest if is_setting(a) and "..." not in a]
        configs.override(configs.preset("cpu"), known)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_exist(page: Path) -> None:
    sections = {field.name: getattr(configs.Config(), field.name) for field in dataclasses.fields(configs.Config)}
    for section, name in re.findall(r"`([a-z_]+)\.([a-z_]+)(?:=[^`]*)?`", page.read_text()):
        if section in sections:
            assert hasattr(sections[section], name), f"{section}.{name}"


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks" / "results").glob("*.sh")), ids=lambda p: p.name)
def test_commands_of_the_results_scripts_parse(script: Path, tmp_path: Path) -> None:
    log, stub = tmp_path / "log", tmp_path / "ludus"
    stub.write_text(STUB.format(python=sys.executable, log=str(log)))
    stub.chmod(0o755)
    kinds = ("hard", "zero", "high") if script.name == "rounds.sh" else ("",)
    for kind in kinds:
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ROUNDS": "1"}
        subprocess.run(["sh", script, *filter(None, [kind])], cwd=tmp_path, env=environment, check=True)
    commands = [json.loads(line) for line in log.read_text().splitlines()]
    assert commands
    for arguments in commands:
        parse(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_exist(page: Path) -> None:
    text = page.read_text()
    for target, section in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if "://" not in target:
            other = page.parent / target if target else page
            assert other.exists(), target
            assert not section or section in sections(other), f"{target}#{section}"
    named = set(re.findall(r"(?<![\w/.<-])((?:src|tests|docs|benchmarks)/[\w./-]*[\w/])", text))
    named |= set(re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`", text))
    assert [p for p in sorted(named) if not any((place / p).exists() for place in PLACES)] == []


def test_the_file_tree_of_the_readme_is_true() -> None:
    tree = re.search(r"```\n(src/ludus/\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree
    seen, room = set(), ROOT
    for line in tree[1].splitlines()[1:]:
        if start := re.match(r"  ([\w./]+)", line[:18]):
            room = ROOT / "src" / "ludus" / start[1]
            assert room.exists(), start[1]
            seen.add(start[1].rstrip("/"))
        elif start := re.match(r"(\w+)/", line):
            room = ROOT / start[1]
        for name in re.findall(r"(?<![\w./])(\w+\.py|\w+/)(?![\w.])", line[18:]):
            assert (room / name).exists() or (ROOT / name).exists(), f"{room.name}: {name}"
    modules = {p.name for p in (ROOT / "src" / "ludus").glob("*.py")} | set(ROOMS)
    assert seen == modules - {"__init__.py"}
