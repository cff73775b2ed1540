"""The whole configuration: one frozen tree, no I/O. Every number that shapes a run stands in `ludus.config.sections`, with
its limits and its reason.

`preset("cpu")` gives a tree, `override(config, ["experiment.rounds=2"])` changes leaves. Whatever is outside of its limits
is refused when the tree is made.
"""

from ludus.config.collection import CollectionConfig
from ludus.config.experimenter import ROLES, BudgetConfig, ExperimenterConfig, OversightConfig
from ludus.config.options import NoOptions, read_options
from ludus.config.overrides import as_dict, from_dict, override
from ludus.config.presets import PRESETS, preset
from ludus.config.record import RecordConfig
from ludus.config.sections import (
    AgentConfig,
    Config,
    ExperimentConfig,
    SamplingConfig,
    SeedDataConfig,
    TrainingConfig,
    WorldConfig,
)
from ludus.config.sizes import NETWORKS, SIZES, Size

__all__ = [
    "NETWORKS",
    "PRESETS",
    "ROLES",
    "SIZES",
    "AgentConfig",
    "BudgetConfig",
    "CollectionConfig",
    "Config",
    "ExperimentConfig",
    "ExperimenterConfig",
    "NoOptions",
    "OversightConfig",
    "RecordConfig",
    "SamplingConfig",
    "SeedDataConfig",
    "Size",
    "TrainingConfig",
    "WorldConfig",
    "as_dict",
    "from_dict",
    "override",
    "preset",
    "read_options",
]
