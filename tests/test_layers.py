"""Imports inside the package follow the layers in docs/design.md."""

import ast
import re

from paths import ROOT


def floors() -> dict[str, int]:
    """The layer of each folder of ``avsv/``, counted from 0 at the bottom."""
    block = re.search(r"```floors\n(.*?)```", (ROOT / "docs" / "design.md").read_text(), re.DOTALL)
    lines = [re.split(r"\s{2,}", line)[0].split(", ") for line in reversed(block.group(1).splitlines())]
    return {room: height for height, rooms in enumerate(lines) for room in rooms}


def imports():
    """(module, line, its folder, the imported folder) for every import inside the package."""
    package = ROOT / "avsv"
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: relative import: write the whole name"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                if name.startswith("avsv."):
                    yield path.relative_to(ROOT), node.lineno, parts[0], name.split(".")[1]


def test_the_page_names_every_room():
    rooms = {
        path.stem
        for path in (ROOT / "avsv").iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    assert rooms - {"__init__"} == set(floors())


def test_imports_go_downward():
    height = floors()
    found = list(imports())
    assert len(found) > 300
    wrong = [
        f"{path}:{line}: {room} imports {other}"
        for path, line, room, other in found
        if room != other and height[other] >= height[room]
    ]
    assert not wrong, "\n".join(wrong)
