"""Checks on a candidate skill before it is trained: each is named, and says what an author can change.

The checks see stored observations only. They cannot prove that a skill is good: a hack that no stored episode shows is not
found here (docs/add-a-skill.md says what slips through).
"""

from __future__ import annotations

from ludus.skills.candidate import Candidate
from ludus.skills.library import SkillLibrary
from ludus.skills.verify.evidence import Evidence, score
from ludus.skills.verify.possible import possible
from ludus.skills.verify.reward import not_hackable, rises, success_pays
from ludus.skills.verify.success import new, not_always, prerequisites
from ludus.skills.verify.verdict import Check, Verification
from ludus.skills.verify.written import bounded, finite, names, parses

__all__ = ["Check", "Evidence", "Verification", "verify"]


def verify(
    candidate: Candidate,
    library: SkillLibrary,
    evidence: Evidence,
    goal: str | None = None,
    *,
    is_sibling: bool = False,
) -> Verification:
    """Make all checks on a candidate; the later ones only if its text parses. Nothing that an author writes raises.

    Args:
        library: the known skills.
        goal: the condition that the gap's task described; None, or text that is no condition, is not checked against.
        is_sibling: whether the same skill about other objects has passed. It is known then that its reward depends on
            something; these objects may stand as its prerequisites ask at too few stored observations to show that again.
    """
    check, written = parses(candidate, library.vocabulary, goal)
    if written is None:
        return Verification((check,))
    scores = score(written, evidence)
    is_possible, composed = possible(scores)
    return Verification(
        (
            check,
            names(candidate, written, library.vocabulary),
            finite(scores),
            bounded(scores),
            not_always(scores),
            is_possible,
            success_pays(scores, composed),
            rises(scores),
            not_hackable(scores, composed, is_sibling),
            new(candidate, scores, library),
            prerequisites(scores),
        )
    )
