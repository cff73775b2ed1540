"""From observations to the networks' inputs: the interface, and the encoder of every world that declares none.

Nothing here knows a world by name; a world that knows better what matters in its observations names its own encoder in
`WorldSpec.encoder`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ludus.agents.captions import MAX_OBJECTS
from ludus.types import Field, Group, LudusError, Observations, WorldSpec

KINDS = ("arm", "effector", "object")


class ObservationEncoder(Protocol):
    """From the observations of one world to what the networks take."""

    task_size: int
    object_size: int

    def pack(self, observations: Observations) -> Tensor:
        """Groups `[B, ...]` -> `[B, P]` float32: all that `__call__` needs of them, kept and sent as one array."""
        ...

    def __call__(self, packed: Tensor, object_slots: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, P]` from `pack` and `[B, K]` int64, the objects that the caption names in order, as indices into
        `WorldSpec.objects` (-1: none) -> `(task [B, task_size], objects [B, N, object_size])` float32."""
        ...


def make_encoder(spec: WorldSpec) -> ObservationEncoder:
    """The encoder that the world declares, or the default.

    Raises:
        LudusError: none is declared and the default cannot read this world's observations.
    """
    return GroupEncoder(spec) if spec.encoder is None else spec.encoder(spec)


class GroupEncoder:
    """One row per observation group, from whatever fields it has.

    Every field is normalised by its declared centre and scale. A group's row holds the fields of all groups side by side,
    each in the same place wherever it occurs (same name and size) and 0 where the group lacks it; then a flag for each
    field that the group has, its kind one-hot, and 1 in the slot under which the caption names it. The task row holds the
    fields of the robot's groups (arm, effector), then for each slot whether it is used and the row of the object it
    names. What is said of one object does not depend on how many there are, so a policy can act among more.

    Raises:
        LudusError: a group that is no flat array, an object without a group, centres that do not fit the field, a scale of 0.
    """

    def __init__(self, spec: WorldSpec):
        self._groups = spec.observation.groups
        for group in self._groups:
            if not group.is_flat:
                raise LudusError(
                    f"the default encoder reads flat float32 groups, {group.name!r} is {group.dtype} of shape {group.shape}; "
                    "declare an encoder of your own in WorldSpec.encoder"
                )
        names = [g.name for g in self._groups]
        missing = [o for o in spec.objects if o not in names]
        if missing:
            raise LudusError(
                f"object {missing[0]!r} of world {spec.name!r} has no observation group; add one, or declare an encoder of "
                "your own in WorldSpec.encoder"
            )
        # a world without objects names none: its slots are all empty
        self._object_rows = torch.tensor([names.index(o) for o in spec.objects] or [0])
        fields = [f for g in self._groups for f in g.fields]
        self._centre = torch.from_numpy(np.concatenate([_entries(f, f.centre) for f in fields]))
        self._scale = torch.from_numpy(np.concatenate([_entries(f, f.scale) for f in fields]))
        if not self._scale.all():
            raise LudusError(f"a field of world {spec.name!r} has a scale of 0; give the size of its usual variation")
        self._columns, self._facts = _layout(self._groups)
        robot = [g.kind != "object" for g in self._groups for _ in range(g.size)]
        self._robot = torch.from_numpy(np.flatnonzero(robot))
        row = self._columns.shape[1] + self._facts.shape[1]
        self.object_size = row + MAX_OBJECTS
        self.task_size = len(self._robot) + MAX_OBJECTS * (1 + row)

    def pack(self, observations: Observations) -> Tensor:
        """`[B, size]` per group -> `[B, sum of sizes]`."""
        return torch.from_numpy(np.concatenate([observations[g.name] for g in self._groups], axis=-1))

    def __call__(self, packed: Tensor, object_slots: Tensor) -> tuple[Tensor, Tensor]:
        """See `ObservationEncoder`; N is the number of groups."""
        device, batch = packed.device, len(packed)
        values = (packed - self._centre.to(device)) / self._scale.to(device)
        fields = torch.cat([values, values.new_zeros(batch, 1)], dim=-1)[:, self._columns.to(device)]
        rows = torch.cat([fields, self._facts.to(device).expand(batch, -1, -1)], dim=-1)  # [B, N, row]

        present = (object_slots >= 0).unsqueeze(-1).float()  # [B, K, 1]
        at = self._object_rows.to(device)[object_slots.clamp(min=0)]  # [B, K]
        roles = (one_hot(at, len(self._groups)) * present).transpose(1, 2)  # [B, N, K]
        named = torch.gather(rows, 1, at.unsqueeze(-1).expand(-1, -1, rows.shape[-1])) * present
        task = torch.cat([values[:, self._robot.to(device)], torch.cat([present, named], dim=-1).flatten(1)], dim=-1)
        return task, torch.cat([rows, roles], dim=-1)


def _layout(groups: tuple[Group, ...]) -> tuple[Tensor, Tensor]:
    """Where each column of each group's row stands in the packed observations, `[N, W]` int64, one past the end where the
    group lacks the field; and what is always true of a group, `[N, fields + kinds]` float32."""
    sizes = {(f.name, f.size): f.size for g in groups for f in g.fields}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    order = {key: i for i, key in enumerate(sizes)}
    columns = np.full((len(groups), sum(sizes.values())), sum(g.size for g in groups), np.int64)
    facts = np.zeros((len(groups), len(sizes) + len(KINDS)), np.float32)
    at = 0
    for row, group in enumerate(groups):
        for f in group.fields:
            key = f.name, f.size
            columns[row, starts[key] : starts[key] + f.size] = np.arange(at, at + f.size)
            facts[row, order[key]] = 1
            at += f.size
        facts[row, len(sizes) + KINDS.index(group.kind)] = 1
    return torch.from_numpy(columns), torch.from_numpy(facts)


def _entries(f: Field, value: float | tuple[float, ...]) -> np.ndarray:
    """`[size]` float32: one number for all entries of the field, or one each."""
    try:
        return np.broadcast_to(np.asarray(value, np.float32), (f.size,))
    except ValueError:
        raise LudusError(
            f"field {f.name!r} of {f.size} entries has centre {f.centre} and scale {f.scale}; give one number or {f.size}"
        ) from None
