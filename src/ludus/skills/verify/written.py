"""Checks on what an author wrote, before any observation is looked at; and on its numbers."""

from __future__ import annotations

import numpy as np

from ludus.skills.candidate import Candidate
from ludus.skills.expression import LIMIT, Expression, condition, parse
from ludus.skills.names import ObjectNames
from ludus.skills.syntax import Node, short
from ludus.skills.verify.evidence import Scores, Written
from ludus.skills.verify.verdict import Check
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError

# A policy's caption encoder has these two limits; they stand here too because skills may not know how a policy reads
# (a test holds them equal).
MAX_WORDS = 12
"""Of a caption, each object name counted as one."""
MAX_OBJECTS = 3
"""Different objects in a caption."""
MAX_CAPTION = 120
"""Characters of a caption: twelve words of ten."""
MIN_STEPS = 5
"""Control steps: a quarter of a second at 20 Hz, less than any movement takes."""
MAX_STEPS = 400
"""Control steps: an episode of the blocks world (20 s)."""
BOUND_TOLERANCE = 0.02
"""How far a reward may leave [0, 1]: a measured width or height overshoots its nominal range by a few per mille."""


def parses(candidate: Candidate, vocabulary: Vocabulary, goal: str | None) -> tuple[Check, Written | None]:
    """In the language, of the right types, and within the limits of a caption and of a skill's length."""
    name = "parses"
    problem = _caption_problem(candidate.caption, vocabulary) or _steps_problem(candidate.steps)
    if problem:
        return Check(name, False, problem), None
    texts = {"reward": candidate.reward, "success": candidate.success, "prerequisites": candidate.prerequisites}
    parsed: dict[str, Expression | None] = {}
    for what, text in texts.items():
        if not isinstance(text, str):
            return Check(name, False, f"{what} is {short(repr(text))}, not text; write an expression"), None
        if what == "prerequisites" and not text.strip():
            parsed[what] = None
            continue
        try:
            parsed[what] = expression = parse(text, vocabulary)
        except (LudusError, ValueError, RecursionError) as e:  # ValueError: text that has no encoding (lone surrogates)
            return Check(name, False, f"{what}: {e}"), None
        if what != "reward" and expression.type != "bool":
            return Check(name, False, f"{what} {short(text)} is a number; compare it with one, such as ... > 0.5"), None
    reward, success = parsed["reward"], parsed["success"]
    assert reward is not None and success is not None
    written = Written(reward, success, parsed["prerequisites"], _goal(goal, vocabulary), candidate.steps)
    return Check(
        name, True, "reward, success and prerequisites are in the language; caption and steps in limits"
    ), written


def names(candidate: Candidate, written: Written, vocabulary: Vocabulary) -> Check:
    """The caption tells a policy which objects matter, so it and the expressions must name the same ones."""
    named = set(ObjectNames(vocabulary.objects).find(candidate.caption))
    read = {o for e in written.expressions for o in e.objects}
    # An object that only the reward reads plays no part in what is achieved.
    achieved = {o for e in written.expressions[1:] for o in e.objects}
    for what in ("reward", "success"):
        if not getattr(written, what).predicates:
            return Check("names", False, f"{what} reads nothing of the world; use a predicate of the vocabulary")
    if unnamed := sorted(read - named):
        problem = f"reads {', '.join(unnamed)}, which the caption {candidate.caption!r} does not name"
        return Check("names", False, problem + "; name it there, or leave it out")
    if unread := sorted(named - achieved):
        problem = f"the caption names {', '.join(unread)}, which neither success nor prerequisites read"
        return Check("names", False, problem + "; say there what shall hold of it, or leave it out of the caption")
    return Check("names", True, f"caption and expressions name {', '.join(sorted(named)) or 'no object'}")


def finite(scores: Scores) -> Check:
    """The language hides what is not finite: it clips to ± its limit, and x / 0 is 0. Both are looked for in every part."""
    everywhere = np.ones(len(scores.reward), bool)
    for what, expression in zip(("reward", "success", "prerequisites"), scores.written.expressions, strict=False):
        found = _overflow(expression.node, everywhere, scores)
        if found:
            node, index, problem = found
            detail = f"{what}: {short(node.text)} {problem} at {index} observation(s)"
            return Check("finite", False, f"{detail}; keep denominators away from 0, such as / max(..., 0.01)")
    return Check("finite", True, f"all parts are finite at {len(scores.reward)} observations")


def bounded(scores: Scores) -> Check:
    """A reward in [0, 1] as written: clipping would make different situations pay the same."""
    low, high = int(np.argmin(scores.reward)), int(np.argmax(scores.reward))
    least, most = float(scores.reward[low]), float(scores.reward[high])
    range_text = f"reward is {least:.3g} to {most:.3g} at {len(scores.reward)} observations"
    if least < -BOUND_TOLERANCE:
        return Check("bounded", False, f"{range_text}, below 0: {scores.at(low)}; scale it or use clip(..., 0, 1)")
    if most > 1 + BOUND_TOLERANCE:
        return Check("bounded", False, f"{range_text}, above 1: {scores.at(high)}; scale it or use clip(..., 0, 1)")
    return Check("bounded", True, range_text)


def _goal(goal: str | None, vocabulary: Vocabulary) -> Expression | None:
    try:
        return condition(goal, vocabulary) if isinstance(goal, str) else None
    except (ValueError, RecursionError):
        return None


def _caption_problem(caption: str, vocabulary: Vocabulary) -> str:
    if not isinstance(caption, str) or not caption.strip():
        return "the caption is empty; write what the robot is told, such as 'put red beside green'"
    if not caption.isprintable():
        return f"caption {short(caption)} has control characters or line breaks; write one line of words"
    if len(caption) > MAX_CAPTION:
        return f"caption of {len(caption)} characters; at most {MAX_CAPTION}: shorten it"
    own = ObjectNames(vocabulary.objects)
    n_words, n_objects = len(own.replace(caption, "_").split()), len(own.find(caption))
    if n_words > MAX_WORDS:
        return f"caption {caption!r} has {n_words} words, a policy reads at most {MAX_WORDS}; shorten it"
    if n_objects > MAX_OBJECTS:
        return f"caption {caption!r} names {n_objects} objects, a policy reads at most {MAX_OBJECTS}; split the skill"
    return ""


def _steps_problem(steps: int) -> str:
    if isinstance(steps, int) and not isinstance(steps, bool) and MIN_STEPS <= steps <= MAX_STEPS:
        return ""
    shown = str(steps) if isinstance(steps, int) and abs(steps) < 10**9 else "odd"  # Python writes no huge integers
    return f"{shown} control steps; give a whole number from {MIN_STEPS} to {MAX_STEPS}, usually 80"


def _overflow(n: Node, reached: np.ndarray, scores: Scores) -> tuple[Node, int, str] | None:
    """The innermost part of `n` that is not finite where it counts, at how many observations, and what it does there.

    Args:
        reached: `[N + n]` bool; where a choice above `n` takes its value.
    """
    if n.op in ("number", "object") or (n.op == "call" and n.name in scores.vocabulary.by_name):
        inner = []
    elif n.name == "if_else":
        chosen = scores.cache[n.args[0].text]
        inner = [(n.args[0], reached), (n.args[1], reached & chosen), (n.args[2], reached & ~chosen)]
    else:
        inner = [(a, reached) for a in n.args]
    for part, where in inner:
        if found := _overflow(part, where, scores):
            return found
    if n.op == "/":
        below = n.args[1]
        divisor = np.float32(below.value) if below.op == "number" else scores.cache[below.text]
        if zero := int(np.count_nonzero(reached & (divisor == 0))):
            return n, zero, "divides by 0"
    values = scores.cache.get(n.text)
    if values is None or values.dtype == bool:
        return None
    huge = int(np.count_nonzero(reached & (np.abs(values) >= LIMIT)))
    return (n, huge, f"grows beyond {LIMIT:g}") if huge else None
