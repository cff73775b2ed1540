"""What a rank keeps, sharded and not: `python benchmarks/sharded.py [--size base] [--ranks 2]`.

Prints one JSON object: MB (10^6 bytes) of storage per rank on CPUs with gloo, largest rank, after one update on made-up
data of world blocks. `gradients` counts what lies there between two updates: unsharded one row per part of a batch and
their mean, sharded this rank's slices. `largest_layer` is what comes on top while a layer computes, of weights and again
of gradients.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ludus.agents.backends import process_group
from ludus.agents.backends.local import LocalBackend
from ludus.agents.trainer import Trainer
from ludus.config import AgentConfig, TrainingConfig
from ludus.types import Batch, WorldSpec
from ludus.worlds.blocks.world import BlocksWorld


class Noise:
    """Batches of the right shapes."""

    captions = ("reach red",)

    def __init__(self, spec: WorldSpec, n: int):
        self.spec, self.n = spec, n

    def next(self) -> Batch:
        draw, n = np.random.default_rng(0), self.n
        seen = {g.name: draw.normal(size=(n, g.size)).astype(np.float32) for g in self.spec.observation.groups}
        actions = draw.uniform(-1, 1, (n, len(self.spec.actions))).astype(np.float32)
        zeros = np.zeros(n, np.float32)
        return Batch(seen, actions, seen, zeros, zeros, np.zeros(n, np.int64), np.ones(n, bool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base")
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    world = BlocksWorld(3, 1, 1)
    found: dict[str, object] = {"size": options.size, "ranks": options.ranks, "torch": torch.__version__}
    for sharded in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            arguments = (Path(folder), options.size, options.ranks, sharded, world.spec)
            torch.multiprocessing.spawn(_rank, arguments, options.ranks)
            distributed = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
        found["sharded" if sharded else "whole"] = max(distributed, key=lambda kept: kept["all"])
    world.close()
    print(json.dumps(found, indent=1))


def _rank(rank: int, folder: Path, size: str, distributed: int, sharded: bool, spec: WorldSpec) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=distributed)
    config = AgentConfig(size=size, batch_size=8)
    learner = Trainer(config, spec, 10, 0, TrainingConfig(microbatches=2 * distributed, sharded=sharded))
    learner.fit(Noise(spec, 8), 1)
    backend = learner.backend
    weights = [*backend.parameters, *backend.target_weights, *backend.acting_weights]
    moments = [m for s in learner._optimiser.state.values() for m in (s["exp_avg"], s["exp_avg_sq"])]
    gradients = [p.grad for p in backend.parameters if p.grad is not None]
    if isinstance(backend, LocalBackend) and backend._gradients is not None:
        gradients.append(backend._gradients)
    kept = {
        "three networks": _mb(weights),
        "optimiser": _mb(moments),
        "gradients": _mb(gradients),
        "all": _mb([*weights, *moments, *gradients]),
    }
    layers = [m for c in backend.online.children() for m in (c if isinstance(c, torch.nn.ModuleList) else (c,))]
    if sharded:
        kept["largest_layer"] = max(sum(p.numel() for p in m.parameters()) for m in layers) * 4 / 1e6
    kept["parameters"] = learner.n_parameters
    (folder / f"{rank}.json").write_text(json.dumps(kept))
    del learner, backend
    process_group.shutdown()


def _mb(tensors: list[Tensor]) -> float:
    here = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
    storages = {s.data_ptr(): s.nbytes() for t in here if (s := t.untyped_storage()).nbytes()}
    return round(sum(storages.values()) / 1e6, 1)


if __name__ == "__main__":
    main()
