"""What is durable: run directories and their database. See docs/run-directory.md."""

from ludus.record.mapping import Evaluation, Heartbeat, Posted, StageState, StepTime
from ludus.record.progress import Progress
from ludus.record.record import Record, Step
from ludus.record.runs import RunRow, holds_run, runs_in

__all__ = [
    "Evaluation",
    "Heartbeat",
    "Posted",
    "Progress",
    "Record",
    "RunRow",
    "StageState",
    "Step",
    "StepTime",
    "holds_run",
    "runs_in",
]
