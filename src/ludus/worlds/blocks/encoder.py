"""What the networks see of a gripper and cubes: numbers for each object at several scales, relative to what the caption names.

Behaviour cloning of a clean teacher stacks 4 % of the time from absolute poses, 99 % from these numbers
(docs/method.md, section 5). No velocities and no command history, on purpose. Every object is described alike, so their
number is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ludus.types import Observations, WorldSpec

SLOTS = 3
"""Objects that a caption can name."""
COARSE_M, FINE_M = 0.05, 0.012
"""Scales of tanh(x / scale): carrying and fitting."""
PER_M = 5.0
"""Scale of a length as it is: 0.2 m gives 1."""
FINE_TURN_RAD = 0.1
"""Scale of tanh(error / scale) of the yaw: aligned or not."""
FIT_M, LOOSE_M, FIT_SCALE_M = 0.003, 0.010, 0.003
"""How much wider than the object the pads are when they have closed on it, when they have let go of it, and the scale of both."""
TCP_CENTRE_M = (0.48, 0.0, 0.1)
"""Middle of the workspace."""
YAW_RANGE_RAD, MID_WIDTH_M, WIDTH_PER_M = 1.3, 0.04, 25.0
"""Largest yaw; middle of the width between the pads, and its scale: 0 to 0.08 m gives -1 to 1. Also the scale of edge lengths."""


@dataclass(frozen=True)
class _View:
    """The packed numbers of B scenes of N objects, by name."""

    tcp: Tensor  # [B, 3] m
    yaw: Tensor  # [B, 1] rad
    width: Tensor  # [B, 1] m between the pads
    position: Tensor  # [B, N, 3] m
    quaternion: Tensor  # [B, N, 4] (w, x, y, z)
    size: Tensor  # [B, N, 1] m
    touched: Tensor  # [B, N, 1] 0, 1 or 2 pads


@dataclass(frozen=True)
class _Named:
    """The objects that the caption names, in K slots."""

    index: Tensor  # [B, K, 1] of the object; 0 where there is none
    present: Tensor  # [B, K, 1] 0 or 1
    position: Tensor  # [B, K, 3] m
    size: Tensor  # [B, K, 1] m


class CubeEncoder:
    """The `ObservationEncoder` of worlds of one gripper and N cubes.

    An object row `[65]` holds, with `s(x)` short for (5 x, tanh(x / 5 cm), tanh(x / 1.2 cm)) of each entry of x:

    * 26 of its own: s(position from the tcp) 9, s(distance from the tcp) 3, s(horizontal distance) 3, s(height of the lower
      face) 3, sine and cosine of 4 (yaw - gripper's yaw) 2, that angle's error to the next quarter turn (times 3; tanh at
      0.1 rad) 2, fit between the pads (closed on it; let go of it) 2, pads that touch it 1, edge length 1;
    * 36 relations: for each of the 3 slots s(position from where the two would be stacked) 9, s(its horizontal part) 3. The
      first slot is taken as what comes on top, the others as what lies below;
    * 3 roles: 1 in the slot under which the caption names it.

    The task row `[128]` holds

    * 8 of the gripper: position 3, yaw 1, width 1, which slots are used 3;
    * 78: the 26 own numbers of each named object;
    * 36: s(offset) 9 and s(its horizontal part) 3 of the first object from its place on the second, of the first from its
      place on second and third at once, of the second from its place on the third;
    * 6: s(horizontal distance) and s(height) of the first from the second.

    What belongs to an unused slot is 0.

    Args:
        spec: of a world with one effector (position, yaw, width) and objects (position, quaternion, size and, where they
            have them, touch_left and touch_right).
    """

    def __init__(self, spec: WorldSpec):
        self._spec = spec.observation
        (effector,) = (g for g in spec.observation.of_kind("effector") if not g.hidden)
        self._effector = effector.name
        self._objects = [g.name for g in spec.observation.of_kind("object")]
        self.task_size, self.object_size = self._sizes()

    def _sizes(self) -> tuple[int, int]:
        zeros = {g.name: np.zeros((1, g.size), np.float32) for g in self._spec.groups}
        task, objects = self(self.pack(zeros), torch.full((1, SLOTS), -1))
        return task.shape[-1], objects.shape[-1]

    def pack(self, observations: Observations) -> Tensor:
        """The few fields that matter, as one tensor `[B, 5 + 9 N]`: effector (position, yaw, width), then per object
        (position, quaternion, size, number of pads that touch it)."""
        get = self._spec.get
        parts = [get(observations, self._effector, f) for f in ("position", "yaw", "width")]
        for name in self._objects:
            parts += [get(observations, name, f) for f in ("position", "quaternion", "size")]
            if "touch_left" in self._spec.by_name[name].slices:
                parts.append(get(observations, name, "touch_left") + get(observations, name, "touch_right"))
            else:
                parts.append(np.zeros_like(parts[-1]))
        return torch.from_numpy(np.concatenate(parts, axis=-1))

    def __call__(self, packed: Tensor, object_slots: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, 5 + 9 N]` from `pack` and `[B, 3]` object indices (-1: none) -> `(task [B, 128], objects [B, N, 65])`."""
        view = _view(packed)
        named = _named(view, object_slots)
        own = _own(view)
        roles = one_hot(object_slots + 1, view.position.shape[1] + 1)[..., 1:].transpose(1, 2).float()
        tokens = torch.cat([own, _relations(view, named), roles], dim=-1)
        theirs = torch.gather(own, 1, named.index.expand(-1, -1, own.shape[-1])) * named.present
        return torch.cat([_robot(view, named), theirs.flatten(1), _offsets(named)], dim=-1), tokens


def _view(packed: Tensor) -> _View:
    objects = packed[:, 5:].view(len(packed), -1, 9)
    return _View(
        tcp=packed[:, :3],
        yaw=packed[:, 3:4],
        width=packed[:, 4:5],
        position=objects[..., :3],
        quaternion=objects[..., 3:7],
        size=objects[..., 7:8],
        touched=objects[..., 8:9],
    )


def _named(view: _View, object_slots: Tensor) -> _Named:
    index = object_slots.clamp(min=0).unsqueeze(-1)
    return _Named(
        index=index,
        present=(object_slots >= 0).unsqueeze(-1).float(),
        position=torch.gather(view.position, 1, index.expand(-1, -1, 3)),
        size=torch.gather(view.size, 1, index),
    )


def _own(view: _View) -> Tensor:
    """`[B, N, 26]`: each object relative to the gripper."""
    w, x, y, z = view.quaternion.unbind(-1)
    turn = torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)).unsqueeze(-1)
    quarter = 4 * (turn - view.yaw[:, None])  # cubes look the same after a quarter turn
    error = torch.atan2(torch.sin(quarter), torch.cos(quarter)) / 4
    height = view.position[..., 2:] - view.size / 2
    to_tcp = view.position - view.tcp[:, None]
    opening = view.width[:, None] - view.size
    lengths = torch.cat([to_tcp, _norm(to_tcp), _norm(to_tcp[..., :2]), height], dim=-1)
    return torch.cat(
        [
            _scales(lengths, (3, 1, 1, 1)),
            torch.sin(quarter),
            torch.cos(quarter),
            error * 3,
            torch.tanh(error / FINE_TURN_RAD),
            torch.tanh((opening - FIT_M) / FIT_SCALE_M),
            torch.tanh((opening - LOOSE_M) / FIT_SCALE_M),
            view.touched,
            view.size * WIDTH_PER_M,
        ],
        dim=-1,
    )


def _relations(view: _View, named: _Named) -> Tensor:
    """`[B, N, 36]`: from every object to each named one, less what stacking the two would leave."""
    rise = (view.size[:, :, None] + named.size[:, None]) / 2  # [B, N, K, 1]
    stacked = torch.cat([torch.zeros_like(rise), torch.zeros_like(rise), rise], dim=-1)
    above = view.position[:, :, None] - named.position[:, None] - stacked  # object on top of the named one
    below = view.position[:, :, None] - named.position[:, None] + stacked  # object under it
    relation = torch.stack([below[:, :, 0], above[:, :, 1], above[:, :, 2]], dim=2)
    relation = relation * named.present[:, None]
    lengths = torch.cat([relation, _norm(relation[..., :2])], dim=-1)
    return _scales(lengths, (3, 1)).flatten(2)


@cache
def _tcp_centre(device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it is kept, and may be needed for a gradient
        return torch.tensor(TCP_CENTRE_M, device=device)


def _robot(view: _View, named: _Named) -> Tensor:
    """`[B, 8]`: the gripper, and which slots the caption uses."""
    return torch.cat(
        [
            (view.tcp - _tcp_centre(view.tcp.device)) * PER_M,
            view.yaw / YAW_RANGE_RAD,
            (view.width - MID_WIDTH_M) * WIDTH_PER_M,
            named.present.flatten(1),
        ],
        dim=-1,
    )


def _offsets(named: _Named) -> Tensor:
    """Together `[B, 42]`: how the named objects lie to each other, less what stacking them would leave."""
    first, second, third = named.position.unbind(1)
    step = torch.zeros_like(first)
    step[:, 2:] = (named.size[:, 0] + named.size[:, 1]) / 2
    present = named.present
    pair = (first - second) * present[:, 1]
    stacked = (first - second - step) * present[:, 1]
    bridge = (first - (second + third) / 2 - step) * present[:, 2]
    tower = (second - third - step) * present[:, 2]
    lengths = [part for vector in (stacked, bridge, tower) for part in (vector, _norm(vector[:, :2]))]
    return _scales(torch.cat([*lengths, _norm(pair), pair[:, 2:]], dim=-1), (3, 1) * 3 + (1, 1))


def _scales(x: Tensor, parts: tuple[int, ...]) -> Tensor:
    """`[..., D]` -> `[..., 3 D]`: s(x) of each part, so many entries, one part after the other. Computed of all at once: on few
    robots every operation takes the same few microseconds."""
    y = torch.cat([PER_M * x, torch.tanh(x / COARSE_M), torch.tanh(x / FINE_M)], dim=-1)
    return y.index_select(-1, _order(parts, x.device))


@cache
def _order(parts: tuple[int, ...], device: torch.device) -> Tensor:
    """Where the scales of each part stand among those of all entries, scale by scale."""
    with torch.inference_mode(False):  # it is kept, and may be needed for a gradient
        columns = torch.arange(3 * sum(parts)).view(3, -1).split(parts, dim=1)
        return torch.cat([part.flatten() for part in columns]).to(device)


def _norm(x: Tensor) -> Tensor:
    return x.square().sum(-1, keepdim=True).sqrt()
