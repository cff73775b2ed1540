"""Checks on a success: is there something to do, and is it new?"""

from __future__ import annotations

import numpy as np

from ludus.skills.candidate import Candidate
from ludus.skills.expression import Expression
from ludus.skills.library import SkillLibrary
from ludus.skills.names import ObjectNames
from ludus.skills.verify.chance import UNLIKELY, at_most
from ludus.skills.verify.evidence import AT_MOST_STARTS, MIN_WAYS, Scores
from ludus.skills.verify.possible import conjuncts, feasible
from ludus.skills.verify.verdict import Check

SAME = 0.98
"""Jaccard index of two successes from which on they are one: observations where both hold per those where either does."""
MIN_POSITIVES = 20
"""Observations with success from which on behaviour is compared, not only text."""
LED_SHARE = 0.5
"""Prerequisites that held before this share of stored successes are needed. Not more: much stored success is accidental."""


def not_always(scores: Scores) -> Check:
    """A skill that has succeeded where it begins teaches nothing."""
    begins = scores.beginnings
    done = scores.success[begins]
    share, where = float(done.mean()), "starts" if begins[0] >= scores.evidence.n_stored else "stored observations"
    ready = " at which the prerequisites hold" if scores.written.prerequisites is not None else ""
    text = f"success holds at {int(done.sum())} of {len(begins)} {where}{ready}"
    if share <= AT_MOST_STARTS:
        return Check("not_always", True, text)
    advice = "demand what is still to be done, or state prerequisites from which there is something to do"
    return Check("not_always", False, f"{text}, before anything was done; {scores.at(int(begins[done][0]))}; {advice}")


def new(candidate: Candidate, scores: Scores, library: SkillLibrary) -> Check:
    """Not a known skill in other words: neither its caption as a policy reads it, nor its success as text, nor where that
    holds."""
    objects = ObjectNames(library.vocabulary.objects)
    reading = objects.reading(candidate.caption)
    own, n = {c.node for c in conjuncts(scores.written.success)}, len(scores.successful)
    nearest, most = "", 0.0
    for skill in library:
        if objects.reading(skill.caption) == reading:
            how = "words in no order, objects in that of first mention"
            return Check("new", False, f"a policy reads it as {skill.caption!r}, {how}; say in words what is different")
        success = library.parse(skill)[1]
        if {c.node for c in conjuncts(success)} == own:
            return Check("new", False, f"success is the same as that of {skill.caption!r}: {success}")
        if n >= MIN_POSITIVES:
            agreement = _jaccard(scores, success)
            nearest, most = (skill.caption, agreement) if agreement > most else (nearest, most)
    if most >= SAME:
        return Check(
            "new",
            False,
            f"success holds where that of {nearest!r} does: of {n} observations with one of them, "
            f"{most:.1%} have both; demand something else",
        )
    if n < MIN_POSITIVES:
        return Check(
            "new", True, f"no known skill has this text; behaviour not compared: {n} observations with success"
        )
    return Check(
        "new",
        True,
        f"nearest known skill: {nearest!r}, {most:.0%} of successes in common"
        if nearest
        else "no known skill succeeds where it does",
    )


def prerequisites(scores: Scores) -> Check:
    """What should hold before must be able to hold, and must not have kept stored episodes from the success."""
    name, written, n = "prerequisites", scores.written, scores.evidence.n_stored
    if written.prerequisites is None:
        return Check(name, True, "none stated")
    if not scores.ready.any():
        return feasible(name, written.prerequisites, scores.evidence.together, n)[0]
    text = f"prerequisites hold at {int(scores.ready.sum())} of {len(scores.ready)} observations"
    if scores.undoes:
        return Check(name, True, f"{text}, and without them there would be nothing to do")
    onsets = scores.reached
    if len(onsets) < MIN_WAYS:
        return Check(name, True, f"{text}; not judged further: {len(onsets)} stored episodes came to success")
    led, elsewhere = scores.led[onsets], _elsewhere(scores, onsets)
    text += f", before {int(led.sum())} of {len(led)} stored successes; chance would give {elsewhere * len(led):.1f}"
    if led.mean() >= LED_SHARE or at_most(int(led.sum()), len(led), elsewhere) > UNLIKELY:
        return Check(name, True, text)
    example = scores.at(int(onsets[~led][0]))
    return Check(name, False, f"{text}; {example}; state what must hold on the way, or leave them out")


def _elsewhere(scores: Scores, onsets: np.ndarray) -> float:
    """How often the prerequisites held before observations without success, as far into an episode as the onsets are."""
    ends = scores.evidence.ends
    age = np.arange(scores.evidence.n_stored) - np.repeat(ends[:-1], np.diff(ends))
    others = scores.others
    led, count = (np.bincount(age[others], w, minlength=age.max() + 1) for w in (scores.led[others], None))
    return float(np.mean((led / np.maximum(count, 1))[age[onsets]]))


def _jaccard(scores: Scores, other: Expression) -> float:
    n = scores.evidence.n_stored
    theirs = other.evaluate(scores.evidence.together, scores.cache)[:n]
    own = scores.success[:n]
    either = int(np.count_nonzero(own | theirs))
    return int(np.count_nonzero(own & theirs)) / either if either else 0.0
