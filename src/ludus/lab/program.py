"""Plans with conditions, as data: skills, loops and branches over predicates. Nothing written here is ever executed as code.

A program is a sequence of steps: a skill (`Do`), a loop (`Repeat`) or a branch (`If`). Written as text:

    stack green on blue; repeat until on(red, green) at most 3 times { open the gripper; stack red on green }
    if held(red) { stack red on green } else { lift red; stack red on green }

A condition is an expression of the language (`ludus.skills.expression`). It is read where the program comes to it, between
two skills, never in the middle of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ludus.skills import expression
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError

DEFAULT_ROUNDS = 8
"""Of a loop that states no limit: eight tries of 80 control steps exceed an episode of 400."""
MAX_ROUNDS = 64
MAX_PARTS = 64
"""Skills, loops and branches of a program, together."""
MAX_DEPTH = 6
MAX_LENGTH = 4000
"""Characters of a program as text."""


@dataclass(frozen=True)
class Do:
    """Tell the robot a caption until its skill is over."""

    caption: str


@dataclass(frozen=True)
class Repeat:
    """The steps again and again until the condition holds before a round, at most `limit` rounds."""

    until: str
    steps: tuple[Step, ...]
    limit: int = DEFAULT_ROUNDS


@dataclass(frozen=True)
class If:
    """One of two sequences of steps; either may be empty, not both."""

    condition: str
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...] = ()


Step = Do | Repeat | If
Program = tuple[Step, ...]


# --- carrying out ------------------------------------------------------------------------------------------------


def walk(program: Sequence[Step], holds: Callable[[str], bool]) -> Iterator[str]:
    """The captions in the order in which they are told. `holds` is asked for a condition where the program comes to it; a
    caption is asked for when the one before it is over. Always ends: every loop has a limit, and a round that told nothing
    is the last, because what it asked about has not changed."""
    for step in program:
        match step:
            case Do(caption):
                yield caption
            case If(condition, then, otherwise):
                yield from walk(then if holds(condition) else otherwise, holds)
            case Repeat(until, steps, limit):
                for _ in range(limit):
                    if holds(until):
                        break
                    told = 0
                    for caption in walk(steps, holds):
                        told += 1
                        yield caption
                    if not told:
                        break


def most_steps(program: Sequence[Step], library: SkillLibrary) -> int:
    """Control steps if every loop takes all of its rounds and every branch the longer way.

    Raises:
        LudusError: an unknown caption.
    """
    total = 0
    for step in program:
        match step:
            case Do(caption):
                total += library[caption].steps
            case If(_, then, otherwise):
                total += max(most_steps(then, library), most_steps(otherwise, library))
            case Repeat(_, steps, limit):
                total += limit * most_steps(steps, library)
    return total


def captions_of(program: Sequence[Step]) -> tuple[str, ...]:
    """Every caption in it, in order of writing."""
    return tuple(step.caption for step, _ in _parts(program) if isinstance(step, Do))


def conditions_of(program: Sequence[Step]) -> tuple[str, ...]:
    """Every condition in it, in order of writing."""
    texts = (getattr(step, "until", None) or getattr(step, "condition", None) for step, _ in _parts(program))
    return tuple(dict.fromkeys(text for text in texts if text))


# --- checking ----------------------------------------------------------------------------------------------------


def check(program: Sequence[Step], library: SkillLibrary) -> Program:
    """The program, if it can be carried out with this library.

    Raises:
        LudusError: an unknown caption, a condition outside the language or that is a number, an empty sequence of steps, a
            limit out of range, too many parts or too deep; names the part.
    """
    if not program:
        raise LudusError("a program without steps; give at least one skill")
    for parts, (step, depth) in enumerate(_parts(program), 1):
        if depth > MAX_DEPTH:
            raise LudusError(f"a program nested deeper than {MAX_DEPTH}; flatten it")
        if parts > MAX_PARTS:
            raise LudusError(f"a program of more than {MAX_PARTS} parts; shorten it")
        match step:
            case Do(caption):
                _ = library[caption]
            case If(condition, then, otherwise):
                _check_condition(condition, library)
                if not then and not otherwise:
                    raise LudusError(f"'if {condition}' without steps; give at least one")
            case Repeat(until, steps, limit):
                _check_condition(until, library)
                if not steps:
                    raise LudusError(f"'repeat until {until}' without steps; give at least one")
                if not 1 <= limit <= MAX_ROUNDS:
                    raise LudusError(f"'repeat until {until}' at most {limit} times; give 1 to {MAX_ROUNDS}")
    return tuple(program)


def _check_condition(text: str, library: SkillLibrary) -> None:
    if expression.parse(text, library.vocabulary).type != "bool":
        raise LudusError(f"condition {text!r} of a program is a number; compare it, such as ... > 0.05")


def _parts(program: Sequence[Step]) -> Iterator[tuple[Step, int]]:
    """Every step with its depth, 1 at the top; breadth first, so that an endless nesting is found by its depth."""
    level, depth = list(program), 1
    while level:
        yield from ((step, depth) for step in level)
        inner: list[Step] = []
        for step in level:
            match step:
                case If(_, then, otherwise):
                    inner += [*then, *otherwise]
                case Repeat(_, steps, _):
                    inner += steps
        level, depth = inner, depth + 1


# --- as JSON -----------------------------------------------------------------------------------------------------


def as_json(program: Sequence[Step]) -> list[Any]:
    """Captions as strings, loops and branches as objects: `{"repeat_until": ..., "at_most": 8, "steps": [...]}`,
    `{"if": ..., "then": [...], "else": [...]}`."""
    written: list[Any] = []
    for step in program:
        match step:
            case Do(caption):
                written.append(caption)
            case If(condition, then, otherwise):
                written.append({"if": condition, "then": as_json(then), "else": as_json(otherwise)})
            case Repeat(until, steps, limit):
                written.append({"repeat_until": until, "at_most": limit, "steps": as_json(steps)})
    return written


def from_json(written: Any, depth: int = 1) -> Program:
    """The program that `as_json` wrote, or a model. Its names are checked by `check`.

    Raises:
        LudusError: another shape, or nested too deeply; names the part.
    """
    if depth > MAX_DEPTH:
        raise LudusError(f"a program nested deeper than {MAX_DEPTH}; flatten it")
    if not isinstance(written, list):
        raise LudusError(f"steps of a program are a list of captions, loops and branches, not {_short(written)}")
    return tuple(_step_from_json(step, depth) for step in written)


def _step_from_json(step: Any, depth: int) -> Step:
    match step:
        case str(caption):
            return Do(caption)
        case {"repeat_until": str(until), "steps": steps, **others} if set(others) <= {"at_most"}:
            limit = others.get("at_most", DEFAULT_ROUNDS)
            if type(limit) is int:
                return Repeat(until, from_json(steps, depth + 1), limit)
        case {"if": str(condition), "then": then, **others} if set(others) <= {"else"}:
            return If(condition, from_json(then, depth + 1), from_json(others.get("else", []), depth + 1))
    raise LudusError(
        f"step {_short(step)} of a program: give a caption, {{'repeat_until': CONDITION, 'steps': [...], 'at_most': N}} "
        "or {'if': CONDITION, 'then': [...], 'else': [...]}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


# --- as text -----------------------------------------------------------------------------------------------------


def as_text(program: Sequence[Step]) -> str:
    """As it is written on a command line."""
    written = []
    for step in program:
        match step:
            case Do(caption):
                written.append(caption)
            case If(condition, then, otherwise):
                rest = f" else {{ {as_text(otherwise)} }}" if otherwise else ""
                written.append(f"if {condition} {{ {as_text(then)} }}{rest}")
            case Repeat(until, steps, limit):
                written.append(f"repeat until {until} at most {limit} times {{ {as_text(steps)} }}")
    return "; ".join(written)


def parse(text: str) -> Program:
    """Read a program; steps are separated by semicolons. Its names are checked by `check`.

    Raises:
        LudusError: malformed, too long or nested too deeply; says where.
    """
    if len(text) > MAX_LENGTH:
        raise LudusError(f"a program of {len(text)} characters; at most {MAX_LENGTH}: shorten it")
    reader = _Reader(text)
    program = reader.steps(1)
    if reader.at < len(text):
        raise reader.error("a } without its {")
    return program


HEAD = re.compile(r"(repeat\s+until|if)\b\s*(.*?)\s*(?:,?\s+at\s+most\s+(\d{1,9})\s+times?)?\s*\{", re.DOTALL)
CAPTION = re.compile(r"[^;{}]*")
SPACE = re.compile(r"[\s;]*")


@dataclass
class _Reader:
    text: str
    at: int = 0

    def steps(self, depth: int) -> Program:
        """Steps up to a closing brace or the end."""
        if depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH}; flatten it")
        found: list[Step] = []
        while True:
            self.skip(SPACE)
            if self.at == len(self.text) or self.text[self.at] == "}":
                return tuple(found)
            found.append(self.step(depth))

    def step(self, depth: int) -> Step:
        head = HEAD.match(self.text, self.at)
        if head is None:
            caption = self.skip(CAPTION).strip()
            if not caption or self.text[self.at : self.at + 1] == "{":
                raise self.error("{ stands only after 'repeat until CONDITION', 'if CONDITION' or 'else'")
            return Do(caption)
        keyword, condition, limit = head.groups()
        if keyword == "if" and limit is not None:
            raise self.error("'at most N times' belongs to 'repeat until', not to 'if'")
        self.at = head.end()
        steps = self.block(depth)
        if keyword != "if":
            return Repeat(condition, steps, DEFAULT_ROUNDS if limit is None else int(limit))
        otherwise = ()
        if self.skip(re.compile(r"\s*else\s*\{")):
            otherwise = self.block(depth)
        return If(condition, steps, otherwise)

    def block(self, depth: int) -> Program:
        """Steps and the closing brace; the opening one has been read."""
        steps = self.steps(depth + 1)
        if self.at == len(self.text):
            raise self.error("a { without its }")
        self.at += 1
        return steps

    def skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found.group() if found else ""

    def error(self, what: str) -> LudusError:
        return LudusError(f"program {_short(self.text)}: at character {self.at + 1}: {what}")
