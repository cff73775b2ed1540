"""A study as a TOML file: arms, seeds that they share, and the card, which says beforehand what is asked.

name = "curriculum"
seeds = [0, 1, 2]                 # each arm runs with each of them; equal seeds are compared
fork = {run = "runs/start-{seed}", round = 0}     # may be left out: every run goes on from a copy of this one

[card]
hypothesis = "The planner's tasks teach base skills better than sequences drawn at random."
metric = "base_success"           # a key of METRICS
n = 3                             # seeds per arm
test = "permutation"              # or "sign"
answer = "Yes if the interval of planner - sequences lies above 0."
compare = [["planner", "sequences"]]    # pairs of arms; each arm with the first, if left out

[base]                            # of every arm; may be left out
preset = "tiny"
settings = ["experiment.rounds=2"]

[[arm]]
name = "planner"

[[arm]]
name = "sequences"
settings = ["experimenter.propose=sequences"]

Arms may also have `preset`, `experimenter`, `library` and `data`, the options of `ludus run`. Paths are relative to the working
directory, as there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ludus.config import ROLES
from ludus.config.limits import MAX_INT, said
from ludus.lab.resampling import TESTS
from ludus.record import files
from ludus.skills.files import read_skills
from ludus.types import LudusError, unknown

METRICS = {
    "base_success": "success on the skills that the run began with, at its end",
    "new_success": "success on the skills that joined in the run, at its end",
    "accepted": "skills that were written in the run and accepted, templates",
    "curve_area": "success on the skills that the run began with, mean over its episodes",
    "graphs": "different relation graphs between objects in the rounds' episodes",
    "places": "cubes of 5 cm in which the centre of an object was in the rounds' episodes",
    "episodes": "episodes, seed data included",
    "updates": "updates of the policy that was trained last",
    "promoted": "rounds whose policy replaced the best one before it",
    "tokens": "tokens of models, in and out",
    "usd": "price of models' answers, USD",
    "minutes": "time of all steps, minutes",
}
"""What a card may name, in words. `ludus.views.queries.study` computes them from a run's record."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")
SEED = "{seed}"
"""Stands for a run's seed in the paths of a fork and of data."""
MOST_RUNS = 10_000


@dataclass(frozen=True)
class Card:
    """What is asked, and what will count as the answer; written before the first run."""

    hypothesis: str
    metric: str
    n: int
    test: str
    answer: str
    compare: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Fork:
    """Where every run goes on from: a copy of a run that is over after so many rounds."""

    run: str
    round: int

    def source(self, seed: int) -> Path:
        return Path(self.run.replace(SEED, str(seed)))


@dataclass(frozen=True)
class Arm:
    """What is the same in the runs of an arm."""

    name: str
    preset: str
    settings: tuple[str, ...]  # of `experimenter` and of the base, too
    library: str | None
    data: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Arms by seeds."""

    name: str
    card: Card
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    fork: Fork | None

    def content(self) -> dict[str, Any]:
        """All that the runs and their answer depend on, as JSON has it; of a library file the digest of its skills.

        Raises:
            LudusError: a library file that cannot be read.
        """
        arms = [asdict(arm) for arm in self.arms]
        for arm in arms:
            if arm["library"] is not None:
                arm["library"] = digest([asdict(skill) for skill in read_skills(Path(arm["library"]))])
        content = {
            "card": asdict(self.card),
            "arms": arms,
            "seeds": self.seeds,
            "fork": self.fork and asdict(self.fork),
        }
        return json.loads(json.dumps(content))


def digest(content: Any) -> str:
    """SHA-256 of what JSON can hold, in hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_study(path: Path) -> Study:
    """The study of a file. Settings, libraries and forks are not looked at, see `ludus.experiment.trials.check_trials`.

    Raises:
        LudusError: no such file, not TOML, a key that is unknown or missing, a value that makes no sense.
    """
    found = files.read_toml(path, "study file")
    try:
        return _study(found)
    except LudusError as error:
        raise LudusError(f"study file {path}: {error}") from None


# --- inside --------------------------------------------------------------------------------------------------------

_KINDS = {
    str: "a text",
    int: "a whole number of 64 bits",
    dict: "a table",
    list[str]: "a list of texts",
    list[int]: "a list of whole numbers of 64 bits",
    list[dict]: "a list of tables, each begun with a line [[arm]]",
    list[list]: 'a list of pairs, such as [["planner", "sequences"]]',
}
_RUN = {"preset": str, "settings": list[str], "experimenter": str, "library": str, "data": list[str]}
_STUDY = {"name": str, "seeds": list[int], "fork": dict, "card": dict, "base": dict, "arm": list[dict]}
_CARD = {"hypothesis": str, "metric": str, "n": int, "test": str, "answer": str, "compare": list[list]}


def _study(found: Mapping[str, Any]) -> Study:
    _check("", found, _STUDY, ("name", "seeds", "card", "arm"))
    base = found.get("base", {})
    _check("[base]: ", base, _RUN)
    _check_name("name", found["name"])
    seeds = tuple(found["seeds"])
    if not seeds:
        raise LudusError("seeds = [] leaves nothing to run; give some, such as [0, 1, 2]")
    if twice := _twice(seeds):
        raise LudusError(f"seed {twice[0]} is in it twice, and would give the same run; give it once")
    arms = tuple(_arm(i, entry, base) for i, entry in enumerate(found["arm"], 1))
    if twice := _twice([arm.name for arm in arms]):
        raise LudusError(f"arm {twice[0]!r} is in it twice; give one another name")
    if not arms:
        raise LudusError("no arm in it; begin each with a line [[arm]]")
    if len(arms) * len(seeds) > MOST_RUNS:
        raise LudusError(
            f"{len(arms)} arms by {len(seeds)} seeds are more than {MOST_RUNS:,} runs; make it several studies"
        )
    fork = found.get("fork")
    if fork is not None:
        _check("fork: ", fork, {"run": str, "round": int}, ("run", "round"))
        refused = [f"arm {a.name!r}: {what}" for a in arms for what in _not_of_a_fork(a)]
        if refused or "preset" in base:
            raise LudusError(
                f"{refused[0] if refused else '[base]: preset'} does not go with a fork, whose runs have that of the one "
                "that they go on from; leave it out"
            )
    card = _card(found["card"], [arm.name for arm in arms], len(seeds))
    return Study(found["name"], card, arms, seeds, None if fork is None else Fork(**fork))


def _arm(number: int, entry: Mapping[str, Any], base: Mapping[str, Any]) -> Arm:
    named = isinstance(entry.get("name"), str)
    what = f"arm {said(entry['name'])!r}: " if named else f"arm {number}: "
    _check(what, entry, {"name": str, **_RUN}, ("name",))
    _check_name(f"{what}name", entry["name"])
    both = {**base, **entry}
    roles = [f"experimenter.{role}={both['experimenter']}" for role in ROLES] if "experimenter" in both else []
    settings = (*roles, *base.get("settings", ()), *entry.get("settings", ()))
    if any(s.partition("=")[0].strip() == "seed" for s in settings):
        raise LudusError(f"{what}seed is no setting of an arm; give seeds = [0, 1, 2] for all arms")
    return Arm(entry["name"], both.get("preset", "cpu"), settings, both.get("library"), tuple(both.get("data", ())))


def _not_of_a_fork(arm: Arm) -> list[str]:
    return [*["library"] * (arm.library is not None), *["data"] * bool(arm.data), *["preset"] * (arm.preset != "cpu")]


def _card(entry: Mapping[str, Any], arms: Sequence[str], n_seeds: int) -> Card:
    _check("[card]: ", entry, _CARD, ("hypothesis", "metric", "n", "test", "answer"))
    for key in ("hypothesis", "answer"):
        if not entry[key].strip():
            raise LudusError(f"[card]: {key} is empty; say it in a sentence, before there are results")
    if entry["metric"] not in METRICS:
        raise LudusError(f"[card]: unknown metric {said(entry['metric'])!r}; known: {', '.join(METRICS)}")
    if entry["test"] not in TESTS:
        raise LudusError(f"[card]: unknown test {said(entry['test'])!r}; known: {', '.join(TESTS)}")
    if entry["n"] != n_seeds:
        raise LudusError(f"[card]: n = {entry['n']} seeds per arm, but seeds has {n_seeds}; make them agree")
    pairs = [tuple(pair) for pair in entry.get("compare", [(arm, arms[0]) for arm in arms[1:]])]
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(name, str) for name in pair):
            raise LudusError(
                f"[card]: compare = {said(list(pair))} is no pair of arms; give two names, such as {[*arms[:2]]}"
            )
        for name in pair:
            if name not in arms:
                raise LudusError(f"[card]: {unknown('arm', name, arms)}")
        if pair[0] == pair[1]:
            raise LudusError(f"[card]: compare: {pair[0]!r} with itself; name two arms")
    return Card(**{**entry, "compare": tuple(pairs)})


def _check(what: str, entry: Mapping[str, Any], kinds: Mapping[str, Any], required: Sequence[str] = ()) -> None:
    """
    Args:
        what: the table is, for sentences.

    Raises:
        LudusError: a key that is unknown or missing, or a value of another kind.
    """
    for key, value in entry.items():
        if key not in kinds:
            raise LudusError(f"{what}{unknown('key', key, tuple(kinds))}")
        if not _is(value, kinds[key]):
            raise LudusError(f"{what}{key} = {said(value)} is not {_KINDS[kinds[key]]}")
    for key in required:
        if key not in entry:
            raise LudusError(f"{what}{key!r} is missing; needed are {', '.join(required)}")


def _is(value: Any, kind: Any) -> bool:
    inner = getattr(kind, "__args__", None)
    if inner is not None:
        return isinstance(value, list) and all(_is(one, inner[0]) for one in value)
    return type(value) is kind and (kind is not int or -MAX_INT - 1 <= value <= MAX_INT)


def _check_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise LudusError(
            f"{what} = {said(name)!r} names a directory; give 1 to 60 of the characters A-Z, a-z, 0-9, '.', '_', '+' and '-'"
        )


def _twice(values: Sequence[Any]) -> list[Any]:
    return [value for i, value in enumerate(values) if value in values[:i]]
