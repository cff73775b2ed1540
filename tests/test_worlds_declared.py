"""What a world of one's own declares, and what follows from it: who teaches, what makes the first episodes."""

import json
import re
from pathlib import Path

import pytest
from command import ludus

from ludus.agents.pac.agent import PAC
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment import learning
from ludus.record import Record

prepare = PAC.prepare
PAGE = Path(__file__).parents[1] / "docs" / "add-a-world.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
TINY = ("--preset", "tiny", "world.n_envs=4", "world.name=w.py:plane")
RUN = (
    *("run", *TINY, "seed_data.episodes=8", "training.updates=4", "training.evaluate_every=4"),
    *("training.evaluation_episodes=1", "experiment.rounds=0", "experiment.final_episodes=1"),
)
PLAY = '''
from ludus.types import Episode, Segment

def play(config, library, seeds, name, hindsight):
    world = Plane(1, read_options(Options, config))
    for i, seed in enumerate(seeds):
        seen, snapshot = [world.reset([seed])], world.snapshot()[0]
        seen += [world.step(np.full((1, 2), 0.5)) for _ in range(5)]
        told = Segment(0, "go to shop", library["go to shop"].hash)
        yield Episode(f"{name}-{i}", {g: np.concatenate([o[g] for o in seen]) for g in seen[0]}, np.full((5, 2), 0.5, "f4"),
                      (told,), "play", world.spec.fingerprint, seed, "anywhere", snapshot, info={"hindsight": hindsight})

'''  # fmt: skip


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Writes the world's file, the documented one with replacements; returns its text."""
    monkeypatch.chdir(tmp_path)

    def write(*replacements):
        text = EXAMPLE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        Path("w.py").write_text(text)

    return write


def begun_with(run):
    with Record.open(run, write=False) as record:
        rows = EpisodeStore(record).rows()
    return [r for r in rows if r.step.startswith("seed-data/")]


NO_TEACHER = (", Teacher, options", ", options")


def test_a_world_without_a_teacher_begins_with_random_actions(world):
    world(NO_TEACHER)
    ludus(*RUN, "--dir", "run")
    assert {(r.actor, r.info["actor"]) for r in begun_with("run")} == {("random", "random")}
    ludus("collect", "data", *TINY, "-n", 2)
    with Record.open("data", write=False) as record:
        assert [s.name for s in record.steps() if "request" in s.name] == ["collect/random/request"]
    fix = "world 'plane' has no teacher; collect with --actor random, or let a run begin with seed_data.actor=random"
    assert fix in ludus("collect", "other", *TINY, "--actor", "teacher", code=2)
    assert fix in ludus(*RUN, "--dir", "other", "seed_data.actor=teacher", code=2)
    assert "has no play data of its own; collect with --actor random" in ludus(
        *RUN, "--dir", "other", "seed_data.actor=play", code=2
    )
    assert not Path("other").exists()


def test_a_world_with_play_alone_begins_with_it_and_its_control_rate_sets_the_horizons(world, monkeypatch):
    replaced = ", Teacher, options", ", play=play, options"
    world(replaced, ("plane = WorldKind", PLAY + "plane = WorldKind"), ("control_hz=10", "control_hz=80"))
    used = []
    monkeypatch.setattr(learning, "Sampler", lambda *a, **k: used.append(a[2]) or Sampler(*a, **k))
    monkeypatch.setattr(PAC, "prepare", lambda agent, *a: used.append(agent.config) or prepare(agent, *a))
    ludus(*RUN, "--dir", "run")
    assert len(used) > 1 and {(agent.gamma, agent.n_step) for agent in used} == {(0.99, 32)}
    assert {(r.actor, r.n_steps, r.info["hindsight"]) for r in begun_with("run")} == {("play", 5, False)}
    ludus(*RUN, "--dir", "other", "seed_data.actor=play-hindsight", "training.updates=1")
    assert {(r.actor, r.info["hindsight"]) for r in begun_with("other")} == {("play", True)}
    assert "collect with --actor play or --actor random" in ludus("collect", "x", *TINY, "--actor", "teacher", code=2)


def test_a_teacher_says_what_it_obeys_and_is_told_nothing_else(world):
    world(("    def act(self, o, captions):", "    def obeys(self, caption): return 'shop' in caption\n"
           "    def act(self, o, captions):\n        assert all('shop' in c for c in captions)"))  # fmt: skip
    ludus(*RUN, "--dir", "run")
    assert {s.caption for r in begun_with("run") for s in r.segments} == {"go to shop"}
    ludus(*RUN, "--dir", "random", "seed_data.actor=random")
    assert {r.actor for r in begun_with("random")} == {"random"}
    assert "does not obey 'go to home'; choose" in ludus("collect", "x", *TINY, "--skills", "go to X", code=2)
    assert not Path("x").exists()


def test_a_run_begins_with_the_base_skills_and_others_join_by_name(world):
    world(("steps=20) for", 'steps=20, base=x == "home") for'))
    ludus(*RUN, "--dir", "run")
    assert {s.caption for r in begun_with("run") for s in r.segments} == {"go to home"}
    ludus("collect", "data", *TINY, "-n", 4, "--skills", "go to shop, base")
    with Record.open("run", write=False) as run, Record.open("data", write=False) as data:
        assert [(s["caption"], s["status"]) for s in run.skills()] == [("go to home", "base")]
        assert {(s["caption"], s["status"]) for s in data.skills()} == {
            *(("go to home", "base"), ("go to shop", "accepted"))
        }
        told = {s.caption for r in EpisodeStore(data).rows() for s in r.segments}
        assert told == {"go to home", "go to shop"}
    ludus("eval", "run", "-n", 1, "--skills", "go to X", "--json", "both.json")
    ludus("eval", "run", "-n", 1, "--skills", "base", "--json", "base.json")
    both, base = (json.loads(Path(f"{n}.json").read_text())["measured"][0]["skills"] for n in ("both", "base"))
    assert [s["caption"] for s in base] == ["go to home"] and len(both) == 2
    world(("steps=20) for", "steps=20, base=False) for"))
    assert "has 2 skills and none to begin with; leave base=False out of one" in ludus(*RUN, "--dir", "x", code=2)
    assert not Path("x").exists()
