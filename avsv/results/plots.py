"""Plots of the report and the analyses, as PNG files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import ndtri

from avsv.analysis.geometry import Geometry
from avsv.io.atomic import atomic_path
from avsv.scoring.metrics import det_curve, eer, min_dcf_point

# Okabe and Ito's palette, which people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "osD^vP*X"
DET_TICKS = (0.01, 0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90)
MODALITY_NAMES = {"A": "voice", "V": "face", "AV": "voice and face"}


class DetLine(NamedTuple):
    """Scores and labels of one curve."""

    label: str
    scores: NDArray
    is_target: NDArray[np.bool_]


@contextmanager
def new_figure(path: str | Path, columns: int, width: float, height: float) -> Iterator[tuple]:
    """A figure with panels beside each other, saved whole or not at all."""
    style = {"axes.grid": True, "grid.color": "#dddddd", "axes.spines.top": False, "axes.spines.right": False}
    with rc_context({**style, "font.size": 10, "axes.axisbelow": True}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(1, columns, squeeze=False)[0]
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png", facecolor="white")


def det_plot(path: str | Path, panels: Mapping[str, Sequence[DetLine]]) -> None:
    """Detection error trade-off curves on Gaussian-deviate axes, a panel per trial list.

    A circle marks each curve's equal error rate, a diamond where the detection cost at P_target 0.01 is smallest.

    Args:
        path: PNG file to write.
        panels: per trial list the curves.
    """
    with new_figure(path, len(panels), 6.2 * len(panels), 5.8) as (_, axes):
        for axis, (name, lines) in zip(axes, panels.items(), strict=True):
            lowest, highest = _draw_det(axis, lines)
            ticks = [tick for tick in DET_TICKS if lowest <= tick / 100 <= highest]
            for of, direction in ((axis.set_xticks, axis.set_xlim), (axis.set_yticks, axis.set_ylim)):
                of(ndtri(np.array(ticks) / 100), [f"{tick:g}" for tick in ticks])
                direction(ndtri(lowest), ndtri(highest))
            axis.set_xlabel("false accepts (%)")
            axis.set_ylabel("misses (%)")
            axis.set_title(f"{name}   (o EER, ◆ minDCF at P_target 0.01)", fontsize=10)
            axis.legend(loc="upper right", frameon=True, framealpha=0.9)


def _draw_det(axis, lines: Sequence[DetLine]) -> tuple[float, float]:
    """Draw one panel's curves; return the smallest and the largest rate to show."""
    # The axes end at half an error: below, a list of this length cannot tell rates apart.
    most = max(min(line.is_target.sum(), (~line.is_target).sum()) for line in lines)
    lowest = float(np.clip(0.5 / most, 1e-4, 0.05))
    curves = [det_curve(line.scores, line.is_target) for line in lines]
    rates = [eer(line.scores, line.is_target) for line in lines]
    marks = [(min_dcf_point(curve), (rate, rate)) for curve, rate in zip(curves, rates, strict=True)]
    highest = float(np.clip(1.05 * np.max(marks), 0.5, 0.95))
    for number, (line, curve, rate) in enumerate(zip(lines, curves, rates, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        x, y = (ndtri(np.clip(shares, lowest / 2, 1 - lowest / 2)) for shares in (curve.p_fa, curve.p_miss))
        step = max(1, len(x) // 4000)
        axis.plot(x[::step], y[::step], color=colour, linewidth=1.6, label=f"{line.label}: EER {100 * rate:.2f} %")
        # Marks at the edge are shown whole, and on the edge where they would be outside.
        for mark, shape, size in zip(marks[number], "Do", (6, 7), strict=True):
            place = ndtri(np.clip(mark, lowest, highest))
            axis.plot(*place, shape, color=colour, markersize=size, clip_on=False, zorder=5, mec="white")
    return lowest, highest


def training_plot(path: str | Path, histories: Mapping[str, Mapping[str, NDArray]]) -> None:
    """Loss, training accuracy and development equal error rate by epoch, a line per system.

    Args:
        path: PNG file to write.
        histories: per system the columns ``epoch``, ``loss``, ``accuracy`` and ``dev_eer`` (shares), NaN where missing.
    """
    panels = (("loss", 1, "training loss"), ("accuracy", 100, "training accuracy (%)"), ("dev_eer", 100, "dev EER (%)"))
    with new_figure(path, len(panels), 12, 3.6) as (_, axes):
        for axis, (column, factor, title) in zip(axes, panels, strict=True):
            for number, (system, history) in enumerate(histories.items()):
                colour = COLOURS[number % len(COLOURS)]
                axis.plot(history["epoch"], factor * history[column], ".-", color=colour, label=system)
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("epoch")
            axis.set_ylim(bottom=0)
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend()


def angle_plot(path: str | Path, system: str, modalities: Mapping[str, Geometry], audio_video: NDArray | None) -> None:
    """Box plots of angles within and between identities, and between voice and face of a clip.

    Args:
        path: PNG file to write.
        system: name for the title.
        modalities: geometry per modality.
        audio_video: angles between the voice's and the face's embedding of each clip, where a system has both.
    """
    groups = [
        (f"{MODALITY_NAMES[name]}\n{what}", values, colour)
        for name, measures in modalities.items()
        for what, values, colour in (
            ("within", measures.within, COLOURS[0]),
            ("between", measures.between, COLOURS[1]),
        )
    ]
    if audio_video is not None:
        groups.append(("voice to face\nof a clip", audio_video, COLOURS[2]))
    with new_figure(path, 1, 1.6 + 1.15 * len(groups), 4.2) as (_, (axis,)):
        boxes = axis.boxplot(
            [values for _, values, _ in groups],
            tick_labels=[label for label, _, _ in groups],
            widths=0.6,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            medianprops={"color": "black"},
        )
        for box, (_, _, colour) in zip(boxes["boxes"], groups, strict=True):
            box.set(facecolor=colour, alpha=0.65)
        axis.grid(visible=False, axis="x")
        axis.set_ylabel("angle (degrees), whiskers 5 % to 95 %")
        axis.set_ylim(bottom=0)
        axis.set_title(f"{system}: angles of identities", fontsize=10)


def projection_plot(
    path: str | Path, system: str, projections: Mapping[str, NDArray], identities: Mapping[str, NDArray]
) -> None:
    """UMAP points of identities in the plane, a panel per modality, an identity in the same colour and shape in all.

    Args:
        path: PNG file to write.
        system: name for the title.
        projections: (N, 2) per modality.
        identities: (N,) names per modality.
    """
    names = sorted({name for values in identities.values() for name in values.tolist()})
    with new_figure(path, len(projections), 4.3 * len(projections) + 1.4, 4.3) as (figure, axes):
        for axis, (modality, points) in zip(axes, projections.items(), strict=True):
            for number, name in enumerate(names):
                mine = points[identities[modality] == name]
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
                axis.plot(*mine.T, marker, color=colour, markersize=6, alpha=0.8, mec="white", mew=0.5, label=name)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{system}: {MODALITY_NAMES[modality]} (UMAP)", fontsize=10)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)


def hard_plot(
    path: str | Path, panels: Mapping[str, tuple[NDArray, NDArray[np.bool_], NDArray]], identities: NDArray
) -> None:
    """Hard utterances in the plane (t-SNE), each joined to the centroid of its identity; outliers are ringed.

    Args:
        path: PNG file to write.
        panels: per system the points (H + S, 2) of utterances and then of centroids, which utterances (H,) are
            outliers, and the names (S,) of the centroids' identities.
        identities: (H,) of the utterances.
    """
    with new_figure(path, len(panels), 4.3 * len(panels) + 1.4, 4.6) as (figure, axes):
        for axis, (title, (points, outlier, names)) in zip(axes, panels.items(), strict=True):
            count = len(identities)
            for number, name in enumerate(names.tolist()):
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
                centre = points[count + number]
                for point in points[:count][identities == name]:
                    axis.plot(*zip(point, centre, strict=True), "-", color=colour, linewidth=0.8, alpha=0.6)
                    axis.plot(*point, marker, color=colour, markersize=6, mec="white", mew=0.5)
                axis.plot(*centre, marker, color=colour, markersize=11, alpha=0.5, label=name)
            axis.plot(*points[:count][outlier].T, "o", color="none", mec="black", mew=1.3, markersize=12)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{title}: {outlier.sum()} of {count} outliers", fontsize=10)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, frameon=False)


def attention_plot(path: str | Path, title: str, seconds: float, maps: Mapping[str, NDArray], series: NDArray) -> None:
    """Heat-maps of attention over time, and the temporal weights of voice and face of the same clip.

    Args:
        path: PNG file to write.
        title: of the panel with the weights.
        seconds: length of the clip.
        maps: per title (C, T) logits; channels are shown in the order of their means.
        series: (2, T) weights of voice and face on one grid.
    """
    with new_figure(path, len(maps) + 1, 3.1 * (len(maps) + 1), 3.4) as (_, axes):
        for axis, (name, values) in zip(axes, maps.items(), strict=False):
            ordered = values[np.argsort(values.mean(axis=1), kind="stable")]
            low, high = np.quantile(values, [0.02, 0.98])
            extent = (0, seconds, 0, len(values))
            axis.imshow(ordered, aspect="auto", origin="lower", extent=extent, vmin=low, vmax=high, cmap="viridis")
            axis.grid(visible=False)
            axis.set_title(name, fontsize=10)
            axis.set_xlabel("seconds")
        axes[0].set_ylabel("channel")
        time = (np.arange(series.shape[1]) + 0.5) * seconds / series.shape[1]
        for values, name, colour in zip(series, ("voice", "face"), COLOURS, strict=False):
            axes[-1].plot(time, values, ".-", color=colour, label=name)
        axes[-1].set(xlim=(0, seconds), ylim=(0, 2.4))
        axes[-1].set_xlabel("seconds")
        axes[-1].set_title(title, fontsize=10)
        axes[-1].legend(loc="upper center", ncols=2, fontsize=8)
