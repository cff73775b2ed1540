"""The one reader of object names in text."""

import pytest

from ludus.agents.captions import CaptionEncoder
from ludus.experimenter.matching import Matcher
from ludus.skills.library import SkillLibrary
from ludus.skills.names import ObjectNames
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

NAMES = ObjectNames(("blue", "light blue", "Mug #2", "red"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stack red on blue", ("red", "blue")),
        ("Stack RED on light BLUE, then blue", ("red", "light blue", "blue")),
        ("red beside red", ("red",)),
        ("bored with bluebells, infrared", ()),
        ("lift mug #2.", ("Mug #2",)),
        ("", ()),
    ],
)
def test_finds_whole_words_in_any_case_longest_first(text, found):
    assert NAMES.find(text) == found
    assert set(NAMES.mentions(text)) == set(found)


def test_templates_and_markers():
    assert NAMES.template("put Red beside light blue and red") == "put X beside Y and X"
    assert NAMES.replace("put Red beside light blue", "_") == "put _ beside _"
    assert NAMES.replace("put red beside blue", r"\1") == r"put \1 beside \1"  # a marker is no pattern
    assert NAMES.mentions("red on red") == ("red", "red")


def test_without_objects_nothing_is_found():
    none = ObjectNames(())
    assert none.find("stack red on blue") == ()
    assert none.replace("stack red", "_") == none.template("stack red") == "stack red"


def test_library_policy_matcher_and_teacher_read_alike():
    """'reach Red' once named red to one of them and nothing to another."""
    world = BlocksWorld(3, 1, threads=1)
    objects = world.spec.objects
    library = SkillLibrary(world.vocabulary, base_skills(objects) + extra_skills(objects))
    captions, matcher, teacher = CaptionEncoder(objects), Matcher(library.captions, objects), Teacher(world.spec)
    observations = world.reset([3])
    for caption in library.captions:
        for text in (caption.upper(), caption.title()):
            named = library.mentioned(text)
            assert named == library.mentioned(caption)
            slots = [objects[i] for i in captions.read(text)[1] if i >= 0]
            assert tuple(slots) == named
            assert matcher.retrieve(text).caption == caption
            assert (teacher.clean(observations, [text]) == teacher.clean(observations, [caption])).all()


def test_letters_that_only_match_without_case_name_their_object():
    odd = ObjectNames(("sink", "brick"))
    assert odd.find("move the \u017fink to the BR\u0131CK") == ("sink", "brick")  # a long s, a dotless i
    assert odd.template("\u017fink on brick") == "X on Y"
