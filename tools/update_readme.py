"""Put the results of a real run into README.md and docs/results.md.

    ./run.sh
    python tools/update_readme.py --results exp/mini/results

Writes docs/results.md, copies the plots to docs/, and puts the first table between ``<!-- results -->`` and
``<!-- end of results -->`` in README.md.
"""

import argparse
import re
import shutil
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="results folder of a run")
    args = parser.parse_args()

    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DataError(f"{readme}: the markers {BEGIN} and {END} must each occur once")
    results = (args.results / "RESULTS.md").read_text(encoding="utf-8")
    for plot in re.findall(r"\]\((\w+\.png)\)", results):
        shutil.copyfile(args.results / plot, ROOT / "docs" / plot)
    write_text(ROOT / "docs" / "results.md", results)
    command = re.search(r"^    (.*)$", results, flags=re.M)[1]
    name, table = re.search(r"^## Trials `(.*?)`\n.*?((?:^\|[^\n]*\n)+)", results, flags=re.M | re.S).groups()
    shown = f"Trials `{name}` of the built-in corpus, made by `{command}`:\n\n{table}"
    shown += "\nAll tables of this run: [docs/results.md](docs/results.md)."
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    write_text(readme, f"{before}{BEGIN}\n{shown}\n{END}{after}")


if __name__ == "__main__":
    run_command(main)
