"""What goes wrong in the code of a world of one's own is one sentence that names the place and the fix."""

import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from command import ludus

from ludus.agents.encoders import make_encoder
from ludus.config import WorldConfig
from ludus.lab.actors import ActorSpec
from ludus.lab.collector import LocalCollector, collect_tasks, run_task
from ludus.lab.rollout import RolloutSpec
from ludus.types import LudusError
from ludus.worlds.registry import make_world

PAGE = Path(__file__).parents[1] / "docs" / "add-a-world.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
STEP, RESET = "        self.places[:, 0] +=", "        self.places = np.stack("
SHOWN, ACTED = "self.places[:, i].astype(np.float32)", "return np.clip(10 * ways + noise, -1, 1)"
MEASURED, DECIDED = "return np.linalg.norm(", "return distance(spec, o, x) <= 0.15"
ENCODER = """
def encoder(spec):
    return Encoder()
class Encoder:
    task_size, object_size = 4, 2
    def pack(self, o):
        return torch.from_numpy(np.concatenate([o["point"], o["shop"]], -1))
    def __call__(self, packed, slots):
        return packed, packed[:, None, :2]
class Plane(World):"""
RAISED = "        raise ValueError('two\\nlines')\n"


def written(folder, old, new):
    """The settings of the documented world, changed; and the line of what replaces `old`."""
    assert EXAMPLE.count(old) == 1
    (folder / "w.py").write_text(EXAMPLE.replace(old, new))
    return WorldConfig(f"{folder / 'w.py'}:plane", n_envs=3), EXAMPLE[: EXAMPLE.index(old)].count("\n") + 1


def tried(config):
    """Three episodes, and the task that they were."""
    world = make_world(config)
    rollouts = [RolloutSpec(("go to home", "go to shop"), seed) for seed in range(3)]
    (task,) = collect_tasks("some", rollouts, ActorSpec("teacher"), world.library(), config, world.spec)
    return next(LocalCollector(world).map([task])), task


def test_a_good_world_passes_unchanged(tmp_path):
    config, _ = written(tmp_path, "speed: float = 0.1", "speed: float = 0.2")
    world = make_world(config)
    assert world.speed == 0.2 and not hasattr(world, "restored")  # type: ignore[attr-defined]
    result, _ = tried(config)
    assert [e.ended for e in result.episodes] == ["time"] * 3
    with pytest.raises(LudusError, match="cannot go on from a snapshot; add `restore`"):
        world.restore(np.zeros((3, 6)))


def test_where_a_caption_begins_is_the_worlds_to_say(tmp_path):
    more = "    def start_of(self, caption): return caption.split()[-1]\n    def library"
    config, _ = written(tmp_path, "    def library", more)
    (tmp_path / "w.py").write_text((tmp_path / "w.py").read_text().replace('("anywhere",)', '("home", "shop")'))
    assert {e.start for e in tried(config)[0].episodes} == {"home"} and make_world(config).start_of(
        "go to shop"
    ) == "shop"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (STEP, RAISED + STEP, "fails in `step`: {file} line {line}, ValueError: two lines; mend it there"),
        (RESET, RAISED + RESET, "fails in `reset`: {file} line {line}, ValueError: two lines"),
        ("options.speed", "options.sped", "fails in `make`: {file} line {line}, AttributeError: 'Options' object has"),
        ("self.vocabulary = ", "self.words = ", "fails in `make`: {file}, AttributeError: 'Plane' object has no"),
        ("g.name: self", "1 / 0: self", "fails in `reset`: {file} line {line}, ZeroDivisionError: division by zero"),
        ("return self.places.reshape", "return 0 + self.place.reshape", "fails in `snapshot`: {file} line {line}, Attr"),
        (SHOWN, "self.places[:, i]", "group 'point' is float64 of shape (3, 2), it must be float32 of shape (3, 2); return"),
        (SHOWN, SHOWN.replace(":,", ":2,"), "is float32 of shape (2, 2), it must be float32 of shape (3, 2); the first"),
        (SHOWN, "[[0, 0]] * 3", "`reset`, group 'point' is a list; return a float32 array of shape (3, 2)"),
        (SHOWN, SHOWN + " / np.array([1, i != 2], 'f4')", "field 'position' of group 'shop' is {inf} in simulation 0; show"),
        ("for i, g in enumerate(self.spec.observation.groups)", "for i, g in enumerate(self.spec.observation.groups[1:])",
         "world 'plane': `reset` returns no group 'point'; add it, or do not declare it"),
        ("return {g.name", "return {'a': 0} | {g.name", "a group 'a' that is not declared; declare it, or leave it"),
        ("self.n_envs, -1).copy()", "self.n_envs, -1).astype('f4')", "what `snapshot` returns is float32 of shape (3, 6), it"),
        (RESET, "        return []\n" + RESET, "`reset` returns a list; return a dict, group name -> [E, size] array"),
        ("o[c.split()[-1]]", "o[c.split()[0]]", "`act`: {file} line {line}, KeyError: 'go'; mend it, or let the teacher say"),
        (ACTED, "return (ways[:1])", "teacher of world 'plane' returns actions (1, 2), not (3, 2); reshape them"),
        (ACTED, "return (ways * np.nan)", "returns an action that is no number under 'go to home'; mend it"),
        ("def __init__(self, spec): ...", "def __init__(self, spec): spec.x", "fails in `teacher`: {file} line {line}, Attr"),
        ("    def library", "    def start_of(self, caption): return 'there'\n    def library",
         "world 'plane': `start_of('go to home')` returns 'there'; return one of its starts, ('anywhere',)"),
        (MEASURED, "return 1 / 0 + np.linalg.norm(", "fails in `distance(home)`: {file} line {line}, ZeroDivisionError: "),
        (MEASURED, "return np.nan * np.linalg.norm(", "distance(home) is no number at 60 of 60 observations; mend it in {file}"),
        (DECIDED, DECIDED.replace("spec,", "spec, 1,"), "fails in `at(home)`: {file} line {line}, TypeError: "),
        (DECIDED, "return True", "predicate at(home) is bool of shape (), it must be bool of shape (60,), one value per"),
        (DECIDED, "return distance(spec, o, x)", "predicate at(home) is float32 of shape (60,), it must be bool of shape"),
        ("return SkillLibrary(self.vocabulary, skills)", "return skills", "`library` returns a list; return SkillLibrary("),
        ("    def library", "    def ended(self): return False\n    def library", "`ended` returns is a bool; return a bool"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_goes_wrong_is_one_sentence(tmp_path, old, new, words):
    config, line = written(tmp_path, old, new)
    with pytest.raises(LudusError) as caught:
        tried(config)
    said = re.sub("-?inf in", "{inf} in", str(caught.value))
    assert words.replace("{file}", str(tmp_path / "w.py")).replace("{line}", str(line)) in said and "\n" not in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return Encoder()", "return 1 / 0", "fails in `encoder`: {file} line {line}, ZeroDivisionError: division by zero"),
        ("task_size, object_size", "size, object_size", "fails in `encoder`: {file}, AttributeError: 'Encoder' object has"),
        ('o["shop"]', 'o["red"]', "fails in `pack`: {file} line {line}, KeyError: 'red'; mend it there"),
        ("torch.from_numpy", "np.asarray", "gives packed observations that are a ndarray of shape (3, 4), not a tensor of"),
        ("return packed, ", "return packed[:, :3], ", "task rows that are a Tensor of shape (3, 3), not a tensor"),
        (", packed[:, None, :2]", ", packed[:, :2]", "are a Tensor of shape (3, 2), not a tensor of shape (3, any, 2)"),
        (", packed[:, None, :2]", ", np.nan * packed[:, None, :2]", "object rows with a value that is no number; mend"),
    ],
)  # fmt: skip
def test_an_encoders_too(tmp_path, old, new, words):
    text = EXAMPLE.replace("class Plane(World):", ENCODER).replace("cameras=()", "cameras=(), encoder=encoder")
    assert text.count(old) == 1
    (tmp_path / "w.py").write_text(f"import torch\n{text.replace(old, new)}")
    line = text[: text.index(old)].count("\n") + 2
    world = make_world(WorldConfig(f"{tmp_path / 'w.py'}:plane", n_envs=3))

    def encode():
        encoder = make_encoder(pickle.loads(pickle.dumps(world.spec)))
        return encoder(encoder.pack(world.reset([0, 1, 2])), torch.zeros(3, 3, dtype=torch.int64))

    with pytest.raises(LudusError) as caught:
        encode()
    assert words.replace("{file}", str(tmp_path / "w.py")).replace("{line}", str(line)) in str(caught.value)


def test_another_process_and_a_command_say_it_too(tmp_path, monkeypatch):
    (tmp_path / "good").mkdir()
    _, task = tried(written(tmp_path / "good", "speed: float = 0.1", "speed: float = 0.2")[0])
    config, line = written(tmp_path, STEP, RAISED + STEP)
    said = f"the world's code fails in `step`: {tmp_path / 'w.py'} line {line}, ValueError: two lines; mend it there"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(LudusError, match=re.escape(said)):
        pool.submit(run_task, replace(task, world=config)).result(300)
    monkeypatch.chdir(tmp_path)
    tiny = ("--preset", "tiny", f"world.name={config.name}", "world.n_envs=2", "-n", 2)
    assert said in ludus("collect", "data", *tiny, code=2)
    (tmp_path / "w.py").write_text(EXAMPLE.replace(", Teacher, options", ", play=lambda *args: iter([1 / 0]), options"))
    said = ludus("collect", "data-2", *tiny, code=2)
    assert "fails in `play`: " in said and "ZeroDivisionError: division by zero; mend it there" in said
