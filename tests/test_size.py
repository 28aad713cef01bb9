"""Modules and functions of the package are short."""

import ast
import io
import tokenize
from collections.abc import Iterator

from paths import ROOT

MODULE_LINES, FUNCTION_LINES = 400, 60


def code_lines(text: str) -> set[int]:
    """The numbers of lines with code: no blank lines, comments or docstrings."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {n for token in tokens if token.type not in skipped for n in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return lines


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Every function and method by its qualified name, with its lines of code."""
    lines = code_lines(text)

    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    yield name, len(lines & set(range(child.lineno, child.end_lineno + 1)))
                yield from inside(child, f"{name}.")
            else:
                yield from inside(child, prefix)

    return inside(ast.parse(text), "")


def modules() -> Iterator[tuple[str, str]]:
    """The modules of the package by path, with their text."""
    for folder in ("avsv", "local", "utils"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def test_modules_are_short():
    lengths = {path: len(code_lines(text)) for path, text in modules()}
    assert {path: n for path, n in lengths.items() if n > MODULE_LINES} == {}


def test_functions_are_short():
    lengths = {f"{path}: {name}": n for path, text in modules() for name, n in functions(text)}
    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES} == {}


def test_code_is_counted_without_comments_and_docstrings():
    text = """\
'''A module.'''

# A comment.
def f():
    '''What it
    does.'''
    x = '''two
    lines'''
    return x
"""
    assert code_lines(text) == {4, 7, 8, 9}
    assert list(functions(text)) == [("f", 4)]
