"""Nothing that is printed can fail, and nobody who goes away takes a command along."""

import io
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from command import ludus
from rich.table import Table

from ludus.agents.backends import workers
from ludus.cli import common
from ludus.views import display


class Full(io.StringIO):
    def write(self, said):
        raise OSError(28, "No space left on device")


@pytest.fixture
def streams(monkeypatch):
    """`streams(stdout, stdin)`: the standard streams from here on."""

    def put(stdout=None, stdin=None):
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stdin", stdin)
        return stdout

    return put


# --- streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", b"0.2-0.8 ? ? -> /tmp/\xef"), ("latin-1", b"0.2-0.8 \xfc ? -> /tmp/\xef"), ("utf-8", None)],
)
def test_a_terminal_may_know_few_signs(streams, encoding, expected):
    said, kept = "0.2–0.8 ü ▃ → /tmp/\udcef", io.BytesIO()
    streams(io.TextIOWrapper(kept, encoding))
    with display.lasting() as output:
        print(said)
        display.console().print(said)
    lines = kept.getvalue().splitlines()
    whole = said.replace("\udcef", "?").encode() if expected is None else expected.replace(b"\xef", b"?")
    assert lines == [whole, whole] and not output.lost


def test_a_full_disk_is_said_once_and_closed_streams_not_at_all(streams, caplog):
    streams(Full())
    with display.lasting() as output:
        print("one")
        display.console().print(Table("two"))
    assert output.lost and [r.levelname for r in caplog.records] == ["WARNING"]
    caplog.clear()
    streams()  # as Python has them when they were closed
    with display.lasting():
        print("one")
        with pytest.raises(EOFError):
            input()
    assert sys.stdout is None and not caplog.records


def test_a_terminal_that_went_away_is_given_up(streams):
    terminal, end = os.openpty()
    stream = streams(os.fdopen(end, "w"))
    os.close(terminal)
    with display.lasting() as output:
        for _ in range(3):
            display.console().print("still here")
    assert output.lost
    stream.close()  # nothing is left that it would try to write


def test_what_is_typed_may_be_no_utf_8(streams):
    streams(io.StringIO(), io.TextIOWrapper(io.BytesIO(b"gr\xfcn\n"), "utf-8"))
    with display.lasting():
        assert input() == "gr\N{REPLACEMENT CHARACTER}n"


def test_a_closed_descriptor_is_taken_by_nobody_else():
    script = "from ludus.views import display\nwith display.lasting(): print(open('/dev/zero').fileno() > 2)"
    shell = f'exec {sys.executable} -c "$SCRIPT" 0<&- 2>&-'
    done = subprocess.run(shell, shell=True, env=os.environ | {"SCRIPT": script}, stdout=subprocess.PIPE)
    assert done.stdout == b"True\n"


def test_text_stands_as_it_is_and_paths_stay_whole(streams, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "/tmp" + "/long and [red]bracketed[/nope] :smile:" * 5
    kept = streams(io.StringIO())
    with display.lasting():
        table = Table("run")
        table.add_row(path)
        display.console().print(path)
        display.console().print(table)
    assert kept.getvalue().count(path) == 2 and kept.getvalue().startswith(f"{path}\n")
    assert f"{path} does not exist" in ludus("status", path, code=2)


def test_the_name_of_a_file_does_not_steer_the_terminal(streams):
    kept = streams(io.StringIO())
    with display.lasting():
        display.console().print("Report: \x1b[31mred\u202e/\x07report.html")
    assert kept.getvalue() == "Report: [31mred/report.html\n"


@pytest.mark.parametrize("columns", ["0", "", "-5", "wide"])
def test_a_width_that_is_none_hides_nothing(streams, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    kept = streams(io.StringIO())
    with display.lasting():
        display.console().print("a path")
    assert kept.getvalue() == "a path\n"


def test_a_command_that_only_shows_fails_where_it_cannot(streams, tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(sys, "argv", ["ludus", "status", str(tmp_path / "none")])
    from ludus import cli

    streams(Full())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1


# --- signals -----------------------------------------------------------------------------------------------------

COMMAND = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from ludus.cli.common import interruptible
with interruptible("Interrupted; go on with X", print):
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep({cleaning})
"""


@pytest.mark.parametrize(("cleaning", "signals"), [(0, "TERM"), (0, "INT"), (60, "TERM INT"), (60, "INT INT")])
def test_every_signal_ends_in_a_sentence(cleaning, signals):
    script = COMMAND.format(cleaning=cleaning)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGHUP)  # its terminal is closed: it goes on
    first, *second = (getattr(signal, f"SIG{name}") for name in signals.split())
    process.send_signal(first)
    assert process.stdout.readline() == "cleaning\n"
    for number in second:
        process.send_signal(number)
    assert process.stdout.read() == "\nInterrupted; go on with X\n" and process.wait() == common.INTERRUPTED


def test_signals_are_as_they_were_afterwards():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(n) for n in numbers]
    with common.interruptible("", print), common.interruptible("", print):
        assert [signal.getsignal(n) for n in numbers] != before
    assert [signal.getsignal(n) for n in numbers] == before


def test_learning_processes_get_no_ctrl_c_and_say_what_stopped_them(monkeypatch):
    with workers._uninterrupted():
        child = subprocess.run(["grep", "SigBlk", "/proc/self/status"], capture_output=True, text=True)
    assert int(child.stdout.split()[1], 16) & 1 << signal.SIGINT - 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(workers, "SIGNAL_S", 0)
    pool = object.__new__(workers.WorkerPool)
    for code, said in ((-signal.SIGTERM, "was stopped by SIGTERM"), (-signal.SIGKILL, "for want of memory")):
        pool._processes = [SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=code)]
        assert said in str(pool._died())
