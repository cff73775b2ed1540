"""Passports: what a record knows of a skill, as data and at a terminal; and what the report says of growth."""

import io
import json
from dataclasses import asdict

import numpy as np
import pytest
from counting_world import CountingWorld
from rich.console import Console

from ludus.config import Config
from ludus.data.store import EpisodeStore
from ludus.record import Record
from ludus.skills.library import Skill
from ludus.types import Episode, LudusError, Outcome, Plan, Proposal, Retrieval, Segment, SuccessCount, Verdict
from ludus.views import passports, queries, text
from ludus.views.charts import sparkline
from ludus.views.report import write_report
from ludus.views.terminal import print_status

HOSTILE = "<script>alert('1')</script>\"{{ 7*7 }}[red]\x1b[31m\u202e$x$"
FAMILY = ("visit home then mark", "visit shop then mark")
WRITTEN = {
    "caption": FAMILY[0],
    "reward": "staged(1 - distance(home), marked(home))",
    "success": "marked(home) and distance(home) <= 0.2",
    "steps": 10,
    "prerequisites": "not marked(home)",
}
GATE = {"promote": True, "reason": "gained", "gain": 9.0, "families": [{"n": 30}, {"n": 12}], "open": []}


def check(name, passed=True, detail="fine"):
    return {"name": name, "passed": passed, "detail": detail}


def settled(status, rounds, successes):
    interval = [successes / 40 - 0.1, successes / 40 + 0.05]
    numbers = {"n": 40, "rate": successes / 40, "interval": interval, "evidence": 2.0, "behind": []}
    said = {"template": "visit X then mark", "captions": list(FAMILY), "status": status, "rounds": rounds}
    return said | {"accepted": status == "accepted", "reason": f"{successes} of 40"} | numbers


def episode(world, name, caption, way, mark, info):
    """One command of ten steps: the point stands at each place of `way` in turn, the thing is marked in the end or not."""
    n = world.spec.episode_steps
    observations = {g.name: np.zeros((n + 1, g.size), np.float32) for g in world.spec.observation.groups}
    observations["point"][:, 0] = np.repeat(way, -(-(n + 1) // len(way)))[: n + 1]
    observations["home"][-1, 2] = mark
    segments = (Segment(0, caption, "h"),)
    actions, snapshot = np.zeros((n, 3), np.float32), np.zeros(2)
    made = {"actor": "policy", "world": "c0", "seed": 1, "start": "far", "ended": "time", "info": info}
    return Episode(id=name, observations=observations, actions=actions, snapshot=snapshot, segments=segments, **made)


def make(directory, words="mark it"):
    """A record of two rounds: a gap for which the second candidate passes, one for which none does."""
    world = CountingWorld()
    library = world.library()
    reward, success = WRITTEN["reward"], WRITTEN["success"]
    about = [(c, c.split()[1]) for c in FAMILY]
    needed = WRITTEN["prerequisites"]
    texts = [[c, *(text.replace("home", x) for text in (reward, success, needed))] for c, x in about]
    family = [Skill(c, r, s, 10, base=False, prerequisites=p) for c, r, s, p in texts]
    with Record.create(directory, Config(), command="ludus run") as record:
        with record.commit("begin"):
            record.add_skills(library)
        with record.commit("round/1/plan"):
            gap = (Retrieval("mark home", None, words),)
            record.add_plan(1, Plan("p1", Proposal(f"task {words}", words, 0.25), ("a",), gap))
        call = {
            "key": "p1/write/0/0",
            "role": "write_skill",
            "model": "m",
            "answer": {},
            "usd": 0.25,
            "replayed": False,
        }
        sent = {"sample": 0, "attempt": 0, "prompt": "w 1", "request": "r", "images": [], "error": None, "turns": 1}
        record.add_call(call | sent | {"tokens_in": 100, "tokens_out": 10, "retries": 0, "seconds": 2.0, "at": 0.0})
        with record.commit("round/1/grow") as step:
            refused = WRITTEN | {"why": words, "checks": [check("parses"), check("rises", False, words)]}
            passed = WRITTEN | {"why": words, "checks": [check("parses"), check("rises")]}
            names = {"missing": words, "plan": "p1", "author": "model"}
            good = names | {"template": "visit X then mark", "key": "p1/write/0", "tried": [refused, passed]}
            good |= {"joined": list(FAMILY)}
            bad = names | {"template": "fly", "key": "p1/write/1", "tried": [refused], "joined": []}
            step.result = {"gaps": [good, bad], "practice": {"ways": {}, "exploration": 0.0}}
            record.add_skills(family, 1, "model", ["go to home"], "candidate")
            for skill in family:
                record.set_skill_status(skill.caption, "practising", 1)
        store, info = EpisodeStore(record), {"practice": "visit X then mark"}
        for n, ends in ((1, ((0.5, 0), (0.1, 0))), (2, ((0.5, 0), (0.3, 0), (0.1, 1)))):
            with record.commit(f"round/{n}/practice/000"):
                for i, (end, mark) in enumerate(ends):
                    name = f"e{n}-{i}"
                    store.append([episode(world, name, FAMILY[0], (0.5, 0.1 if i == 1 else 0.5, end), mark, info)])
                    record.add_outcomes([Outcome(name, 0, FAMILY[0], "h", bool(mark), bool(mark), 0.5)])
                store.append([episode(world, f"o{n}", "go to home", (0.5,), 0, {"practice": "go to X"})])
            with record.commit(f"round/{n}/train/000"):
                counts = [SuccessCount(c, "h", 10, k, k) for c, k in zip(FAMILY, (4 * n, 5 * n), strict=True)]
                record.add_evaluation("curve", 10 * n, counts)
                record.add_verdict(n, 10 * n, Verdict("visit X then mark", "learning", 0.7, words))
            with record.commit(f"round/{n}/settle") as step:
                skills = [settled("practising", 1, 20) if n == 1 else settled("accepted", 2, 36)]
                gate = GATE if n == 2 else None
                tried = f"round/{n}/train/000"
                step.result = {"best": tried, "tried": tried, "gate": gate, "skills": skills}
                for skill in family if n == 2 else ():
                    record.set_skill_status(skill.caption, "accepted", 2)
    return world, library.add(*family)


@pytest.fixture
def run(tmp_path):
    world, library = make(tmp_path / "run")
    with Record.open(tmp_path / "run", write=False) as record:
        yield record, world, library


def test_a_passport_tells_the_whole_story(run):
    record, _, library = run
    p = queries.passport(record, library, "visit _ then mark")
    assert p.captions == FAMILY and p.template == p.name == "visit X then mark"
    assert (p.row.author, p.row.status, p.row.round, p.row.changed) == ("model", "accepted", 1, 2)
    assert [(c.round, c.status) for c in p.history] == [(1, "candidate"), (1, "practising"), (2, "accepted")]
    assert p.parents == ("go to home",) and p.prerequisites == "not marked(home)" and p.steps == 10
    assert (
        p.gap
        and p.gap.task == "task mark it"
        and [a.failed and a.failed.name for a in p.gap.attempts] == ["rises", None]
    )
    assert [(m.update, m.rate.successes, m.rate.n) for m in p.competence] == [(10, 9, 20), (20, 18, 20)]
    assert p.row.success and p.row.success == p.competence[-1].rate and p.row.success.low < 0.9 < p.row.success.high
    assert [(d.round, d.status, d.rate and d.rate.successes) for d in p.decisions] == [
        (1, "practising", 20),
        (2, "accepted", 36),
    ]
    assert [v.judgement for v in p.verdicts] == ["learning", "learning"]
    assert [(x.phase, x.episodes, x.successes, x.steps) for x in p.lineage] == [
        ("round/1/practice", 2, 0, 60),
        ("round/2/practice", 3, 1, 90),
    ]
    assert p.cost.calls and (p.cost.calls.calls, p.cost.calls.usd) == (1, 0.25)
    assert (p.cost.practice_episodes, p.cost.practice_steps) == (5, 150)
    practice = sum(s.seconds * share for s, share in zip(steps(record, "practice"), (2 / 3, 3 / 4), strict=True))
    assert p.cost.practising_s == pytest.approx(practice)
    assert p.cost.growing_s == pytest.approx(steps(record, "grow")[0].seconds / 2)


def steps(record, what):
    return [s for s in record.steps() if s.name.split("/")[2:3] == [what]]


def test_a_member_has_its_own_passport(run):
    record, _, library = run
    p = queries.passport(record, library, FAMILY[1])
    assert p.captions == (p.name,) == FAMILY[1:] and p.prerequisites == "not marked(shop)"
    assert p.success == "marked(shop) and distance(shop) <= 0.2" and p.lineage == ()
    assert [(m.rate.successes, m.rate.n) for m in p.competence] == [(5, 10), (10, 10)]
    base = queries.passport(record, library, "go to home")
    assert base.gap is None and base.cost.calls is None and base.decisions == () and base.row.success is None
    with pytest.raises(LudusError, match="unknown skill 'vist home then mark'; nearest: 'visit home then mark'"):
        queries.passport(record, library, "vist home then mark")


def test_rows_are_flat_json(run):
    record, _, library = run
    rows = {r["caption"]: r for r in map(passports.as_json, queries.skill_rows(record, library))}
    assert json.loads(json.dumps(rows)) == rows and set(rows) == set(library.captions)
    row = rows[FAMILY[1]]
    assert (row["success"], row["successes"], row["n"], row["status"], row["round"]) == (1.0, 10, 10, "accepted", 1)
    assert row["low"] < 1 <= row["high"] and rows["go to home"]["success"] is None and rows["go to home"]["n"] == 0
    (family,) = [r for r in queries.family_rows(record, library) if r.skills == 2 and r.author == "model"]
    assert family.success == queries.passport(record, library, "visit X then mark").row.success


def test_failures_are_blamed_on_the_parts_of_the_success(run):
    record, _, library = run
    found = queries.failures(EpisodeStore(record), library, FAMILY[:1])
    assert found
    assert (found.phase, found.attempts, found.failed, found.read) == ("round/2/practice", 3, 2, 2)
    by = {m.condition: m for m in found.missed}
    assert list(by) == ["marked(home)", "distance(home) <= 0.2", "at(home)"]
    assert (by["marked(home)"].at_end, by["marked(home)"].never, by["marked(home)"].median) == (1, 1, None)
    near = by["distance(home) <= 0.2"]
    assert (near.at_end, near.never, near.measure) == (1, 0.5, "margin")
    assert near.median == pytest.approx((-0.3 - 0.1) / 2, abs=1e-6)
    assert not by["at(home)"].part and by["at(home)"].never == 0.5
    family = queries.failures(EpisodeStore(record), library, FAMILY)
    assert family and [m.condition for m in family.missed] == ["marked(X)", "distance(X) <= 0.2", "at(X)"]
    assert queries.failures(EpisodeStore(record), library, FAMILY[1:]) is None


def test_an_exported_file_has_what_is_good(run):
    record, _, library = run
    found = {f.caption: f for f in queries.filed(record, library)}
    assert set(found) == set(library.captions)
    assert found[FAMILY[1]].prerequisites == "not marked(shop)" and found[FAMILY[1]].author == "model"
    assert found[FAMILY[1]].skill == library[FAMILY[1]] and found[FAMILY[0]].parents == ("go to home",)


def test_only_base_and_accepted_skills_are_exported_unless_asked_for(tmp_path):
    _, library = make(tmp_path / "run")
    with Record.open(tmp_path / "run") as record:
        with record.commit("round/3/settle-by-hand"):
            record.set_skill_status(FAMILY[0], "dropped", 3)
        assert FAMILY[0] not in {f.caption for f in queries.filed(record, library)}
        assert FAMILY[0] in {f.caption for f in queries.filed(record, library, every=True)}


def shown(show):
    printed = io.StringIO()
    show(Console(file=printed, width=200))
    return printed.getvalue()


def test_a_terminal_shows_it(run):
    record, _, library = run
    found, failed = (
        queries.passport(record, library, "visit X then mark"),
        queries.failures(EpisodeStore(record), library, FAMILY),
    )
    page = shown(lambda console: passports.print_passport(found, failed, console))
    for said in (
        "visit X then mark: accepted, by model, since round 1; success 0.90 [0.70, 0.97] of 20",
        "FAILED rises: mark it",
        "round 2: accepted after 2 rounds of practice: 36 of 40",
        "Round 2: practice, 3 episodes, 3 attempts, 1 succeeded, 90 control steps",
        "1 call to models, 110 tokens; USD: 0.2500",
        "distance(X) <= 0.2: does not hold at the end in 100%, held at no time in 50%; margin -0.2 (median)",
    ):
        assert said in page
    table = shown(lambda console: passports.print_skills(queries.family_rows(record, library), console))
    assert "visit X then mark (2 skills)" in table and "0.70–0.97" in table
    status = shown(lambda console: print_status(record, console, library))
    assert "grown: visit X then mark: accepted, written in round 1, 5 practice episodes, curve ▄▇; 36 of 40" in status
    assert "grown: fly: refused in round 1: candidates failed rises" in status
    assert "grown" not in shown(lambda console: print_status(record, console))


def test_the_report_has_a_section_on_growth(run):
    record, world, library = run
    page = write_report(record, world, library).read_text()
    growth = page.partition("<h2>What grew</h2>")[2].partition("</section>")[0]
    for said in (
        "passed 2 checks",
        "by model; the last failed &#39;rises&#39;",
        'aria-label="success 0.45, 0.90"',
        "5 episodes of practice",
        "Accepted after round 2",
        "1 more gap for which no skill passed its checks",
    ):
        assert said in growth
    assert "round 2: the new policy acts from here on: gained" in page and "42 pairs" in page


def test_a_run_without_growth_has_no_such_section(tmp_path):
    world = CountingWorld()
    with Record.create(tmp_path / "run", Config(), command="ludus run"):
        pass
    with Record.open(tmp_path / "run") as record:
        assert "<h2>What grew</h2>" not in write_report(record, world, world.library()).read_text()
        with pytest.raises(LudusError, match="has not begun"):
            queries.passport(record, world.library(), "go to home")


def test_hostile_text_is_only_text(tmp_path):
    world, library = make(tmp_path / "run", HOSTILE)
    with Record.open(tmp_path / "run") as record:
        page = write_report(record, world, library).read_text()
        found = queries.passport(record, library, FAMILY[0])
        printed = shown(lambda console: passports.print_passport(found, None, console))
        status = shown(lambda console: print_status(record, console, library))
    for said in (page, printed, status):
        assert "\x1b" not in said and "\u202e" not in said
    assert "<script" not in page and "{{ 7*7 }}" in page and "{{ 7*7 }}[red]" in printed


def test_queries_are_json(run):
    record, _, library = run
    answers = [
        queries.passport(record, library, FAMILY[0]),
        queries.failures(EpisodeStore(record), library, FAMILY),
        *queries.families(record, library),
        *queries.gates(record),
        *queries.skill_rows(record, library),
    ]
    assert all(json.loads(json.dumps(asdict(answer))) for answer in answers)


def test_a_sparkline_needs_no_points():
    assert text.sparkline([]) == "" and text.sparkline([0, 1, 2]) == "▁██"
    assert "polyline" in sparkline([]) and "NaN" not in sparkline([queries.CurvePoint(1, None)])
