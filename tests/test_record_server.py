"""A run on a PostgreSQL server whose connections end, that is killed, restarted or taken over: nothing is doubled or lost, and
one process writes."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from command import ludus
from postgresql import Proxy, schema
from record_parts import message, outcome

from ludus.config import preset
from ludus.record import Progress, Record, runs_in, tables
from ludus.record.database import connect
from ludus.seeding import rng
from ludus.types import LudusError

OLDER = "UPDATE heartbeats SET at = at - 1"


@pytest.fixture
def url(postgresql):
    with schema(postgresql) as url:
        yield url


@pytest.fixture
def proxy(url):
    proxy = Proxy(url)
    yield proxy
    proxy.close()


@pytest.fixture
def record(tmp_path, url):
    with Record.create(tmp_path / "run", preset("tiny"), url=url, run_id="run") as record:
        yield record


@pytest.fixture
def no_flock(monkeypatch):
    """Two machines share the run's directory, whose file system has no locks."""
    monkeypatch.setattr(
        "ludus.record.filesystem.missing", lambda folder, abilities=(): dict.fromkeys(abilities, "none")
    )


@pytest.fixture
def small_disk():
    """`small_disk(megabytes)`: a folder on a file system of so much, or that has as much from now on."""
    disk, made = Path(tempfile.mkdtemp(prefix="ludus-disk-")), []

    def mount(megabytes):
        options = ",".join([*made, f"size={megabytes}m", "mode=755"])  # the server's user has to reach it
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "ludus", disk], check=False).returncode:
            pytest.skip("mounting a file system needs root")
        made[:] = ["remount"]
        return disk

    yield mount
    if made:
        subprocess.run(["umount", "--lazy", disk], check=False)
    disk.rmdir()


def take_step(record, i):
    """A step of several tables, as of a run of 1, 2, ... such steps."""
    with record.commit(f"step/{i}") as step:
        record.post(message(f"m{i}", str(rng(i).random())))
        record.add_outcomes([outcome(f"e{i}", k, bool(rng(i, k).random() < 0.5)) for k in range(3)])
        record.add_metrics([("loss", i, rng(i).random())])
        step.result = {"known": len(record.outcomes())}


def expected(folder, n):
    """What a run of n steps in a file of its own keeps."""
    with Record.create(folder, preset("tiny")) as record:
        for i in range(n):
            take_step(record, i)
        return record.content()


def say(url, statement):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        found = connection.execute(sa.text(statement))
        rows = found.all() if found.returns_rows else []
    engine.dispose()
    return rows


def end_session(record):
    """What a server's restart, or a firewall, does to the process of a run."""
    query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE :name"
    engine = sa.create_engine(record._engine.url)
    with engine.begin() as connection:
        assert connection.execute(sa.text(query), {"name": f"ludus pid {os.getpid()} on %"}).all()
    engine.dispose()


def lose(record, step, meanwhile):
    """A step in which the process has no connection for a while."""
    with record.commit(step):
        record.add_outcomes([outcome("late")])
        end_session(record)
        meanwhile()


# --- connections that end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_of_which_nobody_knows_whether_it_was_made_is_made_once(tmp_path, proxy, when, hold):
    """The connection ends just before, or just after COMMIT reached the server; with `hold` the server keeps the session, and
    the run's lock with it, until it is told otherwise."""
    left, proxy.hold = [1], hold

    def cut(said):
        return when if b"COMMIT" in said and left and not left.clear() else None

    with Record.create(tmp_path / "run", preset("tiny"), url=proxy.url) as record:
        for i in range(4):
            if i:
                left.append(1)
            proxy.cut = cut
            with record.commit(f"between/{i}"):
                pass
            take_step(record, i)
    proxy.cut = lambda said: None
    with Record.create(tmp_path / "own", preset("tiny")) as own:
        for i in range(4):
            with own.commit(f"between/{i}"):
                pass
            take_step(own, i)
        with Record.open(tmp_path / "run") as record:
            assert record.content() == own.content()
    assert not left


def test_a_connection_may_end_at_any_message(tmp_path, proxy, monkeypatch):
    """One after the other: at the first message of a step, at its second, and so on until a step has no more messages."""
    monkeypatch.setattr("ludus.record.server.FIRST_WAIT_S", 0.01)
    heard, ends = [0], [0]

    def cut(said):
        heard[0] += 1
        return ("before", "after")[ends[0] % 2] if heard[0] == ends[0] else None

    n = 0
    with Record.create(tmp_path / "run", preset("tiny"), url=proxy.url) as record:
        proxy.cut = cut
        while ends[0] <= heard[0]:
            heard[0], ends[0] = 0, ends[0] + 1
            take_step(record, n)
            n += 1
        assert n > 15 and record.content() == expected(tmp_path / "own", n)


def test_a_run_goes_on_when_its_session_is_ended(record):
    for i in range(3):
        with record.commit(f"before/{i}"):
            end_session(record)
            record.post(message(f"b{i}"))
            end_session(record)
        end_session(record)
        assert record.last_step() == f"before/{i}"
    assert [m.key for m in record.messages()] == ["b0", "b1", "b2"]


# --- servers that end ----------------------------------------------------------------------------------------------------


def test_a_server_that_comes_back_is_waited_for(tmp_path, server, caplog):
    server.start()
    with Record.create(tmp_path / "run", preset("tiny"), url=server.url) as record:
        take_step(record, 0)
        server.kill()
        again = threading.Timer(1.0, server.start)
        again.start()
        take_step(record, 1)
        again.join()
        say(server.url, "ALTER DATABASE postgres SET default_transaction_read_only = on")  # as a standby is
        end_session(record)
        primary = (
            "BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT"
        )
        again = threading.Timer(1.0, lambda: say(server.url, primary))
        again.start()
        take_step(record, 2)
        again.join()
        assert record.content() == expected(tmp_path / "own", 3)
    assert "the database has gone" in caplog.text and "is there again after" in caplog.text


def test_a_server_that_stays_away_ends_in_one_sentence_and_the_run_can_be_resumed(tmp_path, server, monkeypatch):
    monkeypatch.setattr("ludus.record.server.OUTAGE_S", 1.0)
    server.start()
    directory = tmp_path / "run"
    with Record.create(directory, preset("tiny"), url=server.url, command="ludus run") as record:
        take_step(record, 0)
        server.kill()
        began = time.monotonic()
        with Progress(record).stage("learning", 2) as advance:
            advance(1)  # a run that learns is not held up
            assert time.monotonic() - began < 0.9
        over = rf"could not be used for 1 s \(.*\); what was committed is kept: start .* `ludus resume {directory}`"
        with pytest.raises(LudusError, match=over):
            take_step(record, 1)
        began = time.monotonic()
        for ask in (record.last_step, lambda: record.empty, lambda: take_step(record, 1)):
            with pytest.raises(LudusError, match=over):
                ask()
        assert time.monotonic() - began < 0.9
    with pytest.raises(LudusError, match=r"cannot use the database .*refused"):
        Record.open(directory)
    server.start()
    with Record.open(directory) as record:
        assert record.last_step() == "step/0"
        take_step(record, 1)
        assert record.content() == expected(tmp_path / "own", 2)
    with Record.create(tmp_path / "data", preset("tiny"), url=server.url, command="ludus collect data") as record:
        server.kill()
        with pytest.raises(LudusError, match="continue with the same `ludus collect`"):
            record.post(message("m"))


def test_a_standby_takes_over_and_what_it_lacks_is_noticed(tmp_path, primary_and_standby):
    primary, standby, url = primary_and_standby
    with Record.create(tmp_path / "run", preset("tiny"), url=url) as record:
        take_step(record, 0)
        primary.kill()
        promotion = threading.Timer(1.0, standby.promote)
        promotion.start()
        take_step(record, 1)
        promotion.join()
        assert record.content() == expected(tmp_path / "own", 2)
    assert ludus("status", tmp_path / "run")
    # the other way round, and without waiting for the one that follows
    last = type(primary)(standby)
    last.start()
    standby.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
    url = url.replace(str(primary.port), str(last.port))
    with Record.open(tmp_path / "run", url=url) as record:
        last.until(f"SELECT pg_last_wal_replay_lsn() >= '{standby.say('SELECT pg_current_wal_lsn()')[0][0]}'")
        last.say("ALTER SYSTEM SET primary_conninfo = ''")
        last.say("SELECT pg_reload_conf()")
        standby.until("SELECT count(*) = 0 FROM pg_stat_replication")
        take_step(record, 2)
        standby.kill()
        last.promote()
        with pytest.raises(LudusError, match=r"has lost rows that were committed: a standby took over .*ludus resume"):
            take_step(record, 3)
    with Record.open(tmp_path / "run", url=url) as record:
        assert record.last_step() == "step/1"
        take_step(record, 2)
        assert record.content() == expected(tmp_path / "again", 3)
    last.remove()


@pytest.mark.slow
def test_a_server_that_is_killed_at_random_loses_and_doubles_nothing(tmp_path, server):
    """`kill -9` of all of its processes, 25 times, while a run commits one step after the other."""
    server.start()
    draw, over = np.random.default_rng(0), threading.Event()

    def murder():
        for _ in range(25):
            time.sleep(draw.uniform(0.05, 0.6))
            server.kill()
            server.start()
        over.set()

    killer, n = threading.Thread(target=murder), 0
    with Record.create(tmp_path / "run", preset("tiny"), url=server.url) as record:
        killer.start()
        while not over.is_set():
            take_step(record, n)
            n += 1
        killer.join()
        assert n > 25 and record.content() == expected(tmp_path / "own", n)


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [54, 72], ids=["no room for its log", "no room for rows"])
def test_a_full_disk_of_the_server_loses_nothing(tmp_path, small_disk, megabytes):
    """Without room for its log PostgreSQL ends, without room for rows only the transaction does."""
    from postgresql import Server

    def fill(record, n):
        """Steps until n are there."""
        while len(taken) < n:
            with record.commit(f"step/{len(taken)}"):
                record.post(message(f"m{len(taken)}", rng(len(taken)).bytes(400_000).hex()))
            taken.append(f"m{len(taken)}")

    server, taken = Server(disk=small_disk(megabytes)), []
    try:
        server.start()
        full = r"the disk of the server of .* is full \(.*\); free some space there, then `ludus resume`"
        with (
            pytest.raises(LudusError, match=full),
            Record.create(tmp_path / "run", preset("tiny"), url=server.url) as record,
        ):
            fill(record, 100)
        assert 0 < len(taken) < 100
        small_disk(200)
        while True:  # it may have ended, or be about to
            if not server.alive:
                server.start()
            with suppress(sa.exc.OperationalError):
                server.say("CHECKPOINT")
                break
        with Record.open(tmp_path / "run") as record:
            assert record.last_step() == f"step/{len(taken) - 1}"
            fill(record, len(taken) + 1)
            assert [m.key for m in record.messages()] == taken
    finally:
        server.remove()


@pytest.mark.slow
def test_primaries_that_are_killed_at_random_lose_and_double_nothing(tmp_path, primary_and_standby):
    """`kill -9` of the primary, five times, each time with another standby that is promoted, while a run commits."""
    primary, standby, url = primary_and_standby
    draw, over, servers, n = np.random.default_rng(0), threading.Event(), [primary, standby], 0

    def murder():
        try:
            for _ in range(5):
                time.sleep(draw.uniform(0.05, 0.6))
                servers[-2].kill()
                servers[-1].promote()
                servers.append(servers[-1].followed(servers[-2].port))
        finally:
            over.set()

    killer = threading.Thread(target=murder)
    with Record.create(tmp_path / "run", preset("tiny"), url=url) as record:
        killer.start()
        while not over.is_set():
            take_step(record, n)
            n += 1
        killer.join()
        assert len(servers) == 7 and n > 5 and record.content() == expected(tmp_path / "own", n)
    for server in servers[2:]:
        server.remove()


# --- whose a run is ----------------------------------------------------------------------------------------------------


def test_two_processes_want_one_run(record, tmp_path, url, no_flock):
    """The second is told who has it; also where the directory has no locks, and by a copy of it."""
    me = rf"run 'run' in .* is already running \(pid {os.getpid()} on .*\); wait for it, stop it, or start another"
    shutil.copytree(record.directory, tmp_path / "copy")
    for directory in (record.directory, tmp_path / "copy"):
        with pytest.raises(LudusError, match=me):
            Record.open(directory)
    with pytest.raises(LudusError, match=me):  # nothing was made in it, and still it is somebody's
        Record.create(record.directory, preset("tiny"), url=url)
    take_step(record, 0)
    with Record.open(record.directory, write=False) as reader:
        assert reader.state() == "running"
        record.close()
        assert reader.state() == "stopped"
    with Record.open(record.directory) as record:
        assert record.last_step() == "step/0"


def test_who_lost_a_run_to_another_process_commits_nothing_more(record, no_flock):
    """The second opens it while the first has no connection."""
    take_step(record, 0)
    taken = r"was taken over by another process \(pid \d+ on .*\) while .* has written nothing since"
    seconds = []
    with pytest.raises(LudusError, match=taken):
        lose(record, "late", lambda: seconds.append(Record.open(record.directory)))
    (second,) = seconds
    take_step(second, 1)
    with pytest.raises(LudusError, match=taken):
        record.post(message("late"))
    assert [step.name for step in second.steps()] == ["step/0", "step/1"] and len(second.outcomes()) == 6
    assert [m.key for m in second.messages()] == ["m0", "m1"]
    second.close()


def test_who_lost_a_run_that_another_process_is_through_with_commits_nothing_more(record, no_flock):
    take_step(record, 0)

    def pass_by():
        with Record.open(record.directory) as second:
            take_step(second, 1)

    with pytest.raises(LudusError, match=r"was written by another process \(pid \d+ on .*\)"):
        lose(record, "step/1", pass_by)
    with Record.open(record.directory, write=False) as reader:
        assert len(reader.outcomes()) == 6


def test_a_run_that_another_process_only_opened_goes_on(record, no_flock):
    take_step(record, 0)
    end_session(record)
    Record.open(record.directory).close()
    take_step(record, 1)
    assert record.last_step() == "step/1"


def test_it_is_seen_that_a_server_lost_what_it_had_confirmed(record):
    """A standby that lags takes over, or a copy is restored."""
    take_step(record, 0)
    say(record._engine.url, OLDER)
    end_session(record)
    with pytest.raises(
        LudusError, match=r"has lost rows that were committed: .*; `ludus resume .*` does what is missing"
    ):
        take_step(record, 1)


# --- many ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sixty_runs_write_at_once(tmp_path, url):
    """Each has one connection, and what it would have in a database of its own."""
    failed, most = [], []
    ready = threading.Barrier(60)

    def carry_out(k):
        try:
            with Record.create(tmp_path / str(k), preset("tiny"), url=url, run_id=str(k)) as record:
                ready.wait(60)
                for i in range(5):
                    take_step(record, i)
                if k == 0:
                    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ludus pid %'"
                    most.append(say(url, query)[0][0])
        except Exception as error:
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=carry_out, args=(k,)) for k in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and most[0] <= 60
    assert {(run.last_step, run.state) for run in runs_in(url)} == {("step/4", "stopped")}
    alone, engine = expected(tmp_path / "own", 5), connect(sa.make_url(url))
    for k in range(60):
        with Record.open(tmp_path / str(k), write=False) as record:
            assert record.content() == alone
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.outcomes)).scalar_one() == 900
    engine.dispose()
