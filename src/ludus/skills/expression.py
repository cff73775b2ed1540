"""The language of rewards and successes: typed, bounded, free of side effects. Nothing written in it is ever executed.

An expression is written in Python's syntax, but only these pieces exist:

    numbers            0.5, -1e-3
    predicates         on(red, green), open()         of the vocabulary; objects are named: red or 'light blue'
    bool               and, or, not, < <= > >=
    real               + - * /, min, max, abs, clip(x, low, high), shape(x, margin), staged(r0, ..., rn)
    choice             if_else(condition, a, b)

A bool may stand where a real is needed (true is 1); a real is never a bool. All arithmetic is float32, finite and
saturating: results are clipped to ±`LIMIT`, and x / 0 is 0. `str(expression)` is canonical and parses to an equal
expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, Literal

import numpy as np

from ludus.skills.predicates.shaped import shape
from ludus.skills.syntax import COMPARISONS, Node, canonical, error, quote, read
from ludus.skills.vocabulary import Atom, Vocabulary, is_predicate
from ludus.types import LudusError, Observations, unknown

__all__ = ["VERSION", "Cache", "Expression", "atom_text", "canonical", "parse", "quote"]

VERSION = 1
"""Part of every skill's hash: raised when the meaning of a predicate or function changes, so that rewards are recomputed."""

MAX_ARGUMENTS = 16
"""Of staged, min and max."""
LIMIT = 1e6
"""Results are clipped to ± this, so that nothing overflows to infinity and becomes NaN further up."""
STAGE_THRESHOLD = 0.01
"""A stage counts from here on (docs/method.md, section 3)."""
LEAST_MARGIN = 1e-6
"""The margin of `shape` is its argument's size, but at least this."""

Type = Literal["bool", "real"]
Cache = dict[str, np.ndarray]
"""Values of sub-expressions by their canonical text, for one batch of observations."""


@dataclass(frozen=True)
class Expression:
    """A checked expression over a vocabulary. Equal if canonically equal."""

    node: Node
    type: Type
    vocabulary: Vocabulary = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.node.text

    def evaluate(self, observations: Observations, cache: Cache | None = None) -> np.ndarray:
        """Its value at each observation.

        Args:
            observations: group -> `[..., size]` float32, all groups of the vocabulary's spec.
            cache: shared by expressions that are evaluated on the *same* observations; filled as a side effect. Values
                that come from a shared cache must not be written to.

        Returns: `[...]` bool or finite float32.
        """
        lead = self.vocabulary.spec.lead(observations)
        with np.errstate(all="ignore"):
            value = _evaluate(self.node, self.vocabulary, observations, {} if cache is None else cache)
        value = np.asarray(value, bool if self.type == "bool" else np.float32)
        return value if value.shape == lead else np.broadcast_to(value, lead).copy()

    @cached_property
    def predicates(self) -> tuple[Atom, ...]:
        """Every predicate in it with its objects, in order of first mention."""
        calls = (n for n in self.node.walk() if n.op == "call" and n.name in self.vocabulary.by_name)
        return tuple(dict.fromkeys(_atom(n) for n in calls))

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """Every object in it, in order of first mention."""
        return tuple(dict.fromkeys(n.name for n in self.node.walk() if n.op == "object"))

    def atoms(self) -> tuple[Atom, ...]:
        """The conditions that `a and b and ...` demands, as (predicate, objects). Other parts (`not`, `or`,
        comparisons) are left out, see `is_conjunction`."""
        return tuple(_atom(n) for n in self._conjuncts if self._is_atom(n))

    def conditions(self) -> tuple[Atom, ...]:
        """All that `a and b and ...` demands, as atoms: its predicates, and its other parts by their text."""
        return tuple(_atom(n) if self._is_atom(n) else _by_text(n) for n in self._conjuncts)

    @property
    def is_conjunction(self) -> bool:
        """Whether the expression is a conjunction of `atoms()` and nothing else."""
        return all(map(self._is_atom, self._conjuncts))

    def parts(self) -> tuple[Expression, ...]:
        """The expressions that `a and b and ...` joins; itself alone where nothing is joined."""
        if self.node.op != "and":
            return (self,)
        return tuple(Expression(n, "bool", self.vocabulary) for n in self.node.args)

    @property
    def margin(self) -> Expression | None:
        """Of a comparison: how far its larger side is above its smaller one, negative where it does not hold; else None."""
        if self.node.op not in COMPARISONS:
            return None
        small, large = self.node.args if self.node.op in ("<", "<=") else self.node.args[::-1]
        return Expression(Node("-", (large, small)), "real", self.vocabulary)

    def __reduce__(self) -> tuple[Any, ...]:
        return parse, (str(self), self.vocabulary)

    @property
    def _conjuncts(self) -> tuple[Node, ...]:
        return self.node.args if self.node.op == "and" else (self.node,)

    def _is_atom(self, n: Node) -> bool:
        predicate = self.vocabulary.by_name.get(n.name) if n.op == "call" else None
        return predicate is not None and predicate.result == "bool"


def atom_text(atom: Atom) -> str:
    """As it is written in an expression: on(red, green)."""
    objects = map(quote, atom[1])
    return f"{atom[0]}({', '.join(objects)})" if is_predicate(atom) else atom[0].format(*objects)


def condition(text: str | None, vocabulary: Vocabulary) -> Expression | None:
    """The parsed text, or None where it is empty or no valid condition: the goal of a proposal may be either."""
    try:
        parsed = parse(text, vocabulary) if text else None
    except LudusError:
        return None
    return parsed if parsed is not None and parsed.type == "bool" else None


def parse(text: str, vocabulary: Vocabulary) -> Expression:
    """Read and check `text`.

    Raises:
        LudusError: outside the language or its bounds, an unknown name, a wrong type; says where and what is near.
    """
    tree = read(text)
    return Expression(tree, _check(tree, vocabulary, text), vocabulary)


# --- functions ---------------------------------------------------------------------------------------------------


def staged(*stages: Any) -> Any:
    """(i + r_i) / (n + 1) of the last stage with r_i > 0.01, else r_0 / (n + 1); stages are clipped to [0, 1]."""
    clipped = [np.clip(s, 0, 1) for s in stages]
    result = clipped[0]
    for i, r in enumerate(clipped):
        result = np.where(r > STAGE_THRESHOLD, i + r, result)
    return result / len(stages)


def _shape(x: Any, margin: Any) -> Any:
    return shape(x, np.maximum(np.abs(margin), LEAST_MARGIN))


def _divide(a: Any, b: Any) -> Any:
    return np.where(b == 0, np.float32(0), a / b)


# name -> (least arguments, most, what it computes from float32 arrays)
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "min": (2, MAX_ARGUMENTS, lambda *a: reduce(np.minimum, a)),
    "max": (2, MAX_ARGUMENTS, lambda *a: reduce(np.maximum, a)),
    "abs": (1, 1, np.abs),
    "clip": (3, 3, lambda x, low, high: np.minimum(np.maximum(x, low), high)),
    "shape": (2, 2, _shape),
    "staged": (2, MAX_ARGUMENTS, staged),
    "if_else": (3, 3, np.where),
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": _divide, "neg": np.negative,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


def _evaluate(n: Node, vocabulary: Vocabulary, o: Observations, cache: Cache) -> Any:
    if n.op == "number":
        return np.float32(n.value)
    if n.text in cache:
        return cache[n.text]
    if n.op == "call" and n.name in vocabulary.by_name:
        value = vocabulary.holds(_atom(n), o)
        if value.dtype != bool:
            value = _saturate(np.nan_to_num(value, posinf=LIMIT, neginf=-LIMIT))
    else:
        value = _apply(n, [_evaluate(a, vocabulary, o, cache) for a in n.args])
    cache[n.text] = value
    return value


def _apply(n: Node, args: list[Any]) -> Any:
    if n.op in ("and", "or"):
        return reduce(np.logical_and if n.op == "and" else np.logical_or, args)
    if n.op == "not":
        return np.logical_not(args[0])
    if n.name == "if_else":
        condition, *choices = args
        both_bool = all(c.dtype == bool for c in choices)
        return np.where(condition, *(choices if both_bool else map(_real, choices)))
    compute = _OPERATIONS[n.op] if n.op != "call" else FUNCTIONS[n.name][2]
    value = compute(*map(_real, args))
    return value if n.op in COMPARISONS else _saturate(value)


def _saturate(value: Any) -> Any:
    return np.clip(value, -LIMIT, LIMIT).astype(np.float32, copy=False)


def _real(a: Any) -> Any:
    return a.astype(np.float32) if a.dtype == bool else a


def _atom(n: Node) -> Atom:
    return n.name, tuple(a.name for a in n.args)


def _by_text(n: Node) -> Atom:
    objects = tuple(dict.fromkeys(a.name for a in n.walk() if a.op == "object"))
    places = {o: f"{{{i}}}" for i, o in enumerate(objects)}
    text = n.renamed(places).text
    for place in places.values():
        text = text.replace(repr(place), place)
    return f"({text})" if n.op == "or" else text, objects


# --- checking ----------------------------------------------------------------------------------------------------


def _check(n: Node, vocabulary: Vocabulary, text: str) -> Type:
    """The type of `n`, after checking everything below it."""
    if n.op == "number":
        return "real"
    if n.op == "object":
        raise error(text, n.source, "an object alone has no value; put it into a predicate, such as near(...)")
    if n.op == "call" and n.name in vocabulary.by_name:
        return _check_predicate(n, vocabulary, text)
    if n.op == "call":
        _check_function(n, vocabulary, text)
    types = [_check(a, vocabulary, text) for a in n.args]
    conditions = n.args if n.op in ("and", "or", "not") else n.args[:1] if n.name == "if_else" else ()
    for a, t in zip(conditions, types, strict=False):
        if t != "bool":
            raise error(text, a.source, "a condition is needed here, this is a number; compare it, such as ... > 0.5")
    if n.name == "if_else":
        return "bool" if types[1:] == ["bool", "bool"] else "real"
    return "bool" if n.op in ("and", "or", "not", *COMPARISONS) else "real"


def _check_function(n: Node, vocabulary: Vocabulary, text: str) -> None:
    if n.name not in FUNCTIONS:
        problem = unknown("predicate or function", n.name, (*vocabulary.by_name, *FUNCTIONS))
        raise error(text, n.source, str(problem))
    least, most, _ = FUNCTIONS[n.name]
    if not least <= len(n.args) <= most:
        count = f"{least}" if least == most else f"{least} to {most}"
        raise error(text, n.source, f"{n.name} takes {count} arguments, not {len(n.args)}")


def _check_predicate(n: Node, vocabulary: Vocabulary, text: str) -> Type:
    predicate = vocabulary.by_name[n.name]
    if len(n.args) != len(predicate.parameters):
        raise error(
            text, n.source, f"{predicate.signature} takes {len(predicate.parameters)} objects, not {len(n.args)}"
        )
    for a in n.args:
        if a.op != "object":
            raise error(
                text, a.source, f"{predicate.signature} takes names of objects: {', '.join(vocabulary.objects)}"
            )
        if a.name not in vocabulary.objects:
            raise error(text, a.source, str(unknown("object", a.name, vocabulary.objects)))
    names = [a.name for a in n.args]
    if len(set(names)) < len(names):
        raise error(text, n.source, f"{predicate.signature} needs different objects")
    return predicate.result
