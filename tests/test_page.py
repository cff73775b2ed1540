"""The page of `ludus serve`: what its parts say, who may look, what hostile texts become; a browser sees the rest."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import numpy as np
import pytest
from counting_world import CountingWorld
from test_views import HOSTILE, make

from ludus.cli.serve import Serve
from ludus.config import Config, override
from ludus.data.store import EpisodeStore
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.table import REMARKS, ROLES
from ludus.lab.curriculum import Curriculum
from ludus.lab.oversight import say
from ludus.lab.planning import Planning
from ludus.lab.room import LONGEST_REMARK, MOST_REMARKS, Room, remarks, shown_remarks
from ludus.record import Record
from ludus.record.location import LOCATION
from ludus.types import Curve, Episode, Field, Group, LudusError, Message, ObservationSpec, Outcome, Segment
from ludus.views import charts, queries
from ludus.views.page import content, film, lines, runs
from ludus.views.page.guard import COOKIE, OPERATOR, READER, ROLE, Guard
from ludus.views.page.place import Place
from ludus.views.page.rendering import mark
from ludus.views.schematic import schematic


def episode(world, id, n=20, caption="go to home"):
    rows = [world.reset([1, 2, 3, 4])]
    rows += [world.step(np.zeros((4, 3))) for _ in range(n)]
    seen = {g: np.stack([row[g][0] for row in rows]) for g in rows[0]}
    segments = (Segment(0, caption, world.library()[caption].hash),)
    actions = np.zeros((n, 3), np.float32)
    return Episode(id, seen, actions, segments, "policy", "c0", 1, "far", world.snapshot()[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, a stopped one with hostile texts and 200 messages, a failed one, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("runs")
    world, _ = make(folder / "first")
    make(folder / "second", HOSTILE, finished=False)
    with Record.open(folder / "second") as record:
        record.post(*(Message(f"m{i}", "loop", "all", "note", f"note number {i}") for i in range(200)))
        with record.commit("round/1/collect/001"):
            EpisodeStore(record).append([episode(world, "e8"), episode(world, "e9")])
            record.add_outcomes([Outcome("e9", 0, "go to home", "h", False, True, 0.25)])
    with Record.create(folder / "third", override(Config(), ["experiment.rounds=7"])) as record:
        record.post(Message("end", "learner", "all", "failed", "no answer at all"))
    (folder / "broken").mkdir()
    (folder / "broken" / "ludus.db").write_bytes(b"no database" * 100)
    return folder


def place_of(folder, monkeypatch):
    """The records name the blocks, their skills are those of the counting world."""
    world = CountingWorld()
    monkeypatch.setattr(Place, "library", lambda self, record: world.library())
    monkeypatch.setattr(Place, "with_world", lambda self, record, work: work(world))
    return Place(folder)


@pytest.fixture
def place(folder, monkeypatch):
    return place_of(folder, monkeypatch)


# --- runs --------------------------------------------------------------------------------------------------------


def test_the_index_lists_the_newest_first_and_the_unreadable_last(place):
    listed = place.lines()
    assert [line.name for line in listed] == ["third", "second", "first", "broken"]
    assert [line.state for line in listed] == ["failed", "stopped", "done", None]
    assert listed[3].error and listed[2].rounds == 1
    page = runs.index(place, {})
    assert "cannot be read" in page and "experiment.rounds=7" in page and "1 to 4 of 4" in page
    only = runs.index(place, {"state": "failed"})
    assert "third" in only and ">first<" not in only


def test_a_line_is_read_again_once_its_run_has_changed(place, folder, monkeypatch):
    monkeypatch.setattr("ludus.views.page.lines.FRESH_S", 0.0)

    def rounds():
        return {line.name: line.rounds for line in place.lines()}["first"]

    before = rounds()
    with Record.open(folder / "first") as record, record.commit("round/2/plan"):
        pass
    assert (before, rounds()) == (1, 2)


def until(look):
    """What `look` returns once it is true."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_of_runs_that_nobody_looked_at_before_the_newest_are_there_first(place, folder, monkeypatch):
    """A folder of hundreds is not waited for: what is read by then is shown, with how many more there are."""
    monkeypatch.setattr("ludus.views.page.lines.SOON_S", 0.05)
    for age, name in enumerate(("third", "second", "first", "broken")):
        if (file := folder / name / LOCATION).exists():
            os.utime(file, (2e9 - age, 2e9 - age))
    enough, read = threading.Event(), lines.Lines._of_file

    def slow(self, name, *about):
        if name == "first":
            assert enough.wait(30)
        return read(self, name, *about)

    monkeypatch.setattr(lines.Lines, "_of_file", slow)
    found, _ = until(lambda: (listing := place.lines_soon())[1] == 2 and listing)
    assert [line.name for line in found] == ["third", "second"]
    page = runs.index(place, {})
    assert "2 more runs are being read" in page and ">third<" in page and ">first<" not in page
    enough.set()
    found, _ = until(lambda: (listing := place.lines_soon())[1] == 0 and listing)
    assert len(found) == 4 and "being read" not in runs.index(place, {})


def test_a_place_is_a_run_or_a_folder_of_runs(folder, tmp_path):
    assert Place(folder / "first").names() == ("first",)
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(LudusError):
            Place(wrong)
    with pytest.raises(LudusError, match="unknown run"):
        Place(folder).open("../first")


# --- tabs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", content.TABS)
@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_every_tab_shows_hostile_texts_as_they_stand(place, name, tab):
    page = content.head(place, name, tab) + content.body(place, name, tab, {"words": HOSTILE} if tab != "room" else {})
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page


def test_a_failed_run_says_so_in_its_first_line(place):
    assert "Failed: no answer at all." in content.head(place, "third", "room")


def test_the_room_comes_a_page_at_a_time(place):
    newest = content.body(place, "second", "room", {})
    assert newest.count("<article") == content.MESSAGES and "note number 199" in newest
    before = newest.split("before=")[1].split('"')[0]
    earlier = content.body(place, "second", "room", {"before": before})
    assert "note number 119<" in earlier and "note number 120<" not in earlier
    found = content.body(place, "second", "room", {"words": "NUMBER 7", "kind": "note", "sender": "loop"})
    assert found.count("<article") == 11  # 7, 70 to 79
    assert "&lt;script&gt;" in content.body(place, "second", "room", {"kind": "decision"})
    with place.open("second") as record:
        last = queries.pulse(record).message
        assert queries.postings(record, after=last) == ()
        assert [p.text for p in queries.postings(record, after=last - 1)] == ["note number 199"]


@pytest.mark.parametrize(("images", "svg", "png"), [((), 1, 0), (("images/a.png",), 0, 1)])
def test_a_curve_that_nobody_had_drawn_is_drawn_in_the_room(tmp_path, place, images, svg, png):
    curve = Curve(HOSTILE, (5, 10), (1, 3), (4, 4))
    make(tmp_path / "run", finished=False)
    with Record.open(tmp_path / "run") as record, record.commit("round/2/train/000"):
        record.post(Message("c", "analysis", "experimenter", "curve", "Converged?", images, asdict(curve)))
        (posting,) = queries.postings(record, queries.Wanted(kind="curve"))
        shown = content.messages(place, record, "run", (posting,), False)
    assert shown.count("<svg") == svg and shown.count("<img") == png and "<script" not in shown
    assert not svg or "0.75 of 4 at update 10" in shown


def test_what_a_question_cost_stands_with_its_answer(place, folder):
    call = {"key": "p1/propose", "sample": 0, "attempt": 0, "role": "propose", "prompt": "propose 1", "request": "r"}
    call |= {"images": [], "model": "m", "answer": {}, "error": None, "replayed": False, "turns": 1, "tokens_in": 1200}
    call |= {"tokens_out": 34, "usd": 0.5, "retries": 0, "seconds": 2.0, "at": 0.0}
    with Record.open(folder / "first") as record:
        record.add_call(call)
        record.post(Message("p", "experimenter", "curriculum", "proposal", "go", payload={"plan": "p1"}))
    assert "1,234 tokens, 0.5000 USD, 2.0 s" in content.body(place, "first", "room", {})


def test_learning_draws_a_curve_per_template(place):
    page = content.body(place, "first", "learning", {})
    assert page.count('class="chart"') == 1 and "update 20: 2 of 40" in page and "learning (70%)" in page


def test_a_passport_is_a_page(place):
    page = content.body(place, "first", "skills", {"skill": "go to home"})
    assert "Definition" in page and "Why does it fail?" in page
    assert "unknown skill" in content.body(place, "first", "skills", {"skill": "fly"})


def test_episodes_are_filtered_in_the_database(place):
    def shown(**params):
        page = content.body(place, "second", "episodes", params)
        return [id for id in ("e8", "e9") if f">{id}<" in page]

    assert shown() == ["e8", "e9"]
    assert shown(skill="go to home", result="failure") == ["e9"] and shown(result="success") == []
    assert shown(phase="round/1/collect") == ["e8", "e9"] and shown(phase="seed-data") == []


def test_an_episode_is_shown_with_its_reward_and_conditions(place):
    page = content.body(place, "second", "episodes", {"id": "e9"})
    assert 'data-frames="21"' in page and "go to home" in page and 'class="strip"' in page
    assert "no episode" in content.body(place, "second", "episodes", {"id": "../../x"})


def test_traces_say_when_a_skill_first_succeeds():
    world = CountingWorld()
    one = episode(world, "e1")
    home = one.observations["home"][:, :2]
    one.observations["point"][5:9, :2] = home[5:9]
    (command,) = queries.traces(one, world.library())
    assert command.succeeded == 5 and not command.success and len(command.reward) == 21
    assert np.flatnonzero(command.conditions[0].holds).tolist() == [5, 6, 7, 8]
    assert charts.episode_traces((command,), 20).count('class="holds"') == 1


SIZE, TURNED = 240, [np.cos(0.3), 0, 0, np.sin(0.3)]
HAND = (Field("position", 3, "m", "at"), Field("yaw", 1, "rad", "turned"), Field("width", 1, "m", "between the pads"))
BLOCK = (Field("position", 3, "m", "at"), Field("quaternion", 4, "1", "turned"), Field("size", 1, "m", "edge"))
TABLE = ObservationSpec(
    (
        Group("hand", "effector", HAND),
        *(Group(c, "object", BLOCK) for c in ("red", "blue")),
        Group("goal", "object", BLOCK, False),
    )
)


def scene(red, blue, hand=(0.2, 0.2, 0.2), turn=(1, 0, 0, 0), goal=(0.1, 0.2, 0.02)):
    rows = {
        "hand": (*hand, 0.4, 0.06),
        "red": (*red, *turn, 0.04),
        "blue": (*blue, *turn, 0.04),
        "goal": (*goal, *TURNED, 0.04),
    }
    return {name: np.array([row], np.float32) for name, row in rows.items()}


def spots(picture, channel):
    """Row and column of the middle of what has this colour, and how many pixels it is: from above, from the side."""
    others = [c for c in range(3) if c != channel]
    found = (picture[..., channel] > 120) & (picture[..., others].max(-1) < 90)
    line = np.flatnonzero((np.ptp(picture, 1).max(1) == 0) & (picture[:, 0, 0] < 225))[0]  # between the two
    parts = (np.argwhere(found[:line]), np.argwhere(found[line:]))
    return [(rows.mean(0), len(rows)) for rows in parts if len(rows)]


def test_a_sketch_shows_colours_stacking_scale_and_the_gripper():
    def drawn(**at):
        return schematic(scene(**at), TABLE, "no OpenGL", SIZE)[0].astype(int)

    apart, stacked = drawn(red=(0, 0, 0.02), blue=(0, 0.1, 0.02)), drawn(red=(0, 0.1, 0.06), blue=(0, 0.1, 0.02))
    (_, n_above), (red, _) = spots(apart, 0)
    _, (blue, _) = spots(apart, 2)
    assert abs(red[0] - blue[0]) < 2 and red[1] - blue[1] > 10 and n_above > 30  # y points left: blue is left of red
    *_, (red, _) = spots(stacked, 0)
    *_, (blue, _) = spots(stacked, 2)
    assert abs(red[1] - blue[1]) < 2 and blue[0] - red[0] > 5  # red is on top
    assert len(spots(stacked, 2)) == 1  # and hides blue from above
    assert (drawn(red=(0, 0, 0.02), blue=(0, 0.1, 0.02), hand=(0.1, 0, 0.1)) != apart).any()
    assert (drawn(red=(0, 0, 0.02), blue=(0, 0.1, 0.02), turn=TURNED) != apart).any()
    assert (drawn(red=(0, 0, 0.02), blue=(0, 0.1, 0.02), goal=(-0.1, 0.2, 0.02)) != apart).any()
    far = drawn(red=(0, 0, 0.02), blue=(0, 1, 0.02))
    assert spots(far, 0)[0][1] < n_above / 2 and (apart[:20] != far[:20]).any()  # smaller, and so is the ruler's length


def test_what_cannot_be_drawn_is_sketched_in_any_world():
    fields = (Field("position", 3, "m", "where"),)
    spec = ObservationSpec((Group("red", "object", fields), Group("<b>", "object", fields)))
    seen = {name: np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32) for name in ("red", "<b>")}
    frames = schematic(seen, spec, "no OpenGL", SIZE)
    assert frames.shape == (3, SIZE, SIZE, 3) and (frames[0] != frames[1]).any()
    still = {name: np.zeros((2, 3), np.float32) for name in seen}  # all at one point
    assert (schematic(still, spec, "", SIZE)[0] == schematic(still, spec, "", SIZE)[1]).all()
    plane = ObservationSpec((Group("point", "effector", (Field("position", 2, "1", "at"),)),))
    low, high = schematic({"point": np.array([[0, 0], [1, 1]], np.float32)}, plane, "", SIZE).astype(int)
    dark = [np.argwhere(f.max(-1) < 110)[:, 0].mean() for f in (low[20:], high[20:])]
    assert dark[0] > dark[1] + 20  # up is up
    absent = (*fields, Field("present", 1, "1", "0 if it is not there"))
    spec = ObservationSpec((Group("red", "object", fields), Group("ghost", "object", absent)))
    here = {"red": np.zeros((1, 3), np.float32), "ghost": np.array([[9, 9, 9, 0]], np.float32)}
    alone = schematic({"red": here["red"]}, ObservationSpec(spec.groups[:1]), "", SIZE)
    assert (schematic(here, spec, "", SIZE) == alone).all()
    nowhere = ObservationSpec((Group("dial", "object", (Field("angle", 1, "rad", "turned"),)),))
    assert np.ptp(schematic({"dial": np.zeros((1, 1), np.float32)}, nowhere, "no OpenGL", SIZE)) > 50  # says why
    world = CountingWorld()
    assert film.sheet(episode(world, "e1"), world)[:2] == b"\xff\xd8"  # JPEG
    assert film.Reel.of(4000, 20).n <= film.MOST_FRAMES and film.Reel.of(20, 10).every == 1


# --- what people say ---------------------------------------------------------------------------------------------


def test_a_remark_is_shown_with_the_next_question_and_kept(tmp_path):
    world, asked = CountingWorld(), []
    with Record.create(tmp_path / "run", override(Config(), ["experiment.plans_per_round=1"])) as record:
        with Record.open(tmp_path / "run", write=False) as reader:  # as the page has it
            say(reader, f"try the shop {HOSTILE}")
        planner = assemble(RoleContext(world.vocabulary))

        def propose(question):
            asked.append(question)
            return planner.propose(question)

        experimenter = dataclasses.replace(planner, propose=propose)
        curriculum = Curriculum(experimenter, Room(record), world.spec, 0)
        Planning(curriculum, record, world, record.config).plans(1, world.library())
        assert asked[0].remarks[0].startswith("try the shop")
        assert shown_remarks(record) == {1: asked[0].remarks}
        role = ROLES["propose"]
        said = role.text(asked[0])
        assert REMARKS.partition("{")[0] in said and "\x1b" not in said
        assert REMARKS.partition("{")[0] not in role.text(dataclasses.replace(asked[0], remarks=()))
        replayed = Planning(curriculum, record, world, record.config, None, {2: ("as it was",)})
        replayed.plans(2, world.library())
        assert asked[-1].remarks == ("as it was",)


def test_remarks_that_nobody_would_read_are_refused(tmp_path, folder):
    with Record.create(tmp_path / "run", Config()) as record:
        for wrong in ("", " \n", "x" * (LONGEST_REMARK + 1)):
            with pytest.raises(LudusError, match="a remark of"):
                say(record, wrong)
        for i in range(MOST_REMARKS + 1):
            say(record, f"remark {i}")
        assert remarks(record)[0] == "remark 1" and len(remarks(record)) == MOST_REMARKS
    with Record.open(folder / "third", write=False) as record, pytest.raises(LudusError, match="has failed"):
        say(record, "too late")


# --- who may look ------------------------------------------------------------------------------------------------


TOKENS = {OPERATOR: "secret", READER: "other"}


def ask(tokens=None, kind="http", path="/", query="", **headers):
    """`(status, headers)` of a request: 200 where the guard lets it pass, with the role as a header; 0 for a WebSocket that is
    closed."""
    sent = []

    async def app(scope, receive, send):
        role = [(b"role", scope[ROLE].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": role})

    async def send(message):
        sent.append(message)

    encoded = [
        (k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in ({"host": "localhost:8080"} | headers).items()
    ]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": encoded}
    asyncio.run(Guard(app, tokens or {})(scope, None, send))
    return sent[0].get("status", 0), {k.decode(): v.decode() for k, v in sent[0].get("headers", ())}


def test_without_a_token_only_this_machine_by_its_own_names():
    assert ask()[0] == ask(host="127.0.0.1")[0] == ask(host="[::1]:80")[0] == 200
    assert ask(origin="http://localhost:8080")[0] == ask(kind="websocket")[0] == 200
    assert ask(host="evil.example")[0] == ask(origin="http://evil.example")[0] == ask(host="")[0] == 403
    assert ask(host="[::")[0] == ask(origin="null")[0] == ask(origin="http://[")[0] == 403
    assert ask(kind="websocket", origin="http://evil.example")[0] == 0
    assert "default-src 'self'" in ask()[1]["content-security-policy"]


def test_with_a_token_nothing_is_shown_without_it():
    other = {"host": "10.0.0.1:8080"}
    for wrong in ({}, {"query": "token="}, {"query": "token=x"}, {"cookie": f"{COOKIE}=x"}, {"cookie": "é=\x00;;="}):
        assert ask(TOKENS, **other, **wrong)[0] == 401
    assert ask(TOKENS, "websocket", query="token=secret", **other)[0] == 0
    status, headers = ask(TOKENS, path="//evil.example/x", query="token=secret&tab=a", **other)
    assert (status, headers["location"]) == (303, "/evil.example/x?tab=a")
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=Strict" in headers["set-cookie"]
    kept = {"cookie": f"{COOKIE}=secret"}
    assert ask(TOKENS, **other, **kept)[0] == ask(TOKENS, "websocket", **other, **kept)[0] == 200


def test_the_token_decides_on_the_role_and_a_new_one_replaces_the_old():
    other = {"host": "10.0.0.1:8080"}
    for role, token in TOKENS.items():
        assert ask(TOKENS, cookie=f"{COOKIE}={token}", **other)[1]["role"] == role
    assert ask()[1]["role"] == OPERATOR  # whoever reaches this machine's own address
    status, headers = ask(TOKENS, query="token=secret", cookie=f"{COOKIE}=other", **other)
    assert status == 303 and f"{COOKIE}=secret" in headers["set-cookie"]


def test_pictures_come_from_the_run_only(folder, tmp_path):
    pytest.importorskip("nicegui")
    from fastapi import FastAPI

    from ludus.views.page.pictures import add_pictures

    images = folder / "first" / "images"
    images.mkdir(exist_ok=True)
    (images / "a.png").write_bytes(b"picture")
    (images / "b.txt").write_bytes(b"text")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    app = FastAPI()
    add_pictures(app, Place(folder))
    (picture,) = (r.endpoint for r in app.routes if getattr(r, "path", "") == "/run/{name}/picture")
    with Record.open(folder / "first", write=False) as record:
        of = mark(record)
    assert picture("first", "images/a.png", of).status_code == 200
    assert picture("first", "images/a.png", "another").status_code == 404
    outside = (
        "ludus.db",
        "images/b.txt",
        "images/link.png",
        "images/../ludus.db",
        f"{tmp_path}/secret.png",
        "a\0b",
        "images",
        "images/" + "x" * 5000 + ".png",
    )
    assert {picture("first", path, of).status_code for path in outside} == {404}
    assert picture("..", "images/a.png", of).status_code == picture("broken", "images/a.png", of).status_code == 404


def test_only_serve_needs_nicegui(folder, monkeypatch):
    code = "import sys, ludus.cli; print(sorted({'nicegui', 'fastapi', 'uvicorn', 'torch'} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(seen.stdout) == []
    monkeypatch.setitem(sys.modules, "ludus.views.page.server", None)
    with pytest.raises(LudusError, match=r"ludus\[serve\]"):
        Serve(folder)()
