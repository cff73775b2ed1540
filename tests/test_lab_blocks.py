"""The planner and the lab on the real world, with the scripted teacher in the learned policy's place."""

import pytest

from ludus.config import Config
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.roles import DecomposeQuestion, RetrieveQuestion, Scene
from ludus.lab.context import attempts_of, facts, skill_stats
from ludus.lab.curriculum import PRACTISE, Curriculum
from ludus.lab.embodiment import look, run
from ludus.lab.rollout import rollouts_of
from ludus.lab.room import Room
from ludus.record.record import Record
from ludus.types import Plan, Proposal, SuccessCount
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld


class Clean:
    """The teacher without noise."""

    name = "teacher"

    def __init__(self, world):
        self.teacher = Teacher(world.spec)

    def begin(self, rollouts): ...

    def act(self, observations, captions):
        return self.teacher.clean(observations, captions)


@pytest.fixture(scope="module")
def world():
    world = BlocksWorld(3, 4, 2)
    yield world
    world.close()


def able(library):
    return skill_stats(library, [SuccessCount(c, "", 50, 49, 49) for c in library.captions])


def test_a_planned_tower_is_built(world):
    library = world.library()
    ask = assemble(RoleContext(world.vocabulary))
    scene = Scene(world.spec.objects, facts(world.vocabulary, look(world, [1]))[0])
    proposal = Proposal("a tower", "", 0.9, "on(red, green) and on(green, blue) and released(red)")
    steps = ask.decompose(DecomposeQuestion("k", scene, proposal, able(library)))
    found = [ask.retrieve(RetrieveQuestion("k", s, scene, able(library))) for s in steps]
    plan = Plan("p", proposal, steps, tuple(found))
    assert plan.captions == ("stack green on blue", "stack red on green") and not plan.gaps
    episodes, outcomes = run(world, library, rollouts_of([plan], [1, 2, 3, 4]), Clean(world), "e")
    successes = [a.success for a in attempts_of([plan], episodes, outcomes, world.vocabulary, 1)["p"]]
    assert sum(successes) >= 3
    for episode in episodes:
        for outcome, (_, first, last) in zip(
            [o for o in outcomes if o.episode == episode.id], episode.segment_bounds(), strict=True
        ):
            _, success = library.rewards(
                outcome.caption, {g: a[first + 1 : last + 1] for g, a in episode.observations.items()}
            )
            assert (outcome.success_at_end, outcome.success_once) == (success[-1], success.any())


@pytest.mark.parametrize("start", ["scattered", "held", "stacked", "beside"])
def test_every_start_gets_plans_that_can_be_executed(world, start, tmp_path):
    library = world.library()
    with Record.create(tmp_path / "run", Config()) as record:
        room = Room(record)
        curriculum = Curriculum(assemble(RoleContext(world.vocabulary)), room, world.spec, 0)
        seeds = range(12)
        with record.commit("round/1/plan"):
            plans = curriculum.plans(
                curriculum.context(1, look(world, seeds, start), library.vocabulary, able(library))
            )
        runnable = [p for p in plans if not p.gaps]
        assert len(runnable) == 12 and all(len(p.captions) <= 5 for p in runnable)
        # every scene without an executable proposal practises a skill: only proposals show that planning works
        proposed = [p for p in runnable if p.proposal.why != PRACTISE]
        assert len(proposed) >= 7 and len({p.proposal.task for p in proposed}) >= 4
        assert len(record.messages("gap")) == len(plans) - len(runnable)
