"""LIBERO-PRO's spatial and goal suites without a policy: the teacher without noise, and which object a sentence means.

    python benchmarks/results/libero_table.py teacher libero_spatial --starts 20 --json spatial-teacher.json
    python benchmarks/results/libero_table.py referring libero_spatial --starts 50 --json spatial-referring.json

Both take the official starts of each task in turn, `--starts` of them from `--first` on. The script starts itself anew in the
world's own interpreter (`ludus worlds install examples/libero_table.py:table`), one process and one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BATCH = 10  # simulations at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("teacher", "referring"))
    parser.add_argument("suite")
    parser.add_argument("--starts", type=int, default=20, help="of each task")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if importlib.util.find_spec("libero") is None:
        return again()

    from ludus.worlds import files

    module, _ = files.load(EXAMPLES / "libero_table.py")
    world = module.LiberoTable(BATCH, module.Options(suite=args.suite, starts="official"))
    measure = teacher if args.what == "teacher" else referring
    rows = []
    for task in args.tasks:
        scene = world.scenes[task]
        parts = [range(a, a + BATCH) for a in range(args.first, args.first + args.starts, BATCH)]
        right = np.concatenate([measure(module, world, task, part) for part in parts])[: args.starts]
        rows.append({"task": task, "sentence": scene.language, "caption": scene.caption, "n": len(right),
                     "right": int(right.sum()), "wrong": np.flatnonzero(~right).tolist()})  # fmt: skip
        print(
            f"{args.suite} {task}: {rows[-1]['right']} of {len(right)} | {scene.caption} | {scene.language}", flush=True
        )
    print(f"{args.suite} {args.what}: {sum(r['right'] for r in rows)} of {sum(r['n'] for r in rows)}")
    if args.json:
        args.json.write_text(json.dumps({"what": args.what, "suite": args.suite, "tasks": rows}, indent=1))
    return None


def again() -> None:
    """In the interpreter that has LIBERO."""
    from ludus import machine
    from ludus.worlds import files, venvs

    module, _ = files.load(EXAMPLES / "libero_table.py")
    python = venvs.interpreter(module.table.requirements, "", f"{EXAMPLES / 'libero_table.py'}:table")
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    with machine.variables(machine.ONE_THREAD):
        sys.exit(subprocess.run([python, *sys.argv], env={**os.environ, "PYTHONPATH": path}).returncode)


def teacher(module: Any, world: Any, task: int, seeds: range) -> np.ndarray:
    """`[n]` bool: LIBERO's goal holds at the end of the skill's steps."""
    scene, n = world.scenes[task], len(seeds)
    acts, skill = module.teacher(world.spec), world.library()[scene.caption]
    o = world.reset(list(seeds), f"official {task}")
    acts.begin(list(seeds), np.zeros(n), np.zeros(n, bool))
    for _ in range(skill.steps):
        o = world.step(acts.act(o, [scene.caption] * n))
    return o["gripper"][:, -1] > 0.5


def referring(module: Any, world: Any, task: int, seeds: range) -> np.ndarray:
    """`[n]` bool: LIBERO's sentence leads to the caption of LIBERO's goal, also when the two bowls change their names."""
    from ludus.worlds import files

    words, _ = files.load(EXAMPLES / "libero_referring.py")
    scene = world.scenes[task]
    o = world.reset(list(seeds), f"official {task}")
    swapped = {**o, "bowl 1": o["bowl 2"], "bowl 2": o["bowl 1"]} if "bowl 2" in scene.names else o
    other = {"bowl 1": "bowl 2", "bowl 2": "bowl 1"} if "bowl 2" in scene.names else {}
    bowls = [x for x in other if x in scene.caption]
    renamed = scene.caption.replace(bowls[0], other[bowls[0]]) if bowls else scene.caption
    given = [[words.caption_of(module.SEEN, {g: a[i] for g, a in seen.items()}, scene.language) for seen in (o, swapped)]
             for i in range(len(seeds))]  # fmt: skip
    return np.array([said == [scene.caption, renamed] for said in given])


if __name__ == "__main__":
    main()
