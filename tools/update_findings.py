"""Put the results of studies and corruption sweeps into the documentation.

    python tools/update_findings.py --exp exp/mini exp/studies/*/mini    # after the commands in docs/findings.md

Copies the page and the plot of each study to docs/studies/NAME, and fills the text of docs/findings.md between
``<!-- studies -->``, ``<!-- sweeps A ... -->`` and the next ``<!-- end -->``: what the studies in docs/studies allow to
say, and the error rates of the named fused systems under every corruption. Tables of systems that the run lacks stay as
they are, so several runs can fill the page, one call after the other.
"""

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from avsv.bin.command import run_command
from avsv.corruption.table import KINDS
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.results.frames import read_frame, records
from avsv.results.markdown import markdown_table
from avsv.results.study import PAGE as STUDY_PAGE
from avsv.results.study import PLOT
from avsv.results.sweeps import SweepRow, compare_lines, rate_cell
from avsv.results.table import Column, Table

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "findings.md"


def studies(folder: Path) -> list[str]:
    """For every study of the documentation, its question and the sentence of each of its contrasts."""
    lines = []
    for path in sorted(folder.glob(f"*/{STUDY_PAGE}")):
        text = path.read_text(encoding="utf-8").split("\n")
        name = path.parent.name
        lines += [f"### [{name}]({path.relative_to(DOCS).as_posix()})", "", f"*{text[2]}*", ""]
        lines += [*(line for line in text if line.startswith("- ")), ""]
    return lines[:-1]


def table_lines(header: Sequence[str], cells: Sequence[Sequence[str]], left: int) -> list[str]:
    """A Markdown table of cells that can contain Markdown; the first ``left`` columns are text."""
    columns = [Column(name, "text" if number < left else "number") for number, name in enumerate(header)]
    head = markdown_table(Table("", "", columns, []))
    return [*head, *("| " + " | ".join(row) + " |" for row in cells)]


def sweeps(names: Sequence[str], folder: Path, trials: str) -> list[str] | None:
    """At how many levels of corruption the named fused systems are better and worse than the best single modality, and
    the error rates of both.

    None where the run has not all of these systems: another run has filled their table, or will.
    """
    cells = []
    found: dict[str, dict[str, list[str]]] = {name: {"better": [], "worse": [], "level": []} for name in names}
    for path in sorted(folder.glob("*.csv"), key=lambda path: list(KINDS).index(path.stem)):
        lines = compare_lines([row for row in records(read_frame(path, SweepRow), SweepRow) if row.trials == trials])
        fused = {line.system: line for line in lines.fused}
        if any(name not in fused for name in names):
            return None
        shown = [lines.voice, lines.face, *(fused[name] for name in names)]
        for name in names:
            for row in fused[name].rows[1:]:
                found[name]["level"].append(f"{KINDS[path.stem].title} {row.level}")
                for verdict in _verdict(row):
                    found[name][verdict].append(found[name]["level"][-1])
        for number, level in enumerate(lines.levels):
            if number == 0 and cells:
                continue  # without corruption, all sweeps are equal
            kind = "none" if number == 0 else f"{KINDS[path.stem].title}, {KINDS[path.stem].unit}"
            cells.append([kind if number < 2 else "", level, *(_sweep_cell(line.rows[number]) for line in shown)])
    if not cells:
        raise DataError(f"{folder}: no sweeps: run with --sweeps all")
    head = ["corruption", "level", *(f"{line.system} {line.mode}" for line in shown)]
    sentences = []
    for name, part in found.items():
        worse = f"{len(part['worse'])}{': ' if part['worse'] else ''}{', '.join(part['worse'])}"
        sentences.append(
            f"- `{name}` is better than the best single modality at {len(part['better'])} of {len(part['level'])}"
            f" levels, and worse at {worse}."
        )
    return [*sentences, "", *table_lines(head, cells, left=2)]


def _sweep_cell(row: SweepRow) -> str:
    text = rate_cell(row.eer, row.low, row.high)
    mark = {"better": "**", "worse": "_"}
    return next((f"{mark[verdict]}{text}{mark[verdict]}" for verdict in _verdict(row)), text)


def _verdict(row: SweepRow) -> list[str]:
    """Whether a fused system is better or worse than the best single modality, or neither."""
    if row.difference is None:
        return []
    return ["better"] if row.difference_high < 0 else ["worse"] if row.difference_low > 0 else []


def main() -> None:
    """Copy the studies and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, help="folder of a run with sweeps/; default: the sweeps stay as they are")
    parser.add_argument("--trials", default="eval", help="list of trials of the sweeps (%(default)s)")
    parser.add_argument("studies", nargs="*", type=Path, help="folders of studies, like exp/studies/pooling/mini")
    args = parser.parse_args()

    for folder in args.studies:
        if not (folder / STUDY_PAGE).is_file():
            raise DataError(f"{folder}: no {STUDY_PAGE}: name the folder that ./run.sh --study writes")
        target = DOCS / "studies" / folder.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for name in (STUDY_PAGE, PLOT):
            shutil.copyfile(folder / name, target / name)

    def fill(found: re.Match) -> str:
        if found["kind"] == "studies":
            lines = studies(DOCS / "studies")
        elif args.exp is None:
            return found[0]
        else:
            lines = sweeps(found["names"].split(), args.exp / "sweeps", args.trials)
            if lines is None:
                print(f"{args.exp}: not all of{found['names']} are in its sweeps: their table stays as it is")
                return found[0]
        return "\n".join([found["marker"], *lines, "<!-- end -->"])

    part = r"(?P<marker><!-- (?P<kind>studies|sweeps)(?P<names>[^>]*?) -->)\n.*?<!-- end -->"
    text, count = re.subn(part, fill, PAGE.read_text(encoding="utf-8"), flags=re.S)
    if count == 0:
        raise DataError(f"{PAGE}: no part to fill: there is no <!-- studies --> ... <!-- end --> or similar")
    write_text(PAGE, text)


if __name__ == "__main__":
    run_command(main)
