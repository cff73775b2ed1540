"""Rules on what a run may do, written in the language of skills: conditions that no task and no skill may bring about.

A rule is broken by words where what a task or a skill demands, with what is needed on the way to it, entails what the rule
forbids; and by observation where stored episodes that came to it mostly came to what the rule forbids, too. Rules are about what
robots are told, not about every motion: a policy that drops a block may still break one.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np

from ludus.experimenter.effects import closure
from ludus.skills.expression import Expression, condition, parse
from ludus.skills.library import SkillLibrary
from ludus.skills.syntax import COMPARISONS, Node
from ludus.skills.verify import Evidence
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import LudusError

LEAST_CASES = 4
"""Stored ways to a goal from which a rule is judged by them."""
MOST_CASES = 0.5
"""Share of them on which what is forbidden may come about; more often, it is the goal that brings it about."""
WAY_S = 4.0
"""How far back from where a goal was reached it is looked for, s: the usual time of a skill."""


class Rules:
    """The rules of one run.

    Args:
        text: conditions, parted by ';'. Empty: everything is allowed.
        control_hz: of the world.

    Raises:
        LudusError: a rule that is no condition over these words.
    """

    def __init__(self, text: str, vocabulary: Vocabulary, control_hz: float = 20.0) -> None:
        self._vocabulary, self._way = vocabulary, round(WAY_S * control_hz)
        self._rules = [_rule(part.strip(), vocabulary) for part in text.split(";") if part.strip()]
        self._seen: dict[str, str | None] = {}
        self.evidence: Evidence | None = None

    def __bool__(self) -> bool:
        return bool(self._rules)

    def look_at(self, evidence: Evidence) -> None:
        """Judge by these observations from now on."""
        self.evidence, self._seen = evidence, {}

    def broken(self, *conditions: str | None) -> str | None:
        """Which rule is broken by what brings all of these about, and how, in a sentence; None where all are kept.

        Args:
            conditions: expressions, such as a task's goal and the successes of its skills; what is none counts for nothing.
        """
        if not self._rules:
            return None
        wanted = [e for e in (condition(text, self._vocabulary) for text in conditions) if e is not None]
        demanded = {atom for e in wanted for atom in e.conditions()}
        needed = demanded.union(*(closure(self._vocabulary, atom) for atom in demanded))
        bounds = [part.node for e in wanted for part in e.parts() if part.node.op in COMPARISONS]
        for rule in self._rules:
            if any(self._entailed(part, needed, bounds) for part in _alternatives(rule)):
                return f"it brings about what the rule {str(rule)!r} forbids"
        return next((said for e in wanted if (said := self._observed(e))), None)

    # --- inside --------------------------------------------------------------------------------------------------

    def _entailed(self, rule: Expression, needed: Set[Atom], bounds: Sequence[Node]) -> bool:
        """Whether every part of a rule follows from one of the conditions."""
        return all(
            set(part.conditions()) <= needed or any(_implies(bound, part.node) for bound in bounds)
            for part in rule.parts()
        )

    def _observed(self, goal: Expression) -> str | None:
        if self.evidence is None:
            return None
        if str(goal) not in self._seen:
            self._seen[str(goal)] = self._look(goal, self.evidence)
        return self._seen[str(goal)]

    def _look(self, goal: Expression, evidence: Evidence) -> str | None:
        """What stored episodes say of each rule on the way to where the goal is reached for the first time."""
        begins, reached = evidence.ends[:-1], evidence.runs(goal.evaluate(evidence.together))[0]
        episode = np.searchsorted(evidence.ends, reached, "right") - 1
        _, first = np.unique(episode, return_index=True)
        ways = [(max(int(begins[episode[i]]), int(reached[i]) - self._way), int(reached[i])) for i in first]
        for rule in self._rules:
            holds = rule.evaluate(evidence.together)
            cases = [holds[start : end + 1] for start, end in ways if start < end and not holds[start]]
            n = sum(bool(case.any()) for case in cases)
            if len(cases) >= LEAST_CASES and n > MOST_CASES * len(cases):
                return f"in {n} of {len(cases)} stored episodes it brought about what the rule {str(rule)!r} forbids"
        return None


def allowed(library: SkillLibrary, rules: Rules) -> SkillLibrary:
    """The skills that keep the rules."""
    if not rules:
        return library
    return SkillLibrary(library.vocabulary, [s for s in library if rules.broken(s.success) is None])


def _rule(text: str, vocabulary: Vocabulary) -> Expression:
    try:
        rule = parse(text, vocabulary)
    except LudusError as error:
        raise LudusError(f"oversight.forbid: {error}") from None
    if rule.type != "bool":
        raise LudusError(f"oversight.forbid: {text!r} is a number; compare it with one, as in '{text} > 0.5'")
    return rule


def _alternatives(rule: Expression) -> list[Expression]:
    """What `a or b or ...` forbids one by one."""
    nodes = rule.node.args if rule.node.op == "or" else (rule.node,)
    return [Expression(node, "bool", rule.vocabulary) for node in nodes]


def _implies(bound: Node, rule: Node) -> bool:
    """Whether 'height(red) > 0.2' follows: from a bound on the same measure that is at least as tight."""
    known, forbidden = _bound(bound), _bound(rule)
    if known is None or forbidden is None or known[:2] != forbidden[:2]:
        return False
    (_, sign, value, is_strict), (_, _, limit, limit_is_strict) = known, forbidden
    return sign * value > sign * limit or (value == limit and (is_strict or not limit_is_strict))


def _bound(node: Node) -> tuple[str, int, float, bool] | None:
    """`(measure, 1 for a least value or -1 for a largest one, value, whether the value itself is excluded)`."""
    if node.op not in COMPARISONS:
        return None
    small, large = node.args if node.op in ("<", "<=") else node.args[::-1]
    numbers = [_number(small), _number(large)]
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    is_strict = node.op in ("<", ">")
    if numbers[0] is not None:
        return large.text, 1, numbers[0], is_strict
    assert numbers[1] is not None
    return small.text, -1, numbers[1], is_strict


def _number(node: Node) -> float | None:
    if node.op == "neg" and node.args[0].op == "number":
        return -node.args[0].value
    return node.value if node.op == "number" else None
