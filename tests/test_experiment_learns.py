"""A policy really learns: from a noisy teacher's episodes to a lifted block, as a user would start it."""

import pytest
from command import ludus

from ludus.record import Record


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("agent", "updates"), [("pac", 1500), ("iql", 2500)])
def test_a_policy_learns_to_lift_blocks(tmp_path, agent, updates):
    data, run = tmp_path / "data", tmp_path / "run"
    world = ("world.n_blocks=2", "world.n_envs=64")
    ludus("collect", data, *world, "--episodes", 512, "--skills", "reach _", "grasp _", "lift _")
    long = (f"training.updates={updates}", f"training.evaluate_every={updates}", "training.evaluation_episodes=24")
    ludus("train", run, *world, *long, f"agent.name={agent}", "--data", data)
    with Record.open(run, write=False) as record:
        counts = [e.count for e in record.evaluations("curve") if e.count.caption.startswith("lift ")]
        taught = record.result("data")["data"]
    with Record.open(data, write=False) as record:
        before = [c for c in record.success_counts() if c.caption.startswith("lift ")]
    assert taught[0]["episodes"] == 512 and len(counts) == 2
    assert sum(c.successes for c in before) < 0.8 * sum(c.n for c in before)  # the teacher itself often fails
    assert sum(c.successes for c in counts) >= 0.9 * sum(c.n for c in counts)
