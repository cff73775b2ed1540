"""Makes the pictures of the prompts' worked examples: `python benchmarks/prompt_pictures.py GOOD HARD`.

Scenes are rendered here. Curves are those of two trainings with a dozen points or more (`training.evaluate_every`): GOOD on
mixed data, HARD on random actions, from which stacking is not learned.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from ludus.experimenter.prompts import FOLDER
from ludus.lab.analysis import add_point, aggregate
from ludus.lab.pictures import draw_curve
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import Curve
from ludus.worlds.blocks.world import BlocksWorld

EXAMPLES = FOLDER / "examples"
CURVES = {"converged": (0, "lift X", 1.0), "learning": (0, "stack X on Y", 0.35), "stuck": (1, "stack X on Y", 1.0)}
"""Picture -> which of the runs, template of skills, and how much of its curve is shown."""


def main() -> None:
    EXAMPLES.mkdir(exist_ok=True)
    world = BlocksWorld(3, 2, 1)
    frames = world.frames(world.reset([3, 12], ["scattered", "stacked"]), size=256)
    for name, frame in zip(("scattered", "stacked"), frames, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(frame).quantize(64).save(buffer, "PNG", optimize=True)
        (EXAMPLES / f"{name}.png").write_bytes(buffer.getvalue())
    for name, (which, template, share) in CURVES.items():
        c = _curve(Path(sys.argv[1 + which]), template, world.library())
        n = max(3, round(share * len(c.updates)))
        shown = Curve(template.replace("X", "_").replace("Y", "_"), c.updates[:n], c.successes[:n], c.n[:n])
        (EXAMPLES / f"{name}.png").write_bytes(draw_curve(shown))
        print(name, shown)
    world.close()


def _curve(run: Path, template: str, library: SkillLibrary) -> Curve:
    with Record.open(run, write=False) as record:
        points = record.evaluations("curve")
    curve = None
    for update in sorted({p.update for p in points}):
        counts = {t.caption: t for t in aggregate([p.count for p in points if p.update == update], library)}
        curve = add_point(curve, update, counts[template])
    assert curve is not None
    return curve


if __name__ == "__main__":
    main()
