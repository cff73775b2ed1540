"""The role 'write_skill': how a model and a person are asked for a skill, how their answers are read, and the built-in writer.

Whatever is answered is a `Candidate`: text. Nobody here checks that it is any good; `ludus.skills.verify` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from ludus.experimenter import phrasing
from ludus.experimenter.answers import clean
from ludus.experimenter.chaining import AT_ONCE, GAP, Chainer, aside_text
from ludus.experimenter.compose import Form, Request, compose
from ludus.experimenter.effects import atoms, lasting_relations
from ludus.experimenter.matching import Matcher
from ludus.experimenter.phrasing import MAX_CAPTION_OBJECTS
from ludus.experimenter.roles import NoAnswer, WriteQuestion
from ludus.skills.candidate import Candidate
from ludus.skills.expression import atom_text, condition, parse
from ludus.skills.library import Skill
from ludus.skills.names import ObjectNames
from ludus.skills.syntax import canonical
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import LudusError

MAX_EXAMPLES = 6
"""Skills that a prompt shows."""
MAX_REJECTIONS = 3
FIELDS = ("caption", "reward", "success", "prerequisites")
"""Of a person's line, parted by '|'; the last may be left out."""
FORMS = (Form(), Form(prerequisites=False), Form(all_stages=False), Form(thorough=False))
"""What the built-in writer tries, in this order, as its answers are refused."""

# --- asked of a model --------------------------------------------------------------------------------------------


def variables(q: WriteQuestion, vocabulary: Vocabulary) -> dict[str, str]:
    """The gap, the words of the language, skills to learn it from, and what was wrong with earlier answers."""
    return {
        "missing": _quote(q.missing),
        "task": _quote(q.task),
        "goal": _quote(q.goal) if q.goal else "not stated",
        "predicates": "\n".join(f"- {p.signature} ({p.result}): {p.meaning}" for p in vocabulary.predicates),
        "captions": ", ".join(_quote(s.caption) for s in q.skills) or "none",
        "skills": "\n".join(_skill_text(s) for s in examples(q.skills, q.scene.objects)) or "none",
        "rejections": "\n".join(
            f"- {_candidate_text(r.candidate)} failed the check {_quote(r.check)}: {_quote(r.detail)}"
            for r in q.rejections[-MAX_REJECTIONS:]
        )
        or "none",
        "max_steps": str(q.max_steps),
        "skill_steps": str(q.skill_steps),
    }


def examples(skills: Sequence[Skill], objects: Sequence[str]) -> list[Skill]:
    """At most `MAX_EXAMPLES`, no two of one template, the longest rewards: they show most of the language."""
    names, by_template = ObjectNames(objects), {}
    for skill in skills:
        by_template.setdefault(names.template(skill.caption), skill)
    longest = sorted(by_template.values(), key=lambda s: -len(s.reward))[:MAX_EXAMPLES]
    return [s for s in by_template.values() if s in longest]


def read(q: WriteQuestion, given: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> Candidate:
    """Of a model's answers the first that is in the language, else the first; the checks then say what is wrong with it.

    Raises:
        NoAnswer: none has a caption.
    """
    written = [_candidate(q, g) for g in given if clean(g["caption"])]
    if not written:
        raise NoAnswer(f"could not tell how to write a skill for {q.missing!r}")
    return next((c for c in written if _is_in_language(c, vocabulary)), written[0])


def _candidate(q: WriteQuestion, answer: Mapping[str, Any]) -> Candidate:
    steps = min(answer["steps"] or q.skill_steps, q.max_steps)
    caption, reward, success, prerequisites = (clean(answer[name]) for name in FIELDS)
    return Candidate(caption, reward, success, steps, prerequisites, clean(answer["why"]))


def _is_in_language(candidate: Candidate, vocabulary: Vocabulary) -> bool:
    try:
        parse(candidate.reward, vocabulary)
        types = [parse(t, vocabulary).type for t in (candidate.success, candidate.prerequisites) if t]
    except LudusError:
        return False
    return bool(candidate.success) and all(t == "bool" for t in types)


# --- asked of a person -------------------------------------------------------------------------------------------


def text(q: WriteQuestion) -> str:
    """As a person is asked."""
    refused = "".join(f"\nRefused by {r.check}: {_candidate_text(r.candidate)}: {r.detail}" for r in q.rejections)
    shown = "\n".join(f"  {s.caption} | {s.reward} | {s.success}" for s in examples(q.skills, q.scene.objects)[-2:])
    return (
        f"No skill does {q.missing!r}, in the task {q.task!r} with the goal {q.goal or '(not stated)'}."
        f"{refused}\nSkills of the library:\n{shown or '  none'}"
        "\nWrite one: caption | reward | success, and if something must hold before: | prerequisites"
    )


def read_line(q: WriteQuestion, line: str) -> Candidate:
    """Of a person's line. Raises: NoAnswer: it is empty."""
    if not line:
        raise NoAnswer(f"could not tell how to write a skill for {q.missing!r}")
    caption, reward, success, *prerequisites = (part.strip() for part in line.split("|"))
    return Candidate(caption, reward, success, q.skill_steps, *prerequisites, why="a person wrote it")


def complaint(q: WriteQuestion, line: str) -> str | None:
    """What is wrong with a person's line, as far as it can be read without the world's words."""
    parts = [part.strip() for part in line.split("|")]
    if not line:
        return None
    if not 3 <= len(parts) <= len(FIELDS) or not all(parts[:3]):
        return f"{line[:100]!r} has {len(parts)} parts; write: caption | reward | success, or with | prerequisites"
    if any(parts[0] == s.caption for s in q.skills):
        return f"the library has a skill {parts[0]!r} already; write another caption"
    for name, part in zip(FIELDS[1:], parts[1:], strict=False):
        try:
            if part:
                canonical(part)
        except LudusError as error:
            return f"{name}: {error}"
    return None


# --- the built-in writer -----------------------------------------------------------------------------------------


def write(q: WriteQuestion, vocabulary: Vocabulary) -> Candidate:
    """Composes the skill for the part of the goal that no skill brings about, or for the whole goal where each part has one.

    Raises:
        NoAnswer: no goal is stated and the words name none, or every form of the skill was refused.
    """
    facts = frozenset(a for fact in q.scene.facts for a in _atoms_or_none(fact, vocabulary))
    refused = [(r.candidate.reward, r.candidate.success, r.candidate.prerequisites) for r in q.rejections]
    taken, problem = {s.caption for s in q.skills}, f"could not tell what {q.missing!r} is to bring about"
    words = "" if q.missing.startswith((AT_ONCE, GAP)) else clean(q.missing)
    for goal in dict.fromkeys(_Gap(q, vocabulary, facts).goals()):
        request = Request(goal, facts, words, q.skill_steps, taken)
        for form in (Form(last_only=True), *FORMS) if q.missing.startswith(AT_ONCE) else FORMS:
            try:
                c = compose(request, vocabulary, form)
            except LudusError as error:
                problem = str(error)
                break
            if (c.reward, c.success, c.prerequisites) not in refused:
                steps = min(c.steps, q.max_steps)
                return Candidate(c.caption, c.reward, c.success, steps, c.prerequisites, c.why)
            problem = f"has no other way to write {goal!r}"
    raise NoAnswer(problem)


@dataclass(frozen=True)
class _Gap:
    """What a question asks to bring about."""

    q: WriteQuestion
    v: Vocabulary
    facts: frozenset[Atom]

    def goals(self) -> Iterator[str]:
        """Expressions, the likeliest first."""
        wanted = condition(self.q.goal, self.v)
        planned = self._planned()
        if wanted is None:
            yield from filter(None, (planned, self._said()))
            return
        parts = [a for a in wanted.atoms() if a[0] in lasting_relations(self.v)]
        named = [a for a in _atoms_or_none(planned or self._said() or "", self.v) if a in parts]
        if planned:
            asked = _atoms_or_none(planned, self.v)
            if asked and all(a in wanted.atoms() for a in asked):
                yield from (self._with_what_is_said_of(a, wanted.atoms()) for a in asked if len(a[1]) > 1)
            else:
                yield planned  # something in the way of the goal
        if len(parts) > 1:
            known = {a for s in self.q.skills for a in _atoms_or_none(s.success, self.v)}
            missing = [a for a in Chainer(self.v, ()).order(parts) if a not in known]
            partly = named if len(named) == 1 else missing if 0 < len(missing) < len(parts) else []
            yield from (self._with_what_is_said_of(relation, wanted.atoms()) for relation in partly)
            yield str(wanted)
            yield from (self._with_what_is_said_of(relation, wanted.atoms()) for relation in missing)
        yield str(wanted)

    def _with_what_is_said_of(self, relation: Atom, wanted: Sequence[Atom]) -> str:
        """One relation of a goal, with the goal's conditions on the object that it moves."""
        more = [a for a in wanted if len(a[1]) == 1 and a[1] == relation[1][:1]]
        return " and ".join(map(atom_text, (relation, *more)))

    @property
    def _conditions(self) -> list[Atom]:
        """Every atom over the scene's objects."""
        conditions = [p for p in self.v.predicates if p.result == "bool" and len(p.parameters) <= MAX_CAPTION_OBJECTS]
        return [(p.name, o) for p in conditions for o in permutations(self.v.objects, len(p.parameters))]

    def _planned(self) -> str | None:
        """The goal of a step that the planner put into words."""
        step, chainer = " ".join(self.q.missing.split()), Chainer(self.v, ())
        for atom in self._conditions:
            if chainer.gap_text(atom) == step:
                return atom_text(atom)
        measured = condition(step.removeprefix(GAP), self.v) if step.startswith(GAP) else None
        if measured is not None:
            return str(measured)
        for upper, below in permutations(self.v.objects, 2):
            if aside_text(upper, below) == step:
                return self._off(upper, below)
        return None

    def _said(self) -> str | None:
        """The goal that anybody's words name: each part of them is what a predicate's phrase says, or its undoing."""
        relations = lasting_relations(self.v)
        goals = {phrasing.phrase(self.v, a): atom_text(a) for a in self._conditions}
        goals |= {phrasing.undoing(self.v, a): f"not {atom_text(a)}" for a in self._conditions if a[0] in relations}
        matcher, names = Matcher([*goals], self.v.objects), ObjectNames(self.v.objects)
        for parts in (_parted(self.q.missing), [self.q.missing]):
            found = [
                c for p in parts if (c := matcher.retrieve(p).caption) and len(names.mentions(p)) <= len(names.find(c))
            ]
            if found and len(found) == len(parts):
                return " and ".join(dict.fromkeys(goals[c] for c in found))
        return None

    def _off(self, upper: str, below: str) -> str | None:
        """The relations in which one object takes another's place, as far as the scene shows them."""
        held = [a for a in sorted(self.facts) if a[0] in lasting_relations(self.v) and a[1][:1] == (upper,)]
        return next((f"not {atom_text(a)}" for a in held if below in a[1][1:]), None)


def _parted(step: str) -> list[str]:
    """A step taken apart at 'and' and 'then'."""
    return [p for part in step.replace(",", " and ").replace(" then ", " and ").split(" and ") if (p := part.strip())]


def _atoms_or_none(expression: str, vocabulary: Vocabulary) -> tuple[Atom, ...]:
    try:
        return atoms(expression, vocabulary)
    except LudusError:
        return ()


# --- texts -------------------------------------------------------------------------------------------------------


def _skill_text(skill: Skill) -> str:
    fields = {"caption": skill.caption, "reward": skill.reward, "success": skill.success, "steps": skill.steps}
    return json.dumps(fields, ensure_ascii=False)


def _candidate_text(candidate: Candidate) -> str:
    return json.dumps({name: getattr(candidate, name) for name in FIELDS}, ensure_ascii=False)


def _quote(said: str) -> str:
    return json.dumps(said, ensure_ascii=False)
