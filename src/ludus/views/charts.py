"""Drawings as SVG, which takes its colours from the style sheet of the page that it stands in."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from ludus.lab.resampling import Estimate
from ludus.views.queries import AttemptTrace, ComparedCurves, CurvePoint, CurveVerdict, Rate, TemplateCurve
from ludus.views.text import clean
from ludus.views.text import rate as in_words

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 10, 24
"""Margins of a curve, which hold the axes."""
MARKS = {
    "converged": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "learning": "M0,-5L5,4L-5,4Z",
    "stuck": "M-4,-4L4,4M4,-4L-4,4",
}
"""Judgement -> shape around (0, 0); a square for any other."""
SQUARE = "M-3.5,-3.5h7v7h-7Z"
TRACE_WIDTH, REWARD_HEIGHT, STRIP_HEIGHT = 720, 70, 18
TRACE_LEFT = 190
"""Where time begins in a trace: left of it stands what is drawn."""
LETTER_WIDTH = 7.0
"""About that of a letter, for texts that must fit."""


class _Axes:
    """From updates, or numbers of episodes, and rates to places in the drawing."""

    def __init__(self, last: int, first: int = 0, unit: str = "updates") -> None:
        self.first, self.last, self.unit = first, max(first + 1, last), unit

    def x(self, update: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (update - self.first) / (self.last - self.first)

    def y(self, rate: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(u):.1f},{self.y(r):.1f}" for u, r in points)

    def drawn(self) -> list[str]:
        parts = [_line("grid", self.x(self.first), self.y(r), self.x(self.last), self.y(r)) for r in (0, 0.5, 1)]
        parts += [_text("axis end", LEFT - 6, self.y(r) + 4, f"{r:g}") for r in (0, 0.5, 1)]
        end = _text("axis end", WIDTH - RIGHT, HEIGHT - 8, f"{self.last:,} {self.unit}")
        return [*parts, _text("axis", LEFT, HEIGHT - 8, f"{self.first:,}"), end]


def learning_curve(
    curve: TemplateCurve, round_starts: Sequence[int] = (), last: int | None = None, best: Sequence[int] = ()
) -> Markup:
    """Success rate over updates with its 95 % interval, the analyst's verdicts, and dotted lines where rounds began.

    Args:
        last: update at which the axis ends, where several curves are compared; None: where this curve ends.
        best: updates from which on a new policy acts.
    """
    points = _points(curve)
    axes = _Axes(max((u for u, _ in points), default=1) if last is None else last)
    parts = axes.drawn()
    parts += [_line("round", axes.x(u), TOP, axes.x(u), HEIGHT - BOTTOM) for u in round_starts]
    parts += [_line("best", axes.x(u), HEIGHT - BOTTOM - 7, axes.x(u), HEIGHT - BOTTOM) for u in best]
    parts += _line_with_band(axes, points)
    parts += [_point(axes, update, rate) for update, rate in points]
    rates = {u: r.rate for u, r in points}
    parts += [_verdict(axes, v, rates.get(v.update, 0.0)) for v in curve.verdicts]
    verdict = f"; {curve.verdicts[-1].judgement}" if curve.verdicts else ""
    return _chart(parts, f"{curve.template}: {_newest(points)}{verdict}")


def compared_curves(of: ComparedCurves, names: Sequence[str], last: int) -> Markup:
    """The curves of a template in several runs over each other, each in the colour of its run, `c0` to `c5` of the style sheet.

    Args:
        names: of the runs.
        last: update at which the axis ends.
    """
    axes = _Axes(last)
    parts, said = axes.drawn(), []
    for k, (name, curve) in enumerate(zip(names, of.curves, strict=True)):
        points = _points(curve) if curve else []
        drawn = _line_with_band(axes, points) + [_point(axes, u, r, f"{name}, ") for u, r in points]
        parts.append(f'<g class="c{k}">{"".join(drawn)}</g>')
        said.append(f"{name}: {_newest(points)}")
    return _chart(parts, f"{of.template}: {'; '.join(said)}")


Points = Sequence[tuple[int, Rate]]
"""Updates and success rates."""


def _points(curve: TemplateCurve) -> Points:
    return [(p.update, p.rate) for p in curve.points if p.rate is not None]


def _line_with_band(axes: _Axes, points: Points) -> list[str]:
    band = [(u, r.high) for u, r in points] + [(u, r.low) for u, r in reversed(points)]
    only = [f'<circle class="only" cx="{axes.x(u):.1f}" cy="{axes.y(r.rate):.1f}" r="3"/>' for u, r in points[:1]]
    return [
        *(only if len(points) == 1 else ()),  # of one point there is no line
        f'<polygon class="band" points="{axes.path(band)}"/>',
        f'<polyline class="curve" points="{axes.path([(u, r.rate) for u, r in points])}"/>',
    ]


def _point(axes: _Axes, update: int, rate: Rate, whose: str = "") -> str:
    numbers = f"{rate.successes} of {rate.n}, {rate.rate:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
    said = escape(clean(f"{whose}update {update:,}: {numbers}"))
    where = f'cx="{axes.x(update):.1f}" cy="{axes.y(rate.rate):.1f}"'
    return f'<circle class="point" {where} r="6"><title>{said}</title></circle>'


def _newest(points: Points) -> str:
    if not points:
        return "not evaluated yet"
    update, rate = points[-1]
    return f"{rate.rate:.2f} of {rate.n} at update {update:,}"


def _chart(parts: Sequence[str], said: str) -> Markup:
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" class="chart" role="img" aria-label="{escape(clean(said))}"'
    return Markup(f"<svg {size}>{''.join(parts)}</svg>")


def sparkline(points: Sequence[CurvePoint]) -> Markup:
    """Success rates, 0 at the bottom and 1 at the top, as a small drawing in the line."""
    rates = [p.rate.rate for p in points if p.rate is not None]
    width, height, edge = 110, 30, 3  # pixels
    across = (width - 2 * edge) / max(1, len(rates) - 1)
    at = [(edge + i * across, height - edge - rate * (height - 2 * edge)) for i, rate in enumerate(rates)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    dot = '<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(*at[-1]) if at else ""
    said = "success " + ", ".join(f"{r:.2f}" for r in rates)
    return Markup(
        f'<svg class="spark" role="img" aria-label="{said}" viewBox="0 0 {width} {height}"><title>{said}</title>'
        f'<polyline points="{line}"/>{dot}</svg>'
    )


STAGE_CLASSES = {"seed data": "data", "before the rounds": "before"}
"""Stage of `queries.Success` -> its class in the style sheet; 'now' for what came of it."""


def track(stages: Sequence[str], rates: Sequence[Rate | None]) -> Markup:
    """Rates on a line from 0 to 1, each with its interval, in as much width as there is."""
    known = [(stage, STAGE_CLASSES.get(stage, "now"), r) for stage, r in zip(stages, rates, strict=True) if r]
    spans = [
        f'<i class="interval {k}" style="left:{100 * r.low:.1f}%;right:{100 - 100 * r.high:.1f}%"></i>'
        for _, k, r in known
    ]
    dots = [f'<i class="dot {k}" style="left:{100 * r.rate:.1f}%"></i>' for _, k, r in known]
    said = escape("; ".join(f"{stage}: {in_words(r)}" for stage, _, r in known) or "not tried")
    return Markup(f'<span class="track" role="img" aria-label="{said}" title="{said}">{"".join(spans + dots)}</span>')


def spread(values: Sequence[float | None], of: Estimate | None, ends: tuple[float, float]) -> Markup:
    """Runs of an arm, or differences of pairs, on a line between `ends`, below them their mean with its interval."""
    low, high = ends

    def at(value: float) -> float:
        return 100 * min(max((value - low) / (high - low), 0), 1)

    known = [value for value in values if value is not None]
    parts = [f'<i class="dot run" style="left:{at(value):.1f}%"></i>' for value in known]
    said = f"runs: {', '.join(f'{value:.3g}' for value in known) or 'none'}"
    if of is not None:
        said += f"; mean {of.value:.3g}"
        if of.interval is not None:
            left, right = of.interval
            said += f" [{left:.3g}, {right:.3g}]"
            where = f"left:{at(left):.1f}%;right:{100 - at(right):.1f}%"
            parts.append(f'<i class="interval now" style="{where}"></i>')
        parts.append(f'<i class="dot now" style="left:{at(of.value):.1f}%"></i>')
    return Markup(f'<span class="track" role="img" aria-label="{said}" title="{said}">{"".join(parts)}</span>')


def run_curves(name: str, curves: Sequence[Sequence[tuple[int, float]]], ends: tuple[int, int]) -> Markup:
    """Success over episodes, a line per run.

    Args:
        ends: numbers of episodes between which the axis reaches.
    """
    axes, parts, last = _Axes(ends[1], ends[0], "episodes"), list[str](), list[str]()
    for points in curves:
        parts.append(f'<polyline class="curve" points="{axes.path(points)}"/>')
        parts += [f'<circle class="only" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="2.5"/>' for x, y in points]
        last.append(f"{points[-1][1]:.2f} after {points[-1][0]:,}")
    return _chart([*axes.drawn(), *parts], f"{name}: {'; '.join(last)} episodes")


def _verdict(axes: _Axes, v: CurveVerdict, rate: float) -> str:
    known = v.judgement if v.judgement in MARKS else "unclear"
    said = escape(clean(f"round {v.round}: {v}"))
    known += " wrong" if v.wrong_by else ""
    at = f'transform="translate({axes.x(v.update):.1f},{axes.y(rate):.1f})"'
    return f'<path class="verdict {known}" d="{MARKS.get(v.judgement, SQUARE)}" {at}><title>{said}</title></path>'


def tick(done: bool) -> Markup:
    """Whether something succeeded, as a sign with a name."""
    name, said, sign = ("good", "succeeded", "✓") if done else ("bad", "failed", "✗")
    return Markup(f'<span class="{name}" role="img" aria-label="{said}" title="{said}">{sign}</span>')


def mark(judgement: str) -> Markup:
    """The sign of a judgement, for a legend."""
    shape = MARKS.get(judgement, SQUARE)
    known = judgement if judgement in MARKS else "unclear"
    return Markup(
        f'<svg class="mark" viewBox="-7 -7 14 14" aria-hidden="true"><path class="verdict {known}" d="{shape}"/></svg>'
    )


def episode_traces(attempts: Sequence[AttemptTrace], n_steps: int) -> Markup:
    """Reward and conditions over the time of an episode: a row per condition and attempt, filled where it holds; a mark at the
    moment of success. The element `#cursor` is where a player is."""
    across = (TRACE_WIDTH - TRACE_LEFT - 10) / max(1, n_steps)

    def x(step: int) -> float:
        return TRACE_LEFT + across * step

    parts, y = [], 18
    for c in attempts:
        parts.append(
            _text("told", x(c.first) + 4, 13, _short(c.caption, int((c.last - c.first) * across / LETTER_WIDTH)))
        )
        parts.append(_line("round", x(c.first), 0, x(c.first), "100%"))
    parts.append(_text("axis end", TRACE_LEFT - 8, y + REWARD_HEIGHT / 2 + 4, "reward"))
    parts += [_line("grid", TRACE_LEFT, h, x(n_steps), h) for h in (y, y + REWARD_HEIGHT)]
    for c in attempts:
        rewards = enumerate(c.reward, c.first)
        line = " ".join(f"{x(t):.1f},{y + REWARD_HEIGHT * (1 - r):.1f}" for t, r in rewards)
        parts.append(f'<polyline class="curve" points="{line}"/>')
        if c.succeeded is not None:
            parts.append(_line("success", x(c.succeeded), y, x(c.succeeded), y + REWARD_HEIGHT))
            parts.append(_text("success", x(c.succeeded) + 3, y + 11, "✓"))
    y += REWARD_HEIGHT + 8
    for text in dict.fromkeys(t.condition for c in attempts for t in c.conditions):
        parts.append(_text("axis end", TRACE_LEFT - 8, y + 12, _short(text, int(TRACE_LEFT / LETTER_WIDTH))))
        for c in attempts:
            for t in (t for t in c.conditions if t.condition == text):
                width = max(1.0, x(c.last) - x(c.first))
                parts.append(_box("strip", x(c.first), y, width, text))
                parts += [_box("holds", x(c.first + a), y, across * (b - a), text) for a, b in _runs(t.holds)]
        y += STRIP_HEIGHT
    parts.append(f'<line id="cursor" x1="{TRACE_LEFT}" x2="{TRACE_LEFT}" y1="0" y2="{y}"/>')
    size = f'viewBox="0 0 {TRACE_WIDTH} {y + 2}" class="chart traces" role="img"'
    data = f'data-left="{TRACE_LEFT}" data-across="{across:.4f}"'
    return Markup(f'<svg {size} {data} aria-label="{escape(clean(_said(attempts)))}">{"".join(parts)}</svg>')


def _said(attempts: Sequence[AttemptTrace]) -> str:
    """What the traces show, for who does not see them."""
    said = [f"Reward and conditions over time, {len(attempts)} in order."]
    for c in attempts:
        last = f"reward {c.reward[-1]:.2f} at its end, {max(c.reward):.2f} at most" if len(c.reward) else "no reward"
        held = [f"{t.condition} holds {sum(t.holds) / max(1, len(t.holds)):.0%} of the time" for t in c.conditions]
        said.append(f"{c.caption}: {'; '.join([last, *held])}.")
    return " ".join(said)


def _runs(holds: Sequence[bool]) -> list[tuple[int, int]]:
    """Stretches `[first, last)` in which something holds."""
    edges = [i for i in range(len(holds) + 1) if (i > 0 and holds[i - 1]) != (i < len(holds) and holds[i])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: max(0, letters - 1)] + "…"


def _line(name: str, x1: float, y1: float, x2: float, y2: float | str) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2}"/>'


def _text(name: str, x: float, y: float, said: str) -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{escape(clean(said))}</text>'


def _box(name: str, x: float, y: float, width: float, said: str) -> str:
    title = f"<title>{escape(clean(said))}</title>"
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{STRIP_HEIGHT - 4}">{title}</rect>'
    )
