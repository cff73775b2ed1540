"""Runs that begin from a library file, and `ludus skills` on a record that has only begun."""

import json

import pytest
from command import ludus

from ludus.config import WorldConfig, override, preset
from ludus.experiment import library as libraries
from ludus.record import Record
from ludus.skills.files import FiledSkill, as_toml, read_skills
from ludus.types import LudusError
from ludus.worlds.blocks.world import BlocksWorld
from ludus.worlds.registry import world_kind

REACH = FiledSkill("reach red", "reach(red)", "near(red)", 60, author="base")
OWN = FiledSkill(
    *("wave red", "held(red)", "held(red) and height(red) > 0.1"),
    *(90, False, "a model", ("lift red",), "clear(red)", "practising"),
)
CONFIG = override(preset("tiny"), ["world.n_blocks=2"])


@pytest.fixture
def world():
    return BlocksWorld(2, 1, 1)


def begun(directory, world, skills):
    with Record.create(directory, CONFIG, steps=libraries.library_step(skills)) as record:
        libraries.begin(record, world, libraries.recorded_library(record, world), "nothing")
    return directory


def test_a_run_has_exactly_the_skills_of_its_file(tmp_path, world):
    with Record.open(begun(tmp_path / "run", world, [REACH, OWN])) as record:
        assert libraries.recorded_library(record, world).captions == ("reach red", "wave red")
        rows = {s["caption"]: s for s in record.skills()}
        assert (rows["wave red"]["author"], rows["wave red"]["status"], rows["wave red"]["parents"]) == (
            *("a model", "practising"),
            ("lift red",),
        )
        assert (rows["reach red"]["author"], rows["reach red"]["status"], rows["reach red"]["steps"]) == (
            "base",
            "base",
            60,
        )
        libraries.check_library(record, [REACH, OWN])
        libraries.check_library(record, None)
        with pytest.raises(LudusError, match="was begun from other skills"):
            libraries.check_library(record, [REACH])
        grown = world.library()["lift red"]
        record.add_skills([grown], 1)
        assert libraries.recorded_library(record, world).captions == ("reach red", "wave red", "lift red")


def test_a_run_without_a_file_has_its_worlds_skills_and_takes_no_file_later(tmp_path, world):
    with Record.open(begun(tmp_path / "run", world, None)) as record:
        assert libraries.recorded_library(record, world).captions == world.library().captions
        assert libraries.kept_library(record) is None
        with pytest.raises(LudusError, match="was begun from other skills"):
            libraries.check_library(record, [REACH])


def test_the_teacher_shows_what_it_obeys(tmp_path, world):
    kind = world_kind(WorldConfig())
    with Record.open(begun(tmp_path / "run", world, [OWN, REACH])) as record:
        library = libraries.recorded_library(record, world)
        assert libraries.shown_captions(kind, world.spec, library.captions) == ("reach red",)
    with Record.open(begun(tmp_path / "none", world, [OWN])) as record:
        library = libraries.recorded_library(record, world)
        with pytest.raises(LudusError, match="obeys none of 1 skills, such as 'wave red'"):
            libraries.shown_captions(kind, world.spec, library.captions)


def test_another_world_takes_the_skills_that_it_can_read(tmp_path):
    three = FiledSkill("reach blue", "reach(blue)", "near(blue)")
    with Record.create(tmp_path / "run", CONFIG, steps=libraries.library_step([REACH, three])) as record:
        with pytest.raises(LudusError, match="skill 'reach blue'"):
            libraries.recorded_library(record, BlocksWorld(2, 1, 1))
        assert libraries.recorded_library(record, BlocksWorld(2, 1, 1), lenient=True).captions == ("reach red",)
        assert libraries.recorded_library(record, BlocksWorld(3, 1, 1)).captions == ("reach red", "reach blue")


def test_the_command_shows_and_exports(tmp_path, world):
    run, file = begun(tmp_path / "run", world, [REACH, OWN]), tmp_path / "skills.toml"
    assert "wave red a model practising" in ludus("skills", run)
    rows = json.loads(ludus("skills", run, "--json"))
    assert [r["caption"] for r in rows] == ["reach red", "wave red"]
    assert {"author", "status", "success", "n", "successes", "low", "high", "round"} <= set(rows[0])
    assert "prerequisites: clear(red)" in ludus("skills", run, "wave _")
    assert json.loads(ludus("skills", run, "wave red", "--json"))["failures"] is None
    assert "nearest: 'wave red'" in ludus("skills", run, "wav red", code=2)
    assert "1 skills" in ludus("skills", run, "--export", file) and read_skills(file)[0].caption == "reach red"
    ludus("skills", run, "--export", file, "--all")
    assert [s for s in read_skills(file) if s.caption == "wave red"] == [OWN]
    assert "--all goes with --export" in ludus("skills", run, "--all", code=2)
    assert "leave out SKILL" in ludus("skills", run, "wave red", "--export", file, code=2)
    assert "cannot write" in ludus("skills", run, "--export", tmp_path / "no" / "file", code=2)


def test_a_wrong_file_makes_no_run(tmp_path):
    file, run = tmp_path / "skills.toml", tmp_path / "run"
    file.write_text(as_toml([REACH]).replace("success", "sucess"))
    for command in (
        ("run", "--dir", run),
        ("collect", run),
        ("train", run, "--data", begun(tmp_path / "d", BlocksWorld(2, 1, 1), None)),
    ):
        assert "nearest: 'success'" in ludus(*command, "--library", file, code=2)
        assert not run.exists()
    file.write_text(as_toml([FiledSkill("reach pink", "reach(pink)", "near(pink)")]))
    assert "skill 'reach pink'" in ludus("run", "--dir", run, "--preset", "tiny", "--library", file, code=2)
    assert not run.exists()
