"""Studies: what a file may say, the card that is kept before the first run, what is left to do after an interruption."""

import io
import json
import re
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from browser_parts import overhang, violations, watched
from command import ludus
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_docs import parse
from test_views import make

import ludus as ludus_package
from ludus import machine
from ludus.cli.study import Processes
from ludus.experiment import study as engine
from ludus.experiment.study_file import METRICS, digest, read_study
from ludus.experiment.trials import check_trials, stands, state, trials
from ludus.lab.resampling import TESTS
from ludus.record import Progress, Record, files
from ludus.record.lock import DirectoryLock
from ludus.types import LudusError
from ludus.views.queries.study import MEASURES, areas, study_result
from ludus.views.studies import print_study, write_study

ROOT = Path(__file__).parents[1]
CARD = """
[card]
hypothesis = "More rounds, more success."
metric = "{metric}"
n = {n}
test = "{test}"
answer = "Yes if the interval of long - short lies above 0."
"""
ARMS = """
[[arm]]
name = "short"
settings = ["experiment.rounds=1"]

[[arm]]
name = "long"
"""
BASE = '\n[base]\npreset = "tiny"\nsettings = ["experiment.rounds=3"]\n'


def written(tmp_path, text=None, name="study.toml", **card):
    path = tmp_path / name
    whole = f'name = "rounds"\nseeds = [0, 1]\n{CARD}{BASE}{ARMS}' if text is None else text
    path.write_text(whole.format(**{"metric": "base_success", "n": 2, "test": "permutation"} | card))
    return path


def changed(tmp_path, old, new):
    text = written(tmp_path).read_text()
    assert old in text
    return written(tmp_path, text.replace(old, new).replace("{", "{{").replace("}", "}}"))


# --- files -------------------------------------------------------------------------------------------------------


def test_an_arm_has_what_the_base_says_and_what_it_says_itself(tmp_path):
    study = read_study(written(tmp_path))
    short, long = study.arms
    assert study.seeds == (0, 1) and study.fork is None and study.card.compare == (("long", "short"),)
    assert short.preset == long.preset == "tiny"
    assert short.settings == ("experiment.rounds=3", "experiment.rounds=1")
    found = trials(study, tmp_path / "out")
    assert [t.name for t in found] == ["short-0", "long-0", "short-1", "long-1"]  # pairs are complete early
    assert [t.rounds for t in found] == [1, 3, 1, 3]


def test_one_experimenter_plays_all_roles_but_those_that_settings_name(tmp_path):
    path = changed(
        tmp_path, 'name = "long"', 'name = "long"\nexperimenter = "random"\nsettings = ["experimenter.analyse=planner"]'
    )
    check_trials(trials(read_study(path), tmp_path / "out"))
    assert read_study(path).arms[1].settings[0] == "experimenter.propose=random"
    assert read_study(path).arms[1].settings[-1] == "experimenter.analyse=planner"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "rounds"', "", "'name' is missing; needed are name, seeds, card, arm"),
        ('name = "rounds"', 'name = "../up"', r"name = .*up.* names a directory; give 1 to 60 of the characters"),
        ("seeds = [0, 1]", "seeds = []", r"seeds = \[\] leaves nothing to run; give some"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "seed 1 is in it twice"),
        ("seeds = [0, 1]", 'seeds = ["a"]', "seeds = .* is not a list of whole numbers"),
        ("seeds = [0, 1]", "seeds = [true]", "seeds = .* is not a list of whole numbers"),
        ("seeds = [0, 1]", "seeds = [99999999999999999999]", "seeds = .* is not a list of whole numbers of 64 bits"),
        ("seeds = [0, 1]", "seeds = [0, 1, 2]", r"\[card\]: n = 2 seeds per arm, but seeds has 3; make them agree"),
        ("seeds = [0, 1]", "seed = [0, 1]", "unknown key 'seed'; nearest: 'seeds'"),
        ("[card]", "[cards]", "unknown key 'cards'; nearest: 'card'"),
        ("[card]", "card = 3\n[other]", "card = 3 is not a table"),
        ('"More rounds, more success."', '" "', r"\[card\]: hypothesis is empty; say it in a sentence"),
        (
            'metric = "base_success"',
            'metric = "success"',
            r"\[card\]: unknown metric 'success'; known: base_success, new_success,",
        ),
        ('test = "permutation"', 'test = "t"', r"\[card\]: unknown test 't'; known: permutation, sign"),
        ("n = 2", "n = 2\nhypotheses = 3", r"\[card\]: unknown key 'hypotheses'; nearest: 'hypothesis'"),
        ("n = 2", 'n = 2\ncompare = [["long", "middle"]]', r"\[card\]: unknown arm 'middle'"),
        ("n = 2", 'n = 2\ncompare = [["long", "long"]]', r"\[card\]: compare: 'long' with itself; name two arms"),
        ("n = 2", 'n = 2\ncompare = [["long"]]', r"\[card\]: compare = .* is no pair of arms"),
        ("n = 2", 'n = 2\ncompare = ["long"]', r"\[card\]: compare = .* is not a list of pairs"),
        ('name = "long"', 'name = "short"', "arm 'short' is in it twice; give one another name"),
        ('name = "long"', 'name = "a/b"', "arm 'a/b': name = .a/b. names a directory"),
        ('name = "long"', "settings = []", "arm 2: 'name' is missing"),
        ('name = "long"', 'name = "long"\ntemperature = 1', "arm 'long': unknown key 'temperature'"),
        ('name = "long"', 'name = "long"\nsettings = [1]', "arm 'long': settings = .* is not a list of texts"),
        (
            'name = "long"',
            'name = "long"\nsettings = ["seed=4"]',
            "arm 'long': seed is no setting of an arm; give seeds",
        ),
        ('name = "rounds"', 'name = "rounds"\nfork = {run = "x"}', "fork: 'round' is missing"),
        ('name = "rounds"', 'name = "rounds"\nfork = {run = "x", round = 0}', "preset does not go with a fork"),
        ("[card]", "[card", "not TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_a_sentence(tmp_path, old, new, said):
    path = changed(tmp_path, old, new)
    with pytest.raises(LudusError, match=f"study file {re.escape(str(path))}: .*{said}"):
        read_study(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rounds=1", "round=1", "arm 'short': unknown setting in 'experiment.round=1': 'round'; nearest: 'rounds'"),
        ("rounds=1", "rounds=-1", "arm 'short': experiment.rounds=-1 makes no sense; give 0 or more"),
        ('"tiny"', '"tinny"', "arm 'short': unknown preset 'tinny'; nearest: 'tiny'"),
        ("experiment.rounds=1", "world.name=block", "arm 'short', seed 0: unknown world 'block'"),
        ("experiment.rounds=1", "experimenter.propose=planer", "arm 'short', seed 0: unknown experimenter 'planer'"),
        (
            'name = "long"',
            'name = "long"\nlibrary = "none.toml"',
            "arm 'long', seed 0: cannot read the library file none.toml",
        ),
        ('name = "long"', 'name = "long"\ndata = ["runs/{seed}"]', "arm 'long', seed 0: runs/0 does not exist"),
    ],
)
def test_what_no_run_could_use_is_refused_before_any_begins(tmp_path, monkeypatch, old, new, said):
    monkeypatch.chdir(tmp_path)
    printed = ludus("study", changed(tmp_path, old, new), "--dir", tmp_path / "out", code=2)
    assert re.search(said, printed), printed
    assert not (tmp_path / "out").exists()


def test_a_library_that_the_world_cannot_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skills.toml").write_text(
        '[[skill]]\ncaption = "fly"\nreward = "height(moon)"\nsuccess = "lifted(red)"\n'
    )
    path = changed(tmp_path, 'name = "long"', 'name = "long"\nlibrary = "skills.toml"')
    assert "arm 'long', seed 0: skill 'fly'" in ludus("study", path, "--dir", tmp_path / "out", code=2)


def test_metrics_and_tests_that_a_card_may_name_are_those_that_there_are():
    assert METRICS.keys() == MEASURES.keys()
    assert set(TESTS) == {"permutation", "sign"}


def test_the_example_of_the_page_is_a_study(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.DOTALL)
    (tmp_path / "study.toml").write_text(example)
    check_trials(trials(read_study(tmp_path / "study.toml"), tmp_path / "out"))
    described = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", (ROOT / "docs/studies.md").read_text(), re.M))
    )
    assert set(described) == set(METRICS)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("*.toml")), ids=lambda p: p.stem)
def test_studies_that_come_with_ludus_can_be_begun(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    if "[[skill]]" in path.read_text():
        return  # a library
    study = read_study(path)
    check_trials(trials(study, tmp_path))
    assert study.name == path.stem


# --- the card ----------------------------------------------------------------------------------------------------


def test_the_card_is_there_before_the_first_run_and_is_not_changed(tmp_path):
    study, out = read_study(written(tmp_path)), tmp_path / "out"
    kept = engine.keep_card(study, out)
    card = json.loads((out / "card.json").read_text())
    assert (
        card["sha256"] == kept == digest(study.content()) and card["card"]["hypothesis"] == "More rounds, more success."
    )
    assert engine.keep_card(read_study(written(tmp_path)), out) == kept  # the same again
    for old, new in (("More rounds", "Fewer rounds"), ("seeds = [0, 1]", "seeds = [0, 2]"), ("rounds=1", "rounds=2")):
        other = read_study(changed(tmp_path, old, new))
        with pytest.raises(
            LudusError, match=f"has the hash {kept}, this one {digest(other.content())}: .* new directory"
        ):
            engine.keep_card(other, out)
    assert json.loads((out / "card.json").read_text()) == card


def test_how_a_file_is_written_is_no_part_of_the_card(tmp_path):
    path = written(tmp_path)
    before = read_study(path).content()
    path.write_text(f"# a remark\n\n{path.read_text()}".replace("seeds = [0, 1]", "seeds = [ 0, 1 ]"))
    assert digest(read_study(path).content()) == digest(before)


def test_the_skills_of_a_library_are_part_of_the_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for reward in ("lift(red)", "lift(red)", "reach(red)"):
        skill = f'[[skill]]\ncaption = "lift red"\nreward = "{reward}"\nsuccess = "lifted(red)"\n'
        (tmp_path / "skills.toml").write_text(skill)
        path = changed(tmp_path, 'name = "long"', 'name = "long"\nlibrary = "skills.toml"')
        found.append(digest(read_study(path).content()))
    assert found[0] == found[1] != found[2]


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.integers() | st.lists(st.text(max_size=5), max_size=3), max_size=5
    )
)
def test_a_digest_is_of_the_content_whatever_its_order(content):
    backwards = dict(reversed(content.items()))
    assert digest(content) == digest(backwards) == digest(json.loads(json.dumps(content)))
    assert digest({**content, "more": 1, "most": 2}) != digest({**content, "more": 1})


def test_a_card_that_was_changed_by_hand_is_refused(tmp_path):
    study, out = read_study(written(tmp_path)), tmp_path / "out"
    engine.keep_card(study, out)
    path = out / "card.json"
    path.write_text(path.read_text().replace("More", "Most"))
    with pytest.raises(LudusError, match=r"card.json was changed by hand: it says \w{64}, and its content has \w{64}"):
        engine.keep_card(study, out)
    path.write_text("{")
    with pytest.raises(LudusError, match=r"card.json cannot be read .* restore it"):
        engine.keep_card(study, out)


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path):
    with pytest.raises(LudusError, match="holds something else than a study; name a new directory with --dir"):
        engine.keep_card(read_study(written(tmp_path)), tmp_path)
    assert "holds no study" in ludus("study", written(tmp_path), "--dir", tmp_path, "--report", code=2)


# --- what is left to do --------------------------------------------------------------------------------------------


class Stub:
    """A runner that leaves a record in place of a run.

    Args:
        fails: names of trials that are cut short, once each.
    """

    def __init__(self, fails=(), seconds=0.0, success=None):
        self.fails, self.seconds, self.success = list(fails), seconds, success or (lambda trial: 10)
        self.ran, self.most, self._now, self._lock = [], 0, 0, threading.Lock()
        self.stopped = threading.Event()

    def __call__(self, trial):
        with self._lock:
            self._now += 1
            self.ran.append(trial.name)
            self.most = max(self.most, self._now)
            fails = trial.name in self.fails
            if fails:
                self.fails.remove(trial.name)
        self.stopped.wait(self.seconds)
        with self._lock:
            self._now -= 1
        if self.stopped.is_set():
            return
        files.remove(trial.directory)
        make(trial.directory, after=(self.success(trial), 1), finished=not fails)
        trial.log.write_text("out of memory\n\n" if fails else "Finished.\n")

    def stop(self):
        self.stopped.set()


def carried_out(study, out, runner, parallel=1):
    found, told = trials(study, out), []
    engine.keep_card(study, out)
    left = [trial for trial in found if state(trial) != "done"]
    engine.carry_out(out, left, runner, parallel, Progress(), told.append)
    return found, told


def test_a_run_that_fails_stops_no_other_and_is_tried_again(tmp_path):
    study, out = read_study(written(tmp_path)), tmp_path / "out"
    first = Stub(fails=["long-0"])
    found, told = carried_out(study, out, first)
    assert first.ran == ["short-0", "long-0", "short-1", "long-1"] and first.most == 1
    assert told == ["long-0: stopped; out of memory"]
    assert [state(t) for t in found] == ["done", "stopped", "done", "done"]
    again = Stub()
    assert carried_out(study, out, again)[1] == [] and again.ran == ["long-0"]
    assert carried_out(study, out, Stub(fails=["short-0"]))[1] == []  # nothing is left


def test_a_run_that_is_refused_before_it_begins_has_failed(tmp_path):
    study, out = read_study(written(tmp_path)), tmp_path / "out"

    class Refusing(Stub):
        def __call__(self, trial):
            trial.log.write_text("ludus: no such thing\n")

    found, told = carried_out(study, out, Refusing())
    assert told[0] == "short-0: failed; ludus: no such thing" and len(told) == 4
    assert {state(t) for t in found} == {"not begun"} and {stands(t) for t in found} == {"failed"}
    assert len(carried_out(study, out, again := Stub())[0]) == len(again.ran)


def test_runs_stand_side_by_side(tmp_path):
    side_by_side = Stub(seconds=0.3)
    carried_out(read_study(written(tmp_path)), tmp_path / "out", side_by_side, 3)
    assert side_by_side.most == 3 and len(side_by_side.ran) == 4


def test_an_interruption_ends_what_is_under_way_and_begins_nothing_more(tmp_path, monkeypatch):
    study, out, slow = read_study(written(tmp_path)), tmp_path / "out", Stub(seconds=60)
    waits = iter([None])

    def interrupted(*_):
        next(waits, None)
        time.sleep(0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "wait", interrupted)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        carried_out(study, out, slow, 2)
    assert time.monotonic() - started < 30 and len(slow.ran) == 2
    monkeypatch.undo()
    again = Stub()
    carried_out(study, out, again)
    assert len(again.ran) == 4


def test_a_run_that_another_process_works_on_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "LOOK_S", 0.05)
    study, out = read_study(written(tmp_path)), tmp_path / "out"
    first = trials(study, out)[0]
    make(first.directory, finished=False)
    left_over = Record.open(first.directory)

    def end():
        time.sleep(0.5)
        with left_over.commit("measure/after"):
            pass
        left_over.close()

    threading.Thread(target=end).start()
    runner = Stub()
    engine.carry_out(out, [first], runner, 1, Progress(), print)
    assert runner.ran == [] and state(first) == "done"


def test_a_study_is_carried_out_by_one_process_at_a_time(tmp_path):
    study, out = read_study(written(tmp_path)), tmp_path / "out"
    engine.keep_card(study, out)
    lock = DirectoryLock(out)
    try:
        with pytest.raises(LudusError, match=r"the study in .* is under way already \(pid \d+\); wait for it"):
            carried_out(study, out, Stub())
    finally:
        lock.release()


# --- processes ---------------------------------------------------------------------------------------------------

ECHO = """#!/bin/sh
printf '%s|' "$@"; echo
exec sleep {seconds}
"""


def processes(tmp_path, monkeypatch, seconds, parallel=1):
    stub = tmp_path / "python"
    stub.write_text(ECHO.format(seconds=seconds))
    stub.chmod(0o755)
    monkeypatch.setattr("ludus.cli.study.sys.executable", str(stub))
    (tmp_path / "out/logs").mkdir(parents=True)
    return Processes(parallel)


def test_a_run_is_begun_by_ludus_run_and_gone_on_with_by_ludus_resume(tmp_path, monkeypatch):
    library = '[[skill]]\ncaption = "lift red"\nreward = "lift(red)"\nsuccess = "lifted(red)"\n'
    (tmp_path / "skills.toml").write_text(library)
    more = f'name = "long"\nlibrary = "{tmp_path / "skills.toml"}"\ndata = ["a-{{seed}}", "b"]\nsettings = ["world.threads=3"]'
    study = read_study(changed(tmp_path, 'name = "long"', more))
    run = processes(tmp_path, monkeypatch, 0, parallel=2)
    run.record = "sqlite:///shared.db"
    _, first, _, _ = found = trials(study, tmp_path / "out")
    run(first)
    make(first.directory, finished=False)
    run(first)
    begun, resumed = (line.split("|")[2:-1] for line in first.log.read_text().splitlines())
    for words in (begun, resumed):
        parse(words)
    assert begun[:3] == ["run", "--dir", str(first.directory)] and "--seed=0" in begun
    assert begun[begun.index("--record") + 1] == run.record and "--record" not in resumed  # it knows where its rows are
    assert begun[begun.index("--data") : begun.index("--data") + 4] == ["--data", "a-0", "--data", "b"]
    assert begun[-3:-1] == ["experiment.rounds=3", "world.threads=3"] and begun[-1].startswith("training.processes=")
    assert resumed[:2] == ["resume", str(first.directory)] and "experiment.rounds=3" not in resumed
    assert len(found) == 4


def test_processes_are_ended_with_the_study(tmp_path, monkeypatch):
    run, (trial, *_) = processes(tmp_path, monkeypatch, 60), trials(read_study(written(tmp_path)), tmp_path / "out")
    thread = threading.Thread(target=run, args=(trial,))
    thread.start()
    while not trial.log.exists() or not trial.log.read_text():
        time.sleep(0.05)
    run.stop()
    thread.join(30)
    assert not thread.is_alive()
    before = trial.log.read_text()
    run(trial)  # begins nothing more
    assert trial.log.read_text() == before


# --- what came of it -----------------------------------------------------------------------------------------------


SUCCESSES = {"short-0": 9, "short-1": 9, "long-0": 15, "long-1": 19}
"""Of 20 tries at one of the two skills that are evaluated; the other one succeeds once."""


def results(tmp_path, fails=(), **card):
    study, out = read_study(written(tmp_path, **card)), tmp_path / "out"
    found, _ = carried_out(study, out, Stub(fails=fails, success=lambda trial: SUCCESSES[trial.name]))
    return study_result(study, digest(study.content()), found)


def test_arms_and_their_differences_are_computed_from_the_runs_records(tmp_path):
    found = results(tmp_path)
    short, long = found.arms
    assert short.values == pytest.approx((0.25, 0.25)) and long.values == pytest.approx((0.40, 0.50))
    assert long.mean.value == pytest.approx(0.45) and long.mean.interval == pytest.approx((0.40, 0.50))
    assert long.iqm.value == pytest.approx(0.40) and long.pooled == 2  # of .05, .05, .75 and .95
    (compared,) = found.comparisons
    assert compared.differences == pytest.approx((0.15, 0.25)) and compared.mean.value == pytest.approx(0.20)
    assert compared.p == compared.least_p == 0.5
    assert {m: v for m, v in long.others.items() if m in ("tokens", "usd", "accepted", "new_success")} == {
        "tokens": 0,
        "usd": 0,
        "accepted": 0,
        "new_success": None,
    }
    assert found.unfinished == () and [run.report for run in found.runs] == [None] * 4


def test_a_run_that_is_not_done_is_listed_and_counts_nowhere(tmp_path):
    found = results(tmp_path, fails=["long-1"], test="sign")
    assert [(r.name, r.state, r.why) for r in found.unfinished] == [("long-1", "stopped", "out of memory")]
    assert found.arms[1].values == (pytest.approx(0.40), None) and found.arms[1].mean.interval is None
    (compared,) = found.comparisons
    assert compared.differences == (pytest.approx(0.15), None) and compared.p == 1


def test_a_metric_of_which_no_run_says_anything_is_no_zero(tmp_path):
    found = results(tmp_path, metric="new_success")
    assert [arm.mean for arm in found.arms] == [None, None] and found.comparisons[0].mean is None
    assert "long - short: no pair of runs is done" in shown(found)


def shown(found):
    console = Console(file=io.StringIO(), width=200)
    print_study(found, console)
    return console.file.getvalue()


def test_arms_that_cannot_be_compared_are_named_at_the_terminal_and_on_the_page(tmp_path):
    found = results(tmp_path)
    assert not any(said in shown(found) for said in ("different numbers of updates", "replace the one before"))
    changed = (("short", 1576.0, 0.0), ("long", 2700.0, None))
    arms = tuple(
        replace(arm, others={**arm.others, "updates": updates, "promoted": promoted})
        for arm, (_, updates, promoted) in zip(found.arms, changed, strict=True)
    )
    found = replace(found, arms=arms)
    page = write_study(found, tmp_path / "out").read_text()
    for said in (
        "different numbers of updates: 1,576 in short; 2,700 in long",
        "In no run of short did a policy of the rounds replace the one before them",
    ):
        assert said in shown(found) and said in page


def test_page_file_and_table_say_the_same(tmp_path):
    found = results(tmp_path, fails=["short-1"])
    (tmp_path / "out/long-0/report.html").write_text("a report")
    found = study_result(
        read_study(written(tmp_path)), found.sha256, trials(read_study(written(tmp_path)), tmp_path / "out")
    )
    path = write_study(found, tmp_path / "out")
    page, numbers = path.read_text(), json.loads(path.with_suffix(".json").read_text())
    assert numbers["arms"][1]["mean"]["value"] == pytest.approx(0.45) and numbers["sha256"] == found.sha256
    for said in (
        "More rounds, more success.",
        found.sha256,
        "3 of 4 runs done.",
        '<a href="long-0/report.html">long-0</a>',
    ):
        assert said in page
    assert "0.45 [0.40, 0.50]" in page and "out of memory" in page
    assert "http" not in page.replace("http://www.w3.org", "")  # it fetches nothing
    table = shown(found)
    assert "0.45 [0.40, 0.50]" in table and "long - short: +0.15, p = 1 (permutation test, 1 pair)" in table
    assert "short-1: stopped: out of memory" in table


@pytest.mark.browser
def test_the_page_stands_on_its_own(tmp_path, browser):
    found = results(tmp_path, fails=["short-1"])
    page, complaints, requests = watched(browser, ("file:",))
    page.goto(write_study(found, tmp_path / "out").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.set_viewport_size({"width": 390, "height": 800})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    assert overhang(page) == 0  # a phone scrolls tables, not the page
    assert complaints == requests == []


def test_what_a_card_says_is_text_on_the_page(tmp_path):
    hostile = "<script>alert(1)</script>{{ 7*7 }}[red]"
    study = read_study(changed(tmp_path, "More rounds, more success.", hostile))
    path = write_study(study_result(study, "0" * 64, trials(study, tmp_path)), tmp_path)
    assert "<script" not in path.read_text() and "{{ 7*7 }}" in path.read_text()


def test_areas_are_means_over_episodes():
    points = {100: {"a": 0.0}, 200: {"a": 1.0, "new": 0.5}, 400: {"a": 1.0}}
    assert areas(points) == pytest.approx({"a": (50 + 200) / 300, "new": (25 + 100) / 300})
    assert areas({100: {"a": 0.4}}) == {"a": 0.4}  # collects nothing more
    assert areas({}) == {}


# --- as a user does ------------------------------------------------------------------------------------------------

FEWEST = """
name = "fewest"
seeds = [0]

[card]
hypothesis = "A round changes something."
metric = "episodes"
n = 1
test = "sign"
answer = "Yes if the difference is above 0."

[base]
preset = "tiny"
settings = ["world.n_blocks=1", "world.n_envs=2", "seed_data.episodes=2", "training.updates=2", "training.round_updates=1",
  "training.evaluation_episodes=0", "experiment.final_episodes=0", "experiment.episodes_per_round=2",
  "experiment.max_practising=0", "experiment.practice_ratio=0"]

[[arm]]
name = "none"
settings = ["experiment.rounds=0"]

[[arm]]
name = "one"
settings = ["experiment.rounds=1"]
"""
FORKED = """
name = "forked"
seeds = [0]
fork = {{run = "{start}", round = 0}}

[card]
hypothesis = "It matters who goes on from the same start."
metric = "episodes"
n = 1
test = "sign"
answer = "Yes if the difference is not 0."

[[arm]]
name = "stays"

[[arm]]
name = "planner"
settings = ["experiment.rounds=1"]

[[arm]]
name = "weakest"
settings = ["experiment.rounds=1", "experimenter.propose=weakest"]
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_and_forks_of_one_of_its_runs_are_carried_out_and_reported(tmp_path, monkeypatch):
    """With the tiniest runs that there are, in processes of their own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(ludus_package.__file__).parents[1]))
    path, out = written(tmp_path, FEWEST), tmp_path / "out"
    printed = ludus("study", path, "--dir", out, "--parallel", 2)
    assert "2 runs in" in printed and "one - none: +2.00" in printed
    page = (out / "study.html").read_text()
    assert 'href="one-0/report.html"' in page and (out / "one-0/report.html").is_file()
    with Record.open(out / "one-0", write=False) as record:
        assert record.config.training.processes == record.config.world.threads == max(1, machine.cores() // 2)
    again = ludus("study", path, "--dir", out)
    assert "2 of them done" in again

    forked, forks = written(tmp_path, FORKED, start=str(out / "none-{seed}")), tmp_path / "forks"
    printed = ludus("study", forked, "--dir", forks)
    assert "planner - stays: +2.00" in printed and "weakest - stays: +2.00" in printed
    with Record.open(forks / "weakest-0", write=False) as record, Record.open(out / "none-0", write=False) as start:
        assert {m.payload["plan"] for m in record.messages("outcome")}
        assert [s.name for s in record.steps()][:4] == [s.name for s in start.steps()][:4]
    assert "3 of them done" in ludus("study", forked, "--dir", forks)


OVER, NOT_OVER = True, False


@pytest.mark.parametrize(
    ("finished", "old", "new", "said"),
    [
        (
            NOT_OVER,
            "",
            "",
            "is in round 1, and not over; a fork goes on from a run that is over, as of experiment.rounds=0",
        ),
        (OVER, "", "", "is over after round 1; a fork goes on from a run that is over, as of experiment.rounds=0"),
        (
            OVER,
            "seeds = [0]",
            "seeds = [1]",
            "arm 'stays', seed 1: .* has the seed 0; name a run per seed, with {seed} in fork.run",
        ),
        (OVER, "/start", "/nothing", "nothing does not exist"),
        (OVER, "round = 0", "round = 1", None),
    ],
)
def test_a_fork_goes_on_from_a_run_of_its_seed_that_is_over(tmp_path, finished, old, new, said):
    make(tmp_path / "start", finished=finished)
    text = FORKED.replace("{start}", str(tmp_path / "start")).replace("{{", "{").replace("}}", "}")
    path = written(tmp_path)
    path.write_text(text.replace(old, new))
    found = trials(read_study(path), tmp_path / "out")
    with nullcontext() if said is None else pytest.raises(LudusError, match=said):
        check_trials(found)


def test_a_fork_changes_what_a_run_may_change_on_resuming(tmp_path):
    make(tmp_path / "start")
    text = FORKED.replace("{start}", str(tmp_path / "start")).replace("{{", "{").replace("}}", "}")
    path = written(tmp_path)
    for old, new, said in (
        (
            '"experimenter.propose=weakest"',
            '"training.updates=3"',
            "training.updates=3 cannot change in a fork; only budget, ",
        ),
        ('["experiment.rounds=1"]', '["experiment.rounds=0"]', "experiment.rounds=0, and .* has 1 behind it"),
    ):
        path.write_text(text.replace("round = 0", "round = 1").replace(old, new))
        with pytest.raises(LudusError, match=said):
            check_trials(trials(read_study(path), tmp_path / "out"))
