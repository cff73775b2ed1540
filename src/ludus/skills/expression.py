"""The language of rewards and successes: typed, bounded, side-effect free. Nothing written in it is ever executed.

An expression is written in Python's syntax and read with `ast`, but only these pieces exist:

    numbers            0.5, -1e-3                     at most `MAX_NUMBER` in size
    predicates         on(red, green), open()         the vocabulary's words; objects are named: red or 'light blue'
    bool               and, or, not, < <= > >=
    real               + - * /, min, max, abs, clip(x, low, high), shape(x, margin), staged(r0, ..., rn)
    choice             if_else(condition, a, b)

A bool may stand where a real is needed (true is 1); a real is never a bool. All arithmetic is float32, finite and
saturating: results are clipped to ±`LIMIT`, and x / 0 is 0. `str(expression)` is canonical and parses to an equal expression.
"""

from __future__ import annotations

import ast
import keyword
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, Literal

import numpy as np

from ludus.skills import predicates
from ludus.skills.predicates import Atom, Vocabulary
from ludus.types import LudusError, Observations, unknown

VERSION = 1
"""Part of every skill's hash: raise it when the meaning of a word or function changes, and old rewards are recomputed."""

MAX_LENGTH = 2000
"""Characters."""
MAX_NODES = 300
"""Numbers, objects, predicates and operations, together."""
MAX_DEPTH = 24
MAX_STAGES = 16
MAX_NUMBER = 1e6
LIMIT = 1e6
"""Results are clipped to ± this, so that nothing overflows to infinity and becomes NaN further up."""
STAGE_THRESHOLD = 0.01
"""A stage counts from here on (METHOD 3)."""

Type = Literal["bool", "real"]
Cache = dict[str, np.ndarray]
"""Values of sub-expressions by their canonical text, for one batch of observations."""


@dataclass(frozen=True)
class Node:
    """One piece of an expression: `op` is 'number', 'object', 'call' or an operator."""

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""  # of an object, a predicate or a function
    value: float = 0.0  # of a number
    source: Any = field(default=None, compare=False, repr=False)  # its ast node, for error messages

    @cached_property
    def text(self) -> str:
        return _write(self)

    def walk(self) -> Iterator[Node]:
        yield self
        for a in self.args:
            yield from a.walk()


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
            cache: shared by expressions that are evaluated on the *same* observations; filled as a side effect.

        Returns: `[...]` bool or finite float32; read-only if a cache is shared.
        """
        lead = observations[self.vocabulary.spec.groups[0].name].shape[:-1]
        with np.errstate(all="ignore"):
            value = _evaluate(self.node, self.vocabulary, observations, {} if cache is None else cache)
        value = np.asarray(value, bool if self.type == "bool" else np.float32)
        return value if value.shape == lead else np.broadcast_to(value, lead).copy()

    @cached_property
    def predicates(self) -> tuple[Atom, ...]:
        """Every predicate in it with its objects, in order of first mention."""
        calls = (n for n in self.node.walk() if n.op == "call" and n.name in self.vocabulary.predicates)
        return tuple(dict.fromkeys(_atom(n) for n in calls))

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """Every object in it, in order of first mention."""
        return tuple(dict.fromkeys(n.name for n in self.node.walk() if n.op == "object"))

    def atoms(self) -> tuple[Atom, ...]:
        """The conditions that `a and b and ...` demands, as (predicate, objects); other parts (`not`, `or`, comparisons)
        are left out, see `is_conjunction`."""
        parts = self.node.args if self.node.op == "and" else (self.node,)
        return tuple(_atom(n) for n in parts if self._is_atom(n))

    @property
    def is_conjunction(self) -> bool:
        """Whether `atoms()` is all of it."""
        return all(self._is_atom(n) for n in (self.node.args if self.node.op == "and" else (self.node,)))

    def _is_atom(self, n: Node) -> bool:
        word = self.vocabulary.predicates.get(n.name) if n.op == "call" else None
        return word is not None and word.result == "bool"


def parse(text: str, vocabulary: Vocabulary) -> Expression:
    """Read and check `text`.

    Raises:
        LudusError: outside the language or its bounds, an unknown name, a wrong type; says where and what is near.
    """
    tree = _read(text)
    return Expression(tree, _check(tree, vocabulary, text), vocabulary)


def canonical(text: str) -> str:
    """`text` in the one spelling that all its re-spacings share; checks syntax and bounds, but no names or types.

    Raises:
        LudusError: outside the language or its bounds.
    """
    return _read(text).text


def quote(name: str) -> str:
    """An object's name as it is written in an expression: red, 'light blue'."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else repr(name)


# --- functions ---------------------------------------------------------------------------------------------------


def staged(*stages: Any) -> np.ndarray:
    """(i + r_i) / (n + 1) of the last stage with r_i > 0.01, else r_0 / (n + 1); stages are clipped to [0, 1]."""
    clipped = [np.clip(s, 0, 1) for s in stages]
    result = clipped[0]
    for i, r in enumerate(clipped):
        result = np.where(r > STAGE_THRESHOLD, i + r, result)
    return result / len(stages)


def _shape(x: Any, margin: Any) -> np.ndarray:
    return predicates.shape(x, np.maximum(np.abs(margin), 1e-6))


def _divide(a: Any, b: Any) -> np.ndarray:
    return np.where(b == 0, np.float32(0), a / b)


@dataclass(frozen=True)
class _Function:
    least: int
    most: int
    compute: Callable[..., Any]


FUNCTIONS = {
    "min": _Function(2, MAX_STAGES, lambda *a: reduce(np.minimum, a)),
    "max": _Function(2, MAX_STAGES, lambda *a: reduce(np.maximum, a)),
    "abs": _Function(1, 1, np.abs),
    "clip": _Function(3, 3, lambda x, low, high: np.minimum(np.maximum(x, low), high)),
    "shape": _Function(2, 2, _shape),
    "staged": _Function(2, MAX_STAGES, staged),
    "if_else": _Function(3, 3, np.where),
}
ARITHMETIC = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": _divide}
COMPARISONS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_AST_OPERATORS: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.And: "and", ast.Or: "or",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def _evaluate(n: Node, vocabulary: Vocabulary, o: Observations, cache: Cache) -> Any:
    if n.op == "number":
        return np.float32(n.value)
    if n.text in cache:
        return cache[n.text]
    if n.op == "call" and n.name in vocabulary.predicates:
        value = vocabulary.holds(_atom(n), o)
        if value.dtype != bool:
            value = np.clip(np.nan_to_num(value, posinf=LIMIT, neginf=-LIMIT), -LIMIT, LIMIT).astype(
                np.float32, copy=False
            )
    else:
        args = [_evaluate(a, vocabulary, o, cache) for a in n.args]
        value = _apply(n, args)
    cache[n.text] = value
    return value


def _apply(n: Node, args: list[Any]) -> Any:
    if n.op in ("and", "or"):
        return reduce(np.logical_and if n.op == "and" else np.logical_or, args)
    if n.op == "not":
        return np.logical_not(args[0])
    if n.name == "if_else":
        both_bool = args[1].dtype == bool and args[2].dtype == bool
        return np.where(args[0], *(args[1:] if both_bool else map(_real, args[1:])))
    reals = [_real(a) for a in args]
    if n.op in COMPARISONS:
        return COMPARISONS[n.op](*reals)
    compute = {"neg": np.negative, **ARITHMETIC}[n.op] if n.op != "call" else FUNCTIONS[n.name].compute
    return np.clip(compute(*reals), -LIMIT, LIMIT).astype(np.float32, copy=False)


def _real(a: Any) -> Any:
    return a.astype(np.float32) if a.dtype == bool else a


def _atom(n: Node) -> Atom:
    return n.name, tuple(a.name for a in n.args)


# --- writing -----------------------------------------------------------------------------------------------------

_BINDING = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "neg": 7}


def _binding(n: Node) -> int:
    return 7 if n.op == "number" and n.value < 0 else _BINDING.get(n.op, 8)


def _write(n: Node) -> str:
    def inner(a: Node, least: int) -> str:
        return a.text if _binding(a) >= least else f"({a.text})"

    if n.op == "number":
        return str(int(n.value)) if n.value == int(n.value) else repr(n.value)
    if n.op == "object":
        return quote(n.name)
    if n.op == "call":
        return f"{n.name}({', '.join(a.text for a in n.args)})"
    mine = _BINDING[n.op]
    if n.op == "not":
        return f"not {inner(n.args[0], mine)}"
    if n.op == "neg":
        return f"-{inner(n.args[0], mine)}"
    if n.op in ("and", "or"):
        return f" {n.op} ".join(inner(a, mine + 1) for a in n.args)
    left, right = n.args  # + - * / bind to the left, comparisons do not chain
    return f"{inner(left, mine + (n.op in COMPARISONS))} {n.op} {inner(right, mine + 1)}"


# --- reading -----------------------------------------------------------------------------------------------------


def _read(text: str) -> Node:
    if len(text) > MAX_LENGTH:
        raise LudusError(f"expression of {len(text)} characters; at most {MAX_LENGTH}: shorten it or split the skill")
    line = text.replace("\n", " ").strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for odd escapes in a name; they fail later, as unknown objects
            body = ast.parse(line, mode="eval").body
    except SyntaxError as e:
        raise LudusError(f"expression {_short(line)}: {e.msg} at column {e.offset or 1}") from None
    except (ValueError, MemoryError, RecursionError):
        raise LudusError(f"expression {_short(line)}: not readable; nested too deeply or with odd characters") from None
    return _Reader(line).node(body, 1)


@dataclass
class _Reader:
    text: str
    count: int = 0

    def node(self, n: ast.AST, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            raise LudusError(f"expression {_short(self.text)}: more than {MAX_NODES} parts; split the skill")
        if depth > MAX_DEPTH:
            raise self.error(n, f"nested deeper than {MAX_DEPTH}; flatten it")
        match n:
            case ast.Constant(value=str()):
                return Node("object", name=n.value, source=n)
            case ast.Constant(value=int() | float()) if not isinstance(n.value, bool):
                return self.number(n, n.value)
            case ast.Name():
                return Node("object", name=n.id, source=n)
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return Node("call", tuple(self.node(a, depth + 1) for a in n.args), name, source=n)
            case ast.BoolOp():
                return self.joined(n, depth)
            case ast.UnaryOp(op=ast.Not()):
                return Node("not", (self.node(n.operand, depth + 1),), source=n)
            case ast.UnaryOp(op=ast.USub()):
                operand = self.node(n.operand, depth + 1)
                return self.number(n, -operand.value) if operand.op == "number" else Node("neg", (operand,), source=n)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.node(n.operand, depth + 1)
            case ast.BinOp() if type(n.op) in _AST_OPERATORS:
                sides = self.node(n.left, depth + 1), self.node(n.right, depth + 1)
                return Node(_AST_OPERATORS[type(n.op)], sides, source=n)
            case ast.Compare():
                return self.comparison(n, depth)
        raise self.error(n, "not part of the language: numbers, objects, predicates, and/or/not, < <= > >=, + - * /, "
                         f"{', '.join(FUNCTIONS)}")  # fmt: skip

    def number(self, n: ast.AST, value: float) -> Node:
        if not abs(value) <= MAX_NUMBER:
            raise self.error(n, f"number beyond ±{MAX_NUMBER:g}")
        return Node("number", value=float(value) + 0.0, source=n)  # + 0.0 turns -0.0 into 0.0

    def joined(self, n: ast.BoolOp, depth: int) -> Node:
        op = _AST_OPERATORS[type(n.op)]
        args = [self.node(v, depth + 1) for v in n.values]
        flat = [b for a in args for b in (a.args if a.op == op else (a,))]  # (a and b) and c is a and b and c
        return Node(op, tuple(flat), source=n)

    def comparison(self, n: ast.Compare, depth: int) -> Node:
        for op in n.ops:
            if type(op) not in _AST_OPERATORS:
                raise self.error(n, "only < <= > >= compare; for equality of measures write abs(a - b) <= tolerance")
        sides = [self.node(s, depth + 1) for s in (n.left, *n.comparators)]
        pairs = [
            Node(_AST_OPERATORS[type(op)], (a, b), source=n) for op, a, b in zip(n.ops, sides, sides[1:], strict=False)
        ]  # a < b < c is a < b and b < c
        return pairs[0] if len(pairs) == 1 else Node("and", tuple(pairs), source=n)

    def error(self, n: ast.AST, what: str) -> LudusError:
        return _error(self.text, n, what)


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:97] + "...")


def _error(text: str, source: Any, what: str) -> LudusError:
    line = text.replace("\n", " ").strip()
    token = ast.get_source_segment(line, source) or ""
    column = len(line.encode()[: getattr(source, "col_offset", 0)].decode(errors="ignore")) + 1
    return LudusError(f"expression {_short(line)}: at column {column}, {_short(token)}: {what}")


# --- checking ----------------------------------------------------------------------------------------------------


def _check(n: Node, vocabulary: Vocabulary, text: str) -> Type:
    """The type of `n`, after checking everything below it."""
    if n.op == "number":
        return "real"
    if n.op == "object":
        raise _error(text, n.source, "an object alone has no value; put it into a predicate, such as near(...)")
    if n.op == "call" and n.name in vocabulary.predicates:
        return _check_predicate(n, vocabulary, text)
    if n.op == "call" and n.name not in FUNCTIONS:
        problem = unknown("predicate or function", n.name, (*vocabulary.predicates, *FUNCTIONS))
        raise _error(text, n.source, str(problem))
    types = [_check(a, vocabulary, text) for a in n.args]
    if n.op == "call":
        f = FUNCTIONS[n.name]
        if not f.least <= len(n.args) <= f.most:
            count = f"{f.least}" if f.least == f.most else f"{f.least} to {f.most}"
            raise _error(text, n.source, f"{n.name} takes {count} arguments, not {len(n.args)}")
    needs_bool = n.args if n.op in ("and", "or", "not") else n.args[:1] if n.name == "if_else" else ()
    for a, t in zip(needs_bool, types, strict=False):
        if t != "bool":
            raise _error(text, a.source, "a condition is needed here, this is a number; compare it, such as ... > 0.5")
    if n.name == "if_else":
        return "bool" if types[1:] == ["bool", "bool"] else "real"
    return "bool" if n.op in ("and", "or", "not", *COMPARISONS) else "real"


def _check_predicate(n: Node, vocabulary: Vocabulary, text: str) -> Type:
    word = vocabulary.predicates[n.name]
    if len(n.args) != len(word.parameters):
        raise _error(text, n.source, f"{word.signature} takes {len(word.parameters)} objects, not {len(n.args)}")
    for a in n.args:
        if a.op != "object":
            raise _error(text, a.source, f"{word.signature} takes names of objects: {', '.join(vocabulary.objects)}")
        if a.name not in vocabulary.objects:
            raise _error(text, a.source, str(unknown("object", a.name, vocabulary.objects)))
    names = [a.name for a in n.args]
    if len(set(names)) < len(names):
        raise _error(text, n.source, f"{word.signature} needs different objects")
    return word.result


assert math.isfinite(LIMIT * LIMIT) and LIMIT * LIMIT < np.finfo(np.float32).max  # products stay finite before the clip
