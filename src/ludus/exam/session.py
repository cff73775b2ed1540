"""One examinee and one question set: which questions it gets, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ludus.exam import stored
from ludus.exam.metrics import Examiner
from ludus.exam.questions import CurveItem, QuestionSet, SceneItem
from ludus.exam.simulator import Simulators
from ludus.experimenter.roles import Experimenter, Scene
from ludus.lab.pictures import draw_curve
from ludus.seeding import rng
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError

Item = TypeVar("Item")
Ask = Callable[[int | str, Any], tuple[Any, str | None]]
"""`(number of blocks or name of stored observations, question) -> (answer, error)`; see `Examiner`."""


@dataclass
class Session:
    """One examinee and one question set. `folder`: where the pictures go, None for questions without."""

    question_set: QuestionSet
    make: Callable[[Vocabulary], Experimenter]
    simulators: Simulators
    seed: int = 0
    limit: int | None = None
    folder: Path | None = None
    begin: Callable[[str, int], Callable[[], None]] = lambda part, n: lambda: None
    """Called with the part and its number of questions; returns what is called before each."""
    _made: dict[int | str, Experimenter] = field(default_factory=dict)

    def who(self, world: int | str) -> Experimenter:
        """The examinee, over the words of a table with so many blocks or of stored observations."""
        if world not in self._made:
            words = stored.load(world).vocabulary if isinstance(world, str) else self.simulators[world].vocabulary
            self._made[world] = self.make(words)
        return self._made[world]

    def questions(
        self, part: str, items: Sequence[Item], role: Callable[[Experimenter, Any], Any]
    ) -> Iterator[tuple[int, Item, Ask]]:
        """`(index in the question set, what the question is about, how to ask it)` of each question: all, or `limit` drawn by
        the seed alone.

        Raises:
            LudusError: the question set has none for this part.
        """
        if not items:
            raise LudusError(f"the question set has no question for {part!r}; see benchmarks/exam_bank.py")
        n = len(items) if self.limit is None else min(self.limit, len(items))
        drawn = rng(self.seed, "exam", part).permutation(len(items))[:n]
        asks = Examiner(self.begin(part, n))

        def ask(world: int | str, question: Any) -> tuple[Any, str | None]:
            return asks(partial(role, self.who(world)), question)

        for i in sorted(map(int, drawn)):
            yield i, items[i], ask

    def scene(self, item: SceneItem) -> Scene:
        """As an experimenter sees it."""
        images = self._save(f"scene-{item.id}.jpg", lambda: item.picture)
        return Scene(self.simulators[item.n_blocks].vocabulary.objects, item.facts, images)

    def plot(self, i: int, item: CurveItem) -> tuple[str, ...]:
        """The path of the drawn curve."""
        return self._save(f"curve-{i:03d}.png", lambda: draw_curve(item.curve, item.smooth, item.zoom))

    def _save(self, name: str, draw: Callable[[], bytes]) -> tuple[str, ...]:
        if self.folder is None:
            return ()
        path = self.folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw())
        return (f"images/{name}",)
