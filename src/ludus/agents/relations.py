"""How things lie to the robot's hand and to each other: differences of the fields that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ludus.agents.captions import MAX_OBJECTS
from ludus.agents.constant import Constant
from ludus.types import Group

Key = tuple[str, tuple[int, ...]]
"""Name and shape of a field."""
NEARER = (4.0, 16.0)
"""A difference of x scales is also seen as tanh of so many times x: coming near, and fitting."""


class Relations:
    """For every group, its fields less those of the effectors and of the objects that the caption names.

    A way that is a small difference of two places is hardly learned from the places. So each field of one axis that an
    effector (in a world without one, an arm) has in common with an object, by name and shape, such as its position, is also
    given as a difference, in scales of the effector's field: as it is, and as tanh of `NEARER` times it; so is its length. What
    lacks the field has 0 there.

    Args:
        groups: N of them.
        columns: `[N, W]` where each number of a group's row stands among all P, P where the group lacks it.
        places: name and shape of a field -> which of the W are its.
        scale: `[P]` of the numbers.
    """

    def __init__(self, groups: Sequence[Group], columns: Tensor, places: Mapping[Key, slice], scale: Tensor):
        hands = [i for i, g in enumerate(groups) if g.kind == "effector"]
        hands = hands or [i for i, g in enumerate(groups) if g.kind == "arm"]
        self._n = len(groups)
        self._hands = Constant(torch.tensor(hands, dtype=torch.int64))
        objects = {(f.name, f.shape) for g in groups if g.kind == "object" for f in g.fields}
        shared = {(f.name, f.shape): i for i in reversed(hands) for f in groups[i].fields if f.is_flat}
        of = [(columns[:, places[key]], hand) for key, hand in shared.items() if key in objects]
        self._fields = [_Shared(own, own[:, 0] < len(scale), scale[own[hand]]) for own, hand in of]
        per_hand = sum((1 + len(NEARER)) * (f.size + 1) for f in self._fields)
        self.size = (len(hands) + MAX_OBJECTS) * per_hand

    def __call__(self, numbers: Tensor, named: Tensor, present: Tensor) -> Tensor:
        """All numbers `[B, P]`, not normalised, the rows of the named objects `[B, K]` and whether there are any `[B, K, 1]` ->
        `[B, N, size]`."""
        hands = self._hands.on(numbers.device).expand(len(numbers), -1)
        rows = torch.cat([hands, named], dim=1)
        there = torch.cat([torch.ones_like(hands, dtype=present.dtype), present[..., 0]], dim=1)
        padded = torch.cat([numbers, numbers.new_zeros(len(numbers), 1)], dim=-1)
        parts = [f(padded, rows, there) for f in self._fields] or [numbers.new_zeros(len(numbers), self._n, 0)]
        return torch.cat(parts, dim=-1)


class _Shared:
    """One field, of whatever groups have it."""

    def __init__(self, columns: Tensor, has: Tensor, scale: Tensor):
        self.size = len(scale)
        self._columns, self._has, self._scale = Constant(columns), Constant(has.float()), Constant(scale)

    def __call__(self, padded: Tensor, rows: Tensor, there: Tensor) -> Tensor:
        """`[B, P + 1]`, `[B, R]` and `[B, R]` -> `[B, N, R x scales x (size + 1)]`."""
        device = padded.device
        values, has = padded[:, self._columns.on(device)], self._has.on(device)  # [B, N, size], [N]
        of = torch.gather(values, 1, rows.unsqueeze(-1).expand(-1, -1, self.size))  # [B, R, size]
        both = (has[:, None] * (has[rows] * there).unsqueeze(1)).unsqueeze(-1)  # [B, N, R, 1]
        way = (values.unsqueeze(2) - of.unsqueeze(1)) * both / self._scale.on(device)
        way = torch.cat([way, way.square().sum(-1, keepdim=True).sqrt()], dim=-1)
        return torch.cat([way, *(torch.tanh(k * way) for k in NEARER)], dim=-1).flatten(2)
