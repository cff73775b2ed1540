"""The configuration: whatever a setting is given, the result is a valid tree or one sentence that names the setting."""

import dataclasses
import json
import math
import pickle
import re
import subprocess
import sys
from typing import get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.config import (
    NETWORKS,
    PRESETS,
    ROLES,
    SIZES,
    AgentConfig,
    Config,
    ExperimenterConfig,
    SamplingConfig,
    as_dict,
    from_dict,
    override,
    preset,
)
from ludus.config.overrides import former
from ludus.types import LudusError

LEAVES = {
    f"{section}.{name}": hint
    for section, cls in get_type_hints(Config).items()
    if dataclasses.is_dataclass(cls)
    for name, hint in get_type_hints(cls).items()
} | {"seed": int}
NUMBERS = [path for path, hint in LEAVES.items() if hint in (int, float)]
FLAGS = [path for path, hint in LEAVES.items() if hint is bool]
CHOICES = [path for path, hint in LEAVES.items() if get_args(hint) and get_origin(hint) is not dict]
EXTREMES = [
    math.nan,
    math.inf,
    -math.inf,
    0,
    -1,
    1,
    2,
    0.5,
    -0.5,
    1e400,
    1e-320,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63),
    2**70,
]
JUNK = [*EXTREMES, 2**5000, 10**5000, True, False, None, "1", "nan", "", (), [1], {"a": 1}, b"1", 1j]


def leaf(config: Config, path: str):
    for name in path.split("."):
        config = getattr(config, name)
    return config


def with_leaf(path: str, value) -> Config:
    section, _, name = path.rpartition(".")
    if not section:
        return dataclasses.replace(Config(), **{name: value})
    changed = dataclasses.replace(getattr(Config(), section), **{name: value})
    return dataclasses.replace(Config(), **{section: changed})


def valid(config: Config) -> bool:
    """Whether every leaf is of its type and survives a record: JSON, a pickle, another look at the limits."""
    for path, hint in LEAVES.items():
        value = leaf(config, path)
        if hint is int and not (type(value) is int and -(2**63) <= value < 2**63):
            return False
        if hint is float and not (isinstance(value, int | float) and not isinstance(value, bool) and value == value):
            return False
        if hint in (bool, str) and type(value) is not hint:
            return False
        if path in CHOICES and value not in get_args(hint):
            return False
    again = from_dict(json.loads(json.dumps(as_dict(config))))
    return again == config == pickle.loads(pickle.dumps(config)) and hash(again) == hash(config)


def test_every_kind_of_setting_is_walked_over():
    assert len(NUMBERS) > 50 and len(FLAGS) > 5 and len(CHOICES) == 10
    assert set(NUMBERS) | set(FLAGS) | set(CHOICES) | {p for p, h in LEAVES.items() if h is str} | {
        "agent.options",
        "world.options",
    } == set(LEAVES)


def refusal(make) -> str | None:
    """The one sentence with which a value is refused; None where what it gives is valid."""
    try:
        config = make()
    except LudusError as error:
        sentence = str(error)
    else:
        assert valid(config)
        return None
    assert sentence and "\n" not in sentence and len(sentence) < 600
    return sentence


@pytest.mark.parametrize("path", LEAVES)
def test_a_value_fits_or_is_refused_in_one_sentence(path):
    """As an object, as JSON from a record, and as text from the command line."""
    section, _, name = path.rpartition(".")
    for value in JUNK:
        tree = {section: {name: value}} if section else {name: value}
        text = "9" * 5000 if value == 10**5000 else value
        for make in (
            lambda v=value: with_leaf(path, v),
            lambda t=tree: from_dict(t),
            lambda t=text: override(Config(), [f"{path}={t}"]),
        ):
            sentence = refusal(make)
            assert sentence is None or name in sentence


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(NUMBERS), value=st.one_of(st.sampled_from(EXTREMES), st.integers(), st.floats()))
def test_any_number_fits_or_is_refused(path, value):
    for make in (lambda: with_leaf(path, value), lambda: override(Config(), [f"{path}={value}"])):
        assert path.rpartition(".")[2] in (refusal(make) or path)


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(list(LEAVES)), text=st.text(max_size=20))
def test_any_text_fits_or_is_refused(path, text):
    refusal(lambda: override(Config(), [f"{path}={text}"]))


@pytest.mark.parametrize("path", [p for p in NUMBERS if p != "agent.grad_clip"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**5000])
def test_no_setting_is_without_bounds(path, value):
    with pytest.raises(LudusError, match=r"give|together at most"):
        with_leaf(path, value)
    assert override(Config(), ["agent.grad_clip=inf"]).agent.grad_clip == math.inf  # which does not clip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AgentConfig(width=-5), "agent.width=-5 makes no sense; give 0 (as agent.size says) or more"),
        (lambda: AgentConfig(width=2**70), "agent.width=1180591620717411303424 makes no sense; .*, at most 1048576"),
        (lambda: AgentConfig(eta=math.inf), "agent.eta=inf makes no sense; give more than 0, and finite"),
        (lambda: AgentConfig(batch_size=0.5), "agent.batch_size=0.5 makes no sense; give at least 1, .*, a whole number"),  # type: ignore
        (lambda: SamplingConfig(only_successes="no"), "sampling.only_successes=no makes no sense; give true or false"),  # type: ignore
        (lambda: SamplingConfig(memory="maped"), "unknown sampling.memory 'maped'; nearest: 'mapped'"),  # type: ignore
        (lambda: SamplingConfig(0.8, 0.3), "sampling.commanded_ratio 0.8 and sampling.hindsight_ratio 0.3 are shares"),
        (lambda: SamplingConfig(horizon=32767), "sampling.horizon=32767 makes no sense; give at least 1, at most 32766"),
        (lambda: AgentConfig(wdth=3), "unknown setting 'agent.wdth'; nearest: 'agent.width'"),  # type: ignore
        (lambda: from_dict({"world": {"n_bloks": 3}}), "unknown setting 'n_bloks'; nearest: 'n_blocks'"),
        (lambda: from_dict({"world": 3}), "world=3 makes no sense; give WorldConfig"),
        (lambda: override(Config(), ["seed_data.min_noise=0.7"]), "noise from 0.7 to 0.6: give 0 <= min_noise <= max_noise"),
        (lambda: override(Config(), ["training.update=3"]), "'training.update=3': 'update'; nearest: 'updates'"),
        (lambda: override(Config(), ["training"]), "'training' is not of the form path=value"),
        (lambda: override(Config(), ["training=3"]), "'training=3' names a section; add one of"),
        (lambda: override(Config(), ["training.updates.x=3"]), "'updates' is a value, not a section"),
        (lambda: override(Config(), ["training.early_stop=maybe"]), "'maybe' is not of type bool"),
    ],
)  # fmt: skip
def test_the_sentence_names_setting_value_and_limit(make, words):
    pattern = words if ".*" in words else re.escape(words)
    with pytest.raises(LudusError, match=pattern):
        make()


@pytest.mark.parametrize(
    ("changes", "hz", "gamma", "n_step"),
    [
        ((), 20, 0.96, 8),  # the bits of the built-in worlds
        ((), 80, 0.99, 32),
        ((), 0.5, 1e-6, 1),  # steps longer than the horizon
        (("agent.horizon_s=0.5", "agent.n_step_s=0.1"), 20, 0.9, 2),
        (("agent.gamma=0.9", "agent.n_step=3"), 80, 0.9, 3),
    ],
)
def test_horizons_are_times_that_a_control_rate_turns_into_steps(changes, hz, gamma, n_step):
    agent = override(Config(), changes).agent.per_step(hz)
    assert (agent.gamma, agent.n_step) == (gamma, n_step) and agent.per_step(1000) == agent


def test_horizons_per_step_of_earlier_runs_are_those_times_where_they_are_the_same():
    tree = as_dict(Config())
    for name in ("horizon_s", "n_step_s"):
        del tree["agent"][name]
    tree["agent"] |= {"gamma": 0.96, "n_step": 4}
    agent = from_dict(former(tree)).agent
    assert (agent.gamma, agent.n_step) == (0.0, 4) and agent.per_step(20).gamma == 0.96
    tree["world"]["name"] = "/a/world.py:of_mine"  # of any control rate
    assert from_dict(former(tree)).agent.gamma == 0.96
    assert former(as_dict(Config())) == as_dict(Config())


def test_limits_hold_for_the_result_not_on_the_way():
    """Both ratios change; with the first alone they would sum to more than 1."""
    config = override(Config(), ["sampling.commanded_ratio=0.9", "sampling.hindsight_ratio=0.1"])
    assert (config.sampling.commanded_ratio, config.sampling.hindsight_ratio) == (0.9, 0.1)
    assert override(Config(), ["seed_data.min_noise=0.7", "seed_data.max_noise=0.9"]).seed_data.max_noise == 0.9
    assert override(Config(), ["seed=1", "seed=2"]).seed == 2


def test_settings_of_an_agent_of_ones_own():
    given = ["expectile=0.9", "layers=3", "twin=true", "norm=layer", "path=a=b", "expectile=0.8"]
    config = override(Config(), [f"agent.options.{x}" for x in given])
    assert config.agent.options == {"expectile": 0.8, "layers": 3, "twin": True, "norm": "layer", "path": "a=b"}
    assert type(config.agent.options["layers"]) is int and valid(config)
    more = override(config, ["agent.options.layers=4"])
    assert more.agent.options["layers"] == 4 and more.agent.options["twin"] and config.agent.options["layers"] == 3
    for wrong in ("agent.options=3", "agent.options.=3", "agent.options.a.b=3"):
        with pytest.raises(LudusError, match="give one of its names"):
            override(Config(), [wrong])
    for wrong in ("NaN", "Infinity", "1e999", "-Infinity"):
        with pytest.raises(LudusError, match=r"agent\.options\.x=.* makes no sense"):
            override(Config(), [f"agent.options.x={wrong}"])
    with pytest.raises(LudusError, match=r"agent\.options\.x=\[1\] makes no sense"):
        from_dict({"agent": {"options": {"x": [1]}}})


def test_a_configuration_is_never_written_to():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().agent.width = 3  # type: ignore


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_record(name):
    assert valid(preset(name))


def test_tables_name_what_the_settings_take():
    hints = get_type_hints(AgentConfig)
    assert tuple(SIZES) == get_args(hints["size"]) and get_args(hints["network"]) == NETWORKS
    assert ROLES == ("propose", "decompose", "retrieve", "analyse", "write_skill")
    assert ExperimenterConfig(*["random"] * 5) == ExperimenterConfig(**dict.fromkeys(ROLES, "random"))


def test_help_does_not_wait_for_the_settings_library():
    code = "import sys, ludus.cli; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
