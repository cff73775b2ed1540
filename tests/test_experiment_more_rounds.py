"""A run that is over goes on for more rounds, as if it had been begun with them."""

import pytest
import torch
from command import ludus
from quick import quick_skills
from test_experiment_oversight import SMALL, go_on

from ludus.config import override, preset
from ludus.experiment import checkpoints
from ludus.lab.rounds import ask_for_rounds, begun_rounds, planned_rounds
from ludus.record import Record
from ludus.types import LudusError
from ludus.views import queries, text

MEASURED = ("experiment.final_episodes=1", "experiment.episodes_per_round=4")
SAME = ("episodes", "outcomes", "shards", "plans", "metrics", "verdicts", "skills", "skill_changes")


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ludus.worlds.blocks.world.base_skills", quick_skills)
        yield


def carry_out(directory, said=None, kills=(), more=None, replayed=None, settings=()):
    """A run in which this is said, or how it goes on up to `more` rounds; killed before some steps and resumed."""
    if more is None:
        Record.create(directory, override(preset("tiny"), (*SMALL, *settings)), command="ludus run").close()
    else:
        with Record.open(directory) as record:
            ask_for_rounds(record, more)
    content, commands = go_on(directory, said or {}, kills, replayed)
    with Record.open(directory, write=False) as record:
        weights = [flat(torch.load(c(record), weights_only=True)) for c in (checkpoints.latest, checkpoints.best)]
    return content, weights, commands


def flat(state, name=""):
    """Every number of a checkpoint by its name, tensors as bytes."""
    if isinstance(state, dict | list | tuple):
        inside = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, value in inside for k, v in flat(value, f"{name}/{key}").items()}
    return {name: state.numpy().tobytes() if isinstance(state, torch.Tensor) else state}


def points(content, stages=("curve", "before", "after")):
    return [e for e in content["evaluations"] if e["stage"] in stages]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quick):
    return carry_out(tmp_path_factory.mktemp("more") / "whole", settings=("experiment.rounds=2", *MEASURED))


def stopped(directory, whole, said, settings):
    """A run of one round that is over."""
    first, *_ = carry_out(directory, said, settings=(*settings, *MEASURED))
    with Record.open(directory, write=False) as record:
        assert record.state() == "done" and begun_rounds(record) == 1
        with pytest.raises(LudusError, match=r"round 1 of .* has begun; for another one say experiment.rounds=2"):
            ask_for_rounds(record, 1)
    return first


def test_a_run_that_is_over_goes_on_as_if_it_had_been_begun_with_more_rounds(tmp_path, whole):
    first = stopped(tmp_path / "run", whole, {}, ("experiment.rounds=1",))
    content, weights, _ = carry_out(tmp_path / "run", more=2)
    assert all(content[table] == whole[0][table] for table in SAME) and weights == whole[1]
    assert points(content) == points(whole[0])
    earlier = points(content, ("end-of-round-1",))  # is kept
    assert [e | {"stage": "after", "step": "measure/after"} for e in earlier] == points(first, ("after",)) != []
    names = [s["name"] for s in content["steps"]]
    assert names[-1] == "measure/after" and names.index("measure/end-of-round-1") < names.index("round/2/plan")


def test_a_run_that_was_stopped_goes_on_is_killed_and_replayed(tmp_path, whole):
    settings = ("experiment.rounds=3",)
    stopped(tmp_path / "run", whole, {"round/1/settle": ("/stop",)}, settings)
    content, weights, commands = carry_out(tmp_path / "run", kills=("round/2/plan", "round/2/train/000"), more=2)
    with Record.open(tmp_path / "run", write=False) as record:
        assert record.state() == "done" and planned_rounds(record) == 2 and not queries.conclusion(record).stopped_by
        assert text.rounds(queries.run_header(record)) == "2"
    again, same, _ = carry_out(tmp_path / "again", replayed=commands, settings=(*settings, *MEASURED))
    for found in (content, again):
        assert all(found[table] == whole[0][table] for table in SAME) and points(found) == points(whole[0])
    assert weights == same == whole[1]


def test_resume_says_who_stopped_a_run_and_how_it_goes_on(tmp_path, one_thread):
    directory = tmp_path / "run"
    carry_out(directory, {"seed-data/000": ("/stop",)})
    shown = ludus("resume", directory)
    assert "since Anna said /stop" in shown and f"ludus resume {directory} experiment.rounds=1" in shown
    assert f"ludus resume {directory} experiment.rounds=1" in ludus("status", directory)
    assert "would make another run" in ludus("resume", directory, "experiment.stop_after=3", code=2)
    shown = ludus("resume", directory, "experiment.rounds=1")
    assert "/stop" not in shown and f"ludus resume {directory} experiment.rounds=2" in shown
    assert "round 1 of" in ludus("resume", directory, "experiment.rounds=1", code=2)
    with Record.open(directory, write=False) as record:
        assert begun_rounds(record) == 1 and record.done("round/1/settle")
