"""The part *write*: asks for the skill that a gap needs and judges what is written, on stored observations only."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.exam.gaps import WriteItem
from ludus.exam.metrics import NO_ANSWER, Mean, Rate, Result
from ludus.exam.session import Session
from ludus.skills.candidate import Candidate
from ludus.skills.expression import parse
from ludus.skills.verify import verify
from ludus.types import LudusError

AGREES = 0.8
"""Least Jaccard index of the two successes: of the observations where either holds, the share where both do."""
USABLE = 0.7
"""Least mean rank correlation of the two rewards on the way to the reference's success."""
MAX_WAYS = 40
"""Ways to success that are looked at."""


def write(session: Session) -> Result:
    """Right: it passes the checks on candidates, its success is that of the reference, and its reward rises as that of the
    reference does."""
    rows = []
    for i, item, ask in session.questions("write", session.question_set.write, lambda who, q: who.write_skill(q)):
        candidate, error = ask(item.world, item.question(f"exam/write/{i}"))
        row: dict[str, Any] = {"question": i, "world": item.world, "kind": item.kind, "goal given": item.shown}
        row |= {"missing": item.missing, "error": error, "failed": None, "passes": False, "jaccard": None}
        row |= {"balanced accuracy": None, "correlation": None, "agrees": False, "usable": False}
        if candidate is not None:
            row |= {k: getattr(candidate, k) for k in ("caption", "reward", "success", "prerequisites", "steps")}
            row |= judged(item, candidate)
        rows.append(row)
    good = [r["passes"] and r["agrees"] and r["usable"] for r in rows]
    kinds = dict.fromkeys(item.kind for item in session.question_set.write)

    def of(name: str, wanted: Any) -> list[bool]:
        return [x for x, r in zip(good, rows, strict=True) if r[name] == wanted]

    return Result(
        "write",
        (
            Rate.of("passes, agrees and usable", good),
            Rate.of("passes verification", [r["passes"] for r in rows]),
            Rate.of("success agrees with the reference's", [r["agrees"] for r in rows]),
            Rate.of("reward usable", [r["usable"] for r in rows]),
            Rate.of("all, goal's expression given", of("goal given", True)),
            Rate.of("all, words only", of("goal given", False)),
            *(Rate.of(f"all: {world}", of("world", world)) for world in dict.fromkeys(r["world"] for r in rows)),
            *(Rate.of(f"all: {kind}", of("kind", kind)) for kind in kinds),
            Rate.of(NO_ANSWER, [r["error"] is not None for r in rows]),
        ),
        tuple(
            _mean(name, [r[key] for r in rows])
            for name, key in (
                ("Jaccard index of the successes", "jaccard"),
                ("balanced accuracy of the success", "balanced accuracy"),
                ("rank correlation of the rewards", "correlation"),
            )
        ),
        answers=tuple(rows),
    )


def _mean(name: str, values: list[float | None]) -> Mean:
    known = [v for v in values if v is not None]
    return Mean(f"{name}, of those in the language", float(np.mean(known)) if known else None, len(known))


def judged(item: WriteItem, candidate: Candidate) -> dict[str, Any]:
    """The marks of one answer."""
    stored = item.stored
    verification = verify(candidate, item.skills, stored.evidence, item.goal)
    failed = verification.failed
    row: dict[str, Any] = {"passes": failed is None, "failed": failed and f"{failed.name}: {failed.detail}"}
    try:
        reward, success = parse(candidate.reward, stored.vocabulary), parse(candidate.success, stored.vocabulary)
    except LudusError:
        return row
    if success.type != "bool":
        return row
    seen = stored.evidence.together
    truth = parse(item.reference.success, stored.vocabulary).evaluate(seen)
    found = success.evaluate(seen)
    row["jaccard"], row["balanced accuracy"] = jaccard(found, truth), balanced_accuracy(found, truth)
    by_reference = parse(item.reference.reward, stored.vocabulary).evaluate(seen)
    row["correlation"] = correlation(reward.evaluate(seen), by_reference, ways(item))
    return row | {"agrees": row["jaccard"] >= AGREES, "usable": row["correlation"] >= USABLE}


def jaccard(found: np.ndarray, truth: np.ndarray) -> float:
    """Of the observations where either holds, the share where both do; 1 where neither ever does."""
    either = int((found | truth).sum())
    return float((found & truth).sum() / either) if either else 1.0


def balanced_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the share right where the truth holds and where it does not."""
    shares = [float((found[truth == value] == value).mean()) for value in (True, False) if (truth == value).any()]
    return float(np.mean(shares))


def ways(item: WriteItem) -> list[slice]:
    """Stored observations on the way to the reference's success: up to its first in an episode, at most its steps, from
    where its prerequisites hold where it undoes something."""
    stored, reference = item.stored, item.reference
    evidence = stored.evidence
    success = parse(reference.success, stored.vocabulary).evaluate(evidence.together)
    ready = parse(reference.prerequisites, stored.vocabulary).evaluate(evidence.together)
    found = []
    for first, last in zip(evidence.ends[:-1], evidence.ends[1:], strict=True):
        onsets = first + 1 + np.flatnonzero(success[first + 1 : last] & ~success[first : last - 1])
        for onset in map(int, onsets):
            begin = max(first, onset - reference.steps)
            before = np.flatnonzero(success[begin:onset])
            begin = begin + int(before[-1]) + 1 if len(before) else begin
            may = np.flatnonzero(ready[begin:onset])
            if len(may) and onset - (begin + may[0]) >= 8:
                found.append(slice(int(begin + may[0]), onset + 1))
    return found[:MAX_WAYS]


def correlation(reward: np.ndarray, reference: np.ndarray, along: list[slice]) -> float:
    """Mean rank correlation (Spearman 1904) along ways; a reward that stays the same on a way counts as 0."""
    return float(np.mean([_spearman(reward[way], reference[way]) for way in along])) if along else 0.0


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks_a, ranks_b = (np.array([np.mean(np.flatnonzero(np.sort(x) == v)) for v in x]) for x in (a, b))
    if min(ranks_a.std(), ranks_b.std()) == 0:
        return 0.0
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])
