"""`ludus check`: the built-in worlds keep what is asked of a world; worlds that do not are told so in a sentence."""

from pathlib import Path

import pytest
from command import ludus
from test_worlds_file import EXAMPLE

from ludus.config import WorldConfig
from ludus.experiment.conformance import check_world

DRAWN = "np.random.default_rng(seed).uniform(-1, 1, (3, 2))"
MOVED = "        self.places[:, 0] += self.speed * np.clip(actions, -1, 1)\n"
SEEN = "self.places[:, i].astype(np.float32)"
RESTS = """
    def rest(self, resting):
        self.awake = (~resting)[:, None].astype(np.float32)

"""
FAULTS = {
    "shapes": (SEEN, "self.places[:, i].copy()", "float64 of shape"),
    "determinism": (DRAWN, "np.random.uniform(-1, 1, (3, 2))", "the second time"),
    "neighbours": (MOVED, MOVED.replace("(actions", "(actions + 0.1 * actions[:1]"), "neighbours"),
    "resting": (MOVED, MOVED.replace("self.speed", "self.awake * self.speed"), "let it wake all"),
    "fresh arrays": (SEEN, "self.shared[i]", "return a copy"),
    "actions": (MOVED, "", "are they applied"),
    "scales": (
        'Field("position", 2, "m", "where it is")',
        'Field("position", 2, "m", "where it is", scale=0.01)',
        "of order 1",
    ),
    "words": ("    return np.linalg", '    spec.get(o, x, "colour")\n    return np.linalg', "asked about every object"),
    "skills": ("<= 0.15", "<= -1", "nobody reached it"),
    "snapshots": (".reshape(self.n_envs, -1).copy()", ".copy()", "must be float64"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def findings(text, **settings):
    Path("my_world.py").write_text(text)
    return list(check_world(WorldConfig("my_world.py:plane", **settings), episodes=2))


def test_the_world_of_the_docs_fails_in_nothing():
    found = findings(EXAMPLE)
    assert {f.state for f in found} == {"holds", "look"}
    assert "'go to home': teacher 2 of 2, random 0 of 2" in [f.sentence for f in found]


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_is_found_and_named(check):
    was, becomes, said = FAULTS[check]
    text = EXAMPLE.replace(was, becomes)
    if check == "fresh arrays":  # all that is returned is one array, written anew at each step
        write = "        self.shared = getattr(self, 'shared', np.zeros((3, self.n_envs, 2), np.float32))\n"
        write += "        self.shared[...] = self.places.astype(np.float32).swapaxes(0, 1)\n"
        text = text.replace("    def observe(self):\n", "    def observe(self):\n" + write)
    if check == "resting":  # never told that they are awake again
        text = text.replace("class Plane(World):\n", f"class Plane(World):\n    awake = 1\n{RESTS}")
    assert text != EXAMPLE
    mine = [f for f in findings(text) if f.check == check]
    assert any(said in f.sentence and f.state != "holds" for f in mine), mine


def test_what_compares_two_plays_is_not_blamed_for_a_world_that_plays_at_random():
    found = findings(EXAMPLE.replace(*FAULTS["determinism"][:2]))
    assert [f.check for f in found if f.state == "fails"] == ["determinism"]
    assert not {f.check for f in found} & {"neighbours", "resting", "actions", "snapshots"}


def test_a_field_that_never_changes_is_shown_to_a_person():
    found = findings(EXAMPLE.replace(SEEN, f"{SEEN} * (i != 1)"))
    (look,) = [f.sentence for f in found if "never changes" in f.sentence]
    assert "in 8 episodes" in look and look.count(".position") == 1


def test_the_built_in_world_holds():
    world = WorldConfig("blocks", n_blocks=2)
    found = list(check_world(world, episodes=1))
    assert not [f for f in found if f.state == "fails"]
    assert {f.check for f in found} >= {*FAULTS, "pictures", "speed", "starts"}


def test_the_command_ends_with_1_where_something_fails():
    Path("good.py").write_text(EXAMPLE)
    Path("bad.py").write_text(EXAMPLE.replace(*FAULTS["determinism"][:2]))
    assert "holds determinism" in ludus("check", "good.py:plane", "-n", 1)
    assert "fails determinism" in ludus("check", "bad.py:plane", "-n", 1, code=1)
