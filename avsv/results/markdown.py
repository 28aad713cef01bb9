"""Tables as Markdown and as plain text for a console."""

import re
from collections.abc import Iterator, Sequence

from avsv.results.table import Cell, Table

_LEFT = ("system", "text", "words")


def markdown_table(table: Table) -> list[str]:
    """The lines of a table in GitHub Markdown; numbers are aligned to the right, bars are omitted.

    Example:
        >>> from avsv.results.table import Column, number, text
        >>> columns = [Column("system", "system"), Column("EER %")]
        >>> print("\\n".join(markdown_table(Table("", "", columns, [[text("ecapa"), number(7.81, 1)]]))))
        | system | EER % |
        |:--|--:|
        | ecapa | 7.8 |
    """
    shown = [number for number, column in enumerate(table.columns) if column.kind != "bar"]
    columns = [table.columns[number] for number in shown]
    lines = ["| " + " | ".join(escape(column.name) for column in columns) + " |"]
    lines.append("|" + "|".join(":--" if column.kind in _LEFT else "--:" for column in columns) + "|")
    lines += ["| " + " | ".join(_markdown_cell(row[number]) for number in shown) + " |" for row in table.rows]
    return lines


def markdown_block(table: Table, level: int = 3) -> list[str]:
    """A table with its heading, explanation and notes, each after an empty line."""
    lines = ["", f"{'#' * level} {table.title}"]
    if table.explanation:
        lines += ["", table.explanation]
    if table.rows:
        lines += ["", *markdown_table(table)]
    if table.notes:
        lines += ["", *(f"{number}. {escape(note)}" for number, note in enumerate(table.notes, 1))]
    return lines


def escape(text: str) -> str:
    """Escape text so that no character is markup.

    Example:
        >>> escape("a|b <i> x_y *z*")
        'a\\\\|b \\\\<i> x_y \\\\*z\\\\*'
    """
    return re.sub(r"[\\`*\[|]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _plain(cell: Cell) -> str:
    if cell.text and cell.detail:
        return f"{cell.text} ({cell.detail})"
    return cell.text or cell.detail


def _markdown_cell(cell: Cell) -> str:
    mark = {"": "", "best": "**", "worse": "_"}[cell.emphasis]
    note = f" [{cell.note}]" if cell.note else ""
    return f"{mark}{escape(_plain(cell))}{mark}{note}"


def console_table(table: Table) -> Iterator[str]:
    """Aligned lines of a table with a rule below its header; bars are omitted."""
    shown = [number for number, column in enumerate(table.columns) if column.kind != "bar"]
    header = [table.columns[number] for number in shown]
    lines: Sequence[Sequence[str]] = [
        [column.name for column in header],
        *([_plain(row[number]) for number in shown] for row in table.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, cells in enumerate(lines):
        words = [
            cell.ljust(width) if column.kind in _LEFT else cell.rjust(width)
            for cell, width, column in zip(cells, widths, header, strict=True)
        ]
        yield "  " + "  ".join(words).rstrip()
        if number == 0:
            yield "  " + "  ".join("-" * width for width in widths)
