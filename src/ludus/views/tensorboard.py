"""A run for other people's tools: its metrics and learning curves as TensorBoard event files."""

from __future__ import annotations

from pathlib import Path

from ludus.record import Record, files
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError
from ludus.views import queries

BYTES_PER_POINT = 100
"""More than an event takes on the disk."""


def tensorboard(record: Record, library: SkillLibrary, directory: Path) -> int:
    """Write all metrics, and success over updates of every skill (`skill/...`) and template (`success/...`).

    Returns: the number of points.

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
    for evaluation in record.evaluations("curve"):
        if rate := queries.rate_of(evaluation.count):
            points.append((f"skill/{evaluation.count.caption}", evaluation.update, rate.rate))
    for curve in queries.learning_curves(record, library).curves:
        points += [(f"success/{curve.template}", p.update, p.rate.rate) for p in curve.points if p.rate]
    if not points:
        raise LudusError(f"{record.directory} has no metrics or curves to show; train first")
    reserve = directory / "room.tmp"  # the writer's own thread would report a full disk by a traceback
    files.write(reserve, bytes(BYTES_PER_POINT * len(points)))
    reserve.unlink()
    with SummaryWriter(str(directory)) as writer:
        for name, update, value in points:
            writer.add_scalar(name.replace(" ", "_"), value, update)
    return len(points)
