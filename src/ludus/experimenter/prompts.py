"""Prompts as Markdown files: a name, a version, instructions, worked examples with pictures, a question with variables.

    ---
    name: propose
    version: 1
    ---
    # Instructions
    # Example      (any number; ![scene](examples/x.png) is a picture beside the prompt)
    # Question     ($pictures is where the question's own pictures go)

Raise the version with every change of meaning: recordings made with another version are reported as stale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from ludus.types import LudusError

FOLDER = Path(__file__).parent / "prompts"
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
HEADER = re.compile(r"---\nname: (?P<name>\S+)\nversion: (?P<version>\d+)\n---\n")


@dataclass(frozen=True)
class Prompt:
    """One prompt file."""

    name: str
    version: int
    instructions: str
    examples: tuple[str, ...]
    question: str
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    def fill(
        self, variables: Mapping[str, str], pictures: Sequence[bytes], examples: int
    ) -> tuple[str, tuple[str | bytes, ...]]:
        """`(instructions, parts)` with the variables put in and at most so many examples; a picture is its PNG bytes.

        Raises:
            LudusError: a variable without a value.
        """
        parts: list[str | bytes] = []
        for k, example in enumerate(self.examples[:examples]):
            parts += [f"Example {k + 1}.", *self._with_pictures(example)]
        if parts:
            parts.append("Now the question.")
        before, _, after = self.question.partition("$pictures")
        parts += [self._put(before, variables), *pictures, self._put(after, variables)]
        shown = tuple(p.strip() if isinstance(p, str) else p for p in parts if p.strip())
        return self._put(self.instructions, variables), shown

    def _put(self, text: str, variables: Mapping[str, str]) -> str:
        try:
            return Template(text).substitute(variables)
        except (KeyError, ValueError) as error:
            known = ", ".join(sorted(variables))
            raise LudusError(
                f"prompt {self.title!r} has a variable {error} that is none of {known}, pictures"
            ) from None

    def _with_pictures(self, text: str) -> list[str | bytes]:
        parts: list[str | bytes] = []
        for i, piece in enumerate(PICTURE.split(text)):
            parts.append((self.folder / piece).read_bytes() if i % 2 else piece)
        return parts


@cache
def load(name: str, folder: Path = FOLDER) -> Prompt:
    """The prompt in `<folder>/<name>.md`.

    Raises:
        LudusError: no such file, or one without header, instructions or question.
    """
    path = folder / f"{name}.md"
    if not path.is_file():
        raise LudusError(f"no prompt {path}; there are {', '.join(sorted(p.stem for p in folder.glob('*.md')))}")
    text = path.read_text()
    header = HEADER.match(text)
    sections = re.split(r"^# (Instructions|Example|Question)\n", text[header.end() :] if header else "", flags=re.M)
    pairs = list(zip(sections[1::2], (s.strip() for s in sections[2::2]), strict=True))
    found = {title: [body for t, body in pairs if t == title] for title in ("Instructions", "Example", "Question")}
    if header is None or len(found["Instructions"]) != 1 or len(found["Question"]) != 1:
        raise LudusError(f"prompt {path} needs a header (name, version), one '# Instructions' and one '# Question'")
    return Prompt(
        header["name"],
        int(header["version"]),
        found["Instructions"][0],
        tuple(found["Example"]),
        found["Question"][0],
        folder,
    )
