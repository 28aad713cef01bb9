"""A table has the same content in Markdown, in HTML and on the console."""

import re
from html import unescape

from avsv.report.table import html_table, typographic
from avsv.results.markdown import console_table, markdown_block, markdown_table
from avsv.results.table import Cell, Column, Table, emphasize_lowest, number, text, with_interval

ODD = "a|b <i> *x* &amp; [y](z) `c` _d_ e_f"
COLUMNS = [
    Column("System", "system"),
    Column("Mode", "text", "Modalities"),
    Column("EER %"),
    Column("0 to 9 %", "bar"),
    Column("minDCF"),
    Column("Published as", "words"),
]
ROWS = [
    [
        text("voice_one"),
        text("AxA"),
        with_interval(7.0, 3.5, 9.0),
        Cell(bar=(3.5, 7.0, 9.0)),
        number(0.5, 3),
        text(ODD),
    ],
    [text("face"), text("VxV"), number(-1.25, 2), Cell(), number(None, 3), Cell("A & B 1999: x-1", note=2)],
    [text("av"), text("AVxAV"), Cell(detail="too few trials"), Cell(), number(0.25, 3), Cell("-1", emphasis="worse")],
]
TABLE = Table("Rates", "Rates of systems", COLUMNS, emphasize_lowest(ROWS, [4]), "How to read it.", ["one", "two <b>"])


def html_rows(page: str) -> list[list[tuple[str, bool]]]:
    """Text of each cell except drawn ones, with brackets around the smaller text, and whether it is bold."""
    rows = []
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.S):
        cells = []
        for attributes, content in re.findall(r"<(t[hd].*?)>(.*?)</t[hd]>", row, re.S):
            if "wide" in attributes or "0 to 9" in content:
                continue
            content = re.sub(r"(?<=[^>]) <small>(.*?)</small>", r" (\1)", content)
            content = re.sub(r" <sup>.*?>(\d+)<.*?</sup>", r" [\1]", content)
            cells.append(
                (unescape(re.sub(r"<[^>]*>", "", content)).strip(), '"best' in attributes or " best" in attributes)
            )
        rows.append(cells)
    return rows


def markdown_rows(lines: list[str]) -> list[list[tuple[str, bool]]]:
    rows = []
    for line in [lines[0], *lines[2:]]:
        words = [word.strip() for word in re.split(r"(?<!\\)\|", line)[1:-1]]
        bold = [word.startswith("**") for word in words]
        words = [re.sub(r"^(\*\*|_)(.*)\1$", r"\2", word) for word in words]
        rows.append([(re.sub(r"\\(.)", r"\1", w), b) for w, b in zip(words, bold, strict=True)])
    return rows


def test_markdown_and_html_have_the_same_cells():
    html, markdown = html_rows(str(html_table(TABLE, {"av": 3}))), markdown_rows(markdown_table(TABLE))
    assert len(html) == len(markdown) == 4
    for one, other in zip(html, markdown, strict=True):
        assert [cell for cell, _ in one] == [
            cell if column.kind != "number" else typographic(cell)
            for (cell, _), column in zip(other, [c for c in COLUMNS if c.kind != "bar"], strict=True)
        ]
        assert [bold for _, bold in one] == [bold for _, bold in other]
    assert markdown[1] == [
        ("voice_one", False), ("AxA", False), ("7.00 (3.50 - 9.00)", False), ("0.500", False), (ODD, False),
    ]  # fmt: skip
    assert markdown[2][4] == ("A & B 1999: x-1 [2]", False)
    assert markdown[3][2:4] == [("too few trials", False), ("0.250", True)]


def test_html_is_sortable_and_safe():
    page = str(html_table(TABLE, {"av": 3}))
    assert page.count("<button") == len(COLUMNS)
    assert 'title="Modalities"' in page and '<th scope="row" class="name" data-order="voice_one">' in page
    assert 'class="chip s3"' in page and 'class="chip undrawn"' in page and "voice_<wbr>one" in page
    assert page.count("<svg") == 1 and '<svg class="bar undrawn"' in page
    assert "<td></td>" not in page and '<td class="number"></td>' in page  # a missing figure has no order
    assert "<i>" not in page and "<b>" not in page
    assert '<a href="#note2">2</a>' in page
    assert "−1.25" in page and "x-1" in page


def test_markdown_shows_no_bars_and_is_no_markup():
    lines = markdown_block(TABLE)
    assert lines[:5] == ["", "### Rates", "", "How to read it.", ""]
    assert lines[5:7] == ["| System | Mode | EER % | minDCF | Published as |", "|:--|:--|--:|--:|:--|"]
    assert lines[-3:] == ["", "1. one", "2. two \\<b>"]
    assert "a\\|b \\<i> \\*x\\* \\&amp; \\[y](z) \\`c\\` \\_d\\_ e_f" in lines[7]
    assert lines[9].endswith("| **0.250** | _-1_ |")


def test_console_is_aligned():
    header, rule, *lines = console_table(TABLE)
    assert header.split() == ["System", "Mode", "EER", "%", "minDCF", "Published", "as"]
    assert set(rule) == {" ", "-"}
    assert lines[0].startswith("  voice_one  AxA    7.00 (3.50 - 9.00)   0.500  a|b")
    assert lines[2].index("too few trials") + len("too few trials") == lines[0].index(")") + 1


def test_nothing_is_shown_of_a_table_without_rows_and_equal_figures_are_not_best():
    assert html_table(Table("", "Rates", COLUMNS, []), {}) == ""
    marked = emphasize_lowest([[number(1, 3), number(2, 1)], [number(1, 3), number(3, 1)]], [0, 1])
    assert [[cell.emphasis for cell in row] for row in marked] == [["", "best"], ["", ""]]
