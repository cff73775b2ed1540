"""From observations to the networks' inputs: the interface, and the encoder of every world that declares none.

Nothing here knows a world by name; a world that knows better what matters in its observations names its own encoder in
`WorldSpec.encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ludus.agents.captions import MAX_OBJECTS
from ludus.agents.constant import Constant
from ludus.agents.relations import Key, Relations
from ludus.types import Field, Group, LudusError, Observations, WorldSpec

KINDS = ("arm", "effector", "object")
LEAST_PIXELS = 8
"""Of either side of an image; smaller arrays are numbers beside each other."""


class ObservationEncoder(Protocol):
    """From the observations of one world to what the networks take."""

    task_size: int
    object_size: int
    image_shapes: tuple[tuple[int, int, int], ...]
    """Height, width and channels of each image. May be left out where there are none."""

    def pack(self, observations: Observations) -> Tensor:
        """Groups `[B, ...]` -> `[B, P]` of one dtype: all that `__call__` needs of them, kept and sent as one array."""
        ...

    def __call__(self, packed: Tensor, object_slots: Tensor) -> tuple[Tensor, ...]:
        """`[B, P]` from `pack` and `[B, K]` int64, the objects that the caption names in order, as indices into
        `WorldSpec.objects` (-1: none) -> `(task [B, task_size], objects [B, N, object_size], *images)` float32, where
        images are `[B, height, width, channels]` with numbers of order 1."""
        ...


def make_encoder(spec: WorldSpec) -> ObservationEncoder:
    """The encoder that the world declares, or the default.

    Raises:
        LudusError: none is declared and the default cannot read this world's observations.
    """
    with torch.device("cpu"):  # also where a network is made without memory, on torch's meta device
        return GroupEncoder(spec) if spec.encoder is None else spec.encoder(spec)


class GroupEncoder:
    """One row per observation group that is not hidden, from whatever fields it has, and the images.

    Every field is normalised by its declared centre and scale. One of shape `[height, width]` or `[height, width, channels]`
    whose sides are `LEAST_PIXELS` or more is an image, and is handed on as such; all others are numbers, whatever their dtype
    and axes. A group's row holds the numbers of all groups side by side, each field in the same place wherever it occurs
    (same name and shape) and 0 where the group lacks it; then a flag for each field that the group has, its kind one-hot, how it
    lies to the effectors and to the named objects (`Relations`), and 1 in the slot under which the caption names it. The task
    row holds the fields of the robot's groups (arm, effector), then for each slot whether it is used and the row of the object
    it names, without its slot. What is said of one object does not depend on how many there are, so a policy can act among more.

    Raises:
        LudusError: a field of more than three axes, an object without a group, centres that do not fit the field, a scale of 0.
    """

    def __init__(self, spec: WorldSpec):
        self._groups = tuple(g for g in spec.observation.groups if not g.hidden)
        for group in self._groups:
            if len(group.shape) > 3:
                raise LudusError(
                    f"the default encoder reads fields of up to three axes, {group.name!r} is of shape {group.shape}; declare an "
                    "encoder of your own in WorldSpec.encoder"
                )
        names = [g.name for g in self._groups]
        missing = [o for o in spec.objects if o not in names]
        if missing:
            raise LudusError(
                f"object {missing[0]!r} of world {spec.name!r} has no observation group; add one, or declare an encoder of "
                "your own in WorldSpec.encoder"
            )
        # a world without objects names none: its slots are all empty
        self._object_rows = Constant(torch.tensor([names.index(o) for o in spec.objects] or [0]))
        self._numbers = [g for g in self._groups if not _is_image(g.fields[0])]
        self._images = [g for g in self._groups if _is_image(g.fields[0])]
        fields = [f for g in self._numbers for f in g.fields]
        centre, scale = _normalisers(fields)
        self._centre, self._scale = Constant(centre), Constant(scale)
        self._of_images = [
            tuple(Constant(x.unflatten(0, _hwc(g))) for x in _normalisers(g.fields)) for g in self._images
        ]
        self.image_shapes = tuple(map(_hwc, self._images))
        columns, facts, places = _layout(self._groups)
        self._columns, self._facts = Constant(columns), Constant(facts)
        self._relations = Relations(self._groups, columns, places, scale)
        robot = np.flatnonzero([g.kind != "object" for g in self._numbers for _ in range(g.size)])
        self._robot = Constant(torch.from_numpy(robot))
        row = columns.shape[1] + facts.shape[1] + self._relations.size
        self.object_size = row + MAX_OBJECTS
        self.task_size = len(robot) + MAX_OBJECTS * (1 + row)
        self._split = [4 * sum(f.size for f in fields)]  # bytes of the numbers, then of each image
        self._split += [4 * g.size if _kept_as(g) == "float32" else g.size for g in self._images]

    def pack(self, observations: Observations) -> Tensor:
        """`[B, *shape]` per group -> `[B, sum of sizes]` float32; with images the bytes of all that, uint8."""
        n = len(observations[self._groups[0].name])
        parts = [observations[g.name].reshape(n, g.size) for g in self._numbers] or [np.zeros((n, 0), np.float32)]
        numbers = np.concatenate(parts, axis=-1, dtype=np.float32, casting="unsafe")
        if not self._images:
            return torch.from_numpy(numbers)
        images = [observations[g.name].reshape(n, g.size).astype(_kept_as(g), copy=False) for g in self._images]
        parts = [np.ascontiguousarray(part).view(np.uint8) for part in (numbers, *images)]
        return torch.from_numpy(np.concatenate(parts, axis=-1))

    def __call__(self, packed: Tensor, object_slots: Tensor) -> tuple[Tensor, ...]:
        """See `ObservationEncoder`; N is the number of groups."""
        device, batch = packed.device, len(packed)
        numbers, images = self._unpack(packed) if self._images else (packed, [])
        values = (numbers - self._centre.on(device)) / self._scale.on(device)
        fields = torch.cat([values, values.new_zeros(batch, 1)], dim=-1)[:, self._columns.on(device)]
        present = (object_slots >= 0).unsqueeze(-1).float()  # [B, K, 1]
        at = self._object_rows.on(device)[object_slots.clamp(min=0)]  # [B, K]
        facts = self._facts.on(device).expand(batch, -1, -1)
        rows = torch.cat([fields, facts, self._relations(numbers, at, present)], dim=-1)  # [B, N, row]
        roles = (one_hot(at, len(self._groups)) * present).transpose(1, 2)  # [B, N, K]
        named = torch.gather(rows, 1, at.unsqueeze(-1).expand(-1, -1, rows.shape[-1])) * present
        task = torch.cat([values[:, self._robot.on(device)], torch.cat([present, named], dim=-1).flatten(1)], dim=-1)
        return task, torch.cat([rows, roles], dim=-1), *images

    def _unpack(self, packed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The numbers `[B, sum of sizes]` and the images, normalised."""
        first, *parts = packed.split(self._split, dim=1)
        images = []
        for group, part, shape, (centre, scale) in zip(
            self._images, parts, self.image_shapes, self._of_images, strict=True
        ):
            pixels = _alone(part).view(getattr(torch, _kept_as(group))).unflatten(1, shape)
            images.append((pixels - centre.on(packed.device)) / scale.on(packed.device))
        return _alone(first).view(torch.float32), images


def _alone(columns: Tensor) -> Tensor:
    """A copy, at whose beginning any dtype can be read."""
    return columns.clone(memory_format=torch.contiguous_format)


def _is_image(f: Field) -> bool:
    return len(f.shape) > 1 and min(f.shape[:2]) >= LEAST_PIXELS


def _hwc(image: Group) -> tuple[int, int, int]:
    height, width, *channels = image.shape
    return height, width, *(channels or (1,))  # type: ignore[return-value]  # there are two or three


def _kept_as(image: Group) -> str:
    return "uint8" if image.dtype == "uint8" else "float32"


def _layout(groups: tuple[Group, ...]) -> tuple[Tensor, Tensor, dict[Key, slice]]:
    """Where each column of each group's row stands in the packed observations, `[N, W]` int64, one past the end where the
    group lacks the field; what is always true of a group, `[N, fields + kinds]` float32; and which columns are a field's."""
    sizes = {(f.name, f.shape): 0 if _is_image(f) else f.size for g in groups for f in g.fields}
    starts = np.cumsum([0, *sizes.values()]).tolist()
    places = {key: slice(start, start + size) for (key, size), start in zip(sizes.items(), starts, strict=False)}
    order = {key: i for i, key in enumerate(sizes)}
    columns = np.full(
        (len(groups), sum(sizes.values())), sum(sizes[f.name, f.shape] for g in groups for f in g.fields), np.int64
    )
    facts = np.zeros((len(groups), len(sizes) + len(KINDS)), np.float32)
    at = 0
    for row, group in enumerate(groups):
        for f in group.fields:
            key = f.name, f.shape
            columns[row, places[key]] = np.arange(at, at + sizes[key])
            facts[row, order[key]] = 1
            at += sizes[key]
        facts[row, len(sizes) + KINDS.index(group.kind)] = 1
    return torch.from_numpy(columns), torch.from_numpy(facts), places


def _normalisers(fields: Sequence[Field]) -> tuple[Tensor, Tensor]:
    """Centre and scale of every entry, `[sum of sizes]` float32."""
    nothing = np.zeros(0, np.float32)
    centre = np.concatenate([nothing, *(_entries(f, f.centre) for f in fields)])
    scale = np.concatenate([nothing, *(_entries(f, f.scale) for f in fields)])
    if not scale.all():
        name = next(f.name for f in fields if not _entries(f, f.scale).all())
        raise LudusError(f"field {name!r} has a scale of 0; give the size of its usual variation")
    return torch.from_numpy(centre), torch.from_numpy(scale)


def _entries(f: Field, value: float | tuple[float, ...]) -> np.ndarray:
    """`[size]` float32: one number for all entries of the field, or one for each along its last axis."""
    try:
        return np.broadcast_to(np.asarray(value, np.float32), f.shape).ravel()
    except ValueError:
        raise LudusError(
            f"field {f.name!r} of shape {f.shape} has centre {f.centre} and scale {f.scale}; give one number or {f.shape[-1]}"
        ) from None
