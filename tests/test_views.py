"""What is shown of a run: queries as plain data, and the terminal, report and figures that show them."""

import io
import json
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from counting_world import CountingWorld
from rich.console import Console

from ludus.config import Config
from ludus.lab.analysis import curves_of, wilson
from ludus.record import Evaluation, Progress, Record, StageState
from ludus.skills.library import Skill
from ludus.types import LudusError, Message, Outcome, Plan, Proposal, Retrieval, SuccessCount, Verdict
from ludus.views import queries, text
from ludus.views.report import learning, render, write_report
from ludus.views.terminal import (
    TerminalPerson,
    TerminalProgress,
    print_runs,
    print_status,
    success_table,
)

HOSTILE = "<script>alert('1')</script>\"{{ 7*7 }}{% raw %}[red]\x1b[31m\u202e$x$"
CALL = {
    "sample": 0,
    "attempt": 0,
    "prompt": "propose 1",
    "request": "r",
    "images": [],
    "error": None,
    "turns": 1,
    "tokens_in": 100,
    "tokens_out": 10,
    "retries": 0,
    "seconds": 2.0,
    "at": 0.0,
}


def count(caption, successes, n=20):
    return SuccessCount(caption, "h", n, successes, successes)


def make(directory, words="go there", after=(18, 1), finished=True, library=None):
    """A record as a run of one round leaves it; `words` stand wherever a model or a person may write."""
    world = CountingWorld()
    library = library or world.library()
    with Record.create(directory, Config(), command=f"ludus run {words}") as record:
        with record.commit("begin"):
            record.add_skills(library)
            record.post(Message("a", "loop", "all", "note", f"hello {words}"))
        with record.commit("seed-data/000"):
            record.add_outcomes([Outcome("e1", 0, "go to home", "h", True, True, 0.5)])
        for k, update in enumerate((10, 20)):
            with record.commit(f"round/1/train/{k:03d}"):
                record.add_evaluation("curve", update, [count("go to home", k), count("go to shop", k)])
                record.add_metrics([("loss", update, 1.0 / update)])
                record.add_verdict(1, update, Verdict("go to X", "learning", 0.7, words))
                record.post(Message(f"d{k}", "analysis", "all", "decision", f"go on {words}"))
        with record.commit("round/1/plan"):
            proposal = Proposal(words, words, 0.25)
            record.add_plan(1, Plan("p1", proposal, ("a",), (Retrieval("a", "go to home"),)))
            record.add_plan(1, Plan("p2", proposal, ("b",), (Retrieval("b", None, words),)))
            payload = {"plan": "p1", "n": 2, "successes": 1}
            record.post(Message("o", "embodiment", "all", "outcome", f"{words}: 1 of 2", payload=payload))
        with record.commit("round/1/collect/000"):
            record.add_outcomes([Outcome("e2", 0, "go to home", "h", True, True, 0.5)])
            record.add_outcomes([Outcome("e3", 0, "go to shop", "h", False, True, 0.1)])
        with record.commit("measure/before"):
            record.add_evaluation("before", 10, [count("go to home", 1), count("mark home", 1)])
        if finished:
            with record.commit("measure/after"):
                home, mark = after
                record.add_evaluation("after", 20, [count("go to home", home), count("mark home", mark)])
    return world, library


@pytest.fixture
def run(tmp_path):
    world, library = make(tmp_path / "run")
    with Record.open(tmp_path / "run", write=False) as record:
        yield record, world, library


# --- queries -----------------------------------------------------------------------------------------------------


def test_every_query_is_json(run):
    record, _, library = run
    answers = [
        queries.run_header(record),
        queries.conclusion(record),
        queries.success(record, library),
        queries.growth(record, library),
        queries.learning_curves(record, library),
        queries.chat(record),
        *queries.plans(record),
        *queries.skills(record, library),
        *queries.phase_times(record),
        *queries.notable_episodes(record),
        *queries.runs(record.directory.parent),
    ]
    for answer in answers:
        assert json.loads(json.dumps(asdict(answer)))
    assert queries.model_calls(record) is None


def test_verdicts_are_scored_against_what_happened_afterwards(run, tmp_path):
    record, world, library = run
    assert queries.verdict_scores(record, library) == ()  # no curve is three times as long as at its verdict
    with Record.create(tmp_path / "longer", Config()) as longer:
        with longer.commit("begin"):
            longer.add_skills(library)
        for k, update in enumerate((10, 20, 30, 60)):
            with longer.commit(f"pretrain/train/{k:03d}"):
                longer.add_evaluation("curve", update, [count("go to home", 6 * k, 20), count("go to shop", 6 * k, 20)])
                verdict = Verdict("go to X", "stuck", 0.8, HOSTILE)
                longer.add_verdict(0, update, verdict)
                second = asdict(replace(verdict, judgement="learning", probability=0.6))
                payload = asdict(verdict) | {"statistical": second, "update": update}
                longer.post(Message(f"v{k}", "experimenter", "analysis", "verdict", "stuck", payload=payload))
        analyst, statistical = queries.verdict_scores(longer, library)
        assert (analyst.judge, analyst.verdicts, analyst.right, len(analyst.scored)) == ("analyst", 4, 0, 2)
        assert (statistical.judge, statistical.right, len(statistical.scored)) == ("statistical", 2, 2)
        assert json.loads(json.dumps(asdict(analyst)))["bins"][0]["stated"] == 0.8
        page = write_report(longer, world, library).read_text()
        assert "How good were the verdicts?" in page and "2 of 2" in page
    assert "How good were the verdicts?" not in render("curves.html", **learning(record, library))


def test_header_counts(run):
    header = queries.run_header(run[0])
    assert (header.name, header.kind, header.world) == ("run", "experiment", "blocks")
    assert (header.updates, header.rounds, header.skills, header.plans) == (20, 1, 4, 2)
    assert set(header.experimenter.values()) == {"planner"} and text.experimenter(header.experimenter) == "planner"


def test_success_has_intervals_and_gaps(run):
    record, _, library = run
    success = queries.success(record, library)
    assert success.stages == ("seed data", "before the rounds", "after the rounds")
    templates = {row.caption: row.rates for row in success.templates}
    seed, before, after = templates["go to X"]
    assert (seed.n, before.successes, after.successes) == (1, 1, 18)
    assert (after.low, after.high) == wilson(18, 20)
    assert templates["mark X"][0] is None  # no seed data


def test_curves_are_pooled_over_a_template(run):
    record, _, library = run
    found = queries.learning_curves(record, library)
    (curve,) = found.curves
    assert curve.template == "go to X"
    assert [(p.update, p.rate.successes, p.rate.n) for p in curve.points] == [(10, 0, 40), (20, 2, 40)]
    assert [(v.round, v.update, v.judgement) for v in curve.verdicts] == [(1, 10, "learning"), (1, 20, "learning")]
    assert found.round_starts == (10,)
    points = [Evaluation("curve", 5, count("go to home", 1)), Evaluation("curve", 5, count("go to shop", 3))]
    (direct,) = curves_of(points, library)
    assert (direct.updates, direct.successes, direct.n) == ((5,), (4,), (40,))
    assert curves_of([], library) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ((18, 1), "Better after the rounds: go to X (0.05 → 0.90)."),
        ((1, 1), "Nothing new was learned: no skill got measurably better and none was added."),
        ((3, 2), "Nothing new was learned"),  # more than before, but within what chance does
    ],
)
def test_growth_is_only_what_was_measured(tmp_path, after, said):
    _, library = make(tmp_path / "run", after=after)
    with Record.open(tmp_path / "run", write=False) as record:
        growth = queries.growth(record, library)
    assert text.growth(growth).startswith(said)
    assert growth.nothing == said.startswith("Nothing")


def test_growth_counts_added_skills_and_losses():
    low, high = queries.rate_of(count("x", 2)), queries.rate_of(count("x", 18))
    worse = queries.Change("go to X", high, low, "worse")
    new = [queries.Added("dance", 1, 1, True, high, True), queries.Added("fly", 2, 2, False, None, False)]
    both = queries.Growth(True, (worse,), tuple(new))
    assert not both.nothing
    assert text.growth(both) == (
        "New skills that succeed: dance (0.90). Worse after the rounds: go to X (0.90 → 0.10). Added but not learned: fly."
    )
    assert queries.Growth(True, (worse,), (new[1],)).nothing
    assert (
        text.growth(queries.Growth(False, (), tuple(new)))
        == "Skills accepted so far: dance. Added but not accepted: fly."
    )


def test_a_skill_that_joined_is_new(tmp_path):
    world = CountingWorld()
    library = world.library()
    make(tmp_path / "run", finished=False, library=library)
    dance = Skill("dance at home", "at(home)", "at(home)", 5, base=False)
    with Record.open(tmp_path / "run") as record:
        with record.commit("round/2/plan"):
            record.add_skills([dance], round=2)
        with record.commit("measure/after"):
            record.add_evaluation("after", 20, [count("go to home", 1), count("dance at home", 19)])
        growth = queries.growth(record, library.add(dance))
        (entry,) = [s for s in queries.skills(record, library.add(dance)) if s.round > 0]
    assert [(a.template, a.round, a.learned) for a in growth.added] == [("dance at X", 2, True)]
    assert (entry.caption, entry.template, entry.base) == ("dance at home", "dance at X", False)


def test_plans_know_their_outcome(run):
    done, gap = queries.plans(run[0])
    assert (done.captions, done.gaps, done.outcome) == (("go to home",), (), "1 of 2")
    assert (gap.captions, gap.gaps, gap.outcome) == ((), ("go there",), None)


def test_chat_goes_on_where_it_was_left(run):
    record, _, _ = run
    chat = queries.chat(record)
    assert [(t.name, len(t.postings)) for t in chat.topics] == [("begin", 1), ("round/1", 3)]
    middle = chat.topics[1].postings[0].number
    assert sum(len(t.postings) for t in queries.chat(record, middle).topics) == 2
    assert queries.chat(record, chat.last) == queries.Chat((), chat.last)


def test_an_unknown_price_is_not_zero(tmp_path):
    make(tmp_path / "run")
    with Record.open(tmp_path / "run") as record:
        for k, (usd, replayed) in enumerate([(0.5, False), (None, False), (None, True)]):
            row = {"key": f"k{k}", "role": "propose", "model": "m", "answer": {}, "usd": usd, "replayed": replayed}
            record.add_call(CALL | row)
        row = {"key": "u", "role": "analyse", "model": "m", "answer": None, "usd": None, "replayed": False}
        record.add_call(CALL | row)
        calls = queries.model_calls(record)
    propose, analyse = calls.roles
    assert (propose.calls, propose.replayed, propose.usd, propose.unpriced) == (3, 1, 0.5, 1)
    assert text.price(propose) == "0.5000 and 1 call of unknown price"
    assert text.price(analyse) == "1 call of unknown price"
    assert text.price(replace(propose, calls=1, replayed=1, usd=0.0, unpriced=0)) == "0.0000"
    assert (calls.total.calls, calls.total.unanswered, calls.total.tokens_in) == (4, 1, 400)


def test_runs_of_a_folder_include_what_cannot_be_read(tmp_path):
    make(tmp_path / "one")
    make(tmp_path / "two", finished=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ludus.db").write_bytes(b"no database")
    (tmp_path / "other").mkdir()
    found = queries.runs(tmp_path)
    assert [(s.name, s.conclusion and s.conclusion.status.state) for s in found] == [
        ("one", "done"),
        ("two", "stopped"),
        ("broken", None),
    ]
    assert found[-1].error
    console = Console(file=io.StringIO(), width=160)
    print_runs(found, console, tmp_path)
    shown = console.file.getvalue()
    assert all(s.name in shown for s in found) and str(tmp_path) not in shown.split("unreadable")[0]
    assert f"{tmp_path / 'broken'} holds no readable run" in shown.split("unreadable")[1].replace("\n", " ")


def listed(where, width=160):
    console = Console(file=io.StringIO(), width=width)
    print_runs(queries.runs(where), console, where)
    return console.file.getvalue()


def test_a_list_survives_a_broken_run_json_and_names_old_versions(tmp_path):
    make(tmp_path / "one")
    make(tmp_path / "bad")
    (tmp_path / "bad" / "run.json").write_text("{half")
    (tmp_path / "old").mkdir()
    with sqlite3.connect(tmp_path / "old" / "ludus.db") as database:
        database.execute("CREATE TABLE run (schema INTEGER)")
        database.execute("INSERT INTO run VALUES (1)")
    assert [(s.name, s.version) for s in queries.runs(tmp_path)] == [("one", None), ("bad", None), ("old", 1)]
    shown = listed(tmp_path)
    assert re.search(r"old .*version 1: ludus convert\n", shown) and re.search(r"bad .*unreadable *\n", shown)
    assert "upgrade it in place" not in shown and "run.json cannot be read" in shown


def test_an_empty_folder_or_database_has_no_runs(tmp_path):
    (tmp_path / "none").mkdir()
    assert listed(tmp_path / "none", 500) == f"no runs in {tmp_path / 'none'}\n"
    Record.create(tmp_path / "run", Config(), url=tmp_path / "all.db").discard()
    url = f"sqlite:///{tmp_path / 'all.db'}"
    assert listed(url, 500) == f"no runs in {url}\n"


def test_notable_episodes(run):
    best, failed = queries.notable_episodes(run[0])
    assert (best.id, best.successes, failed.id, failed.successes) == ("e2", 1, "e3", 0)


def test_what_runs_now_is_seen_from_outside(tmp_path):
    make(tmp_path / "run", finished=False)

    def status():
        with Record.open(tmp_path / "run", write=False) as record:
            return queries.run_status(record)

    with Record.open(tmp_path / "run") as record, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with Progress(record).stage("seed data", 4) as advance:
            advance(4)
        with Progress(record).stage("training", 10) as advance:
            assert status().state == "running"
            assert text.status(status()) == "Running: training (0 of 10); not finished."
            advance(3)
            raise KeyboardInterrupt
    assert status().state == "stopped" and status().last_sign
    assert text.status(status()) == "Not finished: stopped in training (3 of 10)."
    with Record.open(tmp_path / "run") as record, record.commit("measure/after"):
        record.add_evaluation("after", 20, [count("go to home", 1)])
    assert (status().state, status().stages) == ("done", ())


def test_runs_of_a_database(tmp_path):
    url = f"sqlite:///{tmp_path / 'many.db'}"
    for k in range(2):
        Record.create(tmp_path / f"run{k}", Config(), url=url).close()
    found = queries.runs(url)
    assert [s.name for s in queries.runs(tmp_path)] == ["run0", "run1"]
    ids = [s.name for s in found]  # what commands take with --record
    assert ids == [s.header.run_id for s in found] and [i[:5] for i in ids] == ["run0-", "run1-"]
    for k in range(2):  # as if on another machine, with a name that is taken here
        shutil.rmtree(tmp_path / f"run{k}")
    make(tmp_path / "run0")
    assert [(s.name, s.conclusion and s.conclusion.status.state) for s in queries.runs(url)] == [
        (ids[0], "stopped"),
        (ids[1], "stopped"),
    ]
    Record.create(tmp_path / "deep" / "run0", Config(), url=url).close()
    shown = listed(url, 500)
    assert len(queries.runs(url)) == 3 and all(f"{s.name} " in shown for s in queries.runs(url))


# --- text --------------------------------------------------------------------------------------------------------


def test_control_characters_go():
    assert text.clean("a\x1b[31mb\x07\r\x9b\u202ec\td\n") == "a[31mbc\td\n"


# --- terminal ----------------------------------------------------------------------------------------------------


STAGE = StageState("training", done=0, total=10, started=100.0, updated=100.0, finished=None)


def shown(console):
    with TerminalProgress(console) as progress:
        for stage in (
            STAGE,
            replace(STAGE, done=5, updated=103.0),
            replace(STAGE, done=10, updated=107.0, finished=107.0),
        ):
            progress.show(stage)
        progress.show(replace(STAGE, name="measuring", done=3))
    return console.file


def test_a_log_file_has_a_line_per_finished_stage():
    assert shown(Console(file=io.StringIO())).getvalue() == "training (7 s)\n"


def test_a_terminal_has_bars_and_keeps_the_lines():
    drawn = shown(Console(file=io.StringIO(), force_terminal=True, width=100, _environ={})).getvalue()
    assert re.search(r"training \(7 s\)", drawn)
    assert re.search(r"measuring .*3/10", drawn)


class Gone(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error, self.tries = error, 0

    def write(self, said):
        self.tries += 1
        raise self.error

    flush = lambda self: None  # noqa: E731


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "pipe"), OSError(28, "full"), OSError(5, "gone"), ValueError("shut")]
)
@pytest.mark.parametrize("terminal", [False, True])
def test_no_terminal_pipe_or_disk_ends_a_run(error, terminal, caplog):
    stream = Gone(error)
    with caplog.at_level(logging.WARNING):
        shown(Console(file=stream, force_terminal=terminal, _environ={}))
        shown(Console(file=stream))
    assert stream.tries > 1
    assert len(caplog.records) == 2 and "the run goes on" in caplog.text  # once per display


def test_a_pipe_that_nobody_reads_leaves_no_error_at_exit():
    script = """
import logging
from rich.console import Console
from ludus.record import StageState
from ludus.views.terminal import TerminalProgress
logging.basicConfig()
console = Console()
with TerminalProgress(console) as progress:
    progress.show(StageState("training", 10, 10, 0.0, 7.0, 7.0))
console.print("the report is written")
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1 and "Broken pipe" in done.stderr and "the run goes on" in done.stderr


def test_what_an_encoding_lacks_is_replaced():
    buffer = io.BytesIO()
    console = Console(file=io.TextIOWrapper(buffer, encoding="ascii"))
    with TerminalProgress(console) as progress:
        progress.show(replace(STAGE, name="a → b ▃\x1b[2J", finished=107.0))
    assert buffer.getvalue() == b"a -> b ?[2J (7 s)\n"


def test_a_person_answers_between_the_bars(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, _environ={})
    with TerminalProgress(console) as progress:
        progress.show(STAGE)
        person = TerminalPerson(console, progress)
        monkeypatch.setattr("builtins.input", lambda: "yes" if not progress._bars.live.is_started else "bars")
        assert person("Is it [red]?") == "yes"
        assert progress._bars.live.is_started
        assert "Is it [red]?" in console.file.getvalue()

        def nobody():
            raise EOFError

        monkeypatch.setattr("builtins.input", nobody)
        with pytest.raises(LudusError, match="nobody answers at the terminal"):
            person("Hello?")
    with pytest.raises(LudusError, match="nobody answers"):
        TerminalPerson(Console(file=io.StringIO()))("Hello?")


def status_of(directory):
    console = Console(file=io.StringIO(), width=200)
    with Record.open(directory, write=False) as record:
        print_status(record, console)
    return console.file.getvalue()


def test_status_says_how_to_go_on(tmp_path):
    make(tmp_path / "done", words=HOSTILE)
    said = status_of(tmp_path / "done")
    assert (
        said.endswith("done experiment.rounds=2\n")
        and "\ndone; more rounds: ludus resume" in said
        and "\x1b" not in said
        and "[red]" in said
    )
    make(tmp_path / "half", finished=False)
    assert f"continue with: ludus resume {tmp_path / 'half'}" in status_of(tmp_path / "half").replace("\n", "")
    with Record.open(tmp_path / "half") as record:
        record.post(Message("x", "learner", "all", "diverged", "diverged at update 4"))
    said = status_of(tmp_path / "half")
    assert "\nfailed: diverged at update 4\n" in said and "diverged, and would again" in said
    assert re.search(r"\n  begin +1 step +\d", said) and re.search(r"\n  round/1/train +2 steps +\d", said)


def test_status_says_what_runs_now(tmp_path):
    make(tmp_path / "run", finished=False)
    with Record.open(tmp_path / "run") as record:
        progress = Progress(record)
        with progress.stage("training", 30) as trained, progress.stage("measuring", 6240) as measured:
            trained(11)
            measured(3304)
            record.write_stage(StageState("training", 11, 30, 1.0, 2.0, None))
            record.write_stage(StageState("measuring", 3304, 6240, 1.0, 2.0, None))
            said = status_of(tmp_path / "run")
    assert said.endswith("\nrunning: training 11 of 30; measuring 3,304 of 6,240\n")


def test_success_table_shows_brackets_as_they_stand():
    console = Console(file=io.StringIO(), width=120)
    console.print(success_table("[bold]title", [count("[red]x", 5, 10), count("never", 0, 0)]))
    shown = console.file.getvalue()
    assert "[bold]title" in shown and "[red]x" in shown and "0.500" in shown and "0.24–0.76" in shown


# --- report ------------------------------------------------------------------------------------------------------


def page_of(directory, world, library):
    with Record.open(directory, write=False) as record:
        return write_report(record, world, library).read_text()


def test_hostile_text_is_only_text(tmp_path):
    world = CountingWorld()
    hostile = world.library().add(Skill(f"go {HOSTILE}", "at(home)", "at(home)", 5, base=False))
    make(tmp_path / "run", words=HOSTILE, library=hostile)
    with Record.open(tmp_path / "run") as record:
        model = {"key": "k", "role": HOSTILE, "model": HOSTILE, "answer": {}, "usd": None, "replayed": False}
        record.add_call(CALL | model)
        with record.commit("late"):
            record.add_evaluation("curve", 30, [count(f"go {HOSTILE}", 1)])
    page = page_of(tmp_path / "run", world, hostile)
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("&lt;script&gt;alert(&#39;1&#39;)") > 8
    assert "{{ 7*7 }}{% raw %}" in page
    assert not re.search(r"=\"[^\"]*'1'", page)  # nor in an attribute


def test_half_a_surrogate_pair_in_a_record_of_elsewhere_breaks_no_report(tmp_path):
    world, library = make(tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "ludus.db") as connection:
        half = "\\ud83d"  # as JSON may write it
        connection.execute("UPDATE plans SET retrievals = replace(retrievals, 'go there', ?)", (half,))
    assert "no skill for ?" in page_of(tmp_path / "run", world, library)


def test_the_first_line_says_how_it_ended(tmp_path):
    world, library = make(tmp_path / "run", finished=False)
    first = lambda: re.search(r'<p class="first"><b>(.*)</b>', page_of(tmp_path / "run", world, library)).group(1)  # noqa: E731
    assert first().startswith("Not finished")
    with Record.open(tmp_path / "run") as record:
        record.post(Message("x", "learner", "all", "diverged", "diverged at update 4; lower it"))
    assert first() == "Failed: diverged at update 4; lower it."
    with Record.open(tmp_path / "run") as record, record.commit("measure/after"):
        record.add_evaluation("after", 20, [count("go to home", 1), count("mark home", 1)])
    assert first().startswith("Finished, but nothing new was learned")


def test_a_run_that_has_nothing_has_a_report(tmp_path):
    world = CountingWorld()
    with Record.create(tmp_path / "run", Config(), command="ludus run"):
        pass
    page = page_of(tmp_path / "run", world, world.library())
    assert "Not finished: stopped before its first step." in page and "Nothing was evaluated yet." in page


def test_without_pictures_the_report_says_so(run):
    record, world, library = run
    assert "No films: " in write_report(record, world, library).read_text()


def test_a_message_can_be_rendered_alone():
    posting = queries.Posting(1, 0.0, None, "me", "all", "note", "<b>", ("a.png", "gone.png"))
    html = render("message.html", posting=posting, pictures={"a.png": "/runs/1/a.png"})
    assert "&lt;b&gt;" in html and 'src="/runs/1/a.png"' in html and "gone" not in html
