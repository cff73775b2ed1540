"""Commands in a whole run: their effects, and that neither a kill nor a replay changes them."""

import dataclasses

import pytest

from ludus.config import override, preset
from ludus.experiment import loop
from ludus.experiment.compose import compose
from ludus.lab import interventions, oversight
from ludus.lab.interventions import Overseer, recorded
from ludus.lab.rules import Rules
from ludus.record import Record

SMALL = (
    *("world.n_blocks=1", "world.n_envs=4", "seed_data.episodes=4", "training.updates=2", "training.evaluate_every=2"),
    *(
        "training.evaluation_episodes=0",
        "training.round_updates=2",
        "experiment.rounds=3",
        "experiment.final_episodes=0",
    ),
    *("experiment.episodes_per_round=8", "experiment.practice_ratio=0", "experiment.max_practising=0"),
)
SCRIPT = {
    "seed-data/000": ("/pause", "/continue"),
    "pretrain/train/000": ("/propose reach red",),
    "round/1/collect/001": ("/veto r1-s1-p0", "/veto lift red"),
    "round/1/settle": ("/propose grasp red", "/stop"),
}


class Scripted(Overseer):
    """People speak at given moments, and the process is killed at others."""

    said: dict = {}  # noqa: RUF012
    kills: set = set()  # noqa: RUF012

    def before(self, step):
        for line in self.said.pop(step, ()):
            oversight.say(self._record, line, "Anna")
        super().before(step)
        if step in self.kills:
            self.kills.discard(step)
            raise KeyboardInterrupt


def carry_out(directory, said, kills=(), replayed=None):
    """The content of a run in which this is said; after each kill it is resumed."""
    config = override(preset("tiny"), SMALL)
    Record.create(directory, config, command="ludus run").close()
    return go_on(directory, said, kills, replayed)


def go_on(directory, said, kills=(), replayed=None):
    """The content of a run that is begun, and its commands, after this was said; after each kill it is resumed."""
    Scripted.said, Scripted.kills = dict(said), set(kills)
    for _ in range(len(kills) + 1):
        with Record.open(directory) as record, compose(record) as experiment:
            about = (record, experiment.config, experiment.world.vocabulary, Rules("", experiment.world.vocabulary))
            overseer = Scripted(*about, experiment.progress, replayed)
            try:
                loop.run(dataclasses.replace(experiment, overseer=overseer))
                break
            except KeyboardInterrupt:
                continue
    with Record.open(directory, write=False) as record:
        return record.content(), recorded(record)


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """Keys of what is said, the same in each run."""

    def begin():
        numbers = iter(range(100))
        monkeypatch.setattr(oversight, "new_key", lambda: f"said/{next(numbers)}")

    monkeypatch.setattr(interventions, "POLL_S", 0.01)
    begin()
    return begin


def test_people_are_heard_once_whatever_happens(tmp_path, one_thread, keys):
    content, commands = carry_out(tmp_path / "whole", SCRIPT)
    steps = [s["name"] for s in content["steps"]]
    effects = [m for m in content["messages"] if m["kind"] == "effect"]
    assert [m["payload"]["outcome"] for m in effects] == ["done"] * 8 + ["late"]
    assert "round/2/plan" not in steps and steps[-1] == "measure/after" and "Stops after round 1" in effects[-2]["text"]
    plans = {p["id"]: p for p in content["plans"]}
    assert plans["r1-s1-p0"]["task"] == "reach red" and plans["r1-s1-p0"]["why"] == "Anna asked for it"
    of_step = {s: [e["info"]["plan"] for e in content["episodes"] if e["step"] == s] for s in steps if "collect" in s}
    assert "r1-s1-p0" in of_step["round/1/collect/000"] and "r1-s1-p0" not in of_step["round/1/collect/001"]

    keys()
    killed, _ = carry_out(tmp_path / "killed", SCRIPT, ("seed-data/000", "round/1/collect/001", "round/1/settle"))
    assert killed == content

    replayed, _ = carry_out(tmp_path / "again", {}, replayed=commands)
    texts = [sorted(m["text"] for m in run["messages"]) for run in (replayed, content)]
    assert texts[0] == texts[1]
    for table in ("episodes", "outcomes", "plans", "steps", "metrics"):
        assert replayed[table] == content[table]
