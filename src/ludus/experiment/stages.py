"""What carries out the parts of a round, put together over one run."""

from __future__ import annotations

from dataclasses import dataclass

from ludus.data.store import EpisodeStore
from ludus.experiment.collection import Driver
from ludus.experiment.compose import Experiment
from ludus.experiment.learning import Learning, TrainingData
from ludus.experiment.settling import Settling
from ludus.lab.growth import Growth
from ludus.lab.interventions import Overseer
from ludus.lab.planning import Planning
from ludus.lab.practice import Practice


@dataclass(frozen=True)
class Stages:
    """What carries out the parts of a round."""

    planning: Planning
    growth: Growth
    practice: Practice
    driver: Driver
    learning: Learning
    settling: Settling
    overseer: Overseer

    @classmethod
    def of(cls, experiment: Experiment) -> Stages:
        """Those of an experiment; nothing is carried out yet."""
        record, world, config, progress = experiment.record, experiment.world, experiment.config, experiment.progress
        overseer, store, curriculum = experiment.overseer, EpisodeStore(record), experiment.curriculum
        practice = Practice(record, world.spec, config)
        return cls(
            planning=Planning(curriculum, record, world, config, progress, experiment.replayed_remarks, overseer),
            growth=Growth(curriculum.experimenter, practice, record, world, config, progress, overseer),
            practice=practice,
            driver=Driver(record, store, config.world, world, experiment.collector, progress, overseer),
            learning=Learning(record, config, world, experiment.analysis, progress, TrainingData((store,)), overseer),
            settling=Settling(record, config, world, practice, progress, overseer),
            overseer=overseer,
        )
