"""What people say to a run, and what it does: commands and their effects, approval, rules."""

import dataclasses

import numpy as np
import pytest
from counting_world import CountingWorld
from test_lab_mailbox import ASKED
from test_views import HOSTILE

from ludus.config import Config, override
from ludus.experiment.library import begin, recorded_library
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.table import ROLES
from ludus.lab import interventions, mailbox, oversight
from ludus.lab.actors import ActorSpec
from ludus.lab.collector import CollectTask
from ludus.lab.curriculum import Curriculum
from ludus.lab.interventions import Overseer, unread
from ludus.lab.oversight import APPROVAL, COMMANDS, EFFECT, HELP, say, waiting_plans, wrong_verdicts
from ludus.lab.planning import Planning
from ludus.lab.rollout import RolloutSpec
from ludus.lab.room import LONGEST_REMARK, Room, remarks
from ludus.lab.rounds import ask_for_rounds, planned_rounds
from ludus.lab.rules import Rules, allowed
from ludus.record import Progress, Record
from ludus.skills.library import Skill
from ludus.skills.verify import Evidence
from ludus.types import LudusError, Plan, Proposal, Retrieval, Verdict
from ludus.views import text
from ludus.views.queries.grown import decisions
from ludus.views.queries.learning import curve_verdicts

WORLD = CountingWorld()
LIBRARY = WORLD.library()
SETTINGS = ("experiment.rounds=3", "experiment.plans_per_round=2", "experiment.episodes_per_round=4")


def status_of(record, caption):
    return next(s["status"] for s in record.skills() if s["caption"] == caption)


def plan(id, task, caption="go to home", goal=None):
    return Plan(id, Proposal(task, "", 0.5, goal), (task,), (Retrieval(task, caption),))


@pytest.fixture
def room(tmp_path, monkeypatch):
    """`room(*settings)` -> (record, overseer): a run whose round 1 is planned, with a verdict and a practised family."""
    monkeypatch.setattr(interventions, "POLL_S", 0.0)
    records = []

    def make(*settings, recorded=None, planned=True):
        config = override(Config(), (*SETTINGS, *settings))
        record = Record.create(tmp_path / f"run-{len(records)}", config, command="ludus run")
        records.append(record)
        if planned:
            with record.commit("begin"):
                record.add_skills(LIBRARY)
            with record.commit("round/1/plan"):
                record.add_plan(1, plan("r1-s0-a0", "go to home"))
                record.add_plan(1, plan("r1-s1-a0", "mark shop", "mark shop"))
            with record.commit("round/1/grow") as opened:
                opened.result = {"gaps": [], "practice": {"ways": {}}}
                new = [Skill(f"circle {t}", "0", f"at({t})", base=False) for t in WORLD.spec.objects]
                record.add_skills(new, 1, "planner", (), "candidate")
                for skill in new:
                    record.set_skill_status(skill.caption, "practising", 1)
                record.add_verdict(1, 10, Verdict("circle X", "stuck", 0.9, ""))
        return record, overseer(record, recorded)

    yield make
    for record in records:
        record.close()


def overseer(record, recorded=None):
    rules = Rules(record.config.oversight.forbid, WORLD.vocabulary)
    return Overseer(record, record.config, WORLD.vocabulary, rules, Progress(), recorded)


def effects(record):
    return [(m.payload["outcome"], m.text) for m in record.messages(EFFECT)]


# --- saying ------------------------------------------------------------------------------------------------------


def test_a_line_is_a_remark_or_a_command_and_help_is_not_stored(room):
    record, _ = room()
    with Record.open(record.directory, write=False) as reader:  # as a page or a terminal has it
        assert say(reader, "try the shop", "Anna").sender == "Anna"
        command = say(reader, "  /PROPOSE  mark\tshop ")
    assert remarks(record) == ("try the shop",)
    assert command.kind == "command" and command.payload == {"command": "propose", "argument": "mark shop"}
    before = len(record.messages())
    shown = say(record, "/help")
    assert shown.kind == HELP and all(f"/{name}" in shown.text for name in COMMANDS)
    assert len(record.messages()) == before


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/fly", "unknown command '/fly'"),
        ("/", "unknown command"),
        ("/propose", "/propose TASK"),
        ("/pause now", "/pause takes nothing more"),
        ("/veto r1-s0-a7", "unknown plan"),
        ("/approve circle home", "nothing to act on"),
        ("/reject go to home", "unknown skill"),
        ("/wrong dance", "unknown skill"),
        (f"/propose {'x' * 700}", "at most 600"),
        ("x" * (LONGEST_REMARK + 1), "a remark of"),
        ("x" * 100_000, "a line of 100,000"),
        (" \x1b ", "a remark of 0"),
    ],
)
def test_what_has_nothing_to_act_on_is_refused_at_once(room, line, error):
    record, _ = room()
    n = len(record.messages())
    with pytest.raises(LudusError, match=error):
        say(record, line)
    assert len(record.messages()) == n


@pytest.mark.parametrize("author", ["", "experimenter", "Oversight", "x" * 50, "a\nb:c", "<b>"])
def test_nobody_poses_as_a_module(room, author):
    with pytest.raises(LudusError, match="nobody who speaks is called"):
        say(room()[0], "hello", author)


def test_hostile_text_stays_text(room):
    record, watched = room()
    say(record, f"/propose {HOSTILE}")
    say(record, f"/veto {HOSTILE}")
    watched.before("round/1/collect/000")
    assert not any("\x1b" in m.text or "\u202e" in m.text for m in record.messages())
    assert [outcome for outcome, _ in effects(record)] == ["refused", "done"]


def test_a_replay_hears_commands_only(tmp_path):
    with Record.create(tmp_path / "r", Config(), command="ludus run", steps={"replay": {}}) as record:
        assert say(record, "/pause")
        with pytest.raises(LudusError, match="replays"):
            say(record, "try the shop")


def test_runs_that_ask_nobody_listen_to_nobody(tmp_path):
    collecting = Record.create(tmp_path / "c", Config(), command="ludus collect c")
    with collecting as record, pytest.raises(LudusError, match="ludus collect"):
        say(record, "/pause")
    with Record.create(tmp_path / "r", Config(), command="ludus run") as record:
        with record.commit("measure/after"):
            pass
        with pytest.raises(LudusError, match="over"):
            say(record, "/pause")


# --- the run -----------------------------------------------------------------------------------------------------


def test_a_run_nobody_speaks_to_writes_nothing(room):
    record, watched = room()
    before = record.content()
    for step in ("round/1/collect/000", "round/1/train/000", "round/2/plan"):
        watched.before(step)
    watched.decide(1)
    assert record.content() == before and not watched.ends_before(2)


def test_a_pause_lasts_until_somebody_goes_on_also_after_a_kill(room, monkeypatch):
    record, watched = room()
    waited = []

    def someone_later(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            say(record, "/continue", "Ben")

    monkeypatch.setattr(interventions.time, "sleep", someone_later)
    say(record, "/pause", "Anna")
    watched.before("round/1/collect/000")
    assert len(waited) == 3
    (first, paused), (second, on) = effects(record)
    assert first == second == "done" and "Paused before round 1 collect 000" in paused and on == "Goes on."
    assert record.messages(EFFECT)[0].payload["command"] == record.messages("command")[0].key
    assert [record.result(f"oversight/00{i}")["author"] for i in range(2)] == ["Anna", "Ben"]

    say(record, "/pause")
    monkeypatch.setattr(interventions.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        watched.before("round/1/train/000")
    again, n = overseer(record), len(record.messages())
    with pytest.raises(KeyboardInterrupt):  # still paused, and says so once
        again.before("round/1/train/000")
    assert len(record.messages()) == n
    say(record, "/continue")
    again.before("round/1/train/000")
    assert effects(record)[-1] == ("done", "Goes on.")


def test_the_order_of_messages_decides_between_two_people(room):
    record, watched = room()
    for line in ("/continue", "/stop", "/stop", "/pause", "/continue", "/continue", "/stop"):
        say(record, line)
    watched.before("round/1/collect/000")
    assert [o for o, _ in effects(record)] == ["refused", "done", "refused", "done", "done", "done", "done"]
    assert "Stops after round 1" in effects(record)[1][1]
    assert not watched.ends_before(1) and watched.ends_before(2) and overseer(record).ends_before(2)
    say(record, "/continue")
    watched.before("measure/after")
    assert effects(record)[-1][0] == "late"


def test_a_command_that_was_cut_short_is_carried_out_once(room, monkeypatch):
    record, watched = room()
    say(record, "/stop")
    monkeypatch.setattr(interventions, "carry_out", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        watched.before("round/1/collect/000")
    monkeypatch.undo()
    again = overseer(record)
    again.before("round/1/collect/000")
    again.before("round/1/collect/001")
    assert [o for o, _ in effects(record)] == ["done"] and record.done("oversight/000")
    assert not record.done("oversight/001")


def test_a_replay_repeats_commands_where_they_were(room):
    record, watched = room()
    say(record, "/propose mark home", "Anna")
    watched.before("round/1/collect/000")
    say(record, "/reject circle home")
    watched.before("round/1/train/000")
    other, replaying = room(recorded=interventions.recorded(record))
    for step in ("round/1/collect/000", "round/1/collect/001", "round/1/train/000"):
        replaying.before(step)
    kept = [[r.result(f"oversight/00{i}") for i in range(2)] for r in (record, other)]
    assert kept[0] == kept[1] and other.skills()[-1]["status"] == "dropped"
    assert [m.text for m in other.messages("command")] == ["/propose mark home", "/reject circle home"]
    overseer(other, interventions.recorded(record)).before("round/1/train/001")
    assert not other.done("oversight/002")


# --- skills and verdicts -----------------------------------------------------------------------------------------


def test_a_practised_family_is_rejected_as_a_whole_and_its_episodes_are_left_out(room):
    record, watched = room()
    say(record, "/reject circle _")
    watched.before("round/1/practice/000")
    assert {s["status"] for s in record.skills() if s["round"] == 1} == {"dropped"}
    assert effects(record) == [("done", "'circle X' is dropped: person says so.")]
    assert [(d.status, d.reason) for d in decisions(record, "circle X")] == [("dropped", "person says so")]
    say(record, "/veto circle home")
    with pytest.raises(LudusError, match="nothing to act on"):
        say(record, "/reject circle home")
    task = collect("round/1/practice/000", [("circle home",), ("go to home", "circle shop"), ("go to home",)])
    assert [r.captions for r in watched.admitted(task).rollouts] == [("go to home",)]


def test_what_waits_for_approval_is_not_decided_in_the_rounds_before(room):
    """A run that is resumed goes through those again."""
    record, overseer = room("oversight.timeout_s=0.001", "oversight.default=reject")
    with record.commit("round/1/outcomes"):
        pass
    with record.commit("round/2/grow"):
        record.add_skills([Skill("pass home", "0", "at(home)", base=False)], 2, "planner", (), "candidate")
    overseer.decide(1)
    assert status_of(record, "pass home") == "candidate"
    overseer.decide(2)
    assert status_of(record, "pass home") == "dropped"
    assert record.result("oversight/000")["before"] == "round/2/approve"


def test_remarks_of_an_agent_are_for_people(room):
    record, _ = room()
    say(record, "mind the door", "Anna")
    say(record, "I would build a tower", "agent")
    assert remarks(record) == ("mind the door",)


def test_a_veto_of_a_condition_is_lifted_by_proposing_it(room):
    record, overseer = room()
    say(record, "/veto at( home )")
    overseer.before("round/1/collect/000")
    assert "at(home)" in overseer.vetoed
    say(record, "/propose at(home)")
    overseer.before("round/1/collect/001")
    assert not overseer.vetoed


def test_a_verdict_is_marked_as_wrong(room):
    record, watched = room()
    say(record, "/wrong circle home", "Anna")
    say(record, "/wrong circle X")
    watched.before("round/1/settle")
    assert [o for o, _ in effects(record)] == ["done", "refused"]
    assert wrong_verdicts(record) == {(1, 10, "circle X"): "Anna"}
    (shown,) = curve_verdicts(record)["circle X"]
    assert str(shown).endswith("(wrong, says Anna)")


# --- tasks -------------------------------------------------------------------------------------------------------


def collect(step, commands, plans=None, n_own=None):
    rollouts = [
        RolloutSpec(c, i, info={"plan": plans[i], "n_plan_commands": n_own[i]} if plans else {})
        for i, c in enumerate(commands)
    ]
    ids = tuple(f"e{i}" for i in range(len(rollouts)))
    return CollectTask(step, Config().world, LIBRARY, tuple(rollouts), ids, ActorSpec("random"))


def test_a_vetoed_plan_is_left_out_of_the_episodes_that_have_not_begun(room):
    record, watched = room()
    task = collect(
        "round/1/collect/001",
        [("go to home", "mark shop"), ("mark shop", "go to home"), ("go to home", "go to home")],
        ("r1-s0-a0", "r1-s1-a0", "r1-s0-a0"),
        (1, 1, 1),
    )
    assert watched.admitted(task) is task
    say(record, "/veto r1-s1-a0")
    watched.before("round/1/collect/001")
    left = watched.admitted(task)
    assert [r.captions for r in left.rollouts] == [("go to home",), ("go to home", "go to home")]
    assert left.ids == ("e0", "e2")
    say(record, "/veto r1-s0-a0")
    watched.before("round/1/train/000")
    say(record, "/veto go to home")
    watched.before("round/1/train/000")
    said = effects(record)
    assert [o for o, _ in said] == ["done", "late", "done"] and "from now on" in said[2][1]


def planning(record, watched, asked=None):
    planner = assemble(RoleContext(WORLD.vocabulary))

    def propose(question):
        if asked is not None:
            asked.append(question)
        return planner.propose(question)

    experimenter = dataclasses.replace(planner, propose=propose)
    curriculum = Curriculum(experimenter, Room(record), WORLD.spec, 0)
    return Planning(curriculum, record, WORLD, record.config, overseer=watched)


def test_a_proposed_task_is_planned_with_the_next_round(room):
    record, watched = room()
    for line in ("/propose mark home", "/propose MARK home", "/propose at(shop)", "/propose go to the moon"):
        say(record, line, "Anna")
    say(record, "/propose nonsense(home")
    say(record, "/propose distance(home)")
    watched.before("round/1/train/000")
    said = effects(record)
    assert [o for o, _ in said] == ["done", "refused", "done", "done", "refused", "refused"]
    assert "Round 3 plans 'go to the moon'" in said[3][1] and "is a number" in said[5][1]
    plans = planning(record, watched).plans(2, LIBRARY)
    assert [p.id for p in plans] == ["r2-s0-p0", "r2-s1-p0"]  # in place of what the experimenter would have asked for
    assert plans[1].captions == ("mark home",) and plans[1].proposal.why == "Anna asked for it"
    assert plans[0].captions == ("go to shop",) and plans[0].proposal.goal == "at(shop)"
    answered = [m for m in record.messages(EFFECT) if "plan" in m.payload]
    assert [m.payload["plan"] for m in answered] == ["r2-s0-p0", "r2-s1-p0"]
    with record.commit("round/3/plan"):
        pass
    say(record, "/propose mark home")
    watched.before("round/3/grow")
    assert effects(record)[-1][0] == "late"


def test_a_proposed_task_that_no_skill_does_is_a_gap_and_the_experimenter_is_asked(room):
    record, watched = room()
    say(record, "/propose fly over home")
    watched.before("round/2/plan")
    plans = planning(record, watched).plans(2, LIBRARY)
    gap = next(p for p in plans if p.id == "r2-s1-p0")
    assert gap.gaps and plans[-1].id.startswith("r2-s1-a")
    assert "cannot be executed yet" in effects(record)[-1][1]


def test_a_vetoed_task_is_refused_when_it_is_proposed_until_somebody_proposes_it(room):
    record, watched = room()
    asked = []
    for caption in LIBRARY.captions:
        say(record, f"/veto {caption}")
    watched.before("round/2/plan")
    plans = planning(record, watched, asked).plans(2, LIBRARY)
    assert not {p.proposal.task for p in plans} & set(LIBRARY.captions) and set(asked[0].refused) == set(
        LIBRARY.captions
    )
    assert "forbidden here" in ROLES["propose"].text(asked[0])
    say(record, "/propose mark home")
    watched.before("round/3/plan")
    again = planning(record, watched).plans(3, LIBRARY)
    assert "mark home" in {p.proposal.task for p in again}


# --- rules -------------------------------------------------------------------------------------------------------


def test_a_rule_is_broken_by_what_entails_it(words):
    def broken(rule, *conditions):
        return Rules(rule, words).broken(*conditions) is not None

    assert broken("on(red, green)", "on(red, green) and released(red)")
    assert not broken("on(red, green)", "on(green, red)", None, "no condition (")
    assert broken("held(red)", "on(red, green)")  # on the way
    assert broken("on(red, green) and on(green, red)", "on(red, green)", "on(green, red)")
    assert not broken("on(red, green) and still(red)", "on(red, green)")
    assert broken("speed(red) > 1 or on(red, green)", "on(red, green)")
    assert broken("height(red) > 0.2", "height(red) >= 0.3") and broken("height(red) > 0.2", "0.3 < height(red)")
    assert not broken("height(red) > 0.2", "height(red) > 0.1") and not broken("height(red) > 0.2", "height(red) < 0.5")
    assert broken("height(red) >= 0.2", "height(red) > 0.2") and not broken("height(red) > 0.2", "height(red) >= 0.2")
    assert not broken("", "on(red, green)") and not broken(" ; ", "on(red, green)")
    for wrong in ("fly(red)", "height(red)", "on(red"):
        with pytest.raises(LudusError, match=r"oversight\.forbid"):
            Rules(wrong, words)


def test_a_rule_is_broken_by_what_stored_episodes_show():
    rules = Rules("marked(home)", WORLD.vocabulary, WORLD.spec.control_hz)
    assert [s.caption for s in allowed(LIBRARY, rules)] == ["go to home", "go to shop", "mark shop"]
    seen = [walk(mark) for mark in (True, True, True, False, True)]
    assert rules.broken("at(home)") is None
    rules.look_at(Evidence(tuple(seen), {g: a[:1] for g, a in seen[0].items()}))
    assert "4 of 5 stored episodes" in (rules.broken("at(home)") or "") and rules.broken("at(shop)") is None


def test_skills_that_break_a_rule_are_left_out_of_what_a_run_begins_with(room):
    record, _ = room("oversight.forbid=marked(home)", planned=False)
    library = recorded_library(record, WORLD)
    assert "mark home" not in library and len(library) == len(LIBRARY) - 1
    begin(record, WORLD, library, "a test")
    assert "Left out, since rules forbid them: 'mark home'." in [m.text for m in record.messages()]
    record, _ = room("oversight.forbid=distance(home) >= 0 or at(home) or at(shop)", planned=False)
    with pytest.raises(LudusError, match="forbids every skill"):
        recorded_library(record, WORLD)


def walk(mark):
    """From anywhere to home, where it is marked."""
    world = CountingWorld(1)
    seen = [world.reset([3])]
    for _ in range(25):
        here, home = world.state[0, :2], world.state[0, 6:8]
        step = np.clip((home - here) * 5, -1, 1)
        seen.append(world.step(np.array([[*step, 1.0 if mark else 0.0]])))
    return {g: np.concatenate([o[g] for o in seen]) for g in seen[0]}


def test_a_task_that_a_rule_forbids_is_refused_or_waits_for_approval(room):
    record, watched = room("oversight.forbid=marked(home) or marked(shop)")
    say(record, "/propose mark home")
    watched.before("round/2/plan")
    plans = planning(record, watched).plans(2, LIBRARY)
    assert not any("mark" in c for p in plans for c in p.captions)
    assert effects(record)[-1][0] == "refused" and "the rule 'marked(home) or marked(shop)'" in effects(record)[-1][1]

    record, watched = room("oversight.forbid=marked(shop)", "oversight.ask=true", "oversight.timeout_s=1e-9")
    say(record, "/propose mark shop")
    say(record, "/propose mark shop and then go to home")
    watched.before("round/2/plan")
    planning(record, watched).plans(2, LIBRARY)
    assert list(waiting_plans(record)) == ["r2-s0-p0", "r2-s1-p0"] and len(record.messages(APPROVAL)) == 2
    assert "/approve r2-s0-p0" in record.messages(APPROVAL)[0].text
    say(record, "/approve mark SHOP and then go to home")
    watched.decide(2)
    assert not waiting_plans(record)
    assert [t for _, t in effects(record)][-2:] == [
        "r2-s0-p0 is executed: person says so.",
        "r2-s1-p0 is not executed: nobody said anything in time.",
    ]
    task = collect("round/2/collect/000", [("mark shop",), ("mark shop",)], ("r2-s0-p0", "r2-s1-p0"), (1, 1))
    assert watched.admitted(task).ids == ("e0",)


# --- the end -----------------------------------------------------------------------------------------------------


def test_the_number_of_rounds_is_changed_while_a_run_goes_on(room):
    record, watched = room()
    for line in ("/rounds 3", "/rounds 2", "/stop", "/rounds 2"):
        say(record, line)
    watched.before("round/1/train/000")
    assert [o for o, _ in effects(record)] == ["refused", "done", "done", "done"]
    assert not watched.ends_before(2) and watched.ends_before(3) and planned_rounds(record) == 2 == watched.rounds
    with record.commit("round/2/plan"):
        pass
    for line in ("/rounds 1", "/rounds 4"):
        say(record, line)
    watched.before("measure/after")
    assert [o for o, _ in effects(record)][4:] == ["refused", "done"] and "round 3" in effects(record)[-1][1]
    for line in ("/rounds", "/rounds 0", "/rounds two", "/rounds -1", "/rounds 99999999999", "/rounds ٣"):
        with pytest.raises(LudusError, match="/rounds"):
            say(record, line)


def test_what_is_said_while_the_end_is_measured_is_answered(room):
    record, watched = room()
    with record.commit("measure/after"):
        for line in ("/pause", "/rounds 2"):
            say(record, line, "Anna")
    watched.before("measure/after")
    assert not record.done("measure/after") and record.done("measure/end-of-round-1") and not watched.ends_before(2)
    with record.commit("round/2/plan"), Record.open(record.directory, write=False) as reader:
        say(reader, "/continue", "Anna")
    watched.before("measure/after")
    with record.commit("measure/after"):
        say(record, "/stop", "Ben")
        say(record, "/wrong circle home", "Ben")
    for _ in range(2):
        watched.close()
    late = [m for m in record.messages(EFFECT) if m.payload["outcome"] == "late"]
    assert [m.addressee for m in late] == ["Ben", "Ben"] and "experiment.rounds=N" in late[0].text
    assert not unread(record)
    with pytest.raises(LudusError, match=r"the run is over: nobody would hear it any more. `ludus resume"):
        say(record, "/pause")
    again = overseer(record)  # what came too late stays so
    again.before("measure/after")
    assert record.done("measure/after") and again.ends_before(3)
    ask_for_rounds(record, 3)
    again.before("measure/after")
    again.before("round/3/plan")
    assert not again.ends_before(3) and len(effects(record)) == 6  # also when the run goes on


def test_the_training_on_the_seed_data_is_a_part_of_a_first_round_that_is_planned(room):
    record, overseer = room()
    for line in ("/veto r1-s1-a0", "/propose mark shop", "/reject circle X", "/stop"):
        say(record, line, "Anna")
    overseer.before("pretrain/train/000")
    said = [text for outcome, text in effects(record) if outcome == "done"]
    assert len(said) == 4 and said[0].startswith("r1-s1-a0 ('mark shop') is not executed")
    assert (
        said[1] == "Round 2 plans 'mark shop'."
        and "is dropped" in said[2]
        and said[3].startswith("Stops after round 1")
    )
    assert not overseer.ends_before(1) and overseer.ends_before(2)
    assert {s["changed"] for s in record.skills() if s["status"] == "dropped"} == {1}

    record, overseer = room(planned=False)
    say(record, "/stop", "Anna")
    overseer.before("pretrain/train/000")
    assert "Stops before the first round" in effects(record)[0][1] and overseer.ends_before(1)


def test_more_rounds_overrule_a_stop_that_was_said_before(room):
    record, watched = room()
    with record.commit("measure/after"):
        for line in ("/stop", "/rounds 2"):
            say(record, line, "Anna")
    watched.before("measure/after")
    watched.before("round/2/plan")
    assert [o for o, _ in effects(record)] == ["late", "done"] and not watched.ends_before(2)


def test_a_task_that_came_too_late_is_not_planned_when_the_run_goes_on(room):
    record, watched = room()
    say(record, "/propose mark shop")
    watched.before("round/2/plan")
    assert len(watched.asked(2)) == 1
    watched.let_lapse("measure/after")
    with record.commit("measure/after"):
        pass
    ask_for_rounds(record, 2)
    watched.before("measure/after")
    assert watched.asked(2) == () and not watched.ends_before(2)


def test_each_time_that_a_run_went_on_is_replayed_in_its_place(room):
    record, watched = room()
    for n in (2, 3):
        with record.commit("measure/after"):
            pass
        ask_for_rounds(record, n)
        watched.before("measure/after")
        with record.commit(f"round/{n}/plan"):
            pass
    other, again = room(recorded=interventions.recorded(record))
    again.before("measure/after")
    assert [o for o, _ in effects(other)] == ["done"] and not again.ends_before(2) and again.ends_before(3)
    with other.commit("round/2/plan"):
        pass
    again.before("measure/after")
    assert not again.ends_before(3)


def test_what_is_said_as_the_run_ends_is_answered_by_whoever_says_it(room, monkeypatch):
    record, watched = room()

    def meanwhile(record, *_):
        if not record.done("measure/after"):
            with record.commit("measure/after"):
                pass
            watched.close()

    monkeypatch.setattr(oversight, "_check_target", meanwhile)
    command = say(record, "/stop", "Anna")
    (late,) = record.messages(EFFECT)
    assert late.payload == {"command": command.key, "outcome": "late"} and late.addressee == "Anna"


def test_an_answer_without_words_cannot_tell_where_a_person_is_asked(room):
    record, _ = room()
    record.post(mailbox._put(dataclasses.replace(ASKED, addressee="human", key="q")))
    assert say(record, "/answer").payload["answer"] == {"text": ""}
    record.post(mailbox._put(ASKED))
    with pytest.raises(LudusError, match="a JSON object with the fields task"):
        say(record, "/answer")


def test_the_question_of_an_exam_is_answered_and_nothing_else_is_heard(tmp_path):
    with Record.create(tmp_path / "exam", Config(), command="ludus exam human") as record:
        with pytest.raises(LudusError, match="no question waits"):
            say(record, "/answer lift red")
        record.post(mailbox._put(dataclasses.replace(ASKED, addressee="human")))
        assert say(record, "/answer lift red").payload == {"key": ASKED.key, "answer": {"text": "lift red"}}
        for line in ("lift red", "/stop", "/rounds 2"):
            with pytest.raises(LudusError, match="this is a run of `ludus exam`"):
                say(record, line)
    with Record.open(tmp_path / "exam", write=False) as record:
        assert (
            text.heard(record.state(), record.going_on)
            == "The run is stopped: it reads this when it goes on, with the same `ludus exam`."
        )
