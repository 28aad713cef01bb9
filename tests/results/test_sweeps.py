"""Tables and plots of corruption sweeps: the best single modality, differences from it, every line in the plot."""

import numpy as np
import pytest
from matplotlib.image import imread

from avsv.results.sweeps import (
    Drawn,
    SweepRow,
    compare_lines,
    compare_with_best_single,
    count_verdicts,
    sweep_plot,
    sweep_tables,
)
from avsv.scoring.bootstrap import difference_of_draws


def row(system, mode, level, rate, n_target=10):
    return SweepRow("c", "p", system, "eval", mode, "noise", level, rate, rate - 1, rate + 1, rate, n_target, 90, 0,
                    "test", 0, "abc")  # fmt: skip


def test_best_single_modality_is_chosen_at_every_level():
    rng = np.random.default_rng(0)
    rates = {("a", "AxA"): (5, 30), ("v", "VxV"): (10, 10), ("av", "AVxAV"): (3, 12), ("av", "AxA"): (4, 40)}
    rates |= {("other", "AVxAV"): (6, 9), ("other", "VxV"): (1, 1)}
    noise = rng.standard_normal(200)
    found = [
        Drawn(row(*key, level, rate), rate + (0.1 if key[0] == "v" else 0.2) * noise, 20)
        for key, pair in rates.items()
        for level, rate in zip(("clean", "0"), pair, strict=True)
    ]
    rows = {(r.system, r.mode, r.level): r for r in compare_with_best_single(found)}
    assert rows["av", "AVxAV", "clean"].single == "av AxA"
    assert rows["av", "AVxAV", "0"].single == "v VxV"
    assert rows["other", "AVxAV", "clean"].single == "other VxV"
    expected = difference_of_draws(2, 0.1 * noise, 20)
    hard = rows["av", "AVxAV", "0"]
    assert (hard.difference, hard.difference_low, hard.difference_high) == pytest.approx(expected[:3])
    comparison = compare_lines(list(rows.values()))
    assert (comparison.voice.label, comparison.face.label) == ("a AxA", "v VxV")
    assert count_verdicts(comparison) == (0, 2, 2)
    text = "\n".join(sweep_tables(comparison))
    assert "| clean | **-1.00 [-1.00, -1.00]** av AxA | +5.00" in text
    # Systems with different trials are not compared.
    found = [Drawn(row("a", "AxA", "clean", 5, 11), noise, 20), Drawn(row("av", "AVxAV", "clean", 3), noise, 20)]
    assert compare_with_best_single(found)[1].difference is None


def test_a_gate_is_compared_with_the_modes_of_all_systems():
    noise = np.random.default_rng(1).standard_normal(200)
    rates = {("av", "AVxAV"): 6, ("av", "AxA"): 4, ("av", "VxV"): 9, ("gate", "AVxAV"): 3}
    found = [Drawn(row(*key, "clean", rate), rate + 0.1 * noise, 20) for key, rate in rates.items()]
    gate = compare_with_best_single(found)[-1]
    assert (gate.single, gate.difference) == ("av AxA", pytest.approx(-1))


def test_plot_shows_every_line(tmp_path):
    comparison = compare_lines(
        [row(s, m, x, 5.0) for s, m in (("a", "AxA"), ("v", "VxV"), ("f", "AVxAV")) for x in ("clean", "10")]
    )
    sweep_plot(tmp_path / "one.png", "noise", {"eval": comparison})
    sweep_plot(tmp_path / "two.png", "noise", {"eval": comparison, "hard": comparison})
    assert imread(tmp_path / "two.png").shape[1] == 2 * imread(tmp_path / "one.png").shape[1]
