"""The commands on a database that they are given by its URL."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from command import ludus
from postgresql import schema

from ludus.config import preset
from ludus.record import Record, runs_in
from ludus.record.location import discreet
from ludus.types import LudusError
from ludus.views.mcp.door import Door
from ludus.views.page import runs
from ludus.views.page.folder import DatabaseRuns
from ludus.views.page.place import Place

SMALL = ("--preset", "tiny", "world.n_envs=2")
ONE_ROUND = ("--preset", "tiny", "world.n_blocks=1", "world.n_envs=8", "seed_data.episodes=32", "experiment.rounds=1",
             "experiment.episodes_per_round=32", "experiment.final_episodes=2", "training.updates=20",
             "training.round_updates=20", "training.evaluate_every=20", "training.evaluation_episodes=1")  # fmt: skip
TAKES_S = 900.0


def test_every_command_takes_a_run_by_the_url_of_its_record(postgresql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with schema(postgresql) as url:
        # a password, for which a server that trusts everybody does not ask
        there = ("--record", url.replace("//ludus@", "//ludus:secret@"))
        said = [ludus("collect", "data", *there, *SMALL, "-n", 2)]
        said += [ludus("train", "learned", "--data", "data", *there, *SMALL, "training.updates=2")]
        data, learned = [run.run_id for run in runs_in(url)]
        assert not list(tmp_path.glob("*/ludus.db"))
        said += [ludus("status", *there), ludus("status", "data", *there), ludus("status", data, *there)]
        assert data in said[-3] and learned in said[-3]  # by the names that `--record` takes
        assert "collected 2 of 2 episodes" in said[-1] and said[-2] in said[-1]
        newest = [ludus("chat", *named, *there) for named in ((), (learned,), ("learned",))]
        assert len(set(newest)) == 1 and "over" in newest[0]
        said += [*newest, ludus("skills", *there), ludus("resume", learned, *there)]
        said += [ludus("eval", "-n", 1, "--skills", "reach red", *there)]
        said += [ludus("export", "events", "--run", learned, *there)]
        said += [ludus("status", "lerned", *there, code=2)]
        assert "unknown run 'lerned'" in said[-1]
        nowhere = sa.make_url(url).set(database="nowhere").render_as_string()
        said += [ludus("status", "--record", nowhere, code=2)]
        assert 'database "nowhere" does not exist; make it with `createdb`' in said[-1]
        said += [ludus("status", "learned", "--record", postgresql, code=2)]
        assert "does not hold the run of learned, whose rows are in" in said[-1]
        with Record.open("learned") as record:
            assert f"--record '{url.replace('//ludus@', '//ludus:***@')}'" in record.command
        Path("learned").rename("moved")  # its row says where it was
        assert "More training" in ludus("status", learned, *there)
        assert "does not exist" in ludus("resume", learned, *there, code=2)
        for text in (*said, *(path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())):
            assert "secret" not in text


def test_a_page_and_a_door_of_all_runs_of_a_database(database, tmp_path):
    url = database
    for folder in ("a", "b"):
        Record.create(tmp_path / folder / "same", preset("tiny"), url=url, run_id=folder).close()
    Record.create(tmp_path / "other", preset("tiny"), url=url, run_id="c", command="ludus run").close()
    place = Place(DatabaseRuns(url))
    assert set(place.names()) == {"a", "b", "other"} and not place.is_run
    assert {line.name: line.error for line in place.lines()} == dict.fromkeys(place.names())
    page = runs.index(place, {})
    assert all(f"/run/{name}" in page for name in place.names()) and "cannot be read" not in page
    for name in place.names():
        with place.open(name) as record:
            assert place.pulse(name) and record.run_id in ("a", "b", "c")
    (tmp_path / "other").rename(tmp_path / "away")  # on another machine, say
    assert {line.name: line.error for line in place.lines()} == dict.fromkeys(("a", "b", "other"))
    Record.create(tmp_path / "new", preset("tiny"), url=url, run_id="d").close()
    time.sleep(1.1)
    assert "new" in place.names()
    place.close()
    one = Place(DatabaseRuns(url, "b"))
    assert one.names() == ("same",) and one.is_run and one.where == tmp_path / "b" / "same"
    one.close()
    with pytest.raises(LudusError, match="unknown run 'e'"):
        DatabaseRuns(url, "e")
    Door(DatabaseRuns(url, "a")).close()


def test_no_password_is_kept():
    assert discreet("ludus run --record postgresql://me:a:b@host/x?password=c&d=1 http://h:80/v1#m") == (
        "ludus run --record postgresql://me:***@host/x?password=***&d=1 http://h:80/v1#m"
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_on_a_server_that_is_killed_ends_as_one_in_a_file(server, tmp_path):
    """The server is killed and comes back, twice; the second time the run is killed, too, and resumed."""
    command = [sys.executable, "-m", "ludus.cli", "run", "--preset", "tiny", "--dir"]
    subprocess.run([*command, tmp_path / "own"], check=True)
    server.start()
    run = subprocess.Popen([*command, tmp_path / "far", "--record", server.url], stderr=subprocess.PIPE, text=True)
    server.until("SELECT to_regclass('steps') IS NOT NULL", TAKES_S)
    server.until("SELECT count(*) >= 3 FROM steps", TAKES_S)
    server.kill()
    time.sleep(2)
    server.start()
    server.until("SELECT count(*) >= 8 FROM steps", TAKES_S)
    server.kill()
    os.kill(run.pid, signal.SIGKILL)
    assert "the database has gone" in run.communicate()[1]
    refused = subprocess.run(
        [sys.executable, "-m", "ludus.cli", "resume", tmp_path / "far"], capture_output=True, text=True
    )
    assert refused.returncode == 2 and "cannot use the database" in " ".join(refused.stderr.split())
    server.start()
    subprocess.run([sys.executable, "-m", "ludus.cli", "resume", tmp_path / "far"], check=True)
    assert_same(tmp_path / "own", tmp_path / "far")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_whose_primary_is_killed_goes_on_with_the_standby(primary_and_standby, tmp_path):
    primary, standby, url = primary_and_standby
    command = [sys.executable, "-m", "ludus.cli", "run", *ONE_ROUND, "--dir"]
    subprocess.run([*command, tmp_path / "own"], check=True)
    run = subprocess.Popen([*command, tmp_path / "far", "--record", url], stderr=subprocess.PIPE, text=True)
    primary.until("SELECT to_regclass('steps') IS NOT NULL", TAKES_S)
    primary.until("SELECT count(*) >= 5 FROM steps", TAKES_S)
    primary.kill()
    gone = ludus("status", tmp_path / "far", code=2)
    assert "cannot use the database" in gone and "read-only" in gone
    standby.promote()
    said = run.communicate()[1]
    assert run.returncode == 0 and "the database is there again" in said, said
    assert "Finished" in ludus("status", tmp_path / "far")
    assert_same(tmp_path / "own", tmp_path / "far")


def assert_same(one, other):
    """Two runs, bit for bit: rows and files."""
    with Record.open(one, write=False) as own, Record.open(other, write=False) as far:
        assert far.content() == own.content()
    for folder in ("shards", "checkpoints"):
        names = sorted(path.name for path in (one / folder).iterdir())
        assert names and names == sorted(path.name for path in (other / folder).iterdir())
        for name in names:
            assert (one / folder / name).read_bytes() == (other / folder / name).read_bytes(), name
