"""The method on one page: seed data, training, then rounds of propose, grow, act, learn, judge.

Where each part of a round happens:

* propose: `planning.plans` asks the experimenter for tasks, their steps and skills.
* grow: `growth.grow` has skills written for capability gaps and checks them; those that pass are practised.
* act: `driver.collect` runs the rollouts. Rollout i executes plan i modulo the number of plans without a gap; the rest of the
  round's episodes practise, as `practice.choose` and `practice.rollouts` say.
* learn: `learning.train` trains in chunks, measures every skill after each and asks the analysis whether to go on.
* judge: `settling.settle` decides whether the new policy replaces the one that acts, and which practised skills are accepted.

The first round's tasks are proposed, and the library grows by what they lack, before the training on the seed data: a skill that
stored episodes achieve by accident is learned from the first update on.

Every stage is a sequence of named steps of the record. A step that was committed is skipped, so resuming a run is the
same as running it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial

from ludus.data.labels import Focus
from ludus.experiment import checkpoints
from ludus.experiment.collection import check_actor, collect_seed_data, seed_actor
from ludus.experiment.compose import Experiment
from ludus.experiment.given import Given
from ludus.experiment.library import begin, recorded_library
from ludus.experiment.stages import Stages
from ludus.experimenter.ledger import Withdrawn
from ludus.lab.actors import ActorSpec
from ludus.lab.approach import find_approaches
from ludus.lab.embodiment import fits
from ludus.lab.evidence import stored_evidence
from ludus.lab.oversight import LAST_STEP
from ludus.lab.planning import start_seeds
from ludus.lab.rollout import rollouts_of, switching_of
from ludus.skills.library import SkillLibrary
from ludus.types import Plan


def start(experiment: Experiment) -> tuple[Stages, SkillLibrary]:
    """Carry out or continue what comes before the robots of the first round move: seed data, the first tasks and what is
    written for them, training, measuring. Returns what carries out the rounds, and the library that they begin with.

    Raises:
        LudusError: what worlds and trainers refuse; finished steps are kept.
    """
    record, world, config = experiment.record, experiment.world, experiment.config
    stages = Stages.of(experiment)
    library, actor, given = recorded_library(record, world), seed_actor(experiment.kind, config), Given.of(record)
    if given is None:
        check_actor(experiment.kind, world.spec, actor)
    else:
        library = given.library(library)
    begin(record, world, library, f"at most {config.experiment.rounds} rounds")
    if given is None:
        collect_seed_data(stages.driver, experiment.kind, actor, config, library)
    else:
        given.copy(stages.driver, library)

    focus: list[Focus] = []
    # affordance asks the critic, which is to be trained first
    grows = config.experiment.max_practising > 0 and not config.experimenter.affordance
    with suppress(Withdrawn):
        if grows and not stages.overseer.ends_before(1) and stages.settling.goes_on(1):
            _, library = propose_and_grow(1, experiment, stages, library)
            focus = stages.practice.first_focus(library)
    stages.learning.train("pretrain", 0, config.training.updates, library, focus)
    stages.learning.measure("before", library)
    return stages, library


def run(experiment: Experiment) -> SkillLibrary:
    """Carry out or continue the experiment; returns the skill library as it stands at the end.

    Raises:
        LudusError: what worlds, trainers and experimenters refuse; finished steps are kept.
    """
    stages, library = start(experiment)
    n = 1
    while True:
        while stages.settling.goes_on(n):
            with suppress(Withdrawn):  # told to stop while the round was planned, of which nothing is kept
                library = run_round(n, experiment, stages, library)
                n += 1
        if experiment.record.done(LAST_STEP):
            stages.overseer.close()
            return library
        stages.overseer.let_lapse(LAST_STEP)
        stages.learning.measure("after", library)


def propose_and_grow(
    n: int, experiment: Experiment, stages: Stages, library: SkillLibrary
) -> tuple[list[Plan], SkillLibrary]:
    """The plans of round n, those with a gap included, and the library with the skills that join for their gaps."""
    evidence = partial(stored_evidence, stages.driver.store, experiment.world, experiment.config.seed)
    if not experiment.record.done(f"round/{n}/settle"):
        stages.overseer.look_at(evidence)

    # propose, decompose, retrieve; the critic's values of skills are asked for with experimenter.affordance only
    weighs = experiment.config.experimenter.affordance
    plans = stages.planning.plans(n, library, stages.learning.values if weighs else None)

    # grow: a skill is written for a capability gap, checked, and joins the skills that are practised
    library = stages.growth.grow(n, library, evidence)
    stages.overseer.decide(n)  # waits for people, where they are to approve something
    stages.growth.admit(n, library)
    return plans, library


def run_round(n: int, experiment: Experiment, stages: Stages, library: SkillLibrary) -> SkillLibrary:
    """Propose, grow, act, learn, judge; returns the library with the skills that joined, learned or not."""
    config, spec = experiment.config, experiment.world.spec
    planning, practice, driver, learning = stages.planning, stages.practice, stages.driver, stages.learning
    plans, library = propose_and_grow(n, experiment, stages, library)
    practice.choose(n, library)
    planning.prefetch(n, library)  # the next rounds' plans, while the robots move

    # act: the best policy executes the plans, the latest one practises
    approaches = find_approaches(library, spec)
    acting, (practised, exploration) = config.experiment, practice.rollouts(n, library, approaches)
    seeds = start_seeds(config, n)[: acting.episodes_per_round - acting.practice_episodes]
    runnable, switching = [p for p in plans if not p.gaps], switching_of(acting.switching)
    filled = partial(fits, library=library, spec=spec) if acting.fill and switching is None else None
    more = {"info": {"round": n}, "switching": switching, "fits": filled}
    rollouts = rollouts_of(runnable, seeds, spec.starts[0], **more) if runnable else []
    actor = ActorSpec("policy", str(checkpoints.best(experiment.record)), acting.temperature, acting.exploration)
    driver.collect(f"round/{n}/collect", rollouts, actor, library)
    actor = ActorSpec("policy", str(checkpoints.latest(experiment.record)), acting.practice_temperature, exploration)
    driver.collect(f"round/{n}/practice", practised, actor, library)
    planning.tell(n, plans, library, driver.store.load)

    # learn from old and new data; after each chunk the analysis judges every curve and may stop the training
    share = (len(rollouts) + len(practised)) / acting.episodes_per_round
    updates = math.ceil(share * config.training.round_updates)
    learning.train(f"round/{n}", n, updates, library, practice.focus(n))

    # judge: which policy acts from here on, which skills are accepted, practised further or dropped
    stages.settling.settle(n, library)
    return library
