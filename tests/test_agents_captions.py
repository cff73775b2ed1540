"""Captions as the policy reads them: any case of letters, every word and object or an error."""

import numpy as np
import pytest

from ludus.agents.captions import MAX_OBJECTS, MAX_WORDS, CaptionEncoder
from ludus.types import LudusError

OBJECTS = ("red", "light red", "green", "blue")


def test_upper_and_lower_case_give_the_same_numbers():
    reader = CaptionEncoder(OBJECTS)
    for lower, upper in (("reach red", "Reach RED"), ("stack light red on green", "Stack Light Red on Green")):
        for one, other in zip(reader.read(lower), reader.read(upper), strict=True):
            assert np.array_equal(one, other)
    assert reader.read("Reach Red")[1].tolist() == [0, -1, -1]


def test_numbers_stay_what_they_were():
    """A checkpoint's embeddings belong to these numbers."""
    token_ids, object_slots = CaptionEncoder(OBJECTS).read("stack blue on light red and leave")
    assert token_ids.tolist() == [496, 5, 160, 5, 258, 182, 0, 0, 0, 0, 0, 0]
    assert object_slots.tolist() == [3, 1, -1]


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("put " + "very " * MAX_WORDS + "gently", f"14 words, a policy reads at most {MAX_WORDS}; shorten it"),
        ("pile red on green on blue on light red", f"4 different objects, a policy reads at most {MAX_OBJECTS}"),
    ],
)
def test_what_is_too_long_is_an_error_that_says_so(caption, says):
    reader = CaptionEncoder(OBJECTS)
    for ask in (reader.read, lambda c: reader.check(["reach red", c]), lambda c: reader.table([c])):
        with pytest.raises(LudusError, match=says) as error:
            ask(caption)
        assert caption in str(error.value)


def test_what_just_fits_is_read_whole():
    reader = CaptionEncoder(OBJECTS)
    reader.check(["light red light red " * (MAX_WORDS // 2), "pyramid red on green and blue"])  # a name is one word
    assert (reader.read("a b c d e f g h i j k red")[0] > 0).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stack red on green", "on red stack green"),
        ("put red on green and keep green beside blue", "put red on green and keep red beside blue"),
        ("reach red", "Reach RED"),
    ],
)
def test_captions_that_a_policy_cannot_tell_apart_are_an_error_that_names_both(one, other):
    reader = CaptionEncoder(OBJECTS)
    reader.check(["reach blue", one, "stack green on red", one])
    with pytest.raises(LudusError, match="as the same") as error:
        reader.check(["reach blue", one, other])
    assert repr(one) in str(error.value) and repr(other) in str(error.value)


def test_words_that_are_no_utf_8_are_words():
    assert (CaptionEncoder(OBJECTS).read("reach \ud83d")[0] > 0).sum() == 2


def test_a_world_without_objects_has_captions_too():
    token_ids, object_slots = CaptionEncoder(()).read("go home")
    assert (token_ids > 0).sum() == 2 and (object_slots == -1).all()
