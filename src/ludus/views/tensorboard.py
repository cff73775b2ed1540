"""A run for other people's tools: its metrics and learning curves as TensorBoard event files."""

from __future__ import annotations

from pathlib import Path

from ludus.lab.analysis import aggregate
from ludus.record import Record, files
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, SuccessCount


def tensorboard(record: Record, library: SkillLibrary, directory: Path) -> int:
    """Write all metrics, and the success of every skill and family over updates; returns the number of points.

    Raises:
        LudusError: the package is not installed, files are there already, or the run has nothing to show.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise LudusError("TensorBoard is not installed; pip install 'ludus[tensorboard]'") from None
    if directory.exists() and any(directory.iterdir()):
        raise LudusError(f"{directory} is not empty; TensorBoard would show both runs as one: choose another directory")
    points = record.metrics()
    curves: dict[int, list[SuccessCount]] = {}
    for evaluation in record.evaluations("curve"):
        curves.setdefault(evaluation.update, []).append(evaluation.count)
    for update, counts in curves.items():
        points += [(f"skill/{t.caption}", update, t.successes / t.n) for t in counts if t.n]
        points += [(f"success/{t.caption}", update, t.successes / t.n) for t in aggregate(counts, library) if t.n]
    if not points:
        raise LudusError(f"{record.directory} has no metrics or curves to show; train first")
    room = directory / "room.tmp"  # the writer's own thread would report a full disk by a traceback
    files.write(room, bytes(100 * len(points)))
    room.unlink()
    with SummaryWriter(str(directory)) as writer:
        for name, update, value in points:
            writer.add_scalar(name.replace(" ", "_"), value, update)
    return len(points)
