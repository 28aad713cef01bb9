"""Tables as HTML that the page can sort."""

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

from avsv.report.pictures import interval_bar
from avsv.results.table import Cell, Column, Table


def html_table(table: Table, colors: Mapping[str, int]) -> Markup:
    """A table with a caption and headers that are buttons; the page shows its explanation and notes.

    Empty for a table without rows.

    Args:
        table: the table.
        colors: numbers of the colors of the systems that are drawn.

    Example:
        >>> from avsv.results.table import number
        >>> print(html_table(Table("", "Rates", [Column("EER %")], [[number(7.81, 1)]]), {}))  # doctest: +ELLIPSIS
        <div class="scroll" role="region" aria-label="Rates" tabindex="0">
        <table class="sortable">
        <caption>Rates</caption>
        ...
        <th scope="row" class="number" data-order="7.81">7.8</th>
        ...
    """
    if not table.rows:
        return Markup("")
    widest = max((cell.bar[2] for row in table.rows for cell in row if cell.bar), default=0.0)
    lines = [
        Markup('<div class="scroll" role="region" aria-label="{}" tabindex="0">').format(table.caption),
        Markup('<table class="sortable">'),
        Markup("<caption>{}</caption>").format(table.caption),
        Markup("<thead><tr>"),
        *(_header(column) for column in table.columns),
        Markup("</tr></thead>"),
        Markup("<tbody>"),
    ]
    for row in table.rows:
        lines.append(Markup("<tr>"))
        cells = list(zip(row, table.columns, strict=True))
        color = next((_color(cell.text, colors) for cell, column in cells if column.kind == "system"), "")
        for number, (cell, column) in enumerate(cells):
            content = interval_bar(*cell.bar, widest, color) if cell.bar else _content(cell, column, colors)
            lines.append(_cell(cell, column, content, first=number == 0))
        lines.append(Markup("</tr>"))
    lines += [Markup("</tbody>"), Markup("</table>"), Markup("</div>")]
    return Markup("\n").join(lines)


def typographic(text: str) -> str:
    """Text with en dashes between numbers and real minus signs.

    Example:
        >>> typographic("-1.50 - 2.00"), typographic("a-1")
        ('−1.50 – 2.00', 'a-1')
    """
    return re.sub(r"(?<![\w.])-(?=\d)", "−", re.sub(r"(?<=\d) - (?=\d)", " – ", text))


def breakable(name: str) -> Markup:
    """A name with possible line breaks after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def code(text: str) -> Markup:
    """Text in which parts between backquotes are marked as code.

    Example:
        >>> print(code("all pairs are in `differences.csv`, p < 1"))
        all pairs are in <code>differences.csv</code>, p &lt; 1
    """
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>" if n % 2 else "{}").format(part) for n, part in enumerate(parts))


def _color(system: str, colors: Mapping[str, int]) -> str:
    return f"s{colors[system]}" if system in colors else "undrawn"


def _header(column: Column) -> Markup:
    kind = Markup(' class="number"') if column.kind == "number" else ""
    title = Markup(' title="{}"').format(column.explained) if column.explained else ""
    arrow = Markup('<span class="arrow" aria-hidden="true"></span>')
    return Markup('<th scope="col"{}{}><button type="button">{}{}</button></th>').format(
        kind, title, typographic(column.name), arrow
    )


def _content(cell: Cell, column: Column, colors: Mapping[str, int]) -> Markup:
    if column.kind == "system":
        chip = Markup('<span class="chip {}" aria-hidden="true"></span>').format(_color(cell.text, colors))
        return chip + breakable(cell.text)
    show = typographic if column.kind == "number" else str
    content = escape(show(cell.text))
    if cell.detail:
        content += Markup("{}<small>{}</small>").format(" " if cell.text else "", show(cell.detail))
    if cell.note:
        content += Markup(' <sup><a href="#note{0}">{0}</a></sup>').format(cell.note)
    return content


def _cell(cell: Cell, column: Column, content: Markup, first: bool) -> Markup:
    kinds = {"number": ["number"], "system": ["name"], "words": ["words"], "bar": ["wide"]}.get(column.kind, [])
    kinds = kinds + ([cell.emphasis] if cell.emphasis else [])
    tag = Markup('th scope="row"') if first else "td"
    named = Markup(' class="{}"').format(" ".join(kinds)) if kinds else ""
    order = Markup(' data-order="{}"').format(cell.order) if cell.order is not None else ""
    return Markup("<{}{}{}>{}</{}>").format(tag, named, order, content, "th" if first else "td")
