"""What an encoder knows beforehand, on the device that asks."""

from __future__ import annotations

import torch
from torch import Tensor


class Constant:
    """A tensor that is brought to each device once, where it is needed: a copy from the CPU with every batch would make a GPU
    wait, and could not be recorded (`ludus.agents.backends.captured`)."""

    def __init__(self, value: Tensor):
        self._on = {value.device: value}
        self._first = value

    def on(self, device: torch.device) -> Tensor:
        if device not in self._on:
            with torch.inference_mode(False):  # it is kept, and may be needed for a gradient
                self._on[device] = self._first.to(device)
        return self._on[device]
