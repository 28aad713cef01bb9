"""Pictures of the report: plots of :mod:`avsv.results.plots` as inline SVG, and small bars inside tables."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from avsv.report.exhibits import Rate
from avsv.report.gather import ScoreSet, Spread
from avsv.results.plots import (
    MODALITY_NAMES,
    AngleBox,
    DetLine,
    SweepLine,
    draw_angles,
    draw_det,
    draw_histogram,
    draw_history,
    draw_projection,
    draw_sweep,
)
from avsv.results.style import inline_svg


class Curve(NamedTuple):
    """The scores of a system on a list and the number of its color, 0 to 7."""

    scores: ScoreSet
    color: int

    @property
    def label(self) -> str:
        """System and mode."""
        return f"{self.scores.system} {self.scores.mode}"

    @property
    def line(self) -> DetLine:
        """The trials that have a score."""
        scored = self.scores.scored
        return DetLine(self.label, self.scores.values[scored], self.scores.is_target[scored], self.color)


def det_picture(curves: Sequence[Curve], title: str) -> Markup:
    """Detection error trade-off curves."""
    return Markup(inline_svg(partial(draw_det, lines=[curve.line for curve in curves]), title, 420, 400))


def histogram_picture(curve: Curve, ends: tuple[float, float], title: str) -> Markup:
    """Target and non-target trials by score, and the threshold of the equal error rate."""
    draw = partial(draw_histogram, line=curve.line, ends=ends, threshold=curve.scores.threshold)
    return Markup(inline_svg(draw, title, 320, 140))


def common_ends(curves: Sequence[Curve]) -> tuple[float, float]:
    """A range of scores that contains all but the outermost 1 % of the scores of every system at both ends."""
    low, high = np.array([np.quantile(curve.line.scores, [0.01, 0.99]) for curve in curves]).T
    pad = 0.04 * (high.max() - low.min()) or 1.0
    return float(low.min() - pad), float(high.max() + pad)


def training_picture(
    histories: Mapping[str, Mapping[str, NDArray]], colors: Mapping[str, int], column: str, factor: float, title: str
) -> Markup:
    """One column of training histories by epoch, with one line per system."""
    draw = partial(draw_history, histories=histories, numbers=colors, column=column, factor=factor)
    return Markup(inline_svg(draw, title, 320, 210))


def sweep_picture(lines: Sequence[tuple[str, int, Sequence[Rate | None]]], levels: Sequence[str], title: str) -> Markup:
    """Error rates by level; systems as (label, number of the color, rate at each level)."""
    none = Rate(np.nan, np.nan, np.nan)
    shown = [SweepLine(label, number, *np.array([rate or none for rate in rates]).T) for label, number, rates in lines]
    return Markup(inline_svg(partial(draw_sweep, lines=shown, levels=levels), title, 320, 220))


class AngleRow(NamedTuple):
    """A row of the picture of angles."""

    system: str
    color: int
    spread: Spread


def angle_picture(rows: Sequence[AngleRow], title: str) -> Markup:
    """Angles between embeddings, with one group of rows per system."""
    boxes = []
    for system, number, spread in rows:
        name = MODALITY_NAMES.get(spread.modality)
        label = f"{name}, {spread.measure}" if name else "voice to face of a clip"
        figures = spread.mean, spread.std, spread.p05, spread.median, spread.p95
        boxes.append(AngleBox(system, label, number, spread.measure == "between", *figures))
    return Markup(inline_svg(partial(draw_angles, boxes=boxes), title, 520, 60 + 22 * len(boxes)))


def projection_picture(points: NDArray, identities: NDArray, title: str) -> Markup:
    """Points (N, 2), with a color and a shape for each identity."""
    names = sorted(set(identities.tolist()))
    return Markup(
        inline_svg(partial(draw_projection, points=points, identities=identities, names=names), title, 320, 300)
    )


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
    """The distance of a score from its threshold: to the right if the decision is right, otherwise to the left."""
    reach = 54 * float(np.clip(margin / most, -1, 1)) if most > 0 else 0.0
    return Markup(
        f'<svg class="bar {kind}" viewBox="0 0 120 14" aria-hidden="true">'
        f'<rect x="{60 + min(reach, 0):.1f}" y="3.5" width="{abs(reach):.1f}" height="7" class="reach"/>'
        '<line x1="60" y1="0" x2="60" y2="14" class="center"/></svg>'
    )
