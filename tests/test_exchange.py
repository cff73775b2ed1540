"""Data in and out: exported episodes come back equal, bad data ends in a sentence, a Minari dataset is learned from."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from command import ludus

from ludus.config import WorldConfig
from ludus.data.exchange.mapping import ColumnMapping, read_mapping
from ludus.data.exchange.npz import read_npz
from ludus.data.store import EpisodeStore
from ludus.experiment.collection import Driver
from ludus.experiment.given import Given, given_step
from ludus.experiment.importing import read_episodes
from ludus.lab.collector import LocalCollector
from ludus.record import Record
from ludus.record.progress import Progress
from ludus.types import LudusError
from ludus.worlds.from_gym import GymTask, gym_world
from ludus.worlds.registry import world_kind

ROOT = Path(__file__).parents[1]
(MAPPING,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
(PLANE,) = re.findall(r'```python\n("""my_world.*?)```', (ROOT / "docs" / "add-a-world.md").read_text(), re.DOTALL)
TINY = ("--preset", "tiny", "world.n_envs=4", "world.name=my_world.py:plane")
PENDULUM = (
    "--preset",
    "tiny",
    "world.n_envs=2",
    "world.threads=1",
    f"world.name={ROOT / 'examples/minari_world.py'}:pendulum",
)
TRAIN = ("training.updates=3", "training.evaluate_every=3", "training.evaluation_episodes=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The world of docs/add-a-world.md and a run of its episodes, of several segments, in two shards."""
    folder = tmp_path_factory.mktemp("exchange")
    (folder / "my_world.py").write_text(PLANE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        ludus("collect", "data", *TINY, "-n", 6)
        yield folder


def episodes(run):
    with Record.open(run, write=False) as record:
        return list(EpisodeStore(record))


def same(a, b):
    """Whether two episodes are, to the bit."""
    bits = [
        ({g: v.tobytes() for g, v in e.observations.items()}, e.actions.tobytes(), e.snapshot.tobytes()) for e in (a, b)
    ]
    bare = [replace(e, observations={}, actions=None, snapshot=None, info=dict(e.info)) for e in (a, b)]
    return bits[0] == bits[1] and bare[0] == bare[1]


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "where", "package"), [("lerobot", "lr", "pyarrow"), ("minari", "plane/teacher-v0", "minari")]
)
def test_what_is_exported_comes_back_equal(folder, how, where, package):
    pytest.importorskip(package)
    assert "6 episodes" in ludus("export", how, where, "--run", "data")
    assert "go to X" in ludus("import", f"back-{how}", how, where, *TINY)
    before, after = episodes("data"), episodes(f"back-{how}")
    assert len(before) == len(after) == 6 and all(map(same, before, after))
    assert len({len(e.segments) for e in before} - {1}) and "collected 6 of 6" in ludus("status", f"back-{how}")
    taken = ludus("export", how, where, "--run", "data", code=2)
    assert "not empty" in taken or "already" in taken
    other = ludus("import", "other", how, where, *TINY, "world.options.speed=0.3", code=2)
    assert "it was exported from another world" in other and not Path("other").exists()


def test_lerobot_has_its_layout(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    if not Path("lr").exists():
        ludus("export", "lerobot", "lr", "--run", "data")
    info = json.loads(Path("lr/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"]) == ("v3.0", 10, 6)
    frames = parquet.read_table("lr/data/chunk-000/file-000.parquet").to_pydict()
    assert set(frames) == set(info["features"])
    assert info["features"]["observation.state"]["names"] == ["point.position.0", "point.position.1"]
    assert info["features"]["next.success"]["dtype"] == "float32" and set(frames["next.success"]) == {0.0, 1.0}
    (first, *_), rows = episodes("data"), parquet.read_table("lr/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert rows[0]["dataset_to_index"] == first.n_steps and info["total_frames"] == len(frames["index"])
    assert frames["subtask"][:1] == [first.segments[0].caption] and first.segments[-1].caption in frames["plan"][0]
    tasks = parquet.read_table("lr/meta/tasks.parquet").to_pydict()
    assert rows[0]["tasks"] == [tasks["task"][frames["task_index"][0]]]
    stats = json.loads(Path("lr/meta/stats.json").read_text())["action"]
    assert np.allclose([stats["mean"], stats["std"]], [np.mean(frames["action"], 0), np.std(frames["action"], 0)])


def test_a_run_goes_on_from_given_episodes_and_needs_them_no_more(folder, tmp_path):
    with Record.open("data", write=False) as source:
        config = source.config
    world = world_kind(config.world).make(config.world)
    steps = given_step([Path("data"), Path("data")], tmp_path / "run")
    with Record.create(tmp_path / "run", config, steps=steps) as record:
        given, library = Given.of(record), world.library()
        assert given is not None and given.library(library).captions == library.captions
        driver = driver_of(record, world)
        driver.store.append = stop_at(2, driver.store.append)
        with pytest.raises(KeyboardInterrupt):
            given.copy(driver, library)
        given.copy(driver_of(record, world), library)
        given.copy(driver_of(record, world), library)
        copies, first = episodes(tmp_path / "run"), episodes("data")
        assert [c.id for c in copies] == [f"given-{i}-{e.id}" for i in (0, 1) for e in first]
        assert all(same(replace(c, id=""), replace(e, id="")) for c, e in zip(copies, first * 2, strict=True))
        assert sum(c.n for c in record.success_counts("seed-data")) == 2 * sum(len(e.segments) for e in first)


def driver_of(record, world):
    return Driver(record, EpisodeStore(record), record.config.world, world, LocalCollector(world), Progress(record))


def stop_at(n, append):
    """Ctrl-C in the n-th call."""
    left = iter(range(n - 1))

    def stopping(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        append(*arguments)

    return stopping


# --- a mapping -------------------------------------------------------------------------------------------------------


def table():
    """Two episodes of 4 and 3 rows: an action for each observation."""
    rng = np.random.default_rng(0)
    return {
        "s": rng.uniform(-1, 1, (7, 3)),
        "y": rng.uniform(-1, 1, 7),
        "a": rng.uniform(-2, 2, (7, 2)),
        "said": np.array(["Walk home!"] * 2 + ["go to shop"] * 5),
        "fell": np.array([0, 0, 1, 0, 0, 0, 0]),
        "end": np.array([0, 0, 0, 1, 0, 0, 1]),
    }


def read(folder, arrays, mapping=MAPPING):
    """The episodes of arrays in a file, in the world of the page."""
    np.savez(folder / "some.npz", **arrays)
    (folder / "map.toml").write_text(mapping)
    config = WorldConfig("my_world.py:plane", n_envs=1)
    kind = world_kind(config)
    world, how = kind.make(config), read_mapping(folder / "map.toml") if mapping else None
    dataset = read_npz([folder / "some.npz"], (how or ColumnMapping()).episodes)
    return list(read_episodes(dataset, how, kind, world.spec, world.library(), "npz"))


def test_columns_become_fields_by_a_mapping(folder):
    arrays = table()
    first, second = read(folder, arrays)
    assert (first.n_steps, second.n_steps, first.ended, second.ended) == (3, 2, "terminal", "time")
    assert [(s.start, s.caption) for s in first.segments] == [(0, "go to home"), (2, "go to shop")]
    assert np.allclose(first.observations["point"], arrays["s"][:4, :2] * 0.01)
    assert np.allclose(second.observations["home"], np.column_stack([arrays["s"][4:, 2], arrays["y"][4:]]))
    assert (second.observations["shop"] == (0.5, -1)).all() and second.observations["shop"].dtype == np.float32
    a = arrays["a"][:3]
    assert np.allclose(first.actions, np.column_stack([a[:, 1] / 2, (a[:, 0] + 2) / 3 - 1]))


def test_arrays_called_like_the_fields_need_no_mapping(folder):
    arrays = {f"{g}/position": np.zeros((5, 2)) for g in ("point", "home", "shop")}
    (episode,) = read(folder, arrays | {"actions": np.ones((4, 2)), "caption": np.array("go to shop")}, "")
    assert (
        episode.n_steps == 4 and [s.caption for s in episode.segments] == ["go to shop"] and not len(episode.snapshot)
    )


@pytest.mark.parametrize("order", [1, -1])
def test_episodes_without_a_snapshot_stand_beside_others(folder, tmp_path, order):
    several = [*read(folder, table()), *episodes("data")[:2]][::order]
    with Record.open("data", write=False) as source:
        config = source.config
    with Record.create(tmp_path / "run", config) as record:
        store = EpisodeStore(record)
        for i in (0, 2):
            store.append(several[i : i + 2], f"collect/{i}")
        assert all(map(same, several, EpisodeStore(record))) and same(store.load(several[3].id), several[3])
    pytest.importorskip("pyarrow")
    ludus("export", "lerobot", tmp_path / "lr", "--run", tmp_path / "run")
    ludus("import", tmp_path / "again", "lerobot", tmp_path / "lr", *TINY)
    assert all(map(same, several, episodes(tmp_path / "again")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t["s"].__setitem__((5, 1), np.nan),
            r"^some.npz, episode 1 of some.npz: field 'position' of group 'point' is nan at step 1; leave the episode out, or",
        ),
        (
            lambda t: t["a"].__setitem__((1, 1), 3),
            r"episode 0 of some.npz: action 'x' is 1.5 at step 1, it must be from -1 to 1; ",
        ),
        (lambda t: t.update(s=t["s"][:, :2]), r"column 's' has 2 entries, no \[2\]; choose among them"),
        (lambda t: t.update(y=t["y"].astype(str)), r"column 'y' is <U\d+; choose one of numbers"),
        (lambda t: t.pop("y"), r"unknown column 'y'; .*'s'"),
        (lambda t: t.update(y=t["y"][:6]), r"some.npz: 'y' has 6 rows, 'end' has 7; both go over all episodes"),
        (
            lambda t: t["said"].__setitem__(4, "go shop"),
            r"episode 1 .* caption 'go shop'; nearest: 'go to shop'.*captions",
        ),
        (lambda t: t["end"].__setitem__(5, 1), r"episode 2 of some.npz: no step in it; an episode needs an action"),
    ],
)
def test_bad_data_ends_in_a_sentence(folder, change, words):
    arrays = table()
    change(arrays)
    with pytest.raises(LudusError, match=words) as caught:
        read(folder, arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "control_hz = 10",
            "control_hz = 20",
            "some.npz: it has 20 steps per second, world 'plane' 10; resample it, or",
        ),
        (
            "s[0:2]",
            "s[0:3]",
            "field 'position' of group 'point' is read as 4 rows of 3 numbers, it has 4 of 2; choose entries",
        ),
        ("[2, 4]", "[2, 4, 4]", "actions: 3 bounds for 2 entries; give one, or one for each"),
        (
            '{ column = "a[1,0]", low = -2, high = [2, 4] }',
            '"a[0]"',
            r"have 1 entries, the world's actions are \('x', 'y'\)",
        ),
        ("[observations.shop]", "[observations.shp]", "unknown group of world 'plane' 'shp'; nearest: 'shop'"),
        ("position = [0.5, -1]", "place = [0.5, -1]", "unknown field of group 'shop' 'place'; "),
        (
            "position = [0.5, -1]",
            "",
            r"nothing in it is called 'shop.position.0'; say in a --mapping FILE where it is, under ",
        ),
        (
            "position = [0.5, -1]",
            "position = true",
            "observations.shop.position = True names no column and is no number",
        ),
        ('caption_column = "said"', "", "nothing says what the robot was told; give --caption TEXT, or caption_column"),
        ('last = "end"', 'end = "end"', r"map.toml: unknown key of \[episodes\] 'end'"),
        ("low = -2", "lowest = -2", "map.toml: actions: unknown key 'lowest'; nearest: 'low'"),
        ("terminal =", "terminated =", "map.toml: unknown key 'terminated'; nearest: 'terminal'"),
        ('"fell"', '"fell', "map.toml is not TOML"),
    ],
)
def test_a_bad_mapping_ends_in_a_sentence(folder, old, new, words):
    assert old in MAPPING
    with pytest.raises(LudusError, match=words) as caught:
        read(folder, table(), MAPPING.replace(old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("npz", "none.npz"), "there is no file none.npz; name .npz files"),
        (("npz", "my_world.py"), "my_world.py is no .npz file of plain arrays"),
        (("npy", "x"), "unknown format 'npy'; nearest: 'npz'"),
        (("lerobot", "."), r"holds no LeRobot dataset: meta/info.json|package pyarrow is not installed"),
        (("minari", "no/such-v0"), "fetch it with: minari download no/such-v0|package minari is not installed"),
    ],
)
def test_what_cannot_be_imported_makes_no_run(folder, arguments, words):
    assert re.search(words, ludus("import", "none", *arguments, *TINY, code=2)) and not Path("none").exists()


@pytest.mark.parametrize(("how", "package"), [("lerobot", "pyarrow"), ("minari", "minari")])
def test_a_missing_package_is_named_with_its_extra(folder, monkeypatch, how, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    for arguments in (("import", "none", how, "x", *TINY), ("export", how, "new-v0", "--run", "data")):
        assert f"package {package} is not installed" in (said := ludus(*arguments, code=2)) and f"ludus[{how}]" in said


# --- Minari ----------------------------------------------------------------------------------------------------------


def pendulum_dataset(name, bad=""):
    """Two episodes of random actions, made with Minari's own functions."""
    import minari
    from minari.data_collector import EpisodeBuffer

    env, buffers = gymnasium.make("Pendulum-v1", max_episode_steps=30), []
    for seed in (1, 2):
        env.action_space.seed(seed)
        seen, taken, earned = [env.reset(seed=seed)[0]], [], []
        for _ in range(30):
            taken.append(env.action_space.sample())
            observation, reward, *_ = env.step(taken[-1])
            seen.append(observation)
            earned.append(reward)
        if bad:
            taken[7] = np.array([3.0], np.float32)
        last = [False] * 29 + [True]
        buffers.append(
            EpisodeBuffer(
                observations=np.stack(seen),
                actions=np.stack(taken),
                rewards=earned,
                terminations=[False] * 30,
                truncations=last,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(name, buffers, env=env, data_format="arrow")
    return buffers


def test_recorded_steps_are_what_the_world_shows():
    task = GymTask("CartPole-v1", rewards=(0, 2), success=lambda reward, terminated, info: terminated)
    kind, config = gym_world(task), WorldConfig("cartpole", n_envs=1, threads=1)
    world, env = kind.make(config), gymnasium.make("CartPole-v1")
    seen, taken, earned, ended = [env.reset(seed=3)[0]], [], [], [False]
    shown, right = [world.reset([3])], np.array([[-1.0, 1.0]])
    while not ended[-1]:
        observation, reward, terminated, *_ = env.step(1)
        for kept, value in ((seen, observation), (taken, 1), (earned, reward), (ended, terminated)):
            kept.append(value)
        shown.append(world.step(right))
    columns = {"observations": np.stack(seen), "actions": np.array(taken), "rewards": np.array(earned)}
    assert kind.recorded is not None
    spaces = env.observation_space, env.action_space
    observations, actions, is_terminal = kind.recorded(
        world.spec, spaces, columns | {"terminations": np.array(ended[1:])}
    )
    hold = int(world.spec.control_hz)  # a success stays, in the world and here for a second
    shown += [world.step(right) for _ in range(hold)]
    for group in ("robot", "task"):
        assert np.array_equal(observations[group], np.concatenate([o[group] for o in shown]))
    assert not is_terminal and (actions == right).all() and len(actions) == len(taken) + hold


def test_a_minari_dataset_is_learned_from_by_the_example(folder):
    pytest.importorskip("minari")
    example = (ROOT / "examples" / "minari_world.py").read_text()
    assert example.count("\n") <= 20
    buffers = pendulum_dataset("pendulum/random-v0")
    ludus("import", "pendulum", "minari", "pendulum/random-v0", *PENDULUM)
    for episode, buffer in zip(episodes("pendulum"), buffers, strict=True):
        assert np.array_equal(episode.observations["robot"], buffer.observations) and episode.n_steps == 30
        assert np.allclose(episode.actions, buffer.actions / 2, atol=1e-6)
        assert np.allclose(episode.observations["task"][1:, 0], np.array(buffer.rewards) / 16.3 + 1, atol=1e-6)
        assert [s.caption for s in episode.segments] == ["swing up"]
    ludus("train", "learned", *PENDULUM, *TRAIN, "--data", "pendulum")
    assert "done" in ludus("status", "learned")
    pendulum_dataset("pendulum/bad-v0", bad="actions")
    said = ludus("import", "bad", "minari", "pendulum/bad-v0", *PENDULUM, code=2)
    assert (
        "Minari dataset pendulum/bad-v0, episode 0: action 'action_0' is 1.5 at step 7" in said
        and not Path("bad").exists()
    )
