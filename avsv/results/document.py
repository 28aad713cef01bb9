"""RESULTS.md and the tables on the console."""

from collections.abc import Sequence
from dataclasses import replace

from avsv.results.environment import VARIES, describe_environment
from avsv.results.markdown import console_table, markdown_block, markdown_table
from avsv.results.model import Results
from avsv.results.published_table import published_table
from avsv.results.rates import Run
from avsv.results.tables import list_tables


def to_console(results: Results) -> str:
    """Aligned tables per trial list: the widest modes, then all modes."""
    parts = []
    for tables in list_tables(results):
        parts.append(f"Trials '{tables.name}': {_counts(results, tables.name)}")
        parts += console_table(tables.results)
        parts += [f"  {gap}" for gap in results.gaps(tables.name)]
        if tables.modes:
            parts += ["", f"Trials '{tables.name}', all modes: EER % s-norm; the intervals are in RESULTS.md"]
            # Six modes with their intervals are wider than a terminal.
            rows = [[replace(cell, detail="") for cell in row] for row in tables.modes.rows]
            parts += console_table(replace(tables.modes, rows=rows))
        parts.append("")
    return "\n".join(parts)


def to_markdown(results: Results, run: Run, figures: Sequence[tuple[str, str]]) -> str:
    """The text of RESULTS.md.

    Args:
        results: the tables.
        run: the properties that all tables share.
        figures: captions and file names of plots to show.
    """
    parts = [
        f"# Results: {run.corpus}, preset {run.preset}",
        "",
        "Generated from `results.csv`, `differences.csv`, `conditions.csv` and `thresholds.csv`; do not edit. Made by",
        "",
        f"    {run.command}",
        "",
        f"with seed {run.seed}, code revision {run.git}.",
        "",
        *definitions(run),
    ]
    for tables in list_tables(results):
        md5 = results.of_list(tables.name)["list_md5"].iloc[0]
        total = sum(results.most_scored(tables.name))
        parts += ["", f"## Trials `{tables.name}`", ""]
        parts += [f"{total} trials: {_counts(results, tables.name)}; md5 of the list {md5}.", ""]
        parts += markdown_table(tables.results)
        if gaps := results.gaps(tables.name):
            parts += ["", *(f"- {gap}" for gap in gaps)]
        for table in tables.short[1:]:
            parts += markdown_block(table)
    if published := published_table(results):
        parts += markdown_block(published, level=2)
    if machine := describe_environment(results.environment):
        parts += ["", "## Machine", "", *(f"- {line}" for line in machine), "", VARIES]
    for caption, path in figures:
        parts += ["", f"![{caption}]({path})"]
    return "\n".join(parts) + "\n"


def definitions(run: Run) -> list[str]:
    """The definitions of the columns of the results, as a Markdown list."""
    return [
        "- EER: equal error rate in percent, interpolated between operating points, of cosine scores and after score"
        " normalization.",
        f"- 95 % interval: of the EER of normalized scores, from {run.resamples} draws of evaluation speakers.",
        "- minDCF: minimum normalized detection cost of normalized scores, P_target 0.01, both costs 1.",
        "- Cllr: cost in bits of the log-likelihood ratios, which were calibrated on development trials.",
        "- mode: the modalities of the enrollment side, x, those of the test side. Each system is shown in its widest"
        " mode, by kind and increasing EER; the best of a column is bold.",
        f"- All figures were measured on the data `{run.corpus}` and cannot be transferred to other data.",
    ]


def _counts(results: Results, trials: str) -> str:
    n_target, n_nontarget = results.most_scored(trials)
    return f"{n_target} target, {n_nontarget} non-target"
