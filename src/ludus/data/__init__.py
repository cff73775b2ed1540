"""Episodes on disk, their rewards under any skill, and batches for the learner."""

from ludus.data.relabel import Relabeller, outcomes
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeRow, EpisodeStore, Shard

__all__ = ["EpisodeRow", "EpisodeStore", "Relabeller", "Sampler", "Shard", "outcomes"]
