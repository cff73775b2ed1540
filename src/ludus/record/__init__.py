"""What is durable: the run directory and its database. See docs/run-directory.md."""

from ludus.record.record import Evaluation, Posted, Record, Step, StepTime

__all__ = ["Evaluation", "Posted", "Record", "Step", "StepTime"]
