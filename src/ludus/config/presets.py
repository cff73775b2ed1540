"""Named configurations: settings that a preset changes of the defaults."""

from __future__ import annotations

from ludus.config.overrides import override
from ludus.config.sections import Config
from ludus.types import LudusError, unknown

PRESETS: dict[str, tuple[str, ...]] = {
    # preset -> overrides of the defaults
    "cpu": (),
    "tiny": (  # a whole run in well under a minute: for tests and a first look, too small to learn much
        "world.n_blocks=2",
        "world.n_envs=16",
        "seed_data.episodes=16",
        "agent.width=16",
        "agent.batch_size=32",
        "agent.action_samples=4",
        "training.updates=30",
        "training.processes=1",
        "training.round_updates=20",
        "training.evaluate_every=10",
        "training.evaluation_episodes=1",
        "experiment.rounds=2",
        "experiment.episodes_per_round=8",
        "experiment.plans_per_round=2",
        "experiment.final_episodes=2",
    ),
    # Baselines: what they change of the method, to be put behind another preset. None undoes what another one changed.
    "bc": ("agent.alpha=1", "agent.beta=0", "sampling.commanded_ratio=1", "sampling.hindsight_ratio=0"),
    "bc-filtered": (
        "agent.alpha=1",
        "agent.beta=0",
        "sampling.commanded_ratio=1",
        "sampling.hindsight_ratio=0",
        "sampling.only_successes=true",
    ),
    "bc-hindsight": (
        "agent.alpha=1",
        "agent.beta=0",
        "sampling.commanded_ratio=0",
        "sampling.hindsight_ratio=1",
        "sampling.bc_labels=hindsight",
    ),
    "bc+q": ("agent.alpha=1",),
    "mlp": ("agent.network=mlp",),
}


def preset(name: str) -> Config:
    """The configuration called `name`; several presets are joined by commas, such as 'tiny,bc'.

    Raises:
        LudusError: unknown preset, or two that change the same setting: together they would be neither.
    """
    assignments, changed_by = list[str](), dict[str, str]()
    for part in name.split(","):
        if part not in PRESETS:
            raise unknown("preset", part, tuple(PRESETS))
        for assignment in PRESETS[part]:
            path = assignment.partition("=")[0]
            if path in changed_by:
                raise LudusError(f"presets {changed_by[path]!r} and {part!r} both change {path}; choose one of them")
            changed_by[path] = part
            assignments.append(assignment)
    return override(Config(), assignments)
