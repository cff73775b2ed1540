"""Plans of rounds: what they are based on, what is asked ahead, and the critic's say in a whole run."""

import dataclasses

import numpy as np
import pytest
from command import ludus
from counting_world import CountingWorld
from model_server import ModelServer, sensible_answers

from ludus.agents.trainer import Trainer
from ludus.config import Config, WorldConfig, override
from ludus.experimenter import assemble
from ludus.experimenter.chaining import AT_ONCE
from ludus.experimenter.context import RoleContext
from ludus.lab.curriculum import Curriculum
from ludus.lab.embodiment import look
from ludus.lab.planning import Planning, _filled, start_seeds
from ludus.lab.room import Room
from ludus.record import Record
from ludus.skills.library import Skill
from ludus.skills.predicates import predicate
from ludus.types import Plan, Proposal, Retrieval
from ludus.worlds.registry import make_world

SETTINGS = ("experiment.rounds=4", "experiment.plans_per_round=2", "experiment.episodes_per_round=4")


@pytest.fixture
def planning(tmp_path):
    """`planning(experimenter or None, *settings)` over a record of its own; `planning.asked` has the questions' keys."""
    world, opened = CountingWorld(), []

    def make(change=lambda experimenter: experimenter, *settings):
        config = override(Config(), (*SETTINGS, *settings))
        record = Record.create(tmp_path / f"run-{len(opened)}", config)
        opened.append(record)
        curriculum = Curriculum(change(assemble(RoleContext(world.vocabulary))), Room(record), world.spec, 0)
        return Planning(curriculum, record, world, config), record

    make.world, make.library = world, world.library()
    yield make
    for record in opened:
        record.__exit__(None, None, None)


def remote(asked):
    def change(experimenter):
        listening = {
            role: lambda q, role=role: asked.append(q.key) or getattr(experimenter, role)(q)
            for role in ("propose", "decompose", "retrieve")
        }
        return dataclasses.replace(experimenter, is_remote=True, **listening)

    return change


def test_a_committed_round_is_not_planned_again(planning):
    rounds, record = planning()
    plans = rounds.plans(1, planning.library)
    assert len([p for p in plans if not p.gaps]) == 2
    messages = record.messages()
    assert rounds.plans(1, planning.library) == plans and record.messages() == messages
    assert not record.done("round/1/ahead")  # nobody to ask ahead


def test_plans_are_for_the_scenes_that_episodes_begin_in(planning):
    rounds, record = planning()
    rounds.plans(3, planning.library)
    seeds = start_seeds(record.config, 3)
    assert len(seeds) == 4 == len(set(seeds)) and {s for s, _ in planning.world.resets[:2]} == set(seeds[:2])


@pytest.mark.parametrize(("prefetch", "ahead"), [(0, {1}), (1, {1, 2}), (2, {1, 2, 3}), (9, {1, 2, 3, 4})])
def test_slow_experimenters_are_asked_ahead(planning, prefetch, ahead):
    asked: list[str] = []
    rounds, record = planning(remote(asked), f"experimenter.prefetch={prefetch}")
    rounds.plans(1, planning.library)
    rounds.prefetch(1, planning.library)
    assert {n for n in range(1, 6) if record.done(f"round/{n}/ahead")} == ahead
    for n in (2, 3, 4):
        rounds.plans(n, planning.library)
    assert all(record.done(f"round/{n}/ahead") for n in range(1, 5)) and {k[:2] for k in asked} == {
        "r1",
        "r2",
        "r3",
        "r4",
    }


@predicate("bool")
def near(spec, o, x, y):
    """X is near Y."""
    return np.zeros(o[x].shape[:-1], bool)


SMALL = [
    *("world.n_blocks=1", "world.n_envs=4", "seed_data.episodes=4", "training.updates=4", "training.evaluate_every=4"),
    *(
        "training.evaluation_episodes=1",
        "training.round_updates=2",
        "experiment.rounds=1",
        "experiment.final_episodes=1",
    ),
    *("experiment.episodes_per_round=4", "experiment.plans_per_round=4"),
]
MODEL = {"lift red": 0.334, "grasp red": 0.333, "reach red": 0.333}
"""What the scripted retriever finds likely, whatever the step."""


def ranks(request):
    said = sensible_answers(request)
    if "options" in said:
        said["options"] = [{"caption": c, "probability": p} for c, p in MODEL.items()]
    return said


def test_the_critic_of_the_run_grounds_first_steps(tmp_path):
    """A whole run with experimenter.affordance: the values in the chat are those of the policy that was trained so far."""
    with ModelServer(ranks) as server:
        settings = (f"experimenter.retrieve={server.url}", "experimenter.affordance=1")
        ludus("run", *SMALL, *settings, "--preset", "tiny", "--dir", tmp_path / "run")
    with Record.open(tmp_path / "run", write=False) as record:
        grounded = [m.payload for m in record.messages("affordance")]
        plans = {p.id: p for _, p in record.plans(1)}
        checkpoint = sorted(record.path("checkpoints").glob("pretrain-*.pt"))[-1]
        config = record.config
    assert len(grounded) == 4
    world = make_world(config.world)
    values = Trainer.load(checkpoint, world.spec).policy().values
    scenes = look(world, start_seeds(config, 1)[:4])
    expected = values(scenes, list(MODEL))
    for payload in grounded:
        i = int(payload["plan"].split("-")[1][1:])  # 'r1-s<i>-a0'
        assert payload["model"] == MODEL
        np.testing.assert_allclose([payload["values"][c] for c in MODEL], expected[i], rtol=1e-4)
        scores = np.array(list(MODEL.values())) * expected[i]
        assert payload["taken"] == list(MODEL)[int(np.argmax(scores))] == plans[payload["plan"]].captions[0]
    assert any(payload["taken"] != "lift red" for payload in grounded)  # the critic, not the model's favourite
    world.close()


def test_a_gap_of_several_things_at_once_is_filled_by_one_skill_only():
    library = make_world(WorldConfig()).library()
    goal = "on(green, blue) and on(red, green)"
    step = f"{AT_ONCE} arrange green on blue and red on green"
    plan = Plan("r1-s0-a0", Proposal(step, "", 0.5, goal), (step,), (Retrieval(step, None, step),))
    tower = Skill("tower red on green on blue", "height(red)", goal)
    assert not _filled(plan, library) and _filled(plan, library.add(tower))
    last = Skill("put red on green too", "height(red)", "on(red, green)", prerequisites="on(green, blue)")
    assert _filled(plan, library.add(last)) and not _filled(
        plan, library.add(dataclasses.replace(last, prerequisites=""))
    )
    assert _filled(dataclasses.replace(plan, retrievals=(Retrieval("x", None, "x"),)), library)
