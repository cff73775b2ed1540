"""The section about where episodes are collected. Only data, as `ludus.config.sections`."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from ludus.config import limits
from ludus.config.limits import STRICT, CountOrZero, Section
from ludus.types import LudusError


@dataclass(frozen=True, config=STRICT)
class CollectionConfig(Section):
    """Where episodes are collected: in this process, or on the machines of a Ray cluster (docs/scale.md). The episodes do not
    depend on any of these settings, and a run may go on with others.

    Raises:
        LudusError: a value outside of its limits; an address of a kind that is not used.
    """

    path = "collection."

    on: Literal["local", "ray"] = "local"
    """'local', or 'ray' (needs the extra: pip install 'ludus[ray]')."""
    address: str = ""
    """Of a Ray cluster, host:port; this machine must be one of its nodes. Empty: one is started on this machine, for this run
    alone, and ended with it."""
    token: str = ""
    """File with the token of the cluster at `address`; empty: the environment's RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or none.
    A cluster that is started here gets one of its own."""
    storage: str = ""
    """Folder that every node and this process reach, as an fsspec URL: file:///shared/folder, s3://bucket/folder. Checkpoints go
    there and shards come back from there. Empty: the folder `ray/` of the run's directory."""
    workers: limits.ThreadsOrZero = 0
    """Cores of a cluster that is started here; 0: all that this process may use."""
    in_flight: limits.ThreadsOrZero = 0
    """At most this many tasks are handed out and not committed; 0: twice as many as the cluster can run at a time."""
    timeout_s: limits.Time = 1800
    """A task that has had a place in the cluster for so long without an answer is ended, and done again elsewhere."""
    retries: CountOrZero = 3
    """So often is a task done again whose worker or node died, did not answer in time or had no room."""

    def __post_init__(self) -> None:
        if "://" in self.address:
            raise LudusError(
                f"collection.address={self.address} is no host:port; start `ray start --address=HOST:PORT` on this machine and "
                "give that address"
            )
