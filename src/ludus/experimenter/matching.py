"""From a free-form step to a skill's caption, or to 'none fits': same objects in the same roles, same action words.

Knows everyday English of moving things about. Captions in other words are compared word by word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from ludus.skills.names import ObjectNames
from ludus.types import Retrieval

LEAST_SCORE = 0.65
"""A match scores 1 for the same action; less for words that the caption leaves out and for words nobody knows."""
UNKNOWN_WORD = 0.08
"""What a word costs that is in no caption: decoration ('slowly', 'first'), most often."""

_HAND = "(?:gripper|hand|arm|fingers?|fingertips?|claws?|jaws?|pads?)"
# Applied in this order to lower-case text without articles, `@` for every object; `~` ends the text.
_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("over (?:there|here)", "(?:right|directly|just|immediately)(?= (?:on|onto|atop|next|beside|above|over))")),
    ("", ("(?:build|make|erect|construct|form|assemble)(?= .*(?:tower|pyramid))",)),
    (
        "leave",
        (
            "(?:(?:and|then|let go|release it) )*(?:leave(?: it| @)?(?: there)?|retreat|withdraw|retract|back up"
            f"|(?:back|move|step|pull|draw|take|get|go|clear)(?: {_HAND})? (?:away|off|back|clear|aside|out of way))"
            f"(?: {_HAND})?(?: away)?(?: from (?:it|there|@))?(?: afterwards?)? ~",
        ),
    ),
    ("open gripper", ("(?:let go of|release|drop) @ ~", "let(?:ting)? go(?: of it)?", "releas(?:e|ing)")),
    ("open gripper", (f"(?:open|spread|part|unclench|loosen|unclasp)(?: up)? {_HAND}(?: wide)?",)),
    ("on", ("on top of", "to top of", "onto", "atop", "upon", "resting on")),
    (
        "beside",
        ("next to", "alongside", "adjacent to", "by side of", "side by side(?: with)?", "right by", "up against"),
    ),
    ("above", ("over top of", "over")),
    ("lift", ("pick(?:s|ing)? up", "pick(?:s|ing)? @ up", "picks?", "rais(?:e|es|ing)", "elevates?", "hoists?")),
    ("lift", ("lifts", "lifting", "aloft", "(?:up )?(?:in|into|to) air", "(?:up )?off (?:table|ground|floor|surface)")),
    (
        "grasp",
        ("(?:take|get|catch)(?: firm| good| tight)? (?:hold|grip) of", "takes?", "grab(?:s|bing)?", "grip(?:s|ping)?"),
    ),
    (
        "grasp",
        ("seizes?", "clutch", "clasp", "pinch", "clamp(?: on(?:to)?)?", "holds?", "holding", "grasps", "grasping"),
    ),
    ("grasp", (f"close {_HAND} (?:on|around|about)",)),
    (
        "reach",
        (
            f"(?:move|go|get|come|travel|reach|extend|(?:bring|move|get|put|place|position|lower) {_HAND})"
            "(?: down| over| out| close| right)* (?:to|near|towards?|at|for|by)(?= @ ~)",
            "approach(?:es|ing)?",
            "touch(?:es|ing)?",
            "reaches",
            "reaching",
        ),
    ),
    ("hover", ("hovering", "hovers", "suspend(?:ed)?")),
    ("stack", ("stacks", "stack(?:ing|ed)", "piles?")),
)
_CONTRAST = re.compile(
    r"(?:(?<=\S)[,;.] *(?:but |and )*(?:not|do not|dont|never)|(?<=\S) +(?:rather than|instead of|without))\b([^,;.]*)"
)
"""What is not to be done, after what is: '..., do not lift it', 'without ...', 'rather than ...'."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PLACING = _set("""
    put place set stack stand stands lay position rest balance deposit bring move carry lower arrange get transfer hold
    hover lift grasp reach keep go goes putting placing setting
""")
"""With a relation these mean what the relation says, also after 'pick it up and'."""
_BY_RELATION = {"on": "stack", "beside": "put", "above": "hover"}
_IT = re.compile(r"\bit\b", re.IGNORECASE)
_RELATED_TO_IT = re.compile(r"\b(?:on|onto|upon|atop|beside|above|over|to|(?<!go )of) it\b", re.IGNORECASE)
_STAGES = ("reach", "grasp", "lift", "hover", "stack")
"""Each of these passes through those before it."""
_BUILDINGS = _set("tower pyramid")
"""These say by themselves how the blocks stand."""
_UPWARDS, _DOWNWARDS = _set("bottom lowest base"), _set("top highest")
_LINKS = _set("and it middle") | _UPWARDS | _DOWNWARDS
"""Words that tell the objects' roles."""
_OTHER_ACTIONS = _set("""
    push pull rotate turn flip throw slide drag roll poke knock swap insert unstack squeeze shake spin tilt pour wipe
    press remove toss topple sort hide cover cut break hit kick under below beneath off inside into behind between away
    aside left right not never without avoid dont tower pyramid both bring close shut faster further before twice thrice
    times repeatedly
""")
"""Words that change what is meant; a caption must have them too."""
_ARTICLES = _set("the a an block cube blocks cubes brick bricks one your its")
_FILLERS = _ARTICLES | _set("""
    object piece and then now please robot it that this with to of so in at first next finally second last slowly
    gently carefully be is are firmly coloured colored using use arm end effector again until up down out for by from
    make sure same table side
""")


@dataclass(frozen=True)
class Meaning:
    """What is left of a text: the objects in their roles (moved one first), the action words, the unknown words."""

    objects: tuple[str, ...]
    actions: frozenset[str]
    unknown: frozenset[str]
    excluded: frozenset[str] = frozenset()
    """Actions that are not to be done with these objects."""


class Matcher:
    """Finds captions of one set of skills."""

    def __init__(self, captions: Sequence[str], objects: Sequence[str]) -> None:
        self._names = ObjectNames(objects)
        self._known: set[str] = set()  # empty while reading the captions: their words are all actions
        self.meanings = {c: self.read(c) for c in captions}
        for meaning in list(self.meanings.values()):
            self._known |= meaning.actions | meaning.unknown
        self.meanings = {c: self.read(c) for c in captions}

    def retrieve(self, step: str) -> Retrieval:
        """The caption that means `step`, or None with what is missing."""
        exact = next((c for c in self.meanings if c.casefold() == " ".join(step.casefold().split())), None)
        if exact is not None:
            return Retrieval(step, exact)
        meaning = self.read(step)
        scores = {c: self.score(meaning, m) for c, m in self.meanings.items()}
        best = max(scores, key=scores.__getitem__, default=None)
        if best is not None and scores[best] >= LEAST_SCORE:
            return Retrieval(step, best)
        nearest = max(self.meanings, key=lambda c: self._likeness(meaning, self.meanings[c]), default=None)
        hint = f"; nearest is {nearest!r}" if nearest is not None else "; the library is empty"
        about = f" about {', '.join(meaning.objects)}" if meaning.objects else ""
        return Retrieval(
            step, None, f"a skill{about} that does this: {step.strip()[:200] or '(nothing was said)'}{hint}"
        )

    def named(self, steps: Sequence[str]) -> list[str]:
        """Steps that can be read alone: where 'it' is about what an earlier one moved, as in 'lift red', 'put it on blue', the
        object's name stands in its place."""
        moved, found = (), list[str]()
        for step in steps:
            it = _IT.search(step)
            if it and moved:
                before, objects = self._names.find(step[: it.start()]), self._names.find(step)
                if not before or (len(objects) == 1 and _RELATED_TO_IT.search(step)):
                    step = _IT.sub(moved[0], step, count=1)
            moved = self.read(step).objects or moved
            found.append(step)
        return found

    def score(self, step: Meaning, caption: Meaning) -> float:
        """0 unless the objects and their roles agree and the caption does all that the step asks; 1 at best."""
        if step.objects != caption.objects or not step.actions or not step.actions <= caption.actions:
            return 0.0
        if step.excluded & _involved(caption.actions):
            return 0.0
        common = len(step.actions & caption.actions)
        overlap = 2 * common / (len(step.actions) + len(caption.actions))
        return overlap - UNKNOWN_WORD * len(step.unknown)

    def _likeness(self, step: Meaning, caption: Meaning) -> float:
        return len(step.actions & caption.actions) + 0.5 * len(set(step.objects) & set(caption.objects))

    def read(self, text: str) -> Meaning:
        text = re.sub(r"[’'@]", "", text.lower())
        meaning = self._read(_CONTRAST.sub(" ", text))
        contrasts = [self._read(match.group(1)) for match in _CONTRAST.finditer(text)]
        same = [c.actions for c in contrasts if c.objects in ((), meaning.objects[:1], meaning.objects)]
        return replace(meaning, excluded=frozenset().union(*same))

    def _read(self, text: str) -> Meaning:
        words, objects = self._words(text)
        actions = [w for w in words if w != "@" and w not in _LINKS]
        relation = next((w for w in actions if w in _BY_RELATION), None)
        if _BUILDINGS & set(actions):
            actions = [w for w in actions if w not in _BY_RELATION]
        elif relation is not None:
            # 'put', 'place', 'bring' ... mean what the relation says; so does 'pick it up and put it on', and no verb at all
            if actions == [relation] or any(w in _PLACING for w in actions):
                done = _PLACING if relation == "above" else _PLACING | {"open", "gripper"}  # set down is let go of
                actions = [w for w in actions if w not in done] + [_BY_RELATION[relation]]
        else:
            stages = [w for w in actions if w in _STAGES]
            actions = [w for w in actions if w not in _STAGES] + sorted(stages, key=_STAGES.index)[-1:]
        known = self._known | _OTHER_ACTIONS | set(_STAGES)
        meant = [w for w in actions if not self._known or w in known]
        return Meaning(self._roles(words, objects), frozenset(meant), frozenset(set(actions) - set(meant)))

    def _words(self, text: str) -> tuple[list[str], Sequence[str]]:
        """Canonical words with `@` for each object, and the objects in order of mention."""
        objects = self._names.mentions(text)
        text = self._names.replace(text, " @ ")
        text = re.sub(r"[^\w@]+", " ", text)
        words = [w for w in text.split() if w not in _ARTICLES]
        text = " ".join([*words, "~"])
        for meaning, phrases in _PHRASES:
            for phrase in phrases:
                text = re.sub(rf"(?<!\w){phrase}(?!\w)", _replacement(meaning, phrase), text)
                text = " ".join(text.split())
        words = [w for w in text.split() if w not in _FILLERS - _LINKS and w != "~"]
        return words, objects[: words.count("@")]  # 'release red' at the end is about no object any more

    def _roles(self, words: list[str], objects: Sequence[str]) -> tuple[str, ...]:
        """Objects in the order moved, then relative to what: 'on green, put red' is about red and green, and so is
        'take green and put red on it'."""
        names, blocks = iter(objects), tuple(dict.fromkeys(objects))
        at = {i: next(names) for i, word in enumerate(words) if word == "@"}
        if "tower" in words:  # told from the bottom or from the top
            first = next((w for w in words if w in _UPWARDS | _DOWNWARDS), "")
            return blocks[::-1] if first in _UPWARDS else blocks
        if "pyramid" in words and len(blocks) == 3:  # the two that 'and' joins are what the third stands on
            for i in at:
                if words[i + 1 : i + 3] == ["and", "@"]:
                    base = at[i], at[i + 2]
                    return *(b for b in blocks if b not in base), *base
        grounds = [at[i] for i in at if i > 0 and words[i - 1] in _BY_RELATION]
        for i, (before, word) in enumerate(pairwise(words), 1):
            if before in _BY_RELATION and word == "it" and len(blocks) == 2:
                moved = [at[j] for j in at if j < i][-1:]
                return *moved, *(b for b in blocks if b not in moved)
        figures = [o for i, o in at.items() if i == 0 or words[i - 1] not in _BY_RELATION]
        if grounds and figures and len(objects) == 2:
            return figures[0], grounds[0]
        return blocks


def _involved(actions: Set[str]) -> Set[str]:
    """What is done on the way to these actions, and they themselves."""
    if actions & {"stack", "put", *_BUILDINGS}:
        return actions | set(_STAGES[:3]) | {"open"}
    furthest = max((_STAGES.index(a) for a in actions if a in _STAGES), default=-1)
    return actions | set(_STAGES[: furthest + 1])


def _replacement(meaning: str, phrase: str) -> str:
    """What stands for a phrase: its meaning, and the object that stood inside it. 'Release red' needs no object."""
    keeps = "@" in phrase and "(?=" not in phrase and not meaning.startswith("open")
    return f"{meaning} @" if keeps and "| @" not in phrase else meaning
