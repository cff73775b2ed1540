"""Plans with loops and branches are data: read, written, checked and walked; whatever is wrong with one is said."""

import json

import pytest
from counting_world import CountingWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.lab import program
from ludus.lab.program import Do, If, Repeat, as_json, as_text, check, from_json, most_steps, parse, walk
from ludus.types import LudusError

LIBRARY = CountingWorld().library()
CONDITIONS = ("at(home)", "marked(shop)", "at(shop) and not marked(home)", "distance(home) < 0.5")
do = st.builds(Do, st.sampled_from(LIBRARY.captions))
condition = st.sampled_from(CONDITIONS)


def steps(inner):
    return st.lists(inner, min_size=1, max_size=3).map(tuple)


step = st.recursive(
    do,
    lambda s: (
        st.builds(Repeat, condition, steps(s), st.integers(1, 5))
        | st.builds(If, condition, steps(s), steps(s) | st.just(()))
    ),
    max_leaves=6,
)
programs = steps(step).filter(lambda p: all(depth <= program.MAX_DEPTH for _, depth in program._parts(p)))


@given(programs)
def test_what_is_written_reads_back_the_same(written):
    assert check(written, LIBRARY) == written
    assert from_json(json.loads(json.dumps(as_json(written)))) == written
    assert parse(as_text(written)) == written


def test_the_text_form():
    assert parse("go to home") == (Do("go to home"),)
    assert parse(" go to home ;; mark home; ") == (Do("go to home"), Do("mark home"))
    assert parse("repeat until at(home) { go to home }") == (Repeat("at(home)", (Do("go to home"),)),)
    assert parse("repeat until at(home), at most 3 times {go to home}; mark home") == (
        Repeat("at(home)", (Do("go to home"),), 3),
        Do("mark home"),
    )
    assert parse("if at(home) { mark home } else { go to home; mark home } go to shop") == (
        If("at(home)", (Do("mark home"),), (Do("go to home"), Do("mark home"))),
        Do("go to shop"),
    )
    assert parse("repeat until marked(home) { if not at(home) { go to home }; mark home }") == (
        Repeat("marked(home)", (If("not at(home)", (Do("go to home"),)), Do("mark home"))),
    )
    assert parse("iffy step") == (Do("iffy step"),)


def told(written, true=()):
    return list(walk(parse(written), lambda text: text in true))


def test_walking_asks_where_it_comes_to_a_condition():
    assert told("a; if x { b } else { c; d }; e") == ["a", "c", "d", "e"]
    assert told("a; if x { b } else { c; d }; e", ["x"]) == ["a", "b", "e"]
    assert told("if x { a }") == []
    assert told("repeat until x at most 3 times { a; b }") == ["a", "b"] * 3
    assert told("repeat until x { a }; b", ["x"]) == ["b"]
    answers = iter([False, False, True])  # of x, before each round
    walked = walk(parse("repeat until x { a; b }; c"), lambda _: next(answers))
    assert list(walked) == ["a", "b", "a", "b", "c"]


def test_a_round_that_tells_nothing_is_the_last():
    asked = []
    walked = walk(parse("repeat until x at most 64 times { if y { a } }; b"), lambda t: asked.append(t) or False)
    assert list(walked) == ["b"] and asked == ["x", "y"]


@given(programs, st.randoms(use_true_random=False))
def test_every_walk_ends_within_what_is_foreseen(written, draw):
    captions = list(walk(written, lambda _: draw.random() < 0.3))
    assert sum(LIBRARY[c].steps for c in captions) <= most_steps(written, LIBRARY)
    assert set(captions) <= set(program.captions_of(written))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a program without steps"),
        ("go to hom", "unknown skill 'go to hom'; nearest: 'go to home'"),
        ("if at(hom) { go to home }", "unknown object 'hom'"),
        ("repeat until fly(home) { go to home }", "unknown predicate or function 'fly'"),
        ("if distance(home) { go to home }", "is a number; compare it"),
        ("if { go to home }", "expression is empty"),
        ("repeat until __import__('os') { go to home }", "unknown predicate or function '__import__'"),
        ("repeat until at(home) { }", "'repeat until at(home)' without steps"),
        ("if at(home) { } else { }", "'if at(home)' without steps"),
        ("repeat until at(home) at most 0 times { go to home }", "at most 0 times; give 1 to 64"),
        ("repeat until at(home) at most 65 times { go to home }", "at most 65 times; give 1 to 64"),
        ("if at(home) at most 3 times { go to home }", "belongs to 'repeat until'"),
        ("repeat until at(home) { go to home", "a { without its }"),
        ("go to home }", "at character 12: a } without its {"),
        ("go to home { mark home }", "{ stands only after"),
        ("go to home; { mark home }", "{ stands only after"),
        ("; ".join(["go to home"] * 65), "more than 64 parts"),
        ("if at(home) { " * 7 + "go to home" + " }" * 7, "nested deeper than 6"),
        ("x" * 4001, "4001 characters; at most 4000"),
    ],
)
def test_a_wrong_program_is_refused(text, said):
    with pytest.raises(LudusError) as refused:
        check(parse(text), LIBRARY)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "written",
    [
        None, "go to home", {"if": "at(home)", "then": ["go to home"]}, [3], [None], [["go to home"]], [{}],
        [{"repeat_until": "at(home)"}], [{"repeat_until": 1, "steps": ["go to home"]}],
        [{"repeat_until": "at(home)", "steps": ["go to home"], "at_most": "3"}],
        [{"repeat_until": "at(home)", "steps": ["go to home"], "at_most": True}],
        [{"repeat_until": "at(home)", "steps": "go to home"}],
        [{"if": "at(home)", "then": ["go to home"], "run": "rm -rf"}],
        [{"if": "at(home)", "then": ["go to home"], "else": None}],
    ],
)  # fmt: skip
def test_json_of_another_shape_is_refused(written):
    with pytest.raises(LudusError, match="program"):
        from_json(written)


def test_json_that_is_nested_without_end_is_refused():
    written: list = ["go to home"]
    for _ in range(900):
        written = [{"if": "at(home)", "then": written}]
    with pytest.raises(LudusError, match="nested deeper than 6"):
        from_json(written)
    step = Do("go to home")
    for _ in range(900):
        step = If("at(home)", (step,))
    with pytest.raises(LudusError, match="nested deeper than 6"):
        check([step], LIBRARY)


WORDS = (
    "repeat until ",
    "if ",
    "else ",
    "{",
    "}",
    ";",
    "at most 3 times",
    "at(home)",
    "go to home",
    " ",
    "'",
    "(",
    "\n",
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=12).map("".join))
def test_any_text_is_a_program_or_refused(text):
    try:
        written = check(parse(text), LIBRARY)
    except LudusError:
        return
    assert check(parse(as_text(written)), LIBRARY) == written
