"""From a sentence of LIBERO's spatial and goal suites and what is seen to a caption of the world of libero_table.py.

`caption_of(SEEN, observation, "pick the black bowl next to the ramekin and place it on the plate")` is 'put bowl 2 on the plate'
if that bowl is the one. Two bowls look the same; which one is meant follows from where things are, and from nothing else: neither
LIBERO's goal nor its predicates are looked at, and the numbers of the bowls say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ludus import LudusError, ObservationSpec
from ludus.worlds import files

words, _ = files.load(Path(__file__).with_name("libero_table_words.py"))

TABLE_CENTRE = np.array([0.66, 0, -0.013])  # m
ABOVE_M = 0.01  # what is on a thing has its lowest point at most so far below that thing's top
HIGH_M = 1.0  # what a wrong height costs, as a distance

_LAYER = r"(top|middle|bottom) (?:drawer|layer of (?:drawer|wooden cabinet|cabinet))(?: of (?:wooden )?cabinet)?"
_NAMES = {"bowl": r"(?:akita )?(?:black )?bowl", "cookie box": r"cookies? box", "ramekin": "ramekin", "plate": "plate",
          "cream cheese": "cream cheese", "wine bottle": "wine bottle", "rack": "rack", "stove": "stove",
          "cabinet": "(?:wooden )?cabinet|drawer"}  # fmt: skip
_TAKE, _PUT = r"(?:pick|take|lift|grab)(?: up)?", r"(?:place|put|set)"
_FORMS = (("turn", r"(?:turn|switch) (on|off) stove"),
          ("store", rf"(?:slide )?open {_LAYER} and {_PUT} (.+?) (?:inside|in it)"),
          ("open", rf"open (?:cabinet's )?{_LAYER}"),
          ("push", r"(?:push|move) (.+) to (?:front of stove|stove's front)"),
          ("put", rf"{_TAKE} (.+) and {_PUT}(?: it)? (?:on|in) (?:top of )?(.+)"),
          ("put", rf"{_PUT} (.+?) (?:on|inside|in) (?:top of )?(.+)"))  # fmt: skip
_RELATIONS = (("between", "between (.+) and (.+)"), ("beside", "(?:next to|beside) (.+)"),
              ("inside", rf"(?:in|from) {_LAYER}"), ("centre", "(?:from|at|in|on) table center"),
              ("on", "(?:on|from)(?: top of)? (.+)"))  # fmt: skip


def caption_of(spec: ObservationSpec, o: dict[str, np.ndarray], sentence: str) -> str:
    """What the robot is told, from `[size]` per group.

    Raises:
        LudusError: no form of sentence, thing or relation that is known here.
    """
    text = " ".join(w for w in sentence.lower().replace("’", "'").split() if w not in ("the", "a", "an"))
    for form, pattern in _FORMS:
        if found := re.fullmatch(pattern, text):
            first, *rest = found.groups()
            if form == "turn":
                return words.caption(f"turn{first}", words.KNOB)
            if form == "open":
                return words.caption("open", f"{first} drawer")
            if form == "store":
                return words.caption("on", meant(spec, o, rest[0]), f"{first} drawer")
            return words.caption("on", meant(spec, o, first), meant(spec, o, rest[0]) if rest else "stove front")
    raise LudusError(f"no known form of sentence: {sentence!r}; say 'put X on Y', 'open the top drawer', ...")


def meant(spec: ObservationSpec, o: dict[str, np.ndarray], text: str) -> str:
    """The one object that an expression refers to: 'black bowl next to ramekin'."""
    name, rest = thing(text)
    kinds = ("bowl 1", "bowl 2") if name == "bowl" else (name,)
    there = [x for x in kinds if spec.get(o, x, "present")[0] > 0.5]
    if not there:
        raise LudusError(f"there is no {name} here, but {text!r} was asked for")
    if len(there) == 1 or not rest:
        return there[0]
    positive = rest.removeprefix("not ")
    scores = {x: distance(spec, o, x, positive) for x in there}
    return (min if positive == rest else max)(scores, key=scores.__getitem__)


def thing(text: str) -> tuple[str, str]:
    """Its kind, and what else is said of it."""
    for name, pattern in _NAMES.items():
        if found := re.match(rf"(?:top of )?(?:{pattern})(?!\w)", text):
            return name, text[found.end() :].strip()
    raise LudusError(f"no known thing: {text!r}; known: {', '.join(_NAMES)}")


def distance(spec: ObservationSpec, o: dict[str, np.ndarray], x: str, relation: str) -> float:
    """How far X is from where it would be if the relation held. m."""
    for name, pattern in _RELATIONS:
        if found := re.fullmatch(pattern, relation):
            ways: dict[str, Callable[..., float]] = {"between": between, "beside": beside, "inside": inside, "on": on}
            if name == "centre":
                return float(np.linalg.norm(spec.get(o, x, "position") - TABLE_CENTRE))
            others = found.groups() if name == "inside" else [thing(text)[0] for text in found.groups()]
            return ways[name](spec, o, x, *others)
    raise LudusError(f"no known relation: {relation!r}; known: {', '.join(name for name, _ in _RELATIONS)}")


def between(spec: ObservationSpec, o: dict[str, np.ndarray], x: str, y: str, z: str) -> float:
    at, first, second = (spec.get(o, name, "position") for name in (x, y, z))
    return float(np.linalg.norm(at - (first + second) / 2))


def beside(spec: ObservationSpec, o: dict[str, np.ndarray], x: str, y: str) -> float:
    """Sideways; what is on Y is not beside it."""
    way = spec.get(o, x, "position") - spec.get(o, y, "position")
    return float(np.hypot(*way[:2])) + HIGH_M * (bottom(spec, o, x) > top(spec, o, y) - ABOVE_M)


def on(spec: ObservationSpec, o: dict[str, np.ndarray], x: str, y: str) -> float:
    """Sideways; what is lower than Y's top is not on it."""
    way = spec.get(o, x, "position") - spec.get(o, y, "position")
    return float(np.hypot(*way[:2])) + HIGH_M * (bottom(spec, o, x) < top(spec, o, y) - ABOVE_M)


def inside(spec: ObservationSpec, o: dict[str, np.ndarray], x: str, layer: str) -> float:
    """From the handle, behind which the drawer is; what is above the cabinet is not in it."""
    way = spec.get(o, x, "position") - spec.get(o, f"{layer} drawer", "position")
    return float(np.linalg.norm(way)) + HIGH_M * (bottom(spec, o, x) > top(spec, o, "cabinet") - ABOVE_M)


def bottom(spec: ObservationSpec, o: dict[str, np.ndarray], x: str) -> float:
    return float(words.libero.height(spec, o, x))


def top(spec: ObservationSpec, o: dict[str, np.ndarray], x: str) -> float:
    return float(spec.get(o, x, "position")[2] + words.libero.lying(spec, o, x)[2] / 2)
