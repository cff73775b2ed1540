"""Reading and writing of expressions: text -> bounded tree -> canonical text. Knows no words and no types.

Python's own `ast` reads the text; only the few node types below are let through, so nothing that could act survives.
"""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ludus.types import LudusError

MAX_LENGTH = 2000
"""Characters, as written and in canonical spelling."""
MAX_NODES = 300
"""Numbers, objects, predicates and operations, together."""
MAX_DEPTH = 24
MAX_NUMBER = 1e6
TRIES = 5
"""Before 3.11.8, Python's parser fails now and then while another thread, too, parses something (python/cpython#106905)."""

OPERATORS: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.And: "and", ast.Or: "or",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
COMPARISONS = ("<", "<=", ">", ">=")
_BINDING = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "neg": 7}


@dataclass(frozen=True)
class Node:
    """One piece of an expression: `op` is 'number', 'object', 'call', 'neg' or an operator of `OPERATORS` or 'not'."""

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""  # of an object, a predicate or a function
    value: float = 0.0  # of a number
    source: Any = field(default=None, compare=False, repr=False)  # its ast node, for error messages

    @cached_property
    def text(self) -> str:
        """Its canonical spelling; reads back as an equal node."""
        return _write(self)

    def walk(self) -> Iterator[Node]:
        """Itself and everything below, in order of writing."""
        yield self
        for a in self.args:
            yield from a.walk()

    def renamed(self, names: Mapping[str, str]) -> Node:
        """The same with its objects exchanged; objects that are not in `names` stay."""
        if self.op == "object":
            return Node("object", name=names.get(self.name, self.name))
        return Node(self.op, tuple(a.renamed(names) for a in self.args), self.name, self.value)


def quote(name: str) -> str:
    """An object's name as it is written in an expression: red, 'light blue'."""
    return name if name.isascii() and name.isidentifier() and not keyword.iskeyword(name) else repr(name)


def canonical(text: str) -> str:
    """`text` in the one spelling that all its re-spacings share; checks syntax and bounds, but no names or types.

    Raises:
        LudusError: outside the language or its bounds.
    """
    return read(text).text


def read(text: str) -> Node:
    """The tree of `text`.

    Raises:
        LudusError: outside the language or its bounds; says where.
    """
    if len(text) > MAX_LENGTH:
        raise LudusError(f"expression of {len(text)} characters; at most {MAX_LENGTH}: shorten it or split the skill")
    line = _line(text)
    if not line:
        raise LudusError("expression is empty; write a condition such as held(red)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for odd escapes in a name; they fail later, as unknown objects
            body = _parsed(line)
    except SyntaxError as e:
        raise LudusError(f"expression {short(line)}: {e.msg} at column {e.offset or 1}") from None
    except (ValueError, MemoryError, RecursionError):
        raise LudusError(f"expression {short(line)}: unreadable: nested too deeply or odd characters") from None
    if "#" in line and any(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(io.StringIO(line).readline)):
        raise LudusError(f"expression {short(line)}: comments are not part of the language; leave them out")
    tree = _Reader(line).node(body, 1)
    if len(tree.text) > MAX_LENGTH:
        raise LudusError(f"expression {short(line)}: canonical spelling is longer than {MAX_LENGTH}; split the skill")
    return tree


def _parsed(line: str, tries: int = TRIES) -> ast.expr:
    try:
        return ast.parse(line, mode="eval").body
    except SystemError:
        if tries == 1:
            raise
        return _parsed(line, tries - 1)


def error(text: str, source: Any, what: str) -> LudusError:
    """`what` is wrong at the piece of `text` that `source` (an ast node) was read from."""
    line = _line(text)
    token = ast.get_source_segment(line, source) or ""
    column = len(line.encode()[: getattr(source, "col_offset", 0)].decode(errors="ignore")) + 1
    return LudusError(f"expression {short(line)}: at column {column}, {short(token)}: {what}")


def short(text: str) -> str:
    """`text` quoted, cut to 100 characters."""
    return repr(text if len(text) <= 100 else text[:97] + "...")


def _line(text: str) -> str:
    return " ".join(text.splitlines()).strip()  # a line break means no more than a space


@dataclass
class _Reader:
    text: str
    count: int = 0

    def node(self, n: ast.AST, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            raise LudusError(f"expression {short(self.text)}: more than {MAX_NODES} parts; split the skill")
        if depth > MAX_DEPTH:
            raise error(self.text, n, f"nested deeper than {MAX_DEPTH}; flatten it")
        match n:
            case ast.Constant(value=str(name)) | ast.Name(id=name):
                return Node("object", name=name, source=n)
            case ast.Constant(value=bool()):
                raise error(self.text, n, "truth values are not written; state a condition, or 1 or 0 in a reward")
            case ast.Constant(value=(int() | float()) as value):
                return self.number(n, value)
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                return Node("call", tuple(self.node(a, depth + 1) for a in n.args), name, source=n)
            case ast.BoolOp():
                return self.joined(n, depth)
            case ast.UnaryOp(op=ast.Not()):
                return Node("not", (self.node(n.operand, depth + 1),), source=n)
            case ast.UnaryOp(op=ast.USub()):
                operand = self.node(n.operand, depth + 1)
                return self.number(n, -operand.value) if operand.op == "number" else Node("neg", (operand,), source=n)
            case ast.BinOp() if type(n.op) in OPERATORS:
                sides = self.node(n.left, depth + 1), self.node(n.right, depth + 1)
                return Node(OPERATORS[type(n.op)], sides, source=n)
            case ast.Compare():
                return self.comparison(n, depth)
        raise error(self.text, n, "not part of the language: numbers, calls of predicates and functions on positional "
                    "arguments, and, or, not, < <= > >=, + - * /")  # fmt: skip

    def number(self, n: ast.AST, value: float) -> Node:
        if not abs(value) <= MAX_NUMBER:
            raise error(self.text, n, f"number beyond ±{MAX_NUMBER:g}")
        return Node("number", value=float(value) + 0.0, source=n)  # + 0.0 turns -0.0 into 0.0

    def joined(self, n: ast.BoolOp, depth: int) -> Node:
        op = OPERATORS[type(n.op)]
        args = [self.node(v, depth + 1) for v in n.values]
        flat = [b for a in args for b in (a.args if a.op == op else (a,))]  # (a and b) and c is a and b and c
        return Node(op, tuple(flat), source=n)

    def comparison(self, n: ast.Compare, depth: int) -> Node:
        if len(n.ops) > 1:  # written out as 'and', nested chains would grow exponentially
            raise error(self.text, n, "comparisons do not chain; write a < b and b < c")
        if type(n.ops[0]) not in OPERATORS:
            raise error(self.text, n, "only < <= > >= compare; for equality of measures write abs(a - b) <= tolerance")
        sides = self.node(n.left, depth + 1), self.node(n.comparators[0], depth + 1)
        return Node(OPERATORS[type(n.ops[0])], sides, source=n)


def _write(n: Node) -> str:
    def inner(a: Node, least: int) -> str:
        binding = 7 if a.op == "number" and a.value < 0 else _BINDING.get(a.op, 8)
        return a.text if binding >= least else f"({a.text})"

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
