"""What the networks see: object-centric numbers at several scales, relative to what the caption mentions.

METHOD, "Learning": cloning a clean teacher from absolute poses stacks 4 % of the time, from these numbers 99 %. No
velocities and no command history, on purpose. Every object is described alike, so their number is free.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ludus.types import Observations, WorldSpec

COARSE_M, FINE_M = 0.05, 0.012
"""Scales of tanh(x / scale): carrying and fitting."""


class CubeEncoder:
    """Observation groups of one world -> `(robot+task numbers [B, task_size], object numbers [B, N, object_size])`."""

    def __init__(self, spec: WorldSpec):
        self._spec = spec.observation
        (effector,) = spec.observation.of_kind("effector")
        self._effector = effector.name
        self._objects = [g.name for g in spec.observation.of_kind("object")]
        self.task_size, self.object_size = self._sizes()

    def _sizes(self) -> tuple[int, int]:
        zeros = {g.name: np.zeros((1, g.size), np.float32) for g in self._spec.groups}
        task, objects = self(self.pack(zeros), torch.full((1, 3), -1))
        return task.shape[-1], objects.shape[-1]

    def pack(self, observations: Observations) -> Tensor:
        """The few fields that matter, as one tensor `[B, 5 + 9 N]`: effector (position, yaw, width), then per object
        (position, quaternion, size, touched by a pad)."""
        get = self._spec.get
        parts = [get(observations, self._effector, f) for f in ("position", "yaw", "width")]
        for name in self._objects:
            parts += [get(observations, name, f) for f in ("position", "quaternion", "size")]
            if "touch_left" in self._spec.by_name[name].slices:
                parts.append(get(observations, name, "touch_left") + get(observations, name, "touch_right"))
            else:
                parts.append(np.zeros_like(parts[-1]))
        return torch.from_numpy(np.concatenate(parts, axis=-1))

    def __call__(self, packed: Tensor, mentioned: Tensor) -> tuple[Tensor, Tensor]:
        """Args: packed `[B, 5 + 9 N]` from `pack`; mentioned `[B, 3]` object indices, -1 = none."""
        batch = len(packed)
        tcp, yaw, width = packed[:, :3], packed[:, 3:4], packed[:, 4:5]
        objects = packed[:, 5:].view(batch, -1, 9)
        position, size = objects[..., :3], objects[..., 7:8]
        w, x, y, z = objects[..., 3:7].unbind(-1)
        turn = torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)).unsqueeze(-1)
        quarter = 4 * (turn - yaw[:, None])  # cubes look the same after a quarter turn
        error = torch.atan2(torch.sin(quarter), torch.cos(quarter)) / 4
        height = position[..., 2:] - size / 2
        to_tcp = position - tcp[:, None]
        opening = width[:, None] - size
        own = torch.cat(
            [
                _scales(to_tcp),
                _scales(_norm(to_tcp)),
                _scales(_norm(to_tcp[..., :2])),
                _scales(height),
                torch.sin(quarter),
                torch.cos(quarter),
                error * 3,
                torch.tanh(error / 0.1),
                torch.tanh((opening - 0.003) / 0.003),
                torch.tanh((opening - 0.010) / 0.003),
                objects[..., 8:9],
                size * 25,
            ],
            dim=-1,
        )  # [B, N, own]
        chosen = mentioned.clamp(min=0)
        present = (mentioned >= 0).unsqueeze(-1).float()  # [B, 3, 1]
        pick = chosen.unsqueeze(-1)
        at = torch.gather(position, 1, pick.expand(-1, -1, 3))  # [B, 3, 3]
        sizes = torch.gather(size, 1, pick)
        # from every object to each mentioned one, less what stacking the two would leave
        lift = (size[:, :, None] + sizes[:, None]) / 2  # [B, N, 3, 1]
        on_top = torch.cat([torch.zeros_like(lift), torch.zeros_like(lift), lift], dim=-1)
        relation = position[:, :, None] - at[:, None] - on_top  # object on top of the mentioned one
        under = position[:, :, None] - at[:, None] + on_top  # object under it
        relation = torch.stack([under[:, :, 0], relation[:, :, 1], relation[:, :, 2]], dim=2)
        relation = relation * present[:, None]
        rel = torch.cat([_scales(relation), _scales(_norm(relation[..., :2]))], dim=-1).flatten(2)  # [B, N, 3 * 12]
        role = torch.nn.functional.one_hot(mentioned + 1, position.shape[1] + 1)[..., 1:].transpose(1, 2).float()
        tokens = torch.cat([own, rel, role], dim=-1)
        # the robot and the task in one row: each mentioned object's own numbers and the relations between them
        robot = torch.cat(
            [
                (tcp - tcp.new_tensor([0.48, 0.0, 0.1])) * 5,
                yaw / 1.3,
                (width - 0.04) * 25,
                present.flatten(1),
            ],
            dim=-1,
        )
        mine = torch.gather(own, 1, pick.expand(-1, -1, own.shape[-1])) * present
        first, second, third = at.unbind(1)
        step = torch.zeros_like(first)
        step[:, 2:] = (sizes[:, 0] + sizes[:, 1]) / 2
        pair = (first - second) * present[:, 1]
        stacked = (first - second - step) * present[:, 1]
        bridge = (first - (second + third) / 2 - step) * present[:, 2]
        tower = (second - third - step) * present[:, 2]
        task = [robot, mine.flatten(1)]
        for vector in (stacked, bridge, tower):
            task += [_scales(vector), _scales(_norm(vector[:, :2]))]
        task += [_scales(_norm(pair)), _scales(pair[:, 2:])]
        return torch.cat(task, dim=-1), tokens


def _scales(x: Tensor) -> Tensor:
    return torch.cat([5 * x, torch.tanh(x / COARSE_M), torch.tanh(x / FINE_M)], dim=-1)


def _norm(x: Tensor) -> Tensor:
    return x.square().sum(-1, keepdim=True).sqrt()
