"""Tables of what `ludus eval --json` wrote: `python benchmarks/results/table.py runs/results/mixed*-pac.json`.

One row per file, start and temperature; success at the end of the skill, its 95 % Wilson interval and the number of
episodes per family.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    rows, families = [], []
    for path in map(Path, sys.argv[1:]):
        for measured in json.loads(path.read_text())["measured"]:
            cells = {}
            for family in measured["families"]:
                low, high = family["wilson"]
                once = (
                    f", once {family['successes_once'] / family['n']:.2f}"
                    if family["successes_once"] != family["successes"]
                    else ""
                )
                cells[family["caption"]] = f"{family['rate']:.3f} [{low:.2f}, {high:.2f}], n {family['n']}{once}"
            families += [f for f in cells if f not in families]
            rows.append((f"{path.stem}, {measured['start']}, temperature {measured['temperature']:g}", cells))
    print("| run | " + " | ".join(families) + " |")
    print("|---" * (len(families) + 1) + "|")
    for name, cells in rows:
        print(f"| {name} | " + " | ".join(cells.get(f, "–") for f in families) + " |")


if __name__ == "__main__":
    main()
