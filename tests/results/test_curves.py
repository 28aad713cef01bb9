"""Data of the DET and training curves of a run."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from avsv.errors import DataError
from avsv.io.lists import write_list, write_scores
from avsv.results.curves import det_lines, plot_training, read_history
from avsv.results.model import Results
from avsv.results.rates import Run, evaluate
from avsv.results.style import COLORS
from avsv.scoring.scorer import read_trial_sets


def test_det_curves_are_of_the_best_systems_in_their_widest_modes(tmp_path):
    """Nine systems for eight colors; the worst one is omitted."""
    rng = np.random.default_rng(0)
    keys = [f"s{n}-{k}" for n in range(6) for k in range(3)]
    data = tmp_path / "data/eval"
    (data / "trials").mkdir(parents=True)
    write_list(data / "utt2spk", {key: key[:2] for key in keys})
    pairs = list(combinations(keys, 2))
    is_target = np.array([a[:2] == b[:2] for a, b in pairs])
    lines = [f"{a} {b} {'target' if t else 'nontarget'}\n" for (a, b), t in zip(pairs, is_target, strict=True)]
    (data / "trials/eval").write_text("".join(lines))
    enroll, test = np.array(pairs).T
    systems = [f"x{n}" for n in range(len(COLORS) + 1)]
    written = {}
    for number, system in enumerate(systems):
        folder = tmp_path / "exp" / system / "scores/eval"
        folder.mkdir(parents=True)
        # The first has only raw scores and lacks a trial; the last one guesses.
        kept = np.arange(len(pairs)) >= (number == 0)
        stages = ("cos",) if number == 0 else ("cos", "asnorm")
        for mode, stage in [(mode, stage) for mode in ("AVxAV", "AxA") for stage in stages]:
            scores = (0 if system == systems[-1] else 2 - 0.2 * number) * is_target + rng.normal(size=len(pairs))
            write_scores(folder / f"{mode}.{stage}", enroll[kept], test[kept], scores[kept])
            written[system, mode, stage] = scores[kept], is_target[kept]
    (trial_set,) = read_trial_sets([data])
    rows = evaluate(tmp_path / "exp", systems, [trial_set], Run("c", "mini", 7, "abc", 10, "./run.sh"))
    results = Results(pd.DataFrame(rows))
    (panel,) = det_lines(tmp_path / "exp", results, trial_set.lists).values()
    assert [line.number for line in panel] == list(range(len(COLORS)))
    rates = {row.system: row.eer for row in rows if row.mode == "AVxAV" and row.stage == stage_of(row.system)}
    assert [line.label for line in panel] == [f"{x} AVxAV" for x in sorted(systems[:-1], key=rates.get)]
    for line in panel:
        system = line.label.split()[0]
        scores, labels = written[system, "AVxAV", stage_of(system)]
        np.testing.assert_allclose(line.scores, scores, atol=1e-5)
        np.testing.assert_array_equal(line.is_target, labels)


def stage_of(system):
    return "cos" if system == "x0" else "asnorm"


def test_training_pictures_have_as_many_systems_as_there_are_colors(tmp_path):
    systems = [f"x{n}" for n in range(len(COLORS) + 2)]
    for system in systems:
        (tmp_path / system).mkdir()
    for system in systems[1:]:
        (tmp_path / system / "train.csv").write_text("epoch,loss,accuracy,dev_eer\n1,2.5,0.5,\n2,1.5,0.75,0.125\n")
    assert plot_training(tmp_path, systems[:1], tmp_path) == []
    figures = plot_training(tmp_path, systems, tmp_path)
    assert [name for _, name in figures] == ["training.png", "training2.png"]
    assert {caption for caption, _ in figures} == {"Training: loss, accuracy, development EER"}
    first, second = (imread(tmp_path / name) for _, name in figures)
    assert first.shape == second.shape and not np.array_equal(first, second)


def test_training_history(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("epoch,loss,lr,accuracy,dev_eer\n1,2.5,0.1,0.5,\n2,1.5,0.1,0.75,0.125\n")
    history = read_history(path)
    np.testing.assert_array_equal(history["dev_eer"], [np.nan, 0.125])
    assert history["loss"].tolist() == [2.5, 1.5]
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(DataError, match=r"train.csv: not a training history: .*'accuracy'"):
        read_history(path)
