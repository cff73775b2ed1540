"""Episodes for Rerun: what is in a file, read back with the package's own reader, of the blocks and of a world of a few lines."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import ludus
from PIL import Image
from starlette.testclient import TestClient
from test_exchange import PLANE
from test_page import episode
from test_views import make

from ludus.data.store import EpisodeStore
from ludus.experiment.library import recorded_library
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Field, Group, ObservationSpec, Segment, WorldSpec
from ludus.views import queries, rerun
from ludus.worlds.registry import make_world

psutil = pytest.importorskip("psutil", reason="it comes with rerun-sdk; pip install 'ludus[rerun]'")
chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed; pip install 'ludus[rerun]'")
COLLECT = ("--preset", "tiny", "world.n_envs=2", "-n", 2)


class Told:
    """What a file says: its recording, and per entity the columns of all its rows."""

    def __init__(self, path):
        reader = chunk.RrdReader(path)
        (self.recording,), self.blueprints = reader.recordings(), reader.blueprints()
        self.static, self.over_time = {}, {}
        for part in reader.stream(store=self.recording):
            batch, path = part.to_record_batch(), part.entity_path.replace("\\", "")
            into = (self.static if part.is_static else self.over_time).setdefault(path, {})
            for name in batch.schema.names[1:]:
                into[name] = into.get(name, []) + batch.column(name).to_pylist()

    def numbers(self, path):
        return np.array(self.over_time[path]["Scalars:scalars"])


def write(data, path):
    path.write_bytes(data)
    return Told(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rerun") / "run"
    ludus("collect", directory, *COLLECT, "--skills", "lift red")
    return directory


@pytest.fixture(scope="module")
def told(run):
    """An exported file, with its episode and its traces."""
    out = run.parent / "out"
    assert "rerun" in ludus("export", "rerun", out, "--run", run)
    with Record.open(run, write=False) as record:
        store, world = EpisodeStore(record), make_world(record.config.world, look=True)
        first = store.load(store.ids()[0])
        traces = queries.traces(first, recorded_library(record, world))
        assert {p.name for p in out.iterdir()} == {f"{id}.rrd" for id in store.ids()}
        world.close()
    return Told(out / f"{first.id}.rrd"), first, traces, world.spec


def test_a_file_has_things_where_they_were(told):
    said, first, _, spec = told
    assert said.recording.application_id == "ludus blocks" and said.recording.recording_id.endswith(f"/{first.id}")
    assert said.static["/__properties/episode"]["actor"] == [[first.actor]]
    rows = first.n_steps + 1
    for name in (*spec.objects, "gripper"):
        seen = said.over_time[f"/scene/{name}"]
        at = spec.observation.get(first.observations, name, "position")
        assert np.allclose(np.array(seen["Transform3D:translation"])[:, 0], at)
        assert seen["step"] == list(range(rows)) and len(set(seen["time"])) == rows
        assert abs(seen["time"][-1].total_seconds() - first.n_steps / spec.control_hz) < 1e-6
    red, size = said.over_time["/scene/red"], spec.observation.get(first.observations, "red", "size")
    assert np.allclose(np.array(red["Boxes3D:half_sizes"])[:, 0], size / 2)
    w_first = spec.observation.get(first.observations, "red", "quaternion")[:, [1, 2, 3, 0]]
    assert np.allclose(np.array(red["Transform3D:quaternion"])[:, 0], w_first, atol=1e-4)
    pads = np.array(said.over_time["/scene/gripper"]["Boxes3D:centers"])
    gap = pads[:, 0, 1] - pads[:, 1, 1]
    width = spec.observation.get(first.observations, "gripper", "width")[:, 0]
    assert pads.shape == (rows, 2, 3) and np.ptp(gap - width) < 1e-6  # their thickness apart
    assert said.static["/scene/red"]["Boxes3D:labels"] == [["red"]]
    assert said.static["/scene/red"]["Boxes3D:colors"] == [[0xFF0000FF]]


def test_a_file_has_what_was_told_and_what_came_of_it(told):
    said, first, (command, *_), spec = told
    assert np.allclose(said.numbers(f"/reward/1 {command.caption}")[:, 0], command.reward)
    for condition in command.conditions:
        holds = said.numbers(f"/conditions/1 {command.caption}/{condition.condition}")[:, 0]
        assert holds.tolist() == list(map(float, condition.holds))
    assert command.caption in said.over_time["/told"]["TextDocument:text"][0][0]
    events = [
        (at, text) for at, (text,) in zip(*map(said.over_time["/events"].get, ("step", "TextLog:text")), strict=True)
    ]
    ended = "success" if command.success else "failure"
    assert (0, f"told: {command.caption}") in events and (
        command.last,
        f"{ended} at the end: {command.caption}",
    ) in events
    moment = said.over_time.get(f"/reward/1 {command.caption}/success", {}).get("step", [])
    assert moment == ([] if command.succeeded is None else [command.succeeded])
    assert np.allclose(said.numbers("/actions"), first.actions)
    joints = spec.observation.get(first.observations, "arm", "joint_position")
    assert np.allclose(said.numbers("/observations/arm/joint_position"), joints)


def test_episodes_are_chosen_and_mistakes_end_in_a_sentence(run, tmp_path, monkeypatch):
    ludus("export", "rerun", tmp_path / "one", "--run", run, "-n", 1, "--skill", "lift red")
    assert len(list((tmp_path / "one").iterdir())) == 1
    for arguments, words in (
        (("rerun", tmp_path / "one"), "is not empty"),
        (("rerun", tmp_path / "x", "--skill", "fly"), "leave out --skill"),
        (("rerun", tmp_path / "x", "-n", 0), "--episodes 0: give 1 or more"),
        ((tmp_path / "x", "--pictures"), "go with rerun DIRECTORY"),
        (("rerun",), "rerun DIRECTORY"),
    ):
        assert words in ludus("export", *arguments, "--run", run, code=2) and not (tmp_path / "x").exists()
    monkeypatch.setenv("MUJOCO_GL", "off")
    monkeypatch.setattr("ludus.worlds.render.probe", lambda: None)
    assert "no OpenGL" in ludus("export", "rerun", tmp_path / "x", "--pictures", "--run", run, code=2)
    monkeypatch.setenv("RERUN", "off")
    assert "RERUN switches rerun-sdk off" in ludus("export", "rerun", tmp_path / "y", "--run", run, code=2)
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert "pip install 'ludus[rerun]'" in ludus("export", "rerun", tmp_path / "z", "--run", run, code=2)


@pytest.mark.render
def test_rendered_pictures_are_in_the_file(run, tmp_path):
    ludus("export", "rerun", tmp_path / "seen", "--run", run, "-n", 1, "--pictures")
    (path,) = (tmp_path / "seen").iterdir()
    (seen,) = (columns for name, columns in Told(path).over_time.items() if name.startswith("/camera/"))
    pictures = [Image.open(io.BytesIO(bytes(blob[0]))) for blob in seen["EncodedImage:blob"]]
    assert len(pictures) > 10 and {p.size for p in pictures} == {(rerun.PICTURE_SIZE,) * 2}
    assert np.asarray(pictures[0]).std() > 10 and path.stat().st_size < 10e6


def test_a_world_of_two_dimensions_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_world.py").write_text(PLANE)
    ludus("collect", "data", "--preset", "tiny", "world.n_envs=2", "world.name=my_world.py:plane", "-n", 2)
    ludus("export", "rerun", "out", "--run", "data", "-n", 1)
    said = Told(next(Path("out").iterdir()))
    at = np.array(said.over_time["/scene/point"]["Transform3D:translation"])[:, 0]
    assert (at[:, 2] == 0).all() and np.ptp(at[:, 0]) > 0 and "Points3D:radii" in said.static["/scene/point"]


class Odd:
    """A world with a camera of its own, something that is absent, and nothing that has a size."""

    groups = (
        Group("eye", "arm", (Field("pixels", (8, 8, 3), "1", "seen", dtype="uint8"),)),
        Group("ghost", "object", (Field("position", 3, "m", "at"), Field("present", 1, "1", "0 if it is not there"))),
        Group("dial", "object", (Field("angle", 1, "rad", "turned"),)),
    )
    spec = WorldSpec("odd", ("dial",), ObservationSpec(groups), ("a",), 10, 9, 9, ("any",), (), "odd")


def test_images_of_the_world_are_pictures_and_what_is_absent_is_left_out(tmp_path):
    n = 4
    seen = {"eye": np.zeros((n, 8, 8, 3), np.uint8), "ghost": np.zeros((n, 4), np.float32)}
    seen["dial"] = np.arange(n, dtype=np.float32)[:, None]
    odd = Episode(
        "a/b ?",
        seen,
        np.zeros((n - 1, 1), np.float32),
        (Segment(0, "turn", "h"),),
        "policy",
        "odd",
        2**63,
        "any",
        np.zeros(0),
    )
    entry = queries.EpisodeEntry("a/b ?", "seed-data", "policy", "any", n - 1, ("turn",), (), None)

    class Row:
        run_id = "r"

    class Nothing(SkillLibrary):
        def __init__(self):
            pass

        def __contains__(self, _):
            return False

    assert rerun.file_name(odd.id) == "a%2Fb %3F.rrd"
    said = write(rerun.recording(Row(), entry, odd, Odd(), Nothing()), tmp_path / "odd.rrd")
    threads = []
    for _ in range(4):
        rerun.recording(Row(), entry, odd, Odd(), Nothing(), layout=False)
        threads.append(psutil.Process().num_threads())
    assert threads[-1] <= threads[0]  # of thousands of episodes none stays in memory
    assert len(said.over_time["/camera/eye"]["EncodedImage:blob"]) == n
    assert (
        len(said.blueprints) == 1
        and "/scene/ghost" not in said.over_time
        and said.numbers("/observations/dial/angle").ravel().tolist()
        == [
            0,
            1,
            2,
            3,
        ]
    )


def test_writing_asks_nobody_and_leaves_no_trace_of_analytics(run, tmp_path):
    """The package keeps what its analytics would send under the home directory; in this process it comes to nothing."""
    code = "import sys; from ludus.cli import main; sys.argv = ['ludus', *sys.argv[1:]]; main()"
    (tmp_path / "home").mkdir()
    alone = {**os.environ, "HOME": str(tmp_path / "home"), "FORCE_RERUN_ANALYTICS": "1"}
    alone |= {"XDG_CONFIG_HOME": str(tmp_path / "home"), "XDG_DATA_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", code, "export", "rerun", str(tmp_path / "out"), "--run", str(run)]
    subprocess.run(command, env=alone, check=True, timeout=240, stdout=subprocess.DEVNULL)
    assert any((tmp_path / "out").iterdir()) and not list((tmp_path / "home").rglob("*rerun*"))


# --- the page ------------------------------------------------------------------------------------------------------


def test_a_reader_downloads_an_episode_from_the_page(tmp_path, monkeypatch):
    fastapi = pytest.importorskip("fastapi")
    from counting_world import CountingWorld

    from ludus.views.page import content, guard
    from ludus.views.page.pictures import add_pictures
    from ludus.views.page.place import Place

    world, _ = make(tmp_path / "run")
    with Record.open(tmp_path / "run") as record, record.commit("round/1/collect/001"):
        EpisodeStore(record).append([episode(world, "e8")])
    counting = CountingWorld()
    monkeypatch.setattr(Place, "library", lambda self, record: counting.library())
    monkeypatch.setattr(Place, "with_world", lambda self, record, work: work(counting))
    place, app = Place(tmp_path), fastapi.FastAPI()
    add_pictures(app, place)
    tokens = {guard.OPERATOR: "o" * 20, guard.READER: "r" * 20}
    client = TestClient(guard.Guard(app, tokens), cookies={guard.COOKIE: "r" * 20})
    answer = client.get("/run/run/recording?id=e8")
    assert answer.status_code == 200 and 'filename="e8.rrd"' in answer.headers["content-disposition"]
    assert write(answer.content, tmp_path / "e8.rrd").recording.recording_id.endswith("/e8")
    assert client.get("/run/run/recording?id=../e8").status_code == 404
    assert TestClient(guard.Guard(app, tokens)).get("/run/run/recording?id=e8").status_code in (401, 403)
    address = "/run/run/recording?id=e8"
    assert address in content.body(place, "run", "episodes", {"id": "e8"})
    monkeypatch.setattr(rerun, "is_installed", lambda: False)
    assert address not in content.body(Place(tmp_path), "run", "episodes", {"id": "e8"})
    monkeypatch.setitem(sys.modules, "rerun", None)
    refused = client.get(address)
    assert refused.status_code == 404 and "ludus[rerun]" in refused.text
