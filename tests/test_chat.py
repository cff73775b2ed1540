"""`ludus chat`: the room in the terminal."""

import io
import threading

import pytest
from test_views import HOSTILE, make

from ludus.cli import chat
from ludus.cli.chat import Chat
from ludus.config import Config
from ludus.record import Record
from ludus.types import Message


@pytest.fixture
def talk(monkeypatch, capsys):
    """`talk(directory, typed, **options)` -> what is printed."""
    monkeypatch.setattr(chat, "POLL_S", 0.01)

    def follow(directory, typed="", **options):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed) if isinstance(typed, str) else typed)
        Chat(directory, **options)()
        return capsys.readouterr().out

    return follow


class Silence(io.StringIO):
    """A terminal at which nobody types anything."""

    def __init__(self):
        super().__init__()
        self.left = threading.Event()

    def isatty(self):
        return True

    def __iter__(self):
        self.left.wait(60)
        return iter(())


def test_lines_of_a_pipe_are_said_and_refusals_printed(tmp_path, talk):
    make(tmp_path / "run", HOSTILE, finished=False)
    out = talk(tmp_path / "run", f"hello {HOSTILE}\n\n/help\n/fly\n/stop\nlast words", name="Anna")
    assert "\x1b" not in out and "\u202e" not in out and "The run is stopped" in out
    assert "(not said: unknown command '/fly'" in out and "/propose TASK" in out
    assert "Anna → loop: /stop" in out and "Anna → experimenter: last words" in out and f"hello {HOSTILE[:8]}" in out
    with Record.open(tmp_path / "run", write=False) as record:
        assert [m.sender for m in record.messages("command")] == ["Anna"] and len(record.messages("remark")) == 2


def test_the_last_messages_of_a_run_that_is_over_are_printed(tmp_path, talk):
    make(tmp_path / "run")
    stdin = Silence()  # is not waited for
    out = talk(tmp_path / "run", stdin, last=2)
    stdin.left.set()
    assert out.count(" → ") == 2 and "The run has ended" in out


def test_what_is_new_is_printed_until_the_run_ends(tmp_path, talk):
    stdin, record = Silence(), Record.create(tmp_path / "run", Config(), command="ludus run")
    record.post(Message("a", "loop", "all", "note", "first\nsecond line"))

    def go_on():
        record.post(Message("b", "loop", "all", "note", "something new", ("images/a.png",)))
        with record.commit("measure/after"):
            pass
        record.close()

    later = threading.Timer(0.3, go_on)
    later.start()
    out = talk(tmp_path / "run", stdin)
    later.join()
    stdin.left.set()
    assert out.index("first\n       second line") < out.index("Ctrl-D leaves") < out.index("something new")
    assert "[images/a.png]" in out and out.rstrip().endswith("(The run has ended: nobody reads this.)")
