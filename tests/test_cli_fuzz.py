"""No command can be brought to a traceback by its arguments: settings, numbers, names and files, in this process."""

import dataclasses
import importlib
import io
import math
import os
import pkgutil
import resource
import signal
import sys
from pathlib import Path
from typing import get_origin, get_type_hints

import pytest
from command import ludus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ludus as package
from ludus import cli
from ludus.config import Config
from ludus.record import files

TINY = [
    *("training.updates=2", "training.evaluate_every=2", "training.evaluation_episodes=0", "training.round_updates=0"),
    *("experiment.rounds=0", "experiment.final_episodes=0", "seed_data.episodes=2", "world.n_envs=2"),
]
STUDY = """
name = "new"
seeds = [0]
[card]
hypothesis = "h"
metric = "minutes"
n = 1
test = "sign"
answer = "a"
[base]
preset = "tiny"
settings = {settings}
[[arm]]
name = "one"
"""
TIME_S = 2.0
"""A command that still works then has read its arguments; it is interrupted as by Ctrl-C."""
MEMORY_BYTES = 4 << 30
"""Address space for one command beyond what the tests take: sizes no machine has must be refused, not tried."""
LEAVES = [
    f"{section}.{name}" if section != "seed" else section
    for section, kind in get_type_hints(Config).items()
    for name in (get_type_hints(kind) if dataclasses.is_dataclass(kind) else [""])
]
EXTREMES = (
    0,
    -1,
    1,
    2,
    3,
    0.5,
    -0.5,
    math.nan,
    math.inf,
    -math.inf,
    1e-320,
    1e308,
    10**6,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
)
NUMBERS = st.one_of(st.sampled_from(EXTREMES), st.integers(-10, 10), st.integers(), st.floats()).map(str)
WORDS = [
    *(
        "RUN",
        "EPISODES",
        "blocks",
        "ogbench",
        "planner",
        "random",
        "oracle",
        "human",
        "policy",
        "teacher",
        "play",
        "all",
    ),
    *(
        "reach red",
        "stack X on Y",
        "stack _ on _",
        "scattered",
        "single",
        "octuple",
        "propose",
        "xs",
        "base",
        "mlp",
        "iql",
    ),
    *(
        "openai:",
        "openai:gpt",
        ":",
        "http://",
        "http://127.0.0.1:9/v1#m",
        "http://[::1",
        "http://h:port/v1#m",
        "x:y:z",
        "#",
        "@",
    ),
    *(
        "cuda",
        "cuda:99",
        "meta",
        "cpu:1",
        "mapped",
        "true",
        "null",
        "{",
        "}",
        "if held(red) { open the gripper }",
        "a;b,,;",
    ),
    *(
        "repeat until on(red, green) at most 3 times { stack red on green }",
        "0.3-0.6",
        "1-2-3",
        "[red]",
        "%s%n",
        "\\",
        "'",
        '"',
    ),
    *(
        "sqlite://",
        "sqlite:///rows.db",
        "sqlite:////",
        "postgresql://u:p@127.0.0.1:9/x",
        "postgresql://h:port/x",
        "mysql://x",
        "://",
    ),
]
PLACES = [
    *(
        "RUN",
        "EPISODES",
        "new",
        "new/er",
        "empty",
        "text",
        "binary",
        "library.toml",
        "RUN/ludus.db",
        "RUN/shards",
        "loop",
        "closed",
    ),
    *(
        ".",
        "..",
        "/",
        "-",
        "~",
        "",
        " ",
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "/proc",
        "x" * 300,
        "a/" * 3000 + "a",
    ),
    *(
        "why?",
        "50%",
        "#1",
        "a&b=c",
        "[/red]",
        "ü",
        "\N{SNOWMAN}",
        "\udcff",
        "text/inside",
        "two\nlines",
        "--",
        "file:x",
        "*",
    ),
]
TEXTS = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(PLACES),
    NUMBERS,
    st.text(st.characters(exclude_characters="\0"), max_size=12),
)
PATHS = st.one_of(st.sampled_from(PLACES), TEXTS)
SETTINGS = st.builds("{}={}".format, st.sampled_from(LEAVES), st.one_of(NUMBERS, NUMBERS, TEXTS))


USUAL = {
    "dir": ["RUN", "EPISODES", "new", "new"],
    "run": ["RUN"],
    "policy": ["RUN"],
    "init": ["RUN"],
    "replay": ["RUN"],
    "data": ["RUN", "EPISODES"],
    "library": ["library.toml"],
    "name": ["planner", "random", "oracle"],
    "experimenter": ["planner", "random", "oracle", "human"],
    "actor": ["teacher", "random", "policy", "play"],
    "skills": ["reach red", "stack X on Y", "stack _ on _"],
    "skill": ["reach red", "stack X on Y"],
    "hold_out": ["reach red"],
    "start": ["scattered", "held", "all"],
    "plan": ["reach red; reach green", "repeat until on(red, green) at most 3 times { stack red on green }"],
    "parts": ["propose", "analyse"],
    "preset": ["tiny", "tiny,bc"],
    "record": ["rows.db", "sqlite:///rows.db"],
    "switching": ["fixed", "conditional"],
    "noise": ["0.3", "0.1-0.2"],
    "format": ["npz", "lerobot", "minari"],
    "sources": ["new.npz", "library.toml", "RUN"],
    "caption": ["reach red"],
    "where": ["new.out", "lerobot", "minari"],
    "file": ["study.toml"],
}
"""What an option usually gets; others a small number, or a new file."""
RARE = 7
"""One in so many values is anything at all."""


def values(name: str, hint) -> st.SearchStrategy[list[str]]:
    """The words behind an option."""
    is_path = "Path" in str(hint)
    usual = st.sampled_from(USUAL.get(name, ["new.out"] if is_path else ["1", "2"]))
    word = st.integers(1, RARE).flatmap(lambda i: usual if i > 1 else (PATHS if is_path else TEXTS))
    return st.lists(word, min_size=1, max_size=2) if get_origin(hint) is tuple else word.map(lambda x: [x])


@st.composite
def arguments(draw) -> list[str]:
    """A command line that is mostly as it should be."""
    endless = ("serve", "mcp")  # they serve until they are stopped
    ending = [(name, command) for name, command in cli.COMMANDS.items() if name not in endless]
    name, command = draw(st.sampled_from(ending))
    words, hints = [], get_type_hints(command)
    written = {k: v for base in reversed(command.__mro__) for k, v in vars(base).get("__annotations__", {}).items()}
    for field in dataclasses.fields(command):
        option, hint = field.name, hints[field.name]
        positional = "Positional" in str(written[option])
        needed = (
            field.default is dataclasses.MISSING
            or option == "preset"
            or (option, name) == ("data", "train")
            or (positional and option == "dir")
        )
        if option == "overrides":
            words.append(draw(st.lists(SETTINGS, max_size=2)) + ([] if name in ("eval", "resume", "exam") else TINY))
        elif not needed and draw(st.integers(0, 3)):
            continue
        elif hint is bool:
            words.append([f"--{option.replace('_', '-')}"])
        elif positional:
            words.append(draw(values(option, hint)))
        else:
            words.append([f"--{option.replace('_', '-')}", *draw(values(option, hint))])
    if not draw(st.integers(0, 19)):
        words.append([draw(TEXTS)])
    return [name, *(word for several in words for word in several)]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A folder with a run, collected episodes, a library, and what is none of these."""
    folder = tmp_path_factory.mktemp("fuzz")
    ludus("run", "--preset", "tiny", "--dir", folder / "RUN", *TINY)
    ludus("collect", folder / "EPISODES", "--preset", "tiny", "world.n_envs=2", "-n", 2)
    ludus("skills", folder / "RUN", "--export", folder / "library.toml")
    ludus("exam", "planner", "--parts", "analyse", "--limit", 1, "--dir", folder / "exam")
    ludus("export", folder / "tensorboard", "--run", folder / "RUN")
    for module in pkgutil.walk_packages(package.__path__, "ludus."):  # an import that is interrupted stays half done
        importlib.import_module(module.name)
    (folder / "study.toml").write_text(STUDY.format(settings=TINY))
    (folder / "text").write_text("neither a run nor a library\n")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "closed").mkdir(mode=0)
    return folder


@pytest.fixture
def bounded(there, monkeypatch):
    """A command ends after a while, takes no more than so much memory, and finds nobody at the terminal."""
    monkeypatch.chdir(there)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for variable in [v for v in os.environ if v.endswith(("_API_KEY", "_PROXY", "_proxy"))]:
        monkeypatch.delenv(variable)
    before, terminate = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGTERM)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGTERM, terminate)
    resource.setrlimit(resource.RLIMIT_AS, before)


def ends_well(words: list[str]) -> None:
    for made in Path.cwd().glob("new*"):
        files.remove(made)
    output = ""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, TIME_S, TIME_S)  # again and again: one may fall into a destructor
            output = ludus(*words, code={0, 1, 2, 130})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:  # in the moment between the command and its caller
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert "Traceback" not in output


def fuzz(examples: int):
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@fuzz(30)
@given(words=arguments())
def test_no_arguments_end_in_a_traceback(bounded, words):
    ends_well(words)


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@fuzz(2000)
@given(words=arguments())
def test_none_of_thousands_of_arguments_ends_in_a_traceback(bounded, words):
    ends_well(words)
