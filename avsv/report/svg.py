"""Plots as inline SVG: drawn from the data, in the page's own fonts and colours, sharp at any size.

Colours are CSS classes of the page: ``s0`` to ``s7`` for systems, which set the ``color`` that lines and areas take.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from scipy.special import ndtri

from avsv.report.exhibits import Rate
from avsv.report.gather import ScoreSet, Spread
from avsv.results.plots import DET_TICKS, MODALITY_NAMES
from avsv.scoring.metrics import det_curve, eer, min_dcf_point

COLOURS = 8
DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "4 2", "1 2", "12 3", "6 2 1 2 1 2")
"""Dash patterns that go with the colours, for eyes and prints that have none."""


class _Canvas:
    """A plot area with axes: data go in, marks come out.

    Args:
        width, height: of the picture, in its own units; text is 11 units high.
        x, y: (low, high) of the data.
        margins: left, top, right, bottom.
    """

    def __init__(
        self,
        width: float,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        margins: tuple[float, float, float, float] = (42, 10, 12, 36),
    ) -> None:
        self.width, self.height, self.margins = width, height, margins
        self._x, self._y = x, y
        self._parts: list[str] = []

    @property
    def right(self) -> float:
        return self.width - self.margins[2]

    @property
    def bottom(self) -> float:
        return self.height - self.margins[3]

    def px(self, x) -> NDArray[np.float64]:
        """Horizontal places of data."""
        left, (low, high) = self.margins[0], self._x
        return left + (np.asarray(x, dtype=np.float64) - low) / (high - low) * (self.right - left)

    def py(self, y) -> NDArray[np.float64]:
        """Vertical places of data."""
        top, (low, high) = self.margins[1], self._y
        return self.bottom - (np.asarray(y, dtype=np.float64) - low) / (high - low) * (self.bottom - top)

    def add(self, text: str) -> None:
        self._parts.append(text)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle", turn: int = 0) -> None:
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{turned}>{escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def axis_x(self, ticks: Iterable[tuple[float, str]], label: str = "", grid: bool = True) -> None:
        for value, words in ticks:
            place = float(self.px(value))
            if grid:
                self.line(place, self.margins[1], place, self.bottom, "grid")
            self.text(place, self.bottom + 14, words, "tick")
        self.line(self.margins[0], self.bottom, self.right, self.bottom, "axis")
        if label:
            self.text((self.margins[0] + self.right) / 2, self.height - 4, label, "label")

    def axis_y(self, ticks: Iterable[tuple[float, str]], label: str = "") -> None:
        for value, words in ticks:
            place = float(self.py(value))
            self.line(self.margins[0], place, self.right, place, "grid")
            self.text(self.margins[0] - 6, place + 3.5, words, "tick", "end")
        if label:
            self.text(11, (self.margins[1] + self.bottom) / 2, label, "label", turn=-90)

    def path(self, x: NDArray, y: NDArray, kind: str, dash: str = "", close: bool = False) -> None:
        """A line through data points, or the area that it encloses."""
        points = _thin(np.round(self.px(x), 1), np.round(self.py(y), 1))
        steps = " ".join(f"{a:g},{b:g}" for a, b in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.add(f'<path d="M{steps}{"Z" if close else ""}" class="{kind}"{dashed}/>')

    def mark(self, x: float, y: float, shape: str, kind: str, size: float = 4) -> None:
        self.add(_mark(float(self.px(x)), float(self.py(y)), shape, kind, size))

    def picture(self, title: str, kind: str = "") -> Markup:
        """The SVG element, with a title for those who do not see it."""
        box = f"0 0 {self.width:g} {self.height:g}"
        content = "".join(self._parts)
        return Markup(
            f'<svg class="plot {kind}" viewBox="{box}" role="img" aria-label="{escape(title)}">{content}</svg>'
        )


def _thin(x: NDArray, y: NDArray) -> NDArray:
    """Points (M, 2) of a line without repeated ones and without those on a level or upright stretch."""
    points = np.stack([x, y], axis=1)
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    if len(points) < 3:
        return points
    flat = np.diff(points, axis=0) == 0
    return points[np.r_[True, ~(flat[1:] & flat[:-1]).any(axis=1), True]]


_SHAPES = {
    "circle": lambda x, y, r: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"',
    "square": lambda x, y, r: f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r:g}" height="{2 * r:g}"',
    "diamond": lambda x, y, r: (
        f'<path d="M{x:.1f},{y - 1.3 * r:.1f} {x + 1.3 * r:.1f},{y:.1f} {x:.1f},{y + 1.3 * r:.1f} '
        f'{x - 1.3 * r:.1f},{y:.1f}Z"'
    ),
    "triangle": lambda x, y, r: (
        f'<path d="M{x:.1f},{y - 1.2 * r:.1f} {x + 1.1 * r:.1f},{y + r:.1f} {x - 1.1 * r:.1f},{y + r:.1f}Z"'
    ),
}


def _mark(x: float, y: float, shape: str, kind: str, size: float) -> str:
    return f'{_SHAPES[shape](x, y, size)} class="{kind}"/>'


def round_ticks(low: float, high: float, about: int = 5) -> list[tuple[float, str]]:
    """Round numbers between two values, with their names.

    Example:
        >>> round_ticks(-3.2, 8.1, 4)
        [(0.0, '0'), (5.0, '5')]
    """
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw)
    values = np.arange(np.ceil(low / step), np.floor(high / step + 1e-9) + 1) * step
    # Adding 0 makes 0 of -0.
    return [(float(v), f"{v:g}".replace("-", "−")) for v in values.round(10) + 0.0]


class Curve(NamedTuple):
    """A system's scores on a list and its colour, 0 to 7."""

    scores: ScoreSet
    colour: int

    @property
    def label(self) -> str:
        """System and mode."""
        return f"{self.scores.system} {self.scores.mode}"

    def scored(self) -> tuple[NDArray, NDArray]:
        """Scores and labels of the trials that have a score."""
        return self.scores.values[self.scores.scored], self.scores.is_target[self.scores.scored]


def det_picture(curves: Sequence[Curve], title: str) -> Markup:
    """Detection error trade-off on Gaussian-deviate axes; circles at the EER, diamonds where minDCF is reached."""
    points = [det_curve(*curve.scored()) for curve in curves]
    rates = [eer(*curve.scored()) for curve in curves]
    costs = [min_dcf_point(curve) for curve in points]
    # The axes end at half an error: below, a list of this length cannot tell rates apart.
    labels = [curve.scored()[1] for curve in curves]
    most = max(min(label.sum(), (~label).sum()) for label in labels)
    lowest = float(np.clip(0.5 / most, 1e-4, 0.05))
    highest = float(np.clip(1.05 * np.max([*costs, *((rate, rate) for rate in rates)]), 0.5, 0.95))
    ends = float(ndtri(lowest)), float(ndtri(highest))
    canvas = _Canvas(420, 420, ends, ends)
    ticks = [(float(ndtri(t / 100)), f"{t:g}") for t in DET_TICKS if lowest <= t / 100 <= highest]
    canvas.axis_x(ticks, "false accepts (%)")
    canvas.axis_y(ticks, "misses (%)")
    canvas.path(np.array(ends), np.array(ends), "diagonal")
    for curve, (_, p_miss, p_fa) in zip(curves, points, strict=True):
        inside = (p_fa >= lowest) & (p_fa <= highest) & (p_miss >= lowest) & (p_miss <= highest)
        # One point beyond the frame on both sides, moved onto it, closes the curve at the edge.
        inside = inside | np.r_[inside[1:], False] | np.r_[False, inside[:-1]]
        x, y = (ndtri(np.clip(share[inside], lowest, highest)) for share in (p_fa, p_miss))
        if len(x):
            canvas.path(x, y, f"curve s{curve.colour}", DASHES[curve.colour])
    for curve, rate, cost in zip(curves, rates, costs, strict=True):
        for point, shape in ((cost, "diamond"), ((rate, rate), "circle")):
            canvas.mark(*ndtri(np.clip(point, lowest, highest)), shape, f"point s{curve.colour}", 4.5)
    return canvas.picture(title)


def histogram_picture(curve: Curve, ends: tuple[float, float], title: str, bins: int = 48) -> Markup:
    """Shares of target and of non-target trials by score, and the threshold of the equal error rate."""
    values, is_target = curve.scored()
    edges = np.linspace(*ends, bins + 1)
    shares = [np.histogram(np.clip(values[kind], *ends), edges)[0] / kind.sum() for kind in (is_target, ~is_target)]
    canvas = _Canvas(320, 150, ends, (0, 1.08 * max(share.max() for share in shares)), (8, 6, 8, 22))
    canvas.axis_x(round_ticks(*ends, 6), grid=False)
    x = np.repeat(edges, 2)
    for share, kind in zip(shares, (f"target s{curve.colour}", "nontarget"), strict=True):
        canvas.path(x, np.r_[0, np.repeat(share, 2), 0], kind, close=True)
    at = float(canvas.px(np.clip(curve.scores.threshold, *ends)))
    canvas.line(at, 4, at, canvas.bottom, "threshold")
    return canvas.picture(title, "small")


def common_ends(curves: Sequence[Curve]) -> tuple[float, float]:
    """A range of scores that holds all but the farthest hundredth of every system's at both ends."""
    low, high = np.array([np.quantile(curve.scored()[0], [0.01, 0.99]) for curve in curves]).T
    pad = 0.04 * (high.max() - low.min()) or 1.0
    return float(low.min() - pad), float(high.max() + pad)


def training_picture(
    histories: Mapping[str, Mapping[str, NDArray]],
    colours: Mapping[str, int],
    column: str,
    factor: float,
    label: str,
    title: str,
) -> Markup:
    """One column of training histories by epoch, a line per system."""
    lines = {name: (h["epoch"], factor * h[column]) for name, h in histories.items()}
    lines = {name: (x[~np.isnan(y)], y[~np.isnan(y)]) for name, (x, y) in lines.items()}
    lines = {name: line for name, line in lines.items() if len(line[0])}
    last = max((float(x.max()) for x, _ in lines.values()), default=1.0)
    highest = max((float(y.max()) for _, y in lines.values()), default=1.0) or 1.0
    canvas = _Canvas(320, 220, (0, max(last, 1)), (0, 1.05 * highest), (40, 10, 12, 36))
    canvas.axis_x([t for t in round_ticks(0, max(last, 1), 5) if t[0] == int(t[0])], "epoch", grid=False)
    canvas.axis_y(round_ticks(0, 1.05 * highest, 5), label)
    for name, (x, y) in lines.items():
        canvas.path(x, y, f"curve s{colours[name]}", DASHES[colours[name]])
        for point in zip(x, y, strict=True):
            canvas.mark(*point, "circle", f"point s{colours[name]}", 2.2 if len(x) < 40 else 1.2)
    return canvas.picture(title, "small")


def sweep_picture(lines: Sequence[tuple[str, int, Sequence[Rate | None]]], levels: Sequence[str], title: str) -> Markup:
    """Error rates by level, with intervals as upright strokes; systems as (label, colour, rate at each level)."""
    highest = max((rate.high for _, _, rates in lines for rate in rates if rate is not None), default=1.0) or 1.0
    # Names that would run into each other are slanted; a letter is about 6 units wide.
    longest = 6 * max(map(len, levels)) + 6
    slanted = longest * len(levels) > 278
    canvas = _Canvas(320, 220, (-0.4, len(levels) - 0.6), (0, 1.05 * highest), (34, 10, 8, longest if slanted else 24))
    canvas.axis_x([] if slanted else list(enumerate(levels)), grid=False)
    for number, level in enumerate(levels if slanted else ()):
        canvas.text(float(canvas.px(number)) + 4, canvas.bottom + 12, level, "tick", "end", turn=-50)
    canvas.axis_y(round_ticks(0, 1.05 * highest, 5))
    for number, (label, colour, rates) in enumerate(lines):
        # Systems stand beside each other, so that their intervals do not hide one another.
        shift = 0.4 * ((number + 0.5) / len(lines) - 0.5)
        known = [(level + shift, rate) for level, rate in enumerate(rates) if rate is not None]
        canvas.add(f"<g><title>{escape(label)}</title>")
        for x, rate in known:
            place, low, high = float(canvas.px(x)), float(canvas.py(rate.low)), float(canvas.py(rate.high))
            canvas.line(place, low, place, high, f"interval s{colour}")
        x, y = (np.array(values) for values in ([x for x, _ in known], [rate.eer for _, rate in known]))
        if len(x):
            canvas.path(x, y, f"curve s{colour}", DASHES[colour])
        for point in zip(x, y, strict=True):
            canvas.mark(*point, "circle", f"point s{colour}", 2.4)
        canvas.add("</g>")
    return canvas.picture(title, "small")


class AngleRow(NamedTuple):
    """A row of the picture of angles."""

    system: str
    colour: int
    spread: Spread


def angle_picture(rows: Sequence[AngleRow], title: str) -> Markup:
    """Where 90 % of the angles lie, their median and their mean with one standard deviation to both sides."""
    height, gap = 17.0, 12.0
    tops, place, previous = [], 14.0, None
    for row in rows:
        if row.system != previous:
            place += gap if previous is None else gap + 14
            previous = row.system
        tops.append(place)
        place += height
    most = max(row.spread.p95 for row in rows)
    ends = 0.0, max(95.0, 1.02 * most)
    canvas = _Canvas(520, place + 42, ends, (0, 1), (150, 8, 14, 38))
    canvas.axis_x([(float(v), f"{v}°") for v in range(0, int(ends[1]) + 1, 30)], "angle")
    previous = None
    for top, (system, colour, spread) in zip(tops, rows, strict=True):
        if system != previous:
            canvas.text(4, top - 9, system, f"heading s{colour}", "start")
            previous = system
        name = MODALITY_NAMES.get(spread.modality)
        label = f"{name}, {spread.measure}" if name else "voice to face of a clip"
        canvas.text(canvas.margins[0] - 8, top + 3.5, label, "tick", "end")
        low, middle, high = (float(canvas.px(x)) for x in (spread.p05, spread.median, spread.p95))
        box = [float(canvas.px(np.clip(spread.mean + s * spread.std, 0, 180))) for s in (-1, 1)]
        kind = "hollow" if spread.measure == "between" else "full"
        canvas.line(low, top, high, top, f"whisker s{colour}")
        canvas.add(
            f'<rect x="{box[0]:.1f}" y="{top - 5:.1f}" width="{max(box[1] - box[0], 1):.1f}" height="10"'
            f' class="box {kind} s{colour}"/>'
        )
        canvas.line(middle, top - 6.5, middle, top + 6.5, "median")
    return canvas.picture(title, "angles")


def projection_picture(points: NDArray, identities: NDArray, title: str) -> Markup:
    """Points (N, 2) in the plane, an identity in a colour and a shape."""
    low, high = points.min(axis=0), points.max(axis=0)
    pad = 0.05 * (high - low)
    ends = list(zip((low - pad).tolist(), (high + pad).tolist(), strict=True))
    canvas = _Canvas(320, 300, ends[0], ends[1], (4, 4, 4, 4))
    shapes = list(_SHAPES)
    for number, name in enumerate(sorted(set(identities.tolist()))):
        colour, shape = number % COLOURS, shapes[number // COLOURS % len(shapes)]
        marks = [
            _mark(float(canvas.px(x)), float(canvas.py(y)), shape, "dot", 3.4) for x, y in points[identities == name]
        ]
        canvas.add(f'<g class="s{colour}"><title>{escape(name)}</title>{"".join(marks)}</g>')
    return canvas.picture(title, "small framed")


def interval_bar(low: float, value: float, high: float, most: float, kind: str) -> Markup:
    """A confidence interval as a small bar on a scale from 0 to ``most``."""
    places = [4 + 112 * min(x / most, 1) if most > 0 else 4.0 for x in (low, value, high)]
    return Markup(
        f'<svg class="bar {kind}" viewBox="0 0 120 14" aria-hidden="true">'
        '<line x1="4" y1="7" x2="116" y2="7" class="rail"/>'
        f'<line x1="{places[0]:.1f}" y1="7" x2="{places[2]:.1f}" y2="7" class="range"/>'
        f'<circle cx="{places[1]:.1f}" cy="7" r="3.6" class="dot"/></svg>'
    )


def margin_bar(margin: float, most: float, kind: str) -> Markup:
    """A score's distance from its threshold: to the right where the decision is right, else to the left."""
    reach = 54 * float(np.clip(margin / most, -1, 1)) if most > 0 else 0.0
    return Markup(
        f'<svg class="bar {kind}" viewBox="0 0 120 14" aria-hidden="true">'
        f'<rect x="{60 + min(reach, 0):.1f}" y="3.5" width="{abs(reach):.1f}" height="7" class="reach"/>'
        '<line x1="60" y1="0" x2="60" y2="14" class="centre"/></svg>'
    )
