"""Scorecards side by side: `python benchmarks/results/exam.py planner.json random.json`, from `ludus exam --json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    stats = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    if not stats or len({(c["bank"], c["seed"], c["limit"]) for c in stats}) > 1:
        raise SystemExit("give scorecards of one question set, seed and limit")
    print(f"Question set {stats[0]['bank']}, seed {stats[0]['seed']}.\n")
    print("| part | score | " + " | ".join(c["examinee"].split()[0] for c in stats) + " |")
    print("|---" * (len(stats) + 2) + "|")
    for part, first in stats[0]["parts"].items():
        for kind in ("rates", "means"):
            for i, name in enumerate(first[kind]):
                scores = [c["parts"][part][kind][name] for c in stats]
                if any(s["n"] for s in scores) and not (name == "no answer" and not any(s["right"] for s in scores)):
                    label = f"**{name}**" if i == 0 and kind == "rates" else name
                    print(f"| {part} | {label} | " + " | ".join(map(_cell, scores)) + " |")


def _cell(score: dict) -> str:
    if not score["n"]:
        return "–"
    if "wilson" not in score:
        return f"{score['value']:.3f} (n={score['n']})"
    low, high = score["wilson"]
    return f"{score['rate']:.3f} [{low:.2f}, {high:.2f}] (n={score['n']})"


if __name__ == "__main__":
    main()
