"""The section about what a run keeps, and where. Only data, as `ludus.config.sections`."""

from __future__ import annotations

import re

from pydantic.dataclasses import dataclass

from ludus.config.limits import STRICT, Section
from ludus.types import LudusError


@dataclass(frozen=True, config=STRICT)
class RecordConfig(Section):
    """Where a run's files are kept besides its directory (docs/run-directory.md). Results do not depend on it.

    Raises:
        LudusError: no URL of a folder.
    """

    path = "record."

    objects: str = ""
    """Folder on an object store, s3://bucket/folder, that also gets the run's shards, checkpoints, pictures and report, each
    before a step names it: any machine that reaches it and the run's database can then read the run and go on with it. Other runs
    may have the same. Needs the extra: pip install 'ludus[s3]'; server and keys are those of AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID
    and AWS_SECRET_ACCESS_KEY. Empty: the files are in the run's directory only."""

    def __post_init__(self) -> None:
        if self.objects and not re.fullmatch(r"[a-z0-9+.-]+://\S+", self.objects):
            raise LudusError(f"record.objects={self.objects[:80]!r} is no URL; give s3://bucket/folder")
