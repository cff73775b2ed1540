"""`ludus settings`: every setting, with its value and its meaning."""

from collections import Counter
from collections.abc import Mapping

import pytest
from command import ludus

from ludus.config import PRESETS, Config, as_dict, override, preset
from ludus.views.settings import settings


def leaves(tree, path=""):
    for name, value in tree.items():
        is_section = isinstance(value, Mapping) and path == "" and value
        yield from leaves(value, f"{name}.") if is_section else [path + name]


def test_every_setting_is_there_and_says_what_it_means():
    found = list(settings(Config()))
    assert [s.name for s in found] == list(leaves(as_dict(Config())))
    meanings = Counter(s.meaning for s in found)
    assert not [s.name for s in found if not s.meaning or meanings[s.meaning] > 1]
    assert not [s.name for s in found if s.value != s.default]


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_preset_changes_is_said(name):
    changed = {s.name: s.value for s in settings(preset(name)) if s.value != s.default}
    assert set(changed) == {a.partition("=")[0] for a in PRESETS[name]}
    assert override(Config(), [f"{k}={v}" for k, v in changed.items()]) == preset(name)


def test_the_command_finds_them_by_name_and_meaning():
    said = ludus("settings", "--preset", "tiny", "training.", "UPDATES")
    assert "training.updates=30 (by default 2500) Updates on the seed data, before the first round" in said
    assert "world.n_envs" not in said and "training.device" not in said
    assert "no setting has all of 'rounds', 'nonsense'" in ludus("settings", "rounds", "nonsense", code=2)
