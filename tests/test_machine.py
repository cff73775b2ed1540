"""What a machine or a file system withholds is counted, done without, or said in one sentence at the start."""

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
import torch
from command import ludus
from torch import nn

from ludus import machine
from ludus.agents.backends import make_backend
from ludus.agents.backends.local import LocalBackend
from ludus.agents.backends.workers import WorkersBackend
from ludus.config import AgentConfig, SamplingConfig, TrainingConfig, preset
from ludus.data.rows import RowTable
from ludus.record import Record, files, filesystem
from ludus.types import LudusError


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """Control groups in files: `groups(line of /proc/self/cgroup, {path: content})`."""

    def make(line: str, contents: dict[str, str]):
        (tmp_path / "membership").write_text(line + "\n")
        for path, content in contents.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(content + "\n")
        monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path)
        monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
        monkeypatch.setattr(machine, "_AT_START", frozenset(range(16)))

    return make


@pytest.mark.parametrize(
    ("line", "contents", "cores"),
    [
        ("0::/", {"cpu.max": "max 100000"}, 16),
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "250000 100000"}, 3),
        ("0::/job/step", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "max 100000"}, 4),
        ("0::/docker/7f3a", {"cpu.max": "300000 100000"}, 3),  # the host's path, in a container
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ("0::/", {"cpu.max": "nonsense"}, 16),
        ("4:memory:/", {}, 16),
    ],
)
def test_cores_are_those_that_control_groups_leave(groups, line, contents, cores):
    groups(line, contents)
    assert machine.cores() == cores and machine.threads(0) == cores and machine.threads(7) == 7


def test_memory_is_what_control_groups_leave(groups):
    groups("0::/job", {"memory.max": "max", "job/memory.max": "1000000"})
    assert machine.memory_bytes() == 1_000_000
    groups("5:memory:/", {"memory/memory.limit_in_bytes": "2000000"})
    assert machine.memory_bytes() == 2_000_000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_thread_that_openmp_bound_gets_its_cores_back():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # as libgomp does when OMP_PROC_BIND is set
    try:
        assert machine.threads() == machine.cores() <= len(before)
        assert os.sched_getaffinity(0) == before
    finally:
        os.sched_setaffinity(0, before)


def test_who_imports_torch_first_is_told(monkeypatch, caplog):
    monkeypatch.setattr(machine, "_AT_START", frozenset({0}))
    monkeypatch.setattr(machine, "_allowed", lambda: frozenset({0}))
    monkeypatch.setattr(machine, "_TOO_LATE", True)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    machine.threads()
    assert not caplog.messages
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    for _ in range(2):
        machine.threads()
    (said,) = caplog.messages
    assert (
        said
        == "OpenMP has bound this process to one of 8 cores (OMP_PROC_BIND=true); import ludus before torch, or unset it"
    )


# --- memory that processes share ---------------------------------------------------------------------------------


def test_without_room_for_shared_memory_one_process_learns(monkeypatch, caplog):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    monkeypatch.setattr(machine, "_AT_START", frozenset({0, 1}))
    spec, network, cpu = type("Spec", (), {"config": AgentConfig()})(), nn.Linear(100, 100), torch.device("cpu")
    backend = make_backend(spec, 0, network, cpu, TrainingConfig())  # type: ignore
    assert isinstance(backend, LocalBackend) and not isinstance(backend, WorkersBackend)
    assert "learning in one process: no room for" in caplog.text
    with pytest.raises(LudusError, match=r"no room for 0 MB .* --shm-size=2g\), or give training.processes=1"):
        make_backend(spec, 0, network, cpu, TrainingConfig(processes=2))  # type: ignore


# --- file systems ------------------------------------------------------------------------------------------------


@pytest.fixture
def lacking(monkeypatch):
    def make(ability: str):
        def refuse(file):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setitem(filesystem.ABILITIES, ability, refuse)

    return make


def test_an_ordinary_file_system_lacks_nothing(tmp_path):
    assert filesystem.missing(tmp_path / "not" / "there") == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ability", "words"),
    [
        (
            filesystem.FLOCK,
            r"has no flock \(No locks available\), which .*; give a folder of a local disk, or mount it",
        ),
        (filesystem.POSIX_LOCKS, r"has no POSIX locks .*, which SQLite needs; .* \(--record FILE"),
    ],
)
def test_a_run_is_not_begun_where_there_are_no_locks(tmp_path, lacking, ability, words):
    lacking(ability)
    with pytest.raises(LudusError, match=words):
        Record.create(tmp_path / "new" / "run", preset("tiny"))
    assert not list(tmp_path.iterdir())


def test_rows_elsewhere_need_no_posix_locks_in_the_directory(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(filesystem, "check", lambda folder, *abilities: asked.append((folder, *abilities)))
    Record.create(tmp_path / "run", preset("tiny"), url=tmp_path / "rows.db").close()
    assert asked == [(tmp_path / "run", filesystem.FLOCK), (tmp_path, filesystem.POSIX_LOCKS)]


def test_without_shared_maps_the_database_does_without_wal(tmp_path, lacking):
    Record.create(tmp_path / "moved", preset("tiny")).close()
    lacking(filesystem.SHARED_MAPS)
    Record.create(tmp_path / "new", preset("tiny")).close()
    for name in ("moved", "new"):
        with Record.open(tmp_path / name) as record, record.commit("step"):
            pass
        with Record.open(tmp_path / name, write=False) as record:
            assert record.done("step")
        with sqlite3.connect(tmp_path / name / "ludus.db") as connection:
            assert connection.execute("PRAGMA journal_mode").fetchall() == [("delete",)]


def test_mapped_transitions_need_shared_maps(tmp_path, lacking):
    lacking(filesystem.SHARED_MAPS)
    table = RowTable(SamplingConfig(memory="mapped"), tmp_path)
    with pytest.raises(
        LudusError, match=r"has no shared maps .*; give a folder of a local disk, or sampling.memory=ram"
    ):
        table._map("actions", (2, 2), "float32")


@pytest.fixture
def without_temporary_folder(tmp_path, monkeypatch):
    """What can be no folder stands for every folder for temporary files, and for home."""
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "x")
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(variable, nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    candidates = tempfile._candidate_tempdir_list  # type: ignore
    usual = set(candidates()) - {nowhere}
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [f for f in candidates() if f not in usual])
    return Path(nowhere)


def test_the_runs_folder_or_shared_memory_stands_in_for_temporary_ones(without_temporary_folder, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "shared")
    (tmp_path / "runs").mkdir()
    for near, found in ((tmp_path / "runs" / "new", "runs"), (without_temporary_folder, "shared")):
        monkeypatch.setenv("TMPDIR", str(without_temporary_folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(os, "access", lambda path, mode: path.name in ("runs", "shared"))
        machine.provide_temporary_folder(near)
        assert tempfile.gettempdir() == str(tmp_path / found)


def test_without_any_temporary_folder_runs_can_still_be_looked_at(without_temporary_folder, tmp_path, monkeypatch):
    Record.create(tmp_path / "run", preset("tiny")).close()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert "can be written; set TMPDIR to one that can" in ludus("do", code=2)
    assert "seed 0" in ludus("status", tmp_path / "run") and "skill" in ludus("skills", tmp_path / "run")


def test_a_folder_that_cannot_be_flushed_is_done_without(tmp_path, monkeypatch):
    flush = os.fsync

    def refuse(number):
        def fsync(descriptor):
            if os.path.isdir(f"/proc/self/fd/{descriptor}"):
                raise OSError(number, os.strerror(number))
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(errno.EINVAL)
    files.write(tmp_path / "a" / "b", b"1")
    assert (tmp_path / "a" / "b").read_bytes() == b"1"
    refuse(errno.EIO)  # the disk is broken
    with pytest.raises(OSError, match="Input/output error"):
        files.write(tmp_path / "a" / "b", b"2")
