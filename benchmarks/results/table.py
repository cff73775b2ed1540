"""Tables of what `ludus eval --json` wrote: `python benchmarks/results/table.py runs/results/mixed*-pac.json`.

One row per file, start and temperature; success at the end of the skill, its 95 % Wilson interval and the number of
episodes per template.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    rows, templates = [], []
    for path in map(Path, sys.argv[1:]):
        for measured in json.loads(path.read_text())["measured"]:
            cells = {}
            for template in measured["templates"]:
                low, high = template["wilson"]
                once = (
                    f", once {template['successes_once'] / template['n']:.2f}"
                    if template["successes_once"] != template["successes"]
                    else ""
                )
                cells[template["caption"]] = f"{template['rate']:.3f} [{low:.2f}, {high:.2f}], n {template['n']}{once}"
            templates += [t for t in cells if t not in templates]
            rows.append((f"{path.stem}, {measured['start']}, temperature {measured['temperature']:g}", cells))
    print("| run | " + " | ".join(templates) + " |")
    print("|---" * (len(templates) + 1) + "|")
    for name, cells in rows:
        print(f"| {name} | " + " | ".join(cells.get(t, "–") for t in templates) + " |")


if __name__ == "__main__":
    main()
