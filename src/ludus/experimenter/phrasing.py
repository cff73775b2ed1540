"""Captions for goals: what a robot is told, from how predicates say it (`Shaping.phrase`, `Shaping.undo`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ludus.skills.names import ObjectNames
from ludus.skills.syntax import Node
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import LudusError

MAX_CAPTION_WORDS = 12
"""Words that a policy reads; an object's name is one (`ludus.agents.captions`)."""
MAX_CAPTION_OBJECTS = 3
"""Different objects that a policy reads."""
PLAIN = re.compile(r"[\w' -]+")
"""A caption is words only: punctuation belongs to explanations."""
OTHER_WORDS = ("{}", "bring about: {}", "see to it: {}")
"""A caption that a skill has already is told from it by these."""


def phrase(vocabulary: Vocabulary, atom: Atom) -> str:
    """How a robot is told to bring an atom about: 'put red on green'."""
    name, objects = atom
    said = vocabulary.by_name[name].shaping.phrase
    words = name.replace("_", " ")
    if said:
        return fill(said, objects)
    if len(objects) < 2:
        return f"make {objects[0]} {words}" if objects else words
    return f"put {objects[0]} {words} {' and '.join(objects[1:])}"


def keeping(atom: Atom) -> str:
    """How a robot is told not to undo an atom: 'keep red on green'."""
    name, objects = atom
    return f"keep {' '.join([objects[0], name.replace('_', ' '), ' and '.join(objects[1:])])}".rstrip()


def undoing(vocabulary: Vocabulary, atom: Atom) -> str:
    """How a robot is told to end an atom: 'take red off green'."""
    name, objects = atom
    said = vocabulary.by_name[name].shaping.undo
    if said:
        return fill(said, objects)
    about = " and ".join(objects)
    return f"end {name.replace('_', ' ')}{f' of {about}' if about else ''}"


def measuring(node: Node) -> str:
    """How a robot is told to reach a comparison: 'height of red at least 0.15'."""
    calls = [n for n in node.walk() if n.op == "call" and n.args and all(a.op == "object" for a in n.args)]
    objects = dict.fromkeys(a.name for call in calls for a in call.args)
    numbers = [n.text for n in node.walk() if n.op == "number"]
    names = dict.fromkeys(
        n.name.replace("_", " ") for n in node.walk() if n.op == "call" and n.name not in ("abs", "min")
    )
    relation = "at most" if node.op in ("<", "<=") else "at least"
    about = f" of {' and '.join(objects)}" if objects else ""
    return " ".join([f"{' and '.join(names)}{about}", relation, *numbers[-1:]])


def fill(template: str, objects: Sequence[str]) -> str:
    """A text over X, Y, Z, W with these in their places."""
    letters = dict(zip("XYZW", objects, strict=False))
    return re.sub(r"\b[XYZW]\b", lambda m: letters.get(m.group(), m.group()), template)


def fits(caption: str, names: ObjectNames) -> bool:
    """Whether a policy reads all of it."""
    n_words = len(names.replace(caption, " @ ").split())
    return 0 < n_words <= MAX_CAPTION_WORDS and len(names.find(caption)) <= MAX_CAPTION_OBJECTS


def caption_of(
    parts: Sequence[str], objects: Sequence[str], text: str, names: ObjectNames, taken: Iterable[str]
) -> str:
    """`text` where it is a short instruction that names what the skill is about, else the parts joined.

    Args:
        parts: instructions, in order.
        objects: what the skill is about.
        taken: captions that other skills have; none is used that a policy reads as one of these.

    Raises:
        LudusError: longer than a policy reads, or taken in every form.
    """
    text = " ".join(text.split())
    about, read = set(names.find(text)), set(map(names.reading, taken))
    if PLAIN.fullmatch(text) and fits(text, names) and about == set(objects) and names.reading(text) not in read:
        return text
    said = " and ".join(dict.fromkeys(parts))
    if not fits(said, names):
        raise LudusError(
            f"no caption for {said!r}: a policy reads {MAX_CAPTION_WORDS} words and {MAX_CAPTION_OBJECTS} objects; "
            "split the goal"
        )
    for form in OTHER_WORDS:
        caption = form.format(said)
        if names.reading(caption) not in read and fits(caption, names):
            return caption
    raise LudusError(f"the library has a skill {said!r} already; say in other words what is missing")
