"""The method on one page: seed data, training, then rounds of propose, act, learn, judge, grow.

Where each part of a round happens:

* propose, grow: `planning.plans` makes the plans and adds the skills that their capability gaps ask for. A skill that joins the
  library has not been learned yet.
* act: `driver.collect` runs the rollouts; rollout i executes plan i modulo the number of plans without a gap.
* learn, judge: `learning.train` trains in chunks, measures every skill after each and asks the analysis whether to go on.

Every stage is a sequence of named steps of the record. A step that was committed is skipped, so resuming a run is the
same as running it.
"""

from __future__ import annotations

from ludus.data.store import EpisodeStore
from ludus.experiment import checkpoints
from ludus.experiment.collection import Driver
from ludus.experiment.compose import Experiment
from ludus.experiment.learning import Learning, TrainingData
from ludus.experiment.library import begin, recorded_library
from ludus.lab.actors import ActorSpec, seed_rollouts
from ludus.lab.planning import Planning, start_seeds
from ludus.lab.rollout import rollouts_of, switching_of
from ludus.skills.library import SkillLibrary


def run(experiment: Experiment) -> SkillLibrary:
    """Carry out or continue the experiment; returns the skill library as it stands at the end.

    Raises:
        LudusError: what worlds, trainers and experimenters refuse; finished steps are kept.
    """
    record, world, config, progress = experiment.record, experiment.world, experiment.config, experiment.progress
    store = EpisodeStore(record)
    driver = Driver(record, store, config.world, world, experiment.collector, progress)
    learning = Learning(record, config, world, experiment.analysis, progress, TrainingData((store,)))
    planning = Planning(experiment.curriculum, record, world, config, progress)

    library = recorded_library(record, world)
    begin(record, world, library, f"{config.experiment.rounds} rounds")
    driver.collect("seed-data", seed_rollouts(library, config.seed_data, config.seed), ActorSpec("teacher"), library)
    learning.train("pretrain", 0, config.training.updates, library)
    learning.measure("before", library)
    for n in range(1, config.experiment.rounds + 1):
        library = run_round(n, experiment, driver, learning, planning, library)
    learning.measure("after", library)
    return library


def run_round(
    n: int,
    experiment: Experiment,
    driver: Driver,
    learning: Learning,
    planning: Planning,
    library: SkillLibrary,
) -> SkillLibrary:
    """Propose, grow, act, learn, judge; returns the library with the skills that joined, learned or not."""
    record, config = experiment.record, experiment.config
    # candidates: the world's extra skills that a gap may ask for; values: critic's values of skills, for experimenter.affordance
    candidates = experiment.kind.extra_skills(library.vocabulary.objects)
    values = learning.values if config.experimenter.affordance else None

    # propose, decompose, retrieve; grow: skills that gaps ask for join the library
    plans, library = planning.plans(n, library, candidates, values)
    planning.prefetch(n, library)  # the next rounds' plans, while the robots move

    # act: rollout i executes plan i modulo the number of plans that have no gap
    acting = config.experiment
    runnable, switching = [p for p in plans if not p.gaps], switching_of(acting.switching)
    rollouts = rollouts_of(runnable, start_seeds(config, n), info={"round": n}, switching=switching)
    actor = ActorSpec("policy", str(checkpoints.latest(record)), acting.temperature, acting.exploration)
    driver.collect(f"round/{n}/collect", rollouts, actor, library)
    planning.tell(n, plans, library, driver.store.load)

    # learn from old and new data; after each chunk the analysis judges every curve and may stop the training
    learning.train(f"round/{n}", n, config.training.round_updates, library)
    return library
