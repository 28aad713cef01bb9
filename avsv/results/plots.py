"""Plots: each kind is drawn by one function into a panel; saved as PNG files here and as SVG by the report."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import ndtri

from avsv.analysis.geometry import Geometry
from avsv.analysis.identities import MEASURES, shown_identities
from avsv.analysis.rows import IdentityBox
from avsv.results.seeds import SIGNIFICANT, SeedContrast
from avsv.results.style import COLORS, GRAY, GROUND, INK, MARKERS, QUIET, color, dashes, new_figure
from avsv.scoring.metrics import det_curve, eer, min_dcf_point

DET_TICKS = (0.01, 0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90)
MODALITY_NAMES = {"A": "voice", "V": "face", "AV": "voice and face"}


class DetLine(NamedTuple):
    """The scores and labels of one curve, and the number of its color."""

    label: str
    scores: NDArray
    is_target: NDArray[np.bool_]
    number: int


class AngleBox(NamedTuple):
    """A distribution of angles in degrees, drawn as one line of the plot of angles.

    Attributes:
        group: group of the line, such as a system.
        label: label of the line.
        number: number of its color.
        hollow: whether to draw it hollow.
        mean, std, p05, median, p95: statistics of the angles.
    """

    group: str
    label: str
    number: int
    hollow: bool
    mean: float
    std: float
    p05: float
    median: float
    p95: float


def det_plot(path: str | Path, panels: Mapping[str, Sequence[DetLine]]) -> None:
    """Write detection error trade-off curves as a PNG file with one panel per trial list; see :func:`draw_det`."""
    with new_figure(path, len(panels), 6.2 * len(panels), 5.8) as (_, axes):
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            draw_det(axis, lines)
            axis.set_title(f"{name}   (o EER, ◆ minDCF at P_target 0.01)")
            axis.legend(loc="upper right", frameon=True, framealpha=0.9)


def draw_det(axis: Axes, lines: Sequence[DetLine]) -> None:
    """Draw detection error trade-off curves on normal deviate axes.

    On each curve, a circle marks the equal error rate and a diamond the minimum detection cost for P_target 0.01.
    """
    # The axes end at half an error: below this, a list of this length cannot distinguish rates.
    most = max(min(line.is_target.sum(), (~line.is_target).sum()) for line in lines)
    lowest = float(np.clip(0.5 / most, 1e-4, 0.05))
    curves = [det_curve(line.scores, line.is_target) for line in lines]
    rates = [eer(line.scores, line.is_target) for line in lines]
    marks = [(min_dcf_point(curve), (rate, rate)) for curve, rate in zip(curves, rates, strict=True)]
    highest = float(np.clip(1.05 * np.max(marks), 0.5, 0.95))
    ends = ndtri(lowest), ndtri(highest)
    axis.plot(ends, ends, ":", color=GRAY, linewidth=0.8)
    for number, (line, curve, rate) in enumerate(zip(lines, curves, rates, strict=True)):
        x, y = (ndtri(np.clip(shares, lowest / 2, 1 - lowest / 2)) for shares in (curve.p_fa, curve.p_miss))
        step = max(1, len(x) // 2000)
        style = {"color": color(line.number), "linestyle": dashes(line.number), "linewidth": 1.7}
        axis.plot(x[::step], y[::step], label=f"{line.label}: EER {100 * rate:.2f} %", **style)
        # Marks at the edge are not clipped, and marks outside are moved to the edge.
        for mark, shape, size in zip(marks[number], "Do", (6, 7), strict=True):
            place = ndtri(np.clip(mark, lowest, highest))
            look = {"color": color(line.number), "markersize": size, "mec": GROUND, "clip_on": False, "zorder": 5}
            axis.plot(*place, shape, **look)
    ticks = [tick for tick in DET_TICKS if lowest <= tick / 100 <= highest]
    for of, direction in ((axis.set_xticks, axis.set_xlim), (axis.set_yticks, axis.set_ylim)):
        of(ndtri(np.array(ticks) / 100), [f"{tick:g}" for tick in ticks])
        direction(*ends)
    axis.set_xlabel("false accepts (%)")
    axis.set_ylabel("misses (%)")


def draw_histogram(axis: Axes, line: DetLine, ends: tuple[float, float], threshold: float, bins: int = 48) -> None:
    """Draw the shares of target and non-target trials by score, and a threshold.

    Args:
        axis: panel to draw into.
        line: scores and labels.
        ends: lowest and highest score shown; other scores are counted in the outermost bars.
        threshold: position of the line of the threshold.
        bins: number of bars.
    """
    edges = np.linspace(*ends, bins + 1)
    for kind, shade in ((~line.is_target, GRAY), (line.is_target, color(line.number))):
        share = np.histogram(np.clip(line.scores[kind], *ends), edges)[0] / kind.sum()
        axis.stairs(share, edges, fill=True, color=shade, alpha=0.4)
        axis.stairs(share, edges, color=QUIET if shade == GRAY else shade, linewidth=1)
    axis.axvline(np.clip(threshold, *ends), color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    axis.set(xlim=ends, yticks=[])
    axis.grid(visible=False)
    axis.spines["left"].set_visible(False)


def training_plot(path: str | Path, histories: Mapping[str, Mapping[str, NDArray]]) -> None:
    """Plot loss, training accuracy and development equal error rate by epoch as a PNG file, one line per system.

    Args:
        path: file to write.
        histories: columns ``epoch``, ``loss``, ``accuracy`` and ``dev_eer`` (shares) per system; NaN if missing.
    """
    panels = (("loss", 1, "training loss"), ("accuracy", 100, "training accuracy (%)"), ("dev_eer", 100, "dev EER (%)"))
    with new_figure(path, len(panels), 12, 3.6) as (_, axes):
        for axis, (column, factor, title) in zip(axes, panels, strict=True):
            draw_history(axis, histories, {name: number for number, name in enumerate(histories)}, column, factor)
            axis.set_title(title)
        axes[0].legend()


def draw_history(
    axis: Axes, histories: Mapping[str, Mapping[str, NDArray]], numbers: Mapping[str, int], column: str, factor: float
) -> None:
    """Draw a column of training histories by epoch, times a factor, in the colors of the systems' numbers."""
    for name, history in histories.items():
        known = ~np.isnan(history[column])
        look = {"color": color(numbers[name]), "linestyle": dashes(numbers[name]), "markersize": 4}
        axis.plot(history["epoch"][known], factor * history[column][known], marker=".", label=name, **look)
    axis.set_xlabel("epoch")
    _begin_at_zero(axis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _begin_at_zero(axis: Axes) -> None:
    """Show values from 0 on, with room above the highest; the margin of matplotlib is a share of their range."""
    top = axis.dataLim.ymax
    axis.set_ylim(0, 1.05 * top if 0 < top < np.inf else None)


def angle_plot(path: str | Path, system: str, modalities: Mapping[str, Geometry], audio_video: NDArray | None) -> None:
    """Plot angles within and between identities, and between voice and face of a clip, as a PNG file.

    Args:
        path: file to write.
        system: name for the title.
        modalities: geometry per modality.
        audio_video: angles between the embeddings of voice and face of each clip, if the system has both.
    """
    groups = [
        (f"{MODALITY_NAMES[name]}, {what}", values, what == "between")
        for name, measures in modalities.items()
        for what, values in (("within", measures.within), ("between", measures.between))
    ]
    if audio_video is not None:
        groups.append(("voice to face of a clip", audio_video, False))
    boxes = [
        AngleBox(system, label, 0, hollow, values.mean(), values.std(), *np.quantile(values, (0.05, 0.5, 0.95)))
        for label, values, hollow in groups
    ]
    with new_figure(path, 1, 7, 1.4 + 0.36 * len(boxes)) as (_, (axis,)):
        draw_angles(axis, boxes)
        axis.set_title(f"{system}: angles of identities")


def draw_angles(axis: Axes, boxes: Sequence[AngleBox]) -> None:
    """Draw the range of 90 % of the angles (lines), their mean and standard deviation (boxes), their median (ticks)."""
    place, ticks = 0.0, []
    for number, box in enumerate(boxes):
        if number and box.group != boxes[number - 1].group:
            place -= 0.7
        shade = color(box.number)
        axis.hlines(place, box.p05, box.p95, color=shade, linewidth=1.2)
        low, high = max(box.mean - box.std, 0), min(box.mean + box.std, 180)
        fill = GROUND if box.hollow else shade
        axis.barh(place, high - low, left=low, height=0.62, color=GROUND, zorder=2)
        axis.barh(place, high - low, left=low, height=0.62, color=fill, alpha=0.45, zorder=3)
        axis.barh(place, high - low, left=low, height=0.62, color="none", edgecolor=shade, linewidth=1.2, zorder=4)
        axis.vlines(box.median, place - 0.4, place + 0.4, color=INK, linewidth=1.6, zorder=5)
        several = len({other.group for other in boxes}) > 1
        ticks.append((place, f"{box.group}  {box.label}" if several else box.label))
        place -= 1
    axis.set_yticks(*zip(*ticks, strict=True))
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.set(xlim=(0, max(95.0, 1.02 * max(box.p95 for box in boxes))), ylim=(place + 0.3, 0.7))
    axis.set_xlabel("angle (degrees)")


def identities_plot(path: str | Path, boxes: Sequence[IdentityBox], seed: int) -> None:
    """Plot the angles of identities as box plots in groups, one box per system; a panel per measure, in a PNG file.

    Boxes are quartiles with the median, lines reach from 5 to 95 %. The seed draws the identities if there are many.
    """
    systems = list(dict.fromkeys(box.system for box in boxes))
    measures = [name for name in MEASURES if any(box.measure == name for box in boxes)]
    identities = shown_identities(boxes, seed)
    width = 2 + max(8, 0.22 * len(systems) * len(identities))
    with new_figure(path, len(measures), width, 2.6 * len(measures) + 0.5, stacked=True) as (figure, axes):
        for axis, measure in zip(axes, measures, strict=True):
            shown = [box for box in boxes if box.measure == measure and box.identity in identities]
            members = list(dict.fromkeys(box.system for box in shown))
            for number, system in enumerate(members):
                mine = [box for box in shown if box.system == system]
                shift, half = 0.8 * ((number + 0.5) / len(members) - 0.5), 0.35 / len(members)
                places = np.array([identities.index(box.identity) for box in mine]) + shift
                low, q1, median, q3, high = np.array([box[-5:] for box in mine]).T
                shade = color(systems.index(system))
                axis.vlines(places, low, high, color=shade, linewidth=1)
                axis.bar(places, q3 - q1, 2 * half, bottom=q1, color=shade, alpha=0.6, label=system)
                axis.hlines(median, places - half, places + half, color=INK, zorder=3)
            axis.set_xticks(range(len(identities)), identities if axis is axes[-1] else [])
            axis.tick_params(axis="x", rotation=45, length=0)
            axis.grid(visible=False, axis="x")
            axis.set(title=MEASURES[measure], ylabel="degrees", xlim=(-0.6, len(identities) - 0.4))
            _begin_at_zero(axis)
        found = {container.get_label(): container for axis in axes for container in axis.containers}
        figure.legend([found[name] for name in systems], systems, loc="outside right upper", fontsize=8, frameon=False)


def projection_plot(
    path: str | Path, system: str, projections: Mapping[str, NDArray], identities: Mapping[str, NDArray]
) -> None:
    """Plot UMAP points of identities as a PNG file with one panel per modality; see :func:`draw_projection`.

    Args:
        path: file to write.
        system: name for the title.
        projections: (N, 2) per modality.
        identities: (N,) names per modality.
    """
    names = sorted({name for values in identities.values() for name in values.tolist()})
    columns = math.ceil(len(names) / 20)
    with new_figure(path, len(projections), 4.3 * len(projections) + 1.4 * columns, 4.3) as (figure, axes):
        for axis, (modality, points) in zip(axes, projections.items(), strict=True):
            draw_projection(axis, points, identities[modality], names)
            axis.set_title(f"{system}: {MODALITY_NAMES[modality]} (UMAP)")
        look = {"loc": "outside right center", "fontsize": 8, "frameon": False, "ncols": columns}
        figure.legend(*axes[0].get_legend_handles_labels(), **look)


def draw_projection(axis: Axes, points: NDArray, identities: NDArray, names: Sequence[str]) -> None:
    """Draw points (N, 2), with a color and a shape for each of the identities ``names``.

    Points far away from the rest would compress the picture, so they are drawn hollow at its edge.
    """
    low, high = _frame(points)
    inside = ((points >= low) & (points <= high)).all(axis=1)
    shown = np.clip(points, low, high)
    for number, name in enumerate(names):
        shade, marker = color(number), MARKERS[number // len(COLORS) % len(MARKERS)]
        mine = identities == name
        look = {"linestyle": "", "marker": marker, "markersize": 6, "clip_on": False}
        axis.plot(*shown[mine & inside].T, color=shade, alpha=0.8, mec=GROUND, mew=0.5, label=name, **look)
        if (mine & ~inside).any():
            axis.plot(*shown[mine & ~inside].T, color="none", mec=shade, mew=1.2, **look)
    _close_frame(axis, low, high)


def _frame(points: NDArray) -> tuple[NDArray, NDArray]:
    """Lower left and upper right corners of a frame for points (N, 2) that ignores a few distant ones."""
    low, high = np.quantile(points, [0.1, 0.9], axis=0)
    reach = np.maximum(high - low, 1e-9)
    return np.maximum(points.min(axis=0), low - reach), np.minimum(points.max(axis=0), high + reach)


def _close_frame(axis: Axes, low: NDArray, high: NDArray) -> None:
    pad = 0.05 * np.maximum(high - low, 1e-9)
    axis.set(xticks=[], yticks=[], xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
    for spine in axis.spines.values():
        spine.set(visible=True, color=GRAY, linewidth=0.6)


class SweepLine(NamedTuple):
    """Error rates (L,) of a system at the levels of a sweep and their intervals in percent; NaN if missing."""

    label: str
    number: int
    rate: NDArray
    low: NDArray
    high: NDArray


def draw_sweep(axis: Axes, lines: Sequence[SweepLine], levels: Sequence[str]) -> None:
    """Draw error rates by level, with intervals as vertical bars."""
    for number, line in enumerate(lines):
        # Systems are drawn next to each other, so that their intervals do not overlap.
        place = np.arange(len(levels)) + 0.3 * ((number + 0.5) / len(lines) - 0.5)
        known = ~np.isnan(line.rate)
        look = {"color": color(line.number), "linestyle": dashes(line.number), "label": line.label, "zorder": 3}
        axis.plot(place[known], line.rate[known], marker=".", **look)
        axis.vlines(place[known], line.low[known], line.high[known], color=color(line.number), linewidth=1, alpha=0.45)
    crowded = sum(map(len, levels)) > 34
    axis.set_xticks(np.arange(len(levels)), levels)
    if crowded:
        axis.tick_params(axis="x", rotation=45)
        for label in axis.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    _begin_at_zero(axis)


def contrast_plot(path: str | Path, contrasts: Sequence[SeedContrast]) -> None:
    """Differences of error rates with their intervals, one on each line; filled if significant after correction.

    Left of 0, the first system makes fewer errors.
    """
    with new_figure(path, 1, 8, 1.6 + 0.34 * len(contrasts)) as (_, (axis,)):
        lists = list(dict.fromkeys(row.trials for row in contrasts))
        for place, row in enumerate(contrasts):
            look = color(lists.index(row.trials))
            axis.hlines(place, row.low, row.high, color=look, linewidth=1.6)
            filled = look if row.p_holm < SIGNIFICANT else GROUND
            axis.plot(row.difference, place, marker="o", color=look, markerfacecolor=filled, zorder=3)
        axis.axvline(0, color=INK, linewidth=0.8)
        several = len(lists) > 1
        names = [f"{row.a}/{row.mode_a} - {row.b}/{row.mode_b}" for row in contrasts]
        if several:
            names = [f"{name} ({row.trials})" for name, row in zip(names, contrasts, strict=True)]
        axis.set_yticks(range(len(contrasts)), names)
        axis.invert_yaxis()
        axis.set_xlabel("difference of EERs, percentage points")


def hard_plot(
    path: str | Path, panels: Mapping[str, tuple[NDArray, NDArray[np.bool_], NDArray]], identities: NDArray
) -> None:
    """Plot hard utterances in the plane (t-SNE), each connected to the centroid of its identity. Outliers are circled;
    points far away from the rest are drawn at the edge.

    Args:
        path: PNG file to write.
        panels: for each system, the points (H + S, 2) of utterances followed by centroids, which utterances (H,) are
            outliers, and the names (S,) of the identities of the centroids.
        identities: (H,) identities of the utterances.
    """
    with new_figure(path, len(panels), 4.3 * len(panels) + 1.4, 4.6) as (figure, axes):
        for axis, (title, (points, outlier, names)) in zip(axes, panels.items(), strict=True):
            count = len(identities)
            low, high = _frame(points)
            points = np.clip(points, low, high)
            for number, name in enumerate(names.tolist()):
                shade, marker = color(number), MARKERS[number // len(COLORS) % len(MARKERS)]
                center = points[count + number]
                for point in points[:count][identities == name]:
                    axis.plot(*zip(point, center, strict=True), "-", color=shade, linewidth=0.8, alpha=0.6)
                    axis.plot(*point, marker, color=shade, markersize=6, mec="white", mew=0.5)
                axis.plot(*center, marker, color=shade, markersize=11, alpha=0.5, label=name)
            axis.plot(*points[:count][outlier].T, "o", color="none", mec="black", mew=1.3, markersize=12)
            _close_frame(axis, low, high)
            axis.set_title(f"{title}: {outlier.sum()} of {count} outliers")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)


def attention_plot(path: str | Path, title: str, seconds: float, maps: Mapping[str, NDArray], series: NDArray) -> None:
    """Plot heat maps of attention over time, and the temporal weights of voice and face of the same clip.

    Args:
        path: PNG file to write.
        title: title of the panel with the weights.
        seconds: length of the clip.
        maps: (C, T) logits by title; channels are sorted by their means.
        series: (2, T) weights of voice and face on a common grid.
    """
    with new_figure(path, len(maps) + 1, 3.1 * (len(maps) + 1), 3.4) as (_, axes):
        for axis, (name, values) in zip(axes, maps.items(), strict=False):
            ordered = values[np.argsort(values.mean(axis=1), kind="stable")]
            low, high = np.quantile(values, [0.02, 0.98])
            extent = (0, seconds, 0, len(values))
            axis.imshow(ordered, aspect="auto", origin="lower", extent=extent, vmin=low, vmax=high, cmap="viridis")
            axis.grid(visible=False)
            axis.set_title(name)
            axis.set_xlabel("seconds")
        axes[0].set_ylabel("channel")
        time = (np.arange(series.shape[1]) + 0.5) * seconds / series.shape[1]
        for values, name, shade in zip(series, ("voice", "face"), COLORS, strict=False):
            axes[-1].plot(time, values, ".-", color=shade, label=name)
        axes[-1].set(xlim=(0, seconds), ylim=(0, 2.4))
        axes[-1].set_xlabel("seconds")
        axes[-1].set_title(title)
        axes[-1].legend(loc="upper center", ncols=2, fontsize=8)
