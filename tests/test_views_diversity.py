"""How diverse stored episodes are: relation graphs by name and by shape, and cells where objects were."""

import json
import math
from contextlib import closing
from dataclasses import asdict, replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.config import preset
from ludus.data import EpisodeStore
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import block_vocabulary
from ludus.types import Episode, Field, Group, LudusError, ObservationSpec, Segment
from ludus.views.queries import Grid, diversity
from ludus.views.queries.diversity import expected, shape
from ludus.views.queries.study import MEASURES
from ludus.worlds.blocks.skills import base_skills
from ludus.worlds.registry import make_world

COLOURS = ("red", "green", "blue")
FIELDS = ("position", 3), ("velocity", 3), ("touch_left", 1), ("touch_right", 1), ("size", 1)
SIZE = 0.04
GRIPPER = Group(
    "gripper", "effector", tuple(Field(n, s, "", "") for n, s in (("position", 3), ("width", 1), ("command", 1)))
)
BLOCKS = (Group(c, "object", tuple(Field(n, s, "", "") for n, s in FIELDS)) for c in COLOURS)
WORDS = block_vocabulary(ObservationSpec((GRIPPER, *BLOCKS)), COLOURS)
LIBRARY = SkillLibrary(WORDS, base_skills(COLOURS))
APART = {"red": (0.35, -0.2, 0.02), "green": (0.45, 0.0, 0.02), "blue": (0.55, 0.2, 0.02)}
GRID = Grid((0.3, -0.3), (0.7, 0.3), (0.04, 0.08))


def stacked(upper, lower):
    x, y, z = APART[lower]
    return APART | {upper: (x, y, z + SIZE)}


def episode(name, scenes, segments=(0,)):
    """An episode that shows these scenes, one per observation."""
    seen = {"gripper": np.zeros((len(scenes), 5), np.float32)}
    for colour in COLOURS:
        seen[colour] = np.zeros((len(scenes), 9), np.float32)
        seen[colour][:, :3] = [s[colour] for s in scenes]
        seen[colour][:, 8] = SIZE
    n = len(scenes) - 1
    told = tuple(Segment(s, "reach red", "h") for s in segments)
    return Episode(name, seen, np.zeros((n, 5), np.float32), told, "policy", "w", 0, "scattered", np.zeros(2))


@pytest.fixture
def store(tmp_path):
    store = EpisodeStore.create(tmp_path / "run", preset("tiny"))
    yield store
    store.record.close()


def test_graphs_are_told_apart_by_name_and_by_shape(store):
    on_green, on_blue = stacked("red", "green"), stacked("green", "blue")
    store.append([episode("a", [APART, on_green, on_green, on_blue], (0, 2))], step="round/1/collect/000")
    store.append([episode("b", [APART] * 4), episode("c", [APART, APART])], step="round/2/collect/000")
    found = diversity(store.record, LIBRARY, per=3)
    assert (found.episodes, found.transitions, found.coverage) == (3, 7, None)
    everywhere, ends = found.everywhere, found.ends
    assert (everywhere.observations, everywhere.graphs, everywhere.shapes) == (10, 3, 2)
    assert (ends.observations, ends.graphs, ends.shapes) == (4, 3, 2)
    assert ends.graph_entropy == pytest.approx(1.5) and ends.shape_entropy == pytest.approx(1)
    assert (ends.graphs_expected, ends.shapes_expected) == (pytest.approx(3), pytest.approx(2))
    # of two of the three episodes, 'a' is among them in two of three draws
    assert diversity(store.record, LIBRARY, per=2).everywhere.graphs_expected == pytest.approx(1 + 2 * 2 / 3)
    assert json.loads(json.dumps(asdict(found)))


def test_only_the_steps_that_were_asked_for(store):
    store.append([episode("a", [stacked("red", "green")] * 2)], step="seed-data/000")
    store.append([episode("b", [APART] * 2), episode("c", [APART] * 2)], step="round/1/collect/000")
    found = diversity(store.record, LIBRARY, GRID, "round/", per=2)
    assert (found.episodes, found.everywhere.graphs, found.everywhere.graph_entropy) == (2, 1, 0)
    assert found.coverage.cells == 3


def test_no_episodes_have_no_diversity(store):
    found = diversity(store.record, LIBRARY, GRID, "round/")
    assert (found.episodes, found.transitions, found.ends.graphs, found.coverage.cells) == (0, 0, 0, 0)
    assert found.ends.graphs_expected is None and found.coverage.share_expected is None


def test_coverage_counts_the_cells_of_every_block_and_level(store):
    store.append([episode("a", [APART, stacked("red", "green")])], step="collect/0")
    store.append([episode("b", [APART | {"red": (0.9, 0.0, 0.02)}] * 2)], step="collect/1")  # red fell off the grid
    coverage = diversity(store.record, LIBRARY, GRID, per=1).coverage
    assert GRID.shape == (8, 12, 3) and coverage.total == 288
    assert coverage.cells == 4 and coverage.share == pytest.approx(4 / 288)
    assert coverage.share_expected == pytest.approx((4 + 2) / 2 / 288)


def test_many_observations_are_looked_at_in_part(store):
    store.append([episode("a", [APART] * 30), episode("b", [APART] * 15)], step="collect/0")
    found = diversity(store.record, LIBRARY, GRID, most=10)
    assert found.everywhere.observations == 6 + 3 and found.ends.observations == 2


def test_a_study_counts_the_cubes_in_which_objects_were(store):
    with closing(make_world(store.record.config.world)) as world:
        n, spec = world.n_envs, world.spec
        seen = {g: values[:3] for g, values in world.reset(range(n), [spec.starts[0]] * n).items()}
        shown = replace(episode("a", [APART] * 3), observations=seen)
        at = np.concatenate([spec.observation.get(seen, o, "position") for o in spec.objects])
    cubes = {tuple(place) for place in np.floor(np.round(at / 0.05, 6)).astype(int)}
    assert len(cubes) > 3
    store.append([replace(shown, id="b")], step="seed-data/000")
    store.append([shown], step="round/1/collect/000")
    assert MEASURES["places"](store.record) == {"": len(cubes)} and MEASURES["graphs"](store.record) == {"": 1}


def test_a_grid_has_cells():
    with pytest.raises(LudusError, match="give low < high"):
        Grid((0.3, 0.0), (0.3, 0.1))


EDGES = st.sets(
    st.one_of(
        st.tuples(st.just("on"), st.permutations(range(4)).map(lambda p: tuple(p[:2]))),
        st.tuples(st.just("on_both"), st.permutations(range(4)).map(lambda p: tuple(p[:3]))),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(EDGES, EDGES)
def test_a_shape_is_the_same_exactly_for_renamed_graphs(one, other):
    def renamed(edges):
        return {frozenset((n, tuple(p[i] for i in at)) for n, at in edges) for p in permutations(range(4))}

    assert (shape(list(one)) == shape(list(other))) == (frozenset(other) in renamed(one))
    assert all(shape(list(graph)) == shape(list(one)) for graph in renamed(one))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=20), st.integers(0, 6))
def test_expected_numbers_are_means_over_all_samples(pairs, per):
    kind, where = (np.array(x) for x in zip(*pairs, strict=True))
    seen = [{k for k, e in pairs if e in chosen} for chosen in combinations(range(6), per)]
    assert len(seen) == math.comb(6, per)
    assert expected(kind, where, 6, per) == pytest.approx(sum(map(len, seen)) / len(seen))
    assert expected(kind, where, 6, 7) is None
