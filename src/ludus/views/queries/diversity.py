"""How diverse stored episodes are: which relations between objects came about, and where objects were.

A relation graph is the set of lasting relations (`on`, `beside`, ...) that hold between objects at one observation. Two graphs
have the same shape if renaming the objects turns one into the other.

Numbers of different things grow with the number of episodes. They are compared at the same number of episodes: what is
expected of a random sample of them (rarefaction, Hurlbert 1971, Ecology 52(4)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations, product

import numpy as np

from ludus.data.store import EpisodeStore, Shard
from ludus.experimenter.effects import lasting_relations
from ludus.record import Record
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import Atom, Vocabulary
from ludus.types import LudusError, Observations

MOST_OBSERVATIONS = 50_000
"""Observations that are looked at besides the ends of segments: every k-th of each episode. All 500,000 of 3,072 episodes of two
skills take ten times as long and show rare graphs of a few tenths of a second."""
Edge = tuple[str, tuple[int, ...]]
"""A relation between objects that have numbers instead of names."""


@dataclass(frozen=True)
class Grid:
    """Cells over the places of objects: squares of the table, by levels of height.

    Raises:
        LudusError: nothing between low and high, or cells without an edge.
    """

    low: tuple[float, float]  # m: x, y
    high: tuple[float, float]
    levels: tuple[float, ...] = ()  # m, rising: heights of an object's centre at which the next level begins
    cell: float = 0.05  # m

    def __post_init__(self) -> None:
        if not (self.low[0] < self.high[0] and self.low[1] < self.high[1] and self.cell > 0):
            raise LudusError(
                f"grid from {self.low} to {self.high} m in cells of {self.cell} m: give low < high, cell > 0"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along x and y, and levels."""
        nx, ny = (int(np.ceil((b - a) / self.cell - 1e-9)) for a, b in zip(self.low, self.high, strict=True))
        return nx, ny, len(self.levels) + 1

    def cells(self, position: np.ndarray) -> np.ndarray:
        """`[..., 3]` positions in m -> `[...]` number of the cell, -1 outside of the grid."""
        nx, ny, n_levels = self.shape
        place = np.floor((position[..., :2] - np.array(self.low)) / self.cell).astype(int)
        inside = ((place >= 0) & (place < (nx, ny))).all(-1)
        level = np.searchsorted(self.levels, position[..., 2], side="right")
        return np.where(inside, (place[..., 0] * ny + place[..., 1]) * n_levels + level, -1)


@dataclass(frozen=True)
class Graphs:
    """Different relation graphs among some observations."""

    observations: int
    graphs: int
    shapes: int
    graph_entropy: float  # bits, of the distribution of the observations over the graphs
    shape_entropy: float
    graphs_expected: float | None  # in `Diversity.per` episodes
    shapes_expected: float | None


@dataclass(frozen=True)
class Coverage:
    """Cells of a grid in which an object was."""

    cells: int  # visited
    total: int
    share: float
    share_expected: float | None  # in `Diversity.per` episodes


@dataclass(frozen=True)
class Diversity:
    """Of some episodes of a run."""

    episodes: int
    transitions: int
    per: int  # episodes for which the expected numbers hold; these are None of fewer
    ends: Graphs  # at the ends of segments
    everywhere: Graphs  # at every k-th observation
    coverage: Coverage | None  # at the observations of `everywhere`; None without a grid


def diversity(
    record: Record,
    library: SkillLibrary,
    grid: Grid | None = None,
    steps: str = "",
    per: int = 1000,
    most: int = MOST_OBSERVATIONS,
) -> Diversity:
    """The diversity of the record's episodes.

    Args:
        grid: for objects whose group has a `position` of x, y and z in m.
        steps: only episodes that were collected in steps whose names begin so, such as 'round/'.
        per: number of episodes to which the expected numbers refer.
        most: observations that are looked at, about, besides the ends of segments.
    """
    store, vocabulary = EpisodeStore(record), library.vocabulary
    chosen = [e for e in store.rows() if e.step.startswith(steps)]
    n, total = len(chosen), sum(e.n_steps + 1 for e in chosen)
    every = max(1, -(-total // most))
    seen = list(_observations(store, vocabulary, grid, steps, every))
    episode, is_end, holds, cell = (np.concatenate(parts) for parts in zip(*seen, strict=True)) if seen else _nothing()
    some = ~is_end  # the ends of segments stand apart: one that is also a k-th observation stands there twice
    relations = _relations(vocabulary)
    ends, everywhere = (_graphs(holds[at], episode[at], relations, vocabulary, n, per) for at in (is_end, some))
    coverage = None if grid is None else _coverage(cell[some], episode[some], grid, n, per)
    return Diversity(n, total - n, per, ends, everywhere, coverage)


# --- what was seen -----------------------------------------------------------------------------------------------


def _relations(vocabulary: Vocabulary) -> list[Atom]:
    """Every lasting relation between objects that there may be."""
    words = sorted(lasting_relations(vocabulary))
    arity = {name: len(vocabulary.by_name[name].parameters) for name in words}
    return [(name, objects) for name in words for objects in permutations(vocabulary.objects, arity[name])]


Seen = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of N observations: number of the episode, whether it is looked at as the end of a segment, `[N, K]` which relations hold,
`[N, objects]` cells."""


def _nothing() -> Seen:
    return np.zeros(0, int), np.zeros(0, bool), np.zeros((0, 0), bool), np.zeros((0, 0), int)


def _observations(
    store: EpisodeStore, vocabulary: Vocabulary, grid: Grid | None, steps: str, every: int
) -> Iterator[Seen]:
    relations, first = _relations(vocabulary), 0
    for shard in store.shards():
        rows, episode, is_end = _rows(shard, steps, every)
        if not len(rows):
            continue
        seen: Observations = {g: a[rows] for g, a in store.observations(shard).items()}
        holds = np.zeros((len(rows), len(relations)), bool)
        for k, atom in enumerate(relations):
            holds[:, k] = vocabulary.holds(atom, seen)
        cell = np.zeros((len(rows), 0), int)
        if grid is not None:
            cell = np.stack([grid.cells(vocabulary.spec.get(seen, o, "position")) for o in vocabulary.objects], 1)
        yield episode + first, is_end, holds, cell
        first += len(shard.episodes)


def _rows(shard: Shard, steps: str, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a shard: rows of its observations, their episodes' places, whether each is looked at as the end of a segment."""
    rows, places, ends = list[np.ndarray](), list[int](), list[bool]()
    for e in shard.episodes:
        if e.step.startswith(steps):
            o = e.first_action + e.place
            at_ends = np.array([*(s.start for s in e.segments[1:]), e.n_steps])
            for found, is_end in ((np.arange(0, e.n_steps + 1, every), False), (at_ends, True)):
                rows.append(o + found)
                places += [e.place] * len(found)
                ends += [is_end] * len(found)
    return np.concatenate([np.zeros(0, int), *rows]), np.array(places, int), np.array(ends, bool)


# --- counting ----------------------------------------------------------------------------------------------------


def _graphs(
    holds: np.ndarray, episode: np.ndarray, relations: Sequence[Atom], vocabulary: Vocabulary, n: int, per: int
) -> Graphs:
    """
    Args:
        holds: `[N, K]` of each observation and relation.
        episode: `[N]`.
        n: episodes.
    """
    if not len(holds):
        none = 0.0 if per <= n else None
        return Graphs(0, 0, 0, 0.0, 0.0, none, none)
    number = {o: i for i, o in enumerate(vocabulary.objects)}
    edges = [(name, tuple(number[o] for o in objects)) for name, objects in relations]
    packed = np.packbits(holds, axis=1)
    _, first, graph = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    graph = graph.reshape(-1)
    shapes = [shape([edges[k] for k in np.flatnonzero(holds[i])]) for i in first]
    numbers = {s: i for i, s in enumerate(dict.fromkeys(shapes))}
    same = np.array([numbers[s] for s in shapes])[graph]
    return Graphs(
        len(holds),
        len(first),
        len(numbers),
        _entropy(graph),
        _entropy(same),
        expected(graph, episode, n, per),
        expected(same, episode, n, per),
    )


def _coverage(cell: np.ndarray, episode: np.ndarray, grid: Grid, n: int, per: int) -> Coverage:
    """
    Args:
        cell: `[N, objects]`.
        episode: `[N]`.
    """
    inside = cell >= 0
    visited, where = cell[inside], np.broadcast_to(episode[:, None], cell.shape)[inside]
    total, found = int(np.prod(grid.shape)), len(np.unique(visited))
    hoped = expected(visited, where, n, per)
    return Coverage(found, total, found / total, None if hoped is None else hoped / total)


def shape(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """The same for all graphs that differ only in which object is which: the least of its renamings. Objects that play the same
    part are told apart by what they are related to (colour refinement, Weisfeiler and Leman 1968); only those that are still
    alike are exchanged.
    """
    objects = sorted({i for _, at in edges for i in at})
    colour = dict.fromkeys(objects, 0)
    for _ in objects:
        seen: dict[int, list[tuple[str, int, tuple[int, ...]]]] = {i: [] for i in objects}
        for name, at in edges:
            for place, i in enumerate(at):
                seen[i].append((name, place, tuple(colour[j] for j in at)))
        part = {i: (colour[i], sorted(seen[i])) for i in objects}
        ordered = [key for key, _ in groupby(sorted(part.values()))]
        colour = {i: ordered.index(part[i]) for i in objects}
    alike = [list(group) for _, group in groupby(sorted(objects, key=lambda i: colour[i]), lambda i: colour[i])]
    renamings = []
    for order in product(*map(permutations, alike)):
        new = {i: k for k, i in enumerate(i for group in order for i in group)}
        renamings.append(tuple(sorted((name, tuple(new[i] for i in at)) for name, at in edges)))
    return min(renamings)


def expected(kind: np.ndarray, episode: np.ndarray, n: int, per: int) -> float | None:
    """Expected number of different kinds in `per` of n episodes, drawn without replacement; None if n is smaller.

    Args:
        kind: `[N]` whole numbers, one for each observation.
        episode: `[N]`.
    """
    if per > n:
        return None
    pairs = np.unique(np.stack([kind, episode], 1), axis=0)
    with_it = np.unique(pairs[:, 0], return_counts=True)[1]  # episodes that have each kind
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    without = n - with_it
    can_miss = without >= per
    left = without[can_miss]
    log_missed = log_factorial[left] - log_factorial[left - per] - log_factorial[n] + log_factorial[n - per]
    return float(len(with_it) - np.exp(log_missed).sum())


def _entropy(kind: np.ndarray) -> float:
    share = np.unique(kind, return_counts=True)[1] / len(kind)
    return float(-(share * np.log2(share)).sum()) + 0.0
