"""Makes the questions of `ludus exam` that are not written by hand, into src/ludus/exam/data.

    python benchmarks/exam_bank.py --scenes        # scenes, robots, tasks, pictures: from simulation; minutes
    python benchmarks/exam_bank.py RUN...          # curves: from the learning curves of trainings

A curve question is the first third of a recorded curve; its truth is the same training at three times the updates. Nothing
is drawn from a model of learning: hypergeometric draws only take recorded episodes away.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import cycle, permutations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ludus.exam import questions
from ludus.exam.simulator import Rollout, Simulator, at_end
from ludus.experimenter.curves import HORIZON, MIN_POINTS
from ludus.experimenter.planner import Planner
from ludus.experimenter.roles import Scene
from ludus.lab.analysis import aggregate
from ludus.lab.context import facts
from ludus.lab.hindsight import AROUND, Count, truth
from ludus.record import Record
from ludus.seeding import child, rng
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, Proposal, SuccessCount
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.blocks.world import BlocksWorld

OUT = Path(questions.__file__).parent / "data"
BLOCKS = (2, 3, 4, 5)
SCENES = 12
"""Per number of blocks, dealt out to the start distributions."""
ROBOTS = {"beginner": 0.33, "middling": 0.24, "skilled": 0.15}
"""Noise levels of the teacher."""
TRIES = 32
"""Per template of skills, dealt out to its members."""
PICTURE = 256  # pixels
EPISODES = (4, 8, 16, 1000)
"""Episodes per point that are left of those recorded; the last leaves all."""

TASKS: dict[str, tuple[int, str, str, str, tuple[str, ...]]] = {
    # kind: fewest blocks, library, words, goal, steps of the reference
    "lift": (2, "base", "Pick up the {a} block and hold it in the air.", "lifted({a})", ("lift {a}",)),
    "hover": (2, "base", "Hold {a} over {b} without letting go.", "above({a}, {b}) and held({a})", ("hover {a} above {b}",)),
    "stack": (2, "base", "Put the {a} block on the {b} one.", "on({a}, {b}) and released({a})", ("stack {a} on {b}",)),
    "side by side": (2, "full", "Set {a} down side by side with {b}.", "beside({a}, {b}) and released({a})",
                     ("put {a} beside {b}",)),
    "tower of three": (3, "base", "Build a tower with {c} at the bottom, {b} on it and {a} at the top.",
                       "on({a}, {b}) and on({b}, {c}) and released({a})", ("stack {b} on {c}", "stack {a} on {b}")),
    "stack, then lift": (3, "base", "Stack {a} on {b}, then hold {c} in the air.", "on({a}, {b}) and lifted({c})",
                         ("stack {a} on {b} and leave", "lift {c}")),
    "pyramid": (3, "full", "Make a pyramid: {b} next to {c} as the base, {a} across both.",
                "beside({b}, {c}) and on_both({a}, {b}, {c}) and released({a})",
                ("put {b} beside {c}", "pyramid {a} on {b} and {c}")),
    "row of three": (3, "full", "Line up three blocks without gaps: {a}, then {b}, then {c}.",
                     "beside({a}, {b}) and beside({b}, {c}) and released({a})",
                     ("put {b} beside {c}", "put {a} beside {b}")),
    "tower of four": (4, "base", "Stack all of these, from top to bottom: {a}, {b}, {c}, {d}.",
                      "on({a}, {b}) and on({b}, {c}) and on({c}, {d}) and released({a})",
                      ("stack {c} on {d}", "stack {b} on {c}", "stack {a} on {b}")),
    "two stacks": (4, "base", "Make two stacks: {a} on {b}, and {c} on {d}.",
                   "on({a}, {b}) and on({c}, {d}) and released({c})",
                   ("stack {a} on {b} and leave", "stack {c} on {d}")),
    "stack, then hover": (4, "base", "Stack {a} on {b}. Then carry {c} over {d} and hold it there.",
                          "on({a}, {b}) and above({c}, {d}) and held({c})",
                          ("stack {a} on {b} and leave", "hover {c} above {d}")),
    "stack and pair": (4, "full", "Stack {a} on {b}, and put {c} beside {d}.",
                       "on({a}, {b}) and beside({c}, {d}) and released({c})",
                       ("put {c} beside {d}", "stack {a} on {b}")),
}  # fmt: skip
TURN = ("turn over", "base", "{b} stands on {a}. Turn them over: {a} is to stand on {b}.", "on({a}, {b}) and released({a})",
        ("stack {a} on {b}",))  # fmt: skip


# --- scenes ------------------------------------------------------------------------------------------------------


def scenes(threads: int) -> None:
    """Write scenes.json and the pictures."""
    data: dict[str, list[Any]] = {"scenes": [], "robots": [], "propose": [], "decompose": []}
    (OUT / "pictures").mkdir(parents=True, exist_ok=True)
    for n_blocks in BLOCKS:
        simulator = Simulator(n_blocks, 32, threads)
        starts = simulator.world.spec.starts
        places = [(starts[i % len(starts)], child(0, "exam", n_blocks, i)) for i in range(SCENES)]
        seen = simulator.look(places)
        items = []
        for i, ((start, seed), true) in enumerate(zip(places, facts(simulator.vocabulary, seen), strict=True)):
            items.append(
                {"id": f"{n_blocks}-{i:02d}", "n_blocks": n_blocks, "start": start, "seed": seed, "facts": true}
            )
        for item, frame in zip(items, simulator.world.frames(seen, size=PICTURE), strict=True):
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "JPEG", quality=80, optimize=True)
            (OUT / "pictures" / f"{item['id']}.jpg").write_bytes(buffer.getvalue())
        robots = [_robot(simulator, name, noise) for name, noise in ROBOTS.items()]
        data["scenes"] += items
        data["robots"] += robots
        data["decompose"] += _decompose(simulator, items)
        data["propose"] += _propose(simulator, items, robots)
        simulator.close()
        print(n_blocks, "blocks:", {key: len(rows) for key, rows in data.items()}, flush=True)
    _write("scenes", data)
    print("tasks:", dict(Counter(row["kind"] for row in data["decompose"])))


def _robot(simulator: Simulator, name: str, noise: float) -> dict[str, Any]:
    members: dict[str, list[str]] = defaultdict(list)
    for caption in simulator.library.captions:
        members[simulator.library.template(caption)].append(caption)
    tries = []
    for template, captions in members.items():
        draw = rng(0, "exam", "robot", name, simulator.world.spec.name, len(simulator.vocabulary.objects), template)
        for i in range(TRIES):
            caption = captions[int(draw.integers(len(captions)))]
            tries.append(Rollout((caption,), "scattered", child(0, "exam", "tries", caption, i), noise, i))
    results: dict[str, str] = defaultdict(str)
    for t, episode in zip(tries, simulator.run(tries), strict=True):
        caption = t.captions[0]
        goal = simulator.condition(simulator.library[caption].success)
        assert goal is not None
        results[caption] += "01"[at_end(goal, episode)]
    return {"name": name, "n_blocks": len(simulator.vocabulary.objects), "noise": noise, "tries": dict(results)}


def _decompose(simulator: Simulator, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two tasks per scene whose reference the teacher carries out, without noise and twice with a little: then it is not
    the last bit of a processor's rounding that decides."""
    objects, robots = simulator.vocabulary.objects, cycle(ROBOTS)
    fits = {kind: task for kind, task in TASKS.items() if task[0] <= len(objects)}
    # among many blocks, what few of them do not already ask
    kinds = [(kind, *task) for kind, task in fits.items() if len(objects) < 4 or len(task[-1]) > 1]
    seen = simulator.look([(item["start"], item["seed"]) for item in items])
    candidates: list[tuple[int, dict[str, Any]]] = []
    for i, item in enumerate(items):
        draw = rng(0, "exam", "decompose", item["id"])
        stacked = [x for x in permutations(objects, 2) if f"on({x[0]}, {x[1]})" in item["facts"]]
        turn = [(*TURN, {"b": upper, "a": lower}) for upper, lower in stacked[:1]]
        drawn = [(k, *t, dict(zip("abcd", draw.permutation(objects), strict=False))) for k, _, *t in kinds]
        for kind, library, words, goal, steps, blocks in turn + drawn:
            wanted = simulator.condition(goal.format(**blocks))
            assert wanted is not None
            if not wanted.evaluate({g: a[i] for g, a in seen.items()}):
                row = {"scene": item["id"], "library": library, "kind": kind, "task": words.format(**blocks)}
                row |= {"goal": goal.format(**blocks), "reference": [s.format(**blocks) for s in steps]}
                candidates.append((i, row))
    tries = [
        Rollout(tuple(row["reference"]), items[i]["start"], items[i]["seed"], 0.05 * (k > 0), k)
        for i, row in candidates
        for k in range(3)
    ]
    ends = simulator.run(tries)
    rows, used = [], Counter()
    for i in range(len(items)):
        able = []
        for (at, row), episodes in zip(candidates, zip(*[iter(ends)] * 3, strict=True), strict=True):
            goal = simulator.condition(row["goal"])
            if at == i and goal is not None and all(at_end(goal, e) for e in episodes):
                able.append(row)
        for row in sorted(able, key=lambda row: used[row["kind"]])[:2]:
            used[row["kind"]] += 1
            rows.append(row | {"robot": next(robots), "shown": (used[row["kind"]] + len(objects)) % 2 == 1})
    return rows


def _propose(
    simulator: Simulator, items: Sequence[dict[str, Any]], robots: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Two situations per scene: another robot, another library, and what this robot has tried before in other scenes."""
    objects, drawn = simulator.vocabulary.objects, []
    for i in range(2 * len(items)):
        draw = rng(0, "exam", "propose", i, len(objects))
        tasks = Planner(simulator.vocabulary, 0).tasks(questions.Robot(**robots[0]).stats("full"))
        chosen = draw.choice(len(tasks), min(len(tasks), (0, 4, 8)[i // 2 % 3]), replace=False)
        drawn += [(i, tasks[int(k)], child(0, "exam", "history", i, int(k)), int(draw.integers(1, 4))) for k in chosen]
    true = facts(simulator.vocabulary, simulator.look([("scattered", seed) for _, _, seed, _ in drawn]))
    rows: list[dict[str, Any]] = []
    for i in range(2 * len(items)):
        robot, library = robots[i % len(robots)]["name"], ("base", "full")[(i // len(items) + i) % 2]
        rows.append(
            {"scene": items[i % len(items)]["id"], "robot": robot, "library": library, "history": [], "gaps": []}
        )
    tries, where = [], []
    for (i, task, seed, n), holding in zip(drawn, true, strict=True):
        robot = questions.Robot(**robots[i % len(robots)])
        proposal = Proposal(task.text, "", 0.5, task.goal)
        plan = simulator.plan(Scene(objects, holding), proposal, robot.stats(rows[i]["library"]))
        if simulator.fits(plan):
            rows[i]["history"].append([task.text, task.goal, ""])
            tries += [Rollout(plan.captions, "scattered", seed, robot.noise, m) for m in range(n)]
            where += [rows[i]["history"][-1]] * n
        elif plan.gaps:
            rows[i]["gaps"].append([task.text, task.goal])
    for entry, episode in zip(where, simulator.run(tries), strict=True):
        goal = simulator.condition(entry[1])
        assert goal is not None
        entry[2] += "01"[at_end(goal, episode)]
    return rows


# --- curves ------------------------------------------------------------------------------------------------------


def curves(runs: Sequence[Path], most: int) -> None:
    """Write curves.json from the curves of these runs, at most `most` questions per judgement."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    sources, undecided = {}, 0
    for run in runs:
        with Record.open(run, write=False) as record:
            points: dict[int, list[SuccessCount]] = defaultdict(list)
            for e in record.evaluations("curve"):
                points[e.update].append(e.count)
            if record.config.world.name != "blocks" or not points:
                raise LudusError(f"{run} has no learning curves of the blocks world")
            words = (Path(w).name if w.startswith("/") else w for w in record.command.split())
            sources[run.name] = {"command": " ".join(words), "n_points": len(points), "updates": max(points)}
            sources[run.name]["skills"] = len(next(iter(points.values())))
            objects = BlocksWorld(record.config.world.n_blocks, 1, 1).spec.objects
        for name, curve in _recorded(points, objects).items():
            for row in _questions(run.name, name, curve):
                judgement = truth(tuple(row["now"]), tuple(row["later"]))
                undecided += judgement == "unclear"
                if judgement != "unclear":
                    found[judgement].append(row)
        print(run.name, {k: len(rows) for k, rows in found.items()}, "undecided:", undecided, flush=True)
    chosen = []
    for judgement, rows in sorted(found.items()):
        draw = rng(0, "exam", "curves", judgement)
        kept = sorted(draw.permutation(len(rows))[:most])
        chosen += [rows[i] for i in kept]
    order = rng(0, "exam", "curves", "order").permutation(len(chosen))
    _write("curves", {"sources": sources, "undecided": undecided, "questions": [chosen[i] for i in order]})
    print(len(chosen), "questions from", len(runs), "runs")


def _recorded(points: dict[int, list[SuccessCount]], objects: Sequence[str]) -> dict[str, list[tuple[int, int, int]]]:
    """`(updates, successes, episodes)` per template, and per block over all skills that move it. A skill alone has too few
    episodes for its truth to be clear, unless it was still learning: its name would give the answer away."""
    vocabulary = BlocksWorld(len(objects), 1, 1).vocabulary
    library = SkillLibrary(vocabulary, base_skills(objects) + extra_skills(objects))
    found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for update, counts in sorted(points.items()):
        for t in aggregate(counts, library):
            found[t.caption].append((update, t.successes, t.n))
        for block in objects:
            about = [t for t in counts if library.mentioned(t.caption)[:1] == (block,)]
            row = update, sum(t.successes for t in about), sum(t.n for t in about)
            found[f"all {len(about)} skills that move {block}"].append(row)
    return found


def _questions(run: str, name: str, curve: list[tuple[int, int, int]]) -> Iterator[dict[str, Any]]:
    """Every first third that has enough points, at several amounts of episodes and points."""
    at = {u: (s, n) for u, s, n in curve}
    for i in range(MIN_POINTS - 1, len(curve)):
        end = curve[i][0]
        if round(HORIZON * end) not in at:
            continue
        around = [(s, n) for u, s, n in curve if abs(u / (HORIZON * end) - 1) <= AROUND]
        later: Count = sum(s for s, _ in around), sum(n for _, n in around)
        for k, episodes in enumerate(EPISODES):
            draw = rng(0, "exam", run, name, end, episodes)
            shown = curve[: i + 1]
            if len(shown) >= 2 * MIN_POINTS - 1 and draw.random() < 0.5:
                shown = shown[::-2][::-1]
            if k > 0 and max(n for _, _, n in shown) <= EPISODES[k - 1]:
                break  # no more episodes than in the question before
            taken = [(u, int(draw.hypergeometric(s, n - s, min(episodes, n))), min(episodes, n)) for u, s, n in shown]
            updates, successes, ns = (list(column) for column in zip(*taken, strict=True))
            yield {
                "source": run, "caption": name, "updates": updates, "successes": successes, "n": ns,
                "now": list(at[end]), "later": list(later),
                "smooth": bool(draw.random() < 0.3), "zoom": bool(draw.random() < 0.3),
            }  # fmt: skip


def _write(name: str, data: dict[str, Any]) -> None:
    """One line per row: small, and readable in a diff."""
    parts = []
    for key, rows in data.items():
        if isinstance(rows, list):
            body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
            parts.append(f'"{key}":[\n{body}\n]')
        else:
            parts.append(f'"{key}":{json.dumps(rows)}')
    (OUT / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run directories with learning curves")
    parser.add_argument("--scenes", action="store_true", help="make the scenes, robots and tasks anew")
    parser.add_argument("--most", type=int, default=140, help="curve questions per judgement")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.scenes:
        scenes(options.threads)
    if options.runs:
        try:
            curves(options.runs, options.most)
        except LudusError as error:
            raise SystemExit(f"exam_bank: {error}") from None
    if not options.scenes and not options.runs:
        parser.error("nothing to do: give run directories, or --scenes")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
