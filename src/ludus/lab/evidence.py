"""What of a run's episodes skills and rules are checked on."""

from __future__ import annotations

import numpy as np

from ludus.data.store import EpisodeStore
from ludus.lab.embodiment import look
from ludus.seeding import child
from ludus.skills.verify import Evidence
from ludus.worlds.base import World

EVIDENCE_EPISODES = 256
"""Stored episodes that candidates are checked on, spread evenly over all."""
EVIDENCE_STARTS = 128


def stored_evidence(store: EpisodeStore, world: World, seed: int) -> Evidence:
    """Some of the stored episodes, spread evenly, and fresh starts."""
    ids = store.ids()
    some = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), EVIDENCE_EPISODES)).astype(int))
    seeds = [child(seed, "evidence", i) for i in range(EVIDENCE_STARTS)]
    return Evidence(tuple(store.load(ids[i]).observations for i in some), look(world, seeds))
