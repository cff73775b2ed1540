"""Library files: what is written is read again, and what cannot be read is named."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.skills import files
from ludus.skills.files import FiledSkill, as_toml, check, from_toml, read_skills
from ludus.types import LudusError
from ludus.worlds.blocks.world import BlocksWorld

TEXT = st.text(max_size=60)
FILED = st.builds(
    FiledSkill,
    caption=TEXT,
    reward=TEXT,
    success=TEXT,
    steps=st.integers(-(2**40), 2**40),
    base=st.booleans(),
    author=TEXT,
    parents=st.lists(TEXT, max_size=3).map(tuple),
    prerequisites=TEXT,
    status=st.sampled_from(("", *files.SKILL_STATUSES)),
)
HOSTILE = '"]\n[[skill]]\ncaption = "x\'\'\'"""\\u0041\\\x00\x1b[31m\u202e\u2028\r\ud7ff#='
ONE = '[[skill]]\ncaption = "lift red"\nreward = "lift(red)"\nsuccess = "lifted(red)"\n'


@given(st.lists(FILED, min_size=1, max_size=4, unique_by=lambda s: s.caption))
def test_what_is_written_is_read(skills):
    assert list(from_toml(as_toml(skills))) == skills


def test_hostile_text_is_only_text():
    skill = FiledSkill(HOSTILE, HOSTILE, HOSTILE, 7, False, HOSTILE, (HOSTILE,), HOSTILE, "accepted")
    written = as_toml([skill])
    assert from_toml(written) == (skill,)
    assert len(tomllib.loads(written)["skill"]) == 1
    assert all(c.isprintable() or c == "\n" for c in written)
    with pytest.raises(LudusError, match="no valid Unicode"):
        as_toml([FiledSkill("\ud800", "1", "open()")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no skill in it"),
        ("skill = 3", "no list of tables"),
        ("[[skil]]", "unknown key 'skil'; nearest: 'skill'"),
        ("[[skill]", "not TOML"),
        ("x = " + "[" * 5000, "not TOML"),
        (ONE + "succes = 'open()'", "skill 'lift red': unknown key 'succes'; nearest: 'success'"),
        (ONE.replace("reward", "#"), "skill 'lift red': 'reward' is missing"),
        (ONE + "steps = true", "steps = True is not a whole number"),
        (ONE + "steps = 8.5", "not a whole number"),
        (ONE + "base = 1", "not true or false"),
        (ONE + "parents = [1]", "not a list of texts"),
        (ONE.replace('"lift red"', "3"), "skill 1: caption = 3 is not a text"),
        (ONE + "status = 'great'", "unknown status 'great'"),
        (ONE + ONE, "skill 'lift red' is in it twice"),
    ],
)
def test_a_mistake_is_named(text, said, tmp_path):
    path = tmp_path / "skills.toml"
    path.write_text(text)
    with pytest.raises(LudusError) as refused:
        read_skills(path)
    assert said in str(refused.value) and str(path) in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(LudusError, match="No such file"):
        read_skills(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(LudusError, match="not UTF-8"):
        read_skills(tmp_path / "bytes.toml")


def test_expressions_are_checked_in_a_world():
    vocabulary = BlocksWorld(2, 1, 1).vocabulary
    good = FiledSkill("lift red", "lift(red)", "lifted(red)", prerequisites="held(red)")
    assert check([good], vocabulary).captions == ("lift red",)
    for bad, said in (
        (FiledSkill("lift blue", "lift(blue)", "lifted(blue)"), "skill 'lift blue': .*unknown object 'blue'"),
        (FiledSkill("lift red", "1", "height(red)"), "is a number"),
        (FiledSkill("lift red", "1", "lifted(red)", prerequisites="helt(red)"), "prerequisites: .*nearest: 'held'"),
        (FiledSkill("lift red", "1", "lifted(red)", prerequisites="height(red)"), "prerequisites .* is a number"),
        (FiledSkill("lift red", "1", "lifted(red)", steps=0), "0 steps"),
    ):
        with pytest.raises(LudusError, match=said):
            check([bad], vocabulary)
