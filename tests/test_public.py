"""What `import ludus` offers to a program that uses it as a library."""

import logging
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from quick import quick_skills

import ludus

PAGE = Path(__file__).parents[1] / "docs/library.md"
HEAVY = ("matplotlib", "mujoco", "numpy", "pydantic", "ray", "rich", "sqlalchemy", "torch", "tyro")


def loaded(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has imported after `code`."""
    code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def test_importing_loads_nothing_heavy():
    assert loaded("import ludus").isdisjoint(HEAVY)
    assert loaded("import ludus; ludus.run; ludus.evaluate; ludus.load_policy; ludus.make_world").isdisjoint(
        ("matplotlib", "mujoco", "rich", "sqlalchemy", "torch", "tyro")
    )
    every = "import ludus; [getattr(ludus, name) for name in ludus.__all__]"
    assert loaded(every).isdisjoint(("matplotlib", "mujoco", "rich", "tyro"))


def test_a_run_on_one_machine_loads_nothing_for_pictures_or_several_machines():
    assert loaded("import ludus.experiment.loop, ludus.experiment.compose").isdisjoint(
        ("fsspec", "matplotlib", "ray", "sympy")
    )


def test_every_name_is_there():
    assert set(ludus.__all__) == set(ludus._WHERE) <= set(dir(ludus))
    for name in ludus.__all__:
        assert getattr(ludus, name) is getattr(sys.modules[ludus._WHERE[name]], name)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = ludus.rum  # type: ignore


def test_types_are_shipped():
    assert resources.files("ludus").joinpath("py.typed").is_file()


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level(logging.INFO, "ludus")
    monkeypatch.setattr("ludus.worlds.blocks.world.base_skills", quick_skills)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(example, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and all(re.fullmatch(r"reach (red|green): [012] of 2", line) for line in printed)
    assert names["reward"].shape == names["success"].shape == (4,)
    assert any("Finished" in record.message for record in caplog.records)
    with ludus.Record.open("runs/first", write=False) as record:
        n_steps = len(record.steps())
    assert ludus.run("runs/first", preset="tiny", seed=1) == Path("runs/first")  # nothing is left to do
    with ludus.Record.open("runs/first", write=False) as record:
        assert len(record.steps()) == n_steps
    with pytest.raises(ludus.LudusError, match=r"holds a run with other settings \(seed=1 there, 2 here"):
        ludus.run("runs/first", preset="tiny", seed=2)
    with pytest.raises(ludus.LudusError, match="episodes=0 makes no sense"):
        ludus.evaluate("runs/first", episodes=0)


def test_what_is_refused_leaves_nothing(tmp_path):
    for wrong in (["world.name=bloks"], ["experimenter.propose=planer"], ["agent.width=-1"], ["agent.wdth=1"]):
        with pytest.raises(ludus.LudusError):
            ludus.run(tmp_path / "run", "tiny", wrong)
    assert not any(tmp_path.iterdir())
    with pytest.raises(ludus.LudusError, match=r"world\.n_envs=0 makes no sense; give at least 1"):
        ludus.make_world(n_envs=0)
    with pytest.raises(ludus.LudusError, match="nearest: 'blocks'"):
        ludus.make_world("bloks")
    for use in (ludus.evaluate, ludus.load_policy):
        with pytest.raises(ludus.LudusError, match="does not exist"):
            use(tmp_path / "nowhere")
