"""Put the picture of a real run and its real results table into README.md.

    ./run.sh 2>&1 | tee run.log
    python tools/update_readme.py --log run.log --results exp/mini/results

Writes docs/console.svg, copies the plots to docs/ and fills the part of README.md between ``<!-- results -->``
and ``<!-- end of results -->``.
"""

import argparse
import re
import shutil
from html import escape
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
CHARACTER, LINE, MARGIN = 7.25, 17, 14


def console_svg(lines: list[str]) -> str:
    """A terminal with these lines, as SVG: stage titles bold, the rest as printed."""
    width = int(max(map(len, lines)) * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE + 2 * MARGIN
    texts = []
    for number, line in enumerate(lines):
        style = ' fill="#7ee787" font-weight="bold"' if line.startswith("== ") else ""
        y = MARGIN + LINE * (number + 0.75)
        texts.append(f'<text x="{MARGIN}" y="{y:g}" xml:space="preserve"{style}>{escape(line)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f'<rect width="{width}" height="{height}" rx="6" fill="#161b22"/>\n'
        '<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="12" fill="#c9d1d9">\n'
        + "\n".join(texts)
        + "\n</g>\n</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True, help="console output of a whole run")
    parser.add_argument("--results", type=Path, required=True, help="results folder of the same run")
    parser.add_argument("--width", type=int, default=132, help="longest line in the picture (%(default)s)")
    args = parser.parse_args()

    # A progress line that was redrawn ends with what stood there last.
    raw = args.log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).rstrip("\r").rsplit("\r", 1)[-1] for line in raw]
    # On a terminal these are one line that is redrawn.
    lines = [line for line in lines if not re.search(r"(: starting, [\d:]+|, [\d:]+ left)$", line)]
    lines = ["$ ./run.sh", *(line if len(line) <= args.width else line[: args.width - 1] + "…" for line in lines)]
    write_text(ROOT / "docs" / "console.svg", console_svg(lines))

    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DataError(f"{readme}: the markers {BEGIN} and {END} must stand in it once each")
    # The table alone: headings and conditions of RESULTS.md stay in RESULTS.md.
    results = (args.results / "RESULTS.md").read_text(encoding="utf-8")
    results = re.sub(r"^# .*$", "", results, count=1, flags=re.M).replace("\n## ", "\n### ").strip()
    for plot in re.findall(r"\]\((\w+\.png)\)", results):
        shutil.copyfile(args.results / plot, ROOT / "docs" / plot)
        results = results.replace(f"]({plot})", f"](docs/{plot})")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    write_text(readme, f"{before}{BEGIN}\n{results}\n{END}{after}")


if __name__ == "__main__":
    run_command(main)
