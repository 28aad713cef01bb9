"""Write docs/api.md, the reference of what ``import avsv`` offers, from the docstrings.

    python tools/update_api.py

The page has a section for each name in ``avsv.__all__``: its signature and docstring, and those of the methods and
properties of a class. A test compares the page with what this tool writes.
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import avsv
from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
HEAD = """# Python API

Generated from the docstrings by `python tools/update_api.py`; do not edit. [Use a trained system](use.md) shows how the
parts fit together. `import avsv` loads nothing that takes long; PyTorch is imported with the first model or class.
"""
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
_ITEM = re.compile(r"(\*{0,2}\w[\w, ]*): (.*)")


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    write_text(PAGE, render())
    print(PAGE)


def render() -> str:
    """The text of the page."""
    parts = [HEAD]
    for name in sorted(avsv.__all__, key=lambda name: (name != "load", name.startswith("_"), name)):
        found = getattr(avsv, name)
        if isinstance(found, str):
            parts.append(f"## avsv.{name}\n\nThe version of the package, such as `{found}`.\n")
            continue
        parts.append(describe(f"## avsv.{name}", f"avsv.{name}", found))
        if inspect.isclass(found):
            parts += [describe(f"### {name}.{member}", member, of) for member, of in members(found)]
    return "\n".join(parts)


def members(found: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that a class itself defines, in the order of the source."""
    for name, member in vars(found).items():
        if isinstance(member, property):
            called = member.fget
        else:
            called = (
                getattr(found, name) if callable(member) or isinstance(member, (classmethod, staticmethod)) else None
            )
        if called is not None and not name.startswith("_"):
            yield name, called


def describe(title: str, name: str, found: object) -> str:
    """A section: the signature of a function, method or class that is called, and its docstring.

    Raises:
        DataError: there is no docstring.
    """
    text = inspect.getdoc(found)
    if not text:
        raise DataError(f"{name}: no docstring")
    return "\n".join([title, "", *signature(name, found), *paragraphs(text), ""])


def signature(name: str, found: object) -> list[str]:
    """The signature as code; nothing for an exception or a property, whose only argument is the object."""
    if inspect.isclass(found) and issubclass(found, Exception):
        return []
    shown = inspect.signature(found)
    if list(shown.parameters) == ["self"]:
        return []
    parameters = [of.replace(annotation=_plain(of.annotation)) for key, of in shown.parameters.items() if key != "self"]
    returns = inspect.Signature.empty if inspect.isclass(found) else _plain(shown.return_annotation)
    shown = shown.replace(parameters=parameters, return_annotation=returns)
    text = f"{name}{shown}"
    if len(text) > 100:
        inner = ",\n    ".join(map(str, _with_markers(parameters)))
        text = f"{name}(\n    {inner},\n){str(shown.replace(parameters=[]))[2:]}"
    return ["```python", text, "```", ""]


class _Name(str):
    """An annotation that is shown as it is written in the source."""

    def __repr__(self) -> str:
        return str(self)


def _plain(annotation: object) -> object:
    """An annotation without the modules of its types."""
    if annotation is inspect.Signature.empty:
        return annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"numpy\.ndarray\[[^\]]*\], numpy\.dtype\[[^\]]*\]\]", "ndarray", text)
    return _Name(re.sub(r"\b(?:\w+\.)+(?=\w)", "", text))


def _with_markers(parameters: list[inspect.Parameter]) -> list[object]:
    """The parameters, with ``*`` before those that are given by name only."""
    by_name = [of for of in parameters if of.kind is inspect.Parameter.KEYWORD_ONLY]
    others = [of for of in parameters if of.kind is not inspect.Parameter.KEYWORD_ONLY]
    return [*others, "*", *by_name] if by_name else others


def paragraphs(text: str) -> list[str]:
    """A docstring as Markdown: sections become headings with lists, examples become code."""
    lines: list[str] = []
    section = None
    for line in text.splitlines():
        heading = line.rstrip(":")
        if line.endswith("::"):
            lines += [_marked(line[:-1]), ""]
            section = "Example"
        elif not line.startswith(" ") and heading in SECTIONS and line.endswith(":"):
            section = heading
            lines += [f"**{heading}**", ""]
        elif section is None or (line and not line.startswith(" ")):
            section = None
            lines.append(_marked(line))
        elif section == "Example":
            lines.append(line)
        elif (item := _ITEM.fullmatch(line.strip())) and len(line) - len(line.lstrip()) == 4 and section != "Returns":
            lines.append(f"- `{item[1]}`: {_marked(item[2])}")
        else:
            lines.append(
                f"  {_marked(line.strip())}" if line.strip() and section != "Returns" else _marked(line.strip())
            )
    return lines


def _marked(line: str) -> str:
    """The marks of a docstring as those of Markdown: ``:func:`a.b``` becomes `b`."""
    line = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", line)
    return line.replace("``", "`")


if __name__ == "__main__":
    run_command(main)
