"""What a person sees who tells a robot what to do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus.experiment.instruction import Done
from ludus.lab.analysis import aggregate
from ludus.skills.library import SkillLibrary
from ludus.types import Plan, SuccessCount
from ludus.views.text import clean, steps


def print_skills(
    library: SkillLibrary, counts: Sequence[SuccessCount], objects: Sequence[str], console: Console
) -> None:
    """What can be said: a line per template, with an example."""
    measured = {c.caption: c for c in aggregate(counts, library)}
    table = Table("what can be said", "for example", "success", box=None, pad_edge=False)
    examples = {library.template(caption): caption for caption in reversed(library.captions)}
    for template in dict.fromkeys(map(library.template, library.captions)):
        count = measured.get(template)
        rate = f"{count.successes / count.n:.2f} of {count.n:,}" if count is not None and count.n else "not measured"
        table.add_row(*map(_shown, (template, examples[template], rate)))
    console.print(table)
    names = f"{', '.join(objects[:-1])} and {objects[-1]}" if len(objects) > 1 else "".join(objects)
    _say(f"\nX, Y and Z are {names}. Several things: 'put red on green, then blue on red'.", console)


def print_plan(plan: Plan, console: Console) -> None:
    """The plan before it is carried out."""
    _say(f"Plan: {steps(plan.captions)}", console)


def print_steps(done: Done, console: Console) -> None:
    """A line per step."""
    table = Table("step", "told", "result", "seconds", box=None, pad_edge=False)
    for step in done.steps:
        result = "done" if step.success else "failed"
        if step.tries == 0:
            result = "was so already" if step.success else "no time left"
        elif step.tries > 1:
            result += f" at try {step.tries}"
        table.add_row(*map(_shown, (step.step, step.caption, result, f"{step.seconds:.1f}")))
    console.print(table)


def print_facts(done: Done, console: Console) -> None:
    """What holds after each step, in place of a film."""
    for step in done.steps:
        _say(f"After {step.caption!r}: {', '.join(step.facts) or 'nothing of note'}.", console)


def _shown(cell: str) -> Text:
    return Text(clean(cell))


def _say(line: str, console: Console) -> None:
    console.print(clean(line))
