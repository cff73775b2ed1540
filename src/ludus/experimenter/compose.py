"""From a goal to a skill: a reward in stages, a thorough success, what must hold before, and a caption.

Nothing here knows a world. Predicates say what they need (`Predicate.preconditions`), how far they have come and what
completes them (`Shaping`); a goal is a conjunction of predicates, of `not` predicates and of comparisons. Conventions, as
in `ludus.experimenter.chaining`: the first object of a relation is the one that is moved; what is built upon comes first.

    on(red, green)  ->  staged(reach_grasp(red), lift(red), hover(red, green), lower(red, green),
                               on(red, green) * release(red) * settle(red))

Each *part* of a goal has its own stages; those of a later part count only while the earlier ones stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ludus.experimenter import phrasing
from ludus.experimenter.goals import Form, Goal, Part, ended_by, progress_of
from ludus.skills.candidate import Candidate
from ludus.skills.expression import atom_text, parse
from ludus.skills.names import ObjectNames
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import LudusError

__all__ = ["Form", "Request", "compose"]


@dataclass(frozen=True)
class Request:
    """A skill to be composed."""

    goal: str
    facts: frozenset[Atom] = frozenset()
    """What holds in the scene that the skill is wanted for; tells what stands in the way."""
    text: str = ""
    """Words of whoever asks for it; its caption, where they are short."""
    skill_steps: int = 80
    """Control steps for each object that is moved; half of them for each object beyond one to put it by, which must stay as
    it is."""
    taken: Iterable[str] = ()
    """Captions of known skills."""


def compose(request: Request, vocabulary: Vocabulary, form: Form | None = None) -> Candidate:
    """The skill that reaches a goal.

    Raises:
        LudusError: a goal outside the language or no condition, or one that asks for too much for one skill.
    """
    form = form or Form()
    parsed = parse(request.goal, vocabulary)
    if parsed.type != "bool":
        raise LudusError(f"goal {request.goal!r} is a number; compare it with one")
    parts = Goal(vocabulary, parsed.node, request.facts, form).parts()
    wanted = sorted(parts, key=lambda p: p.is_kept)
    success = " and ".join(dict.fromkeys(t for p in wanted for t in [*p.conditions, *map(atom_text, p.completions)]))
    asked = {t for p in parts for t in p.conditions if not p.is_kept}
    needs = [n for n in dict.fromkeys(n for p in parts for n in p.prerequisites) if n not in asked]
    objects = tuple(dict.fromkeys(o for p in parts for t in p.conditions for o in parse(t, vocabulary).objects))
    caption = phrasing.caption_of(
        [p.says for p in wanted if p.says], objects, request.text, ObjectNames(vocabulary.objects), request.taken
    )
    n_moved = max(1, sum(p.moved is not None and not p.is_kept for p in parts))
    n_watched = max(0, len(objects) - n_moved - 1)
    return Candidate(
        caption,
        _reward(parts, vocabulary),
        str(parse(success, vocabulary)),
        request.skill_steps * n_moved + request.skill_steps // 2 * n_watched,
        " and ".join(needs) if form.prerequisites else "",
        f"composed from what {request.goal} needs",
    )


# --- rewards -----------------------------------------------------------------------------------------------------


def _reward(parts: Sequence[Part], vocabulary: Vocabulary) -> str:
    """All stages in one row; where that is too long, a row within the row for each part; then fewer stages."""
    problem: LudusError | None = None
    for build in (_flat, _nested, _short):
        try:
            return str(parse(build(parts, vocabulary), vocabulary))
        except LudusError as error:
            problem = error
    raise LudusError(f"the goal asks for too much for one skill; split it: {problem}")


def _flat(parts: Sequence[Part], vocabulary: Vocabulary) -> str:
    rows = _guarded(parts, vocabulary)
    return _staged([guard + stage for part, guard in rows for stage in [*part.stages, _final(part, vocabulary)]])


def _nested(parts: Sequence[Part], vocabulary: Vocabulary) -> str:
    rows = _guarded(parts, vocabulary)
    return _staged([guard + _staged([*part.stages, _final(part, vocabulary)]) for part, guard in rows])


def _short(parts: Sequence[Part], vocabulary: Vocabulary) -> str:
    rows = _guarded(parts, vocabulary)
    return _staged([guard + _staged([*part.stages[:1], _final(part, vocabulary)]) for part, guard in rows])


def _staged(stages: Sequence[str]) -> str:
    return stages[0] if len(stages) == 1 else f"staged({', '.join(stages)})"


def _guarded(parts: Sequence[Part], vocabulary: Vocabulary) -> list[tuple[Part, str]]:
    """Parts that are to be done; before each, that the earlier ones stand, and are not still being made."""
    guards, standing = [""], []
    for part in parts[:-1]:
        ended = [end for a in part.completions for end in ended_by(vocabulary, a)]
        standing += [*part.conditions, *(f"not {atom_text(end)}" for end in ended)]
        guards.append(f"({' and '.join(dict.fromkeys(standing))}) * ")
    return [(part, guard) for part, guard in zip(parts, guards, strict=True) if not part.is_kept]


def _final(part: Part, vocabulary: Vocabulary) -> str:
    """1 where the part is done."""
    condition = " and ".join(part.conditions)
    factors = [f"({condition})" if part.completions or len(part.conditions) > 1 else condition]
    for atom in part.completions:
        progress = progress_of(vocabulary, atom)
        factors.append(progress[-1] if progress else atom_text(atom))
    return " * ".join(factors) if len(factors) > 1 else f"({condition})"
