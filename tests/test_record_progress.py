"""Progress as rows: what another process can see of a run, and that it never ends one."""

import threading
import time

import pytest
from record_parts import Stop, stop

from ludus.config import preset
from ludus.record import Progress, Record, StageState
from ludus.types import LudusError


@pytest.fixture
def record(tmp_path, database):
    with Record.create(tmp_path / "run", preset("tiny"), url=database) as record:
        yield record


def test_a_stage_is_a_row_that_others_see(record, monkeypatch):
    monkeypatch.setattr("ludus.record.progress.WRITE_INTERVAL_S", 0)
    with Record.open(record.directory, write=False) as reader:
        assert reader.heartbeat() is None
        with record.commit("a"), Progress(record).stage("round 1: training", 30) as advance:
            (stage,) = reader.stages()
            assert (stage.name, stage.done, stage.total, stage.finished) == ("round 1: training", 0, 30, None)
            advance(10)
            advance(5)
            (stage,) = reader.stages()
            assert stage.done == 15 and stage.finished is None and stage.started <= stage.updated <= time.time()
        (stage,) = reader.stages()
        assert stage.done == stage.total == 30 and stage.finished == stage.updated
        assert abs(reader.heartbeat().at - time.time()) < 60
        with pytest.raises(Stop), Progress(record).stage("round 1: training", 40) as advance:  # begun anew, cut short
            stop(advance(1))
        with Progress(record).stage("round 2: training", 5):
            pass
        assert [(s.name, s.done, s.total, s.finished is None) for s in reader.stages()] == [
            ("round 1: training", 1, 40, True),
            ("round 2: training", 5, 5, False),
        ]


def test_rows_are_written_once_a_second_and_all_is_shown():
    rows, shown = [], []

    class Rows:
        writable = True
        write_stage = staticmethod(rows.append)

    with Progress(Rows(), shown.append).stage("collecting", 1000) as advance:
        for _ in range(1000):
            advance(1)
    assert [s.done for s in rows] == [0, 1000] and [s.finished is None for s in rows] == [True, False]
    assert [s.done for s in shown] == [*range(1001), 1000]
    assert all(isinstance(s, StageState) and s.total == 1000 for s in shown)


def test_progress_without_a_record_or_with_one_to_look_at(record):
    with Record.open(record.directory, write=False) as reader:
        for progress in (Progress(), Progress(reader)):
            with progress.stage("looking", 1) as advance:
                advance(1)
        assert reader.stages() == []
        with pytest.raises(LudusError, match="was opened to look at"):
            reader.write_stage(StageState("looking", 0, 1, 0.0, 0.0, None))


def test_no_failure_of_progress_ends_a_run(caplog):
    class Full:
        writable = True

        def write_stage(self, state: StageState) -> None:
            raise LudusError("the disk is full")

    def broken(state: StageState) -> None:
        raise RuntimeError("the terminal is gone")

    done = 0
    with Progress(Full(), broken).stage("collecting", 3) as advance:
        for _ in range(3):
            advance(1)
            done += 1
    said = [r.getMessage() for r in caplog.records]
    assert done == 3 and len(said) == 2 and "the disk is full" in said[1] and "the terminal is gone" in said[0]
    with pytest.raises(Stop), Progress(show=stop).stage("collecting", 1):  # but Ctrl-C is no failure
        pass


def test_threads_share_a_stage(record):
    with Progress(record).stage("collecting", 4000) as advance:
        threads = [threading.Thread(target=lambda: [advance(1) for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert record.stages()[0].done == 4000
