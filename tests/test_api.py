"""The reference of the Python API."""

import pytest

import avsv
from avsv.errors import DataError
from tools.update_api import PAGE, describe, paragraphs, render


def test_the_committed_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render(), "run python tools/update_api.py"


def test_the_page_has_every_public_name():
    titles = [line.removeprefix("## avsv.") for line in PAGE.read_text().splitlines() if line.startswith("## ")]
    assert sorted(titles) == sorted(avsv.__all__)
    assert dir(avsv) == sorted(avsv.__all__)
    with pytest.raises(AttributeError, match="module 'avsv' has no attribute 'Modell'"):
        avsv.Modell  # noqa: B018


def test_a_docstring_as_markdown():
    text = """Do a thing, as :func:`a.b.c` does with ``x``.

Args:
    one: first,
        in two lines.
    two, three: others.

Returns:
    Nothing: really.

Example:
    >>> 1 + 1
    2
"""
    assert paragraphs(text) == [
        "Do a thing, as `c` does with `x`.",
        "",
        "**Args**",
        "",
        "- `one`: first,",
        "  in two lines.",
        "- `two, three`: others.",
        "",
        "**Returns**",
        "",
        "Nothing: really.",
        "",
        "**Example**",
        "",
        "    >>> 1 + 1",
        "    2",
    ]


def test_a_name_without_a_docstring_is_an_error():
    def nothing() -> None: ...

    with pytest.raises(DataError, match="nothing: no docstring"):
        describe("## nothing", "nothing", nothing)
