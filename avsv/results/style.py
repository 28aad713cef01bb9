"""Style and saving of all plots: as PNG files, and as SVG inside a page with the colors of the page."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avsv.io.atomic import atomic_path

# Distinguishable with any color vision; each color has its own dashes, for readers and prints without color.
COLORS = ("#0072b2", "#c65300", "#00805e", "#a8487f", "#8f6400", "#3b53a8", "#44484d", "#6c6c12")
_DASHES = ((5, 2), (1.6, 1.6), (6, 2, 1.5, 2), (3, 1.5), (1, 1.4), (8, 2), (5, 1, 1, 1))
DASHES = ("-", *((0, lengths) for lengths in _DASHES))
MARKERS = "osD^vP*X"
INK, QUIET, LINE, GRAY, GROUND = "#1b1f24", "#5a626c", "#dfe2e6", "#b4bac2", "#ffffff"

# The names of the colors in the page, which have other values in its dark theme.
_VARIABLES = {
    **{color: f"var(--c{number})" for number, color in enumerate(COLORS)},
    INK: "var(--ink)", QUIET: "var(--quiet)", LINE: "var(--line)", GRAY: "var(--gray)", GROUND: "var(--ground)",
}  # fmt: skip
_STYLE = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "figure.facecolor": GROUND,
    "font.size": 10,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}


def color(number: int) -> str:
    """The color of a system by its number; colors repeat after eight."""
    return COLORS[number % len(COLORS)]


def dashes(number: int):
    """The line style that belongs to :func:`color`."""
    return DASHES[number % len(DASHES)]


def dash_array(number: int) -> str:
    """:func:`dashes` in the syntax of SVG; empty for a solid line.

    Example:
        >>> dash_array(0), dash_array(1)
        ('', '5 2')
    """
    style = dashes(number)
    return "" if style == "-" else " ".join(f"{length:g}" for length in style[1])


@contextmanager
def new_figure(
    path: str | Path, panels: int, width: float, height: float, stacked: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with panels next to each other, or stacked, saved atomically as a PNG file.

    Args:
        path: file to write.
        panels: number of panels.
        width, height: size of the figure in inches.
        stacked: one panel below the other.

    Yields:
        The figure and its panels.
    """
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        rows, columns = (panels, 1) if stacked else (1, panels)
        yield figure, figure.subplots(rows, columns, squeeze=False).ravel()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png", facecolor="white")


def inline_svg(draw: Callable[[Axes], None], title: str, width: float, height: float) -> str:
    """A plot with one panel as an SVG element, in the fonts and colors of the page; always the same bytes.

    Args:
        draw: function that draws into the panel with the colors of this module.
        title: description of the plot for screen readers.
        width, height: size in CSS pixels at which text has its normal size.

    Example:
        >>> text = inline_svg(lambda axis: axis.plot([0, 1], color=COLORS[0]), "A line", 320, 200)
        >>> text.startswith('<svg class="plot" role="img" aria-label="A line" '), "var(--c0)" in text
        (True, True)
    """
    import io
    from html import escape

    with rc_context({**_STYLE, "svg.fonttype": "none", "svg.hashsalt": title, "savefig.transparent": True}):
        # SVG uses points of 1/72 inch; here one point is one pixel.
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)[1]
    body = text[text.index("<defs>", text.index("</metadata>")) : text.rindex("</svg>")]
    # Global styles, names that would occur in every plot, and fonts are removed; the page defines them.
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font-family:[^;\"]*;?", "", body)
    body = re.sub(r"font: ([0-9.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub("|".join(_VARIABLES), lambda found: _VARIABLES[found[0]], body)
    body = re.sub(r"\n\s*", "\n", body)
    head = f'<svg class="plot" role="img" aria-label="{escape(title)}" viewBox="{box}" stroke-linejoin="round">'
    return f"{head}{body}</svg>"
