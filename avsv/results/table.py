"""Tables as data: built once, rendered as Markdown, HTML or plain text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: the text.
        detail: additional text, such as an interval; shown in brackets or in smaller type.
        order: number or text to sort by; None if the figure is missing.
        emphasis: ``best`` for a good figure, ``worse`` for a bad one.
        note: number of a note of the table; 0 for none.
        bar: lower end, middle and upper end of an interval to draw; shown only in HTML.
    """

    text: str = ""
    detail: str = ""
    order: float | str | None = None
    emphasis: Literal["", "best", "worse"] = ""
    note: int = 0
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: the header.
        kind: ``number`` is aligned to the right, ``system`` is the name of a system, ``text`` is short and ``words``
            long text, ``bar`` is drawn, in HTML only.
        explained: one sentence that explains the figures.
    """

    name: str
    kind: Literal["number", "system", "text", "words", "bar"] = "number"
    explained: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: short heading.
        caption: description of the table that can be understood without its context.
        columns: its columns.
        rows: rows with one cell per column.
        explanation: how to read the table; may be empty.
        notes: notes, numbered from 1, to which cells refer.
    """

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    explanation: str = ""
    notes: Sequence[str] = ()


def number(value: float | None, digits: int) -> Cell:
    """A cell with a number, empty if it is None or NaN.

    Example:
        >>> number(2.345, 1), number(None, 1)
        (Cell(text='2.3', detail='', order=2.345, emphasis='', note=0, bar=None), Cell(text='', detail='', order=None, \
emphasis='', note=0, bar=None))
    """
    if value is None or value != value:
        return Cell()
    return Cell(f"{value:.{digits}f}", order=float(value))


def with_interval(value: float, low: float, high: float) -> Cell:
    """A cell with a rate in percent and its 95 % interval."""
    return Cell(f"{value:.2f}", f"{low:.2f} - {high:.2f}", float(value))


def text(value: str) -> Cell:
    """A cell that is sorted by its text."""
    return Cell(value, order=value)


def emphasize_lowest(rows: Iterable[Sequence[Cell]], columns: Iterable[int]) -> list[list[Cell]]:
    """The same rows with the lowest printed figure of each of these columns marked as best.

    A column with a single figure, or with equal figures only, has no best one.

    Example:
        >>> rows = emphasize_lowest([[number(2.0, 1)], [number(1.0, 1)], [Cell()]], [0])
        >>> [row[0].emphasis for row in rows]
        ['', 'best', '']
    """
    marked = [list(row) for row in rows]
    for column in columns:
        known = [row for row in marked if row[column].text]
        figures = [float(row[column].text) for row in known]
        for row, figure in zip(known, figures, strict=True):
            if figure == min(figures) < max(figures):
                row[column] = replace(row[column], emphasis="best")
    return marked
