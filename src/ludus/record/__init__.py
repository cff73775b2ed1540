"""What is durable: the run directory and its database. See docs/run-directory.md."""

from ludus.record.mapping import Evaluation, Posted, StepTime
from ludus.record.record import Record, Step

__all__ = ["Evaluation", "Posted", "Record", "Step", "StepTime"]
