"""Put the figures of a run into docs/findings.md.

    python tools/update_findings.py --exp exp/mini      # after the commands on that page

Fills the text between ``<!-- rates -->``, ``<!-- pairs A:B ... -->``, ``<!-- sweeps A ... -->`` and the next
``<!-- end -->``: error rates of all systems in all modes, differences of the named pairs, and the corruption sweeps of
the named fused systems.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from avsv.bin.command import run_command
from avsv.corruption.table import KINDS
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.results.differences import Comparison
from avsv.results.frames import read_frame, records
from avsv.results.markdown import markdown_table
from avsv.results.rates import Row
from avsv.results.sweeps import SweepRow, compare_lines, rate_cell
from avsv.results.table import Column, Table
from avsv.scoring.modes import MODES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "findings.md"


def table_lines(header: Sequence[str], cells: Sequence[Sequence[str]], left: int) -> list[str]:
    """A Markdown table of cells that can contain Markdown; the first ``left`` columns are text."""
    columns = [Column(name, "text" if number < left else "number") for number, name in enumerate(header)]
    head = markdown_table(Table("", "", columns, []))
    return [*head, *("| " + " | ".join(row) + " |" for row in cells)]


def rates(rows: Sequence[Row]) -> list[str]:
    """Error rates of normalized scores, with one row per system and one column per mode."""
    found = {(row.system, row.mode): rate_cell(row.eer, row.eer_low, row.eer_high) for row in rows}
    systems = list(dict.fromkeys(system for system, _ in found))
    cells = [[system, *(found.get((system, mode), "") for mode in MODES)] for system in systems]
    return table_lines(["EER %", *MODES], cells, left=1)


def pairs(names: Sequence[str], rows: Sequence[Comparison]) -> list[str]:
    """Differences of pairs of systems in the mode of their comparison; bold if the interval does not contain 0."""
    cells = []
    for name in names:
        a, _, b = name.partition(":")
        for row in rows:
            sign = {(a, b): 1, (b, a): -1}.get((row.system_a, row.system_b))
            if sign is None:
                continue
            eers = (row.eer_a, row.eer_b)[::sign]
            ends = sorted((sign * row.low, sign * row.high))
            text = rate_cell(sign * row.difference, *ends, sign="+")
            text = f"**{text}**" if ends[0] > 0 or ends[1] < 0 else text
            modes = "/".join(row.mode.split("/")[::sign])
            p = f"{row.p:.3f}" if row.p >= 0.001 else "< 0.001"
            cells.append([a, b, modes, *(f"{eer:.2f}" for eer in eers), text, p])
            break
        else:
            raise DataError(f"{PAGE}: the run did not compare '{a}' with '{b}'")
    return table_lines(["a", "b", "mode", "EER % a", "EER % b", "a - b", "p"], cells, left=3)


def sweeps(names: Sequence[str], folder: Path, trials: str) -> list[str]:
    """Error rates with all corruptions, of the best single modalities and of the named fused systems."""
    cells = []
    for path in sorted(folder.glob("*.csv"), key=lambda path: list(KINDS).index(path.stem)):
        lines = compare_lines([row for row in records(read_frame(path, SweepRow), SweepRow) if row.trials == trials])
        fused = {line.system: line for line in lines.fused}
        if missing := [name for name in names if name not in fused]:
            raise DataError(f"{path} has no system '{missing[0]}' with both modalities")
        shown = [lines.voice, lines.face, *(fused[name] for name in names)]
        for number, level in enumerate(lines.levels):
            if number == 0 and cells:
                continue  # without corruption, all sweeps are equal
            kind = "none" if number == 0 else f"{KINDS[path.stem].title}, {KINDS[path.stem].unit}"
            cells.append([kind if number < 2 else "", level, *(_sweep_cell(line.rows[number]) for line in shown)])
    if not cells:
        raise DataError(f"{folder}: no sweeps: run with --sweeps all")
    head = ["corruption", "level", *(f"{line.system} {line.mode}" for line in shown)]
    return table_lines(head, cells, left=2)


def _sweep_cell(row: SweepRow) -> str:
    text = rate_cell(row.eer, row.low, row.high)
    if row.difference is None:
        return text
    if row.difference_high < 0:
        return f"**{text}**"
    return f"_{text}_" if row.difference_low > 0 else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="folder of the run, with results/ and sweeps/")
    parser.add_argument("--trials", default="eval", help="list of trials (%(default)s)")
    args = parser.parse_args()

    results = args.exp / "results"
    scored = records(read_frame(results / "results.csv", Row), Row)
    normalized = [row for row in scored if (row.trials, row.stage) == (args.trials, "asnorm")]
    compared = [
        row
        for row in records(read_frame(results / "differences.csv", Comparison), Comparison)
        if row.trials == args.trials
    ]

    def fill(found: re.Match) -> str:
        kind, names = found["kind"], found["names"].split()
        if kind == "rates":
            lines = rates(normalized)
        elif kind == "pairs":
            lines = pairs(names, compared)
        else:
            lines = sweeps(names, args.exp / "sweeps", args.trials)
        return "\n".join([found["marker"], *lines, "<!-- end -->"])

    part = r"(?P<marker><!-- (?P<kind>rates|pairs|sweeps)(?P<names>[^>]*?) -->)\n.*?<!-- end -->"
    text, count = re.subn(part, fill, PAGE.read_text(encoding="utf-8"), flags=re.S)
    if count == 0:
        raise DataError(f"{PAGE}: no part to fill: there is no <!-- rates --> ... <!-- end --> or similar")
    write_text(PAGE, text)


if __name__ == "__main__":
    run_command(main)
