"""``avsv eval``: score files of all toolkits give the same figures as the evaluation in the recipe."""

import gzip
import json
import os
import subprocess
import sys
import warnings
from unittest import mock

import numpy as np
import pytest
from paths import ROOT

from avsv.cli.__main__ import main
from avsv.errors import DataError
from avsv.io.lists import write_scores
from avsv.results.evaluation import find_speakers
from avsv.scoring.bootstrap import paired_difference, speaker_bootstrap
from avsv.scoring.metrics import actual_dcf, cllr, eer, min_cllr, min_dcf
from avsv.scoring.score_file import read_pairs, read_score_file, read_trial_list

COUNT = 500


@pytest.fixture(scope="module")
def trials():
    """Pairs of the utterances of 12 speakers in an arbitrary order, with scores of two systems."""
    rng = np.random.default_rng(0)
    pairs = [
        (f"id{a:02d}/s{i}/1.wav", f"id{b:02d}/s{j}/2.wav")
        for a in range(12)
        for b in range(12)
        for i in (1, 2)
        for j in (3, 4)
    ]
    pairs = [pairs[n] for n in rng.permutation(len(pairs))[:COUNT]]
    enroll, test = (np.array(side, object) for side in zip(*pairs, strict=True))
    speakers = [np.array([name.split("/")[0] for name in side]) for side in (enroll, test)]
    is_target = speakers[0] == speakers[1]
    scores = [(1.5 * is_target + rng.normal(size=len(pairs))).astype(np.float32) for _ in range(2)]
    return enroll, test, is_target, speakers, scores


WRITERS = {
    "kaldi": lambda e, t, s, label: f"{e} {t} {s:.9g}",
    "wespeaker": lambda e, t, s, label: f"{e} {t} {s:.9g} {'target' if label else 'nontarget'}",
    "wespeaker s-norm": lambda e, t, s, label: f"{e} {t} {s:.9g} {'target' if label else 'nontarget'} 1.5 2.5 0.1 0.2",
    "3d-speaker": lambda e, t, s, label: f"{e} {t} {'target' if label else 'nontarget'} {s:.9g}",
    "3d-speaker 0/1": lambda e, t, s, label: f"{e} {t} {int(label)} {s:.9g}",
    "voxceleb": lambda e, t, s, label: f"{int(label)} {e} {t} {s:.9g}",
    "tabs": lambda e, t, s, label: f"{e}\t{t}\t{s:.9g}",
}


def write_as(path, writer, trials, system=0, order=None):
    enroll, test, is_target, _, scores = trials
    rows = list(zip(enroll, test, scores[system].tolist(), is_target, strict=True))
    path.write_text(
        "".join(WRITERS[writer](*rows[n]) + "\n" for n in (order if order is not None else range(len(rows))))
    )
    return path


def write_trials(path, trials, form="voxceleb"):
    enroll, test, is_target, *_ = trials
    lines = {
        "voxceleb": lambda e, t, label: f"{int(label)} {e} {t}",
        "kaldi": lambda e, t, label: f"{e} {t} {'target' if label else 'nontarget'}",
        "zeros": lambda e, t, label: f"{e} {t} {int(label)}",
    }
    path.write_text("".join(lines[form](*row) + "\n" for row in zip(enroll, test, is_target, strict=True)))
    return path


def avsv_eval(*arguments):
    command = [sys.executable, "-m", "avsv.cli", "eval", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def eval_here(*arguments) -> None:
    """As :func:`avsv_eval`, in this process."""
    with warnings.catch_warnings(), mock.patch.object(sys, "argv", ["avsv", "eval", *map(str, arguments)]):
        main()


@pytest.mark.parametrize("writer", WRITERS)
def test_reads_all_formats(tmp_path, trials, writer):
    scored = read_score_file(write_as(tmp_path / "s", writer, trials))
    assert scored.enroll.tolist() == trials[0].tolist() and scored.test.tolist() == trials[1].tolist()
    np.testing.assert_allclose(scored.score, trials[4][0], rtol=1e-8)
    assert (scored.is_target is None) == (writer in ("kaldi", "tabs"))
    if scored.is_target is not None:
        np.testing.assert_array_equal(scored.is_target, trials[2])


@pytest.mark.parametrize("form", ["voxceleb", "kaldi", "zeros"])
def test_reads_all_trial_lists(tmp_path, trials, form):
    listed = read_trial_list(write_trials(tmp_path / "t", trials, form))
    assert listed.enroll.tolist() == trials[0].tolist() and listed.test.tolist() == trials[1].tolist()
    np.testing.assert_array_equal(listed.is_target, trials[2])


def test_figures_are_those_of_the_library(tmp_path, trials):
    _, _, is_target, speakers, scores = trials
    order = np.random.default_rng(1).permutation(COUNT)
    a = write_as(tmp_path / "a", "wespeaker s-norm", trials, 0, order)
    b = write_as(tmp_path / "b", "kaldi", trials, 1)
    listed = write_trials(tmp_path / "t", trials)
    result = avsv_eval(a, b, "--trials", listed, "--json", "--det", tmp_path / "det.png", "--resamples", 200)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    for row, values in zip(report["scores"], scores, strict=True):
        assert row["eer"] == pytest.approx(100 * eer(values, is_target), abs=1e-12)
        interval = speaker_bootstrap(values, is_target, *speakers, 200, 0)
        assert [row["eer_low"], row["eer_high"]] == pytest.approx([100 * x for x in interval], abs=1e-12)
        assert row["min_dcf"] == [min_dcf(values, is_target, p) for p in (0.01, 0.05)]
        assert row["actual_dcf"] == [actual_dcf(values, is_target, p) for p in (0.01, 0.05)]
        assert (row["cllr"], row["min_cllr"]) == pytest.approx(
            (cllr(values, is_target), min_cllr(values, is_target)), rel=1e-8
        )
    (difference,) = report["differences"]
    expected = paired_difference(*scores, is_target, *speakers, resamples=200)
    assert [difference[k] for k in ("difference", "low", "high")] == pytest.approx([100 * x for x in expected[:3]])
    assert difference["p"] == pytest.approx(expected.p)
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")


def test_table_and_labels_from_the_score_file(tmp_path, trials):
    result = avsv_eval(write_as(tmp_path / "a.txt", "3d-speaker", trials), "--resamples", 20)
    assert result.returncode == 0, result.stderr
    rate = f"{100 * eer(trials[4][0], trials[2]):.3f}"
    assert f"a.txt  {rate}" in result.stdout and "12 speakers" in result.stdout


def test_speakers_from_a_list_and_without(tmp_path, trials):
    enroll, test, is_target, speakers, scores = trials
    renamed = {name: f"utterance{n}" for n, name in enumerate(dict.fromkeys([*enroll, *test]))}
    sides = [np.array([renamed[name] for name in side], object) for side in (enroll, test)]
    write_scores(tmp_path / "s", *sides, scores[0])
    lines = zip(*sides, is_target, strict=True)
    (tmp_path / "t").write_text("".join(f"{e} {t} {'target' if x else 'nontarget'}\n" for e, t, x in lines))
    (tmp_path / "utt2spk").write_text("".join(f"{new} {old.split('/')[0]}\n" for old, new in renamed.items()))
    arguments = [tmp_path / "s", "--trials", tmp_path / "t", "--json", "--resamples", 50]
    alone = json.loads(avsv_eval(*arguments).stdout)
    assert alone["speakers"] is None and alone["scores"][0]["eer_low"] is None
    assert alone["scores"][0]["eer"] == pytest.approx(100 * eer(scores[0], is_target))
    known = json.loads(avsv_eval(*arguments, "--utt2spk", tmp_path / "utt2spk").stdout)
    low, high = speaker_bootstrap(scores[0], is_target, *speakers, 50, 0)
    assert [known["scores"][0][k] for k in ("eer_low", "eer_high")] == pytest.approx([100 * low, 100 * high])


def test_models_as_enrollment_sides(trials):
    from avsv.scoring.score_file import LabeledTrials

    listed = LabeledTrials(np.array(["id1", "id1"], object), np.array(["u1", "u2"], object), np.array([True, False]))
    speakers = find_speakers(listed, {"u1": "id1", "u2": "id2"}, "utt2spk")
    assert speakers.enroll.tolist() == [0, 0] and speakers.test.tolist() == [0, 1]


def test_missing_trials(tmp_path, trials):
    listed = write_trials(tmp_path / "t", trials)
    part = write_as(tmp_path / "a", "kaldi", trials, 0, range(1, COUNT))
    result = avsv_eval(part, "--trials", listed)
    assert result.returncode == 1 and f"1 of {COUNT} trials" in result.stderr and "--max-lost" in result.stderr
    result = avsv_eval(part, "--trials", listed, "--max-lost", "0.01", "--json", "--resamples", "20")
    row = json.loads(result.stdout)["scores"][0]
    assert row["n_target"] + row["n_nontarget"] == COUNT - 1
    assert row["eer"] == pytest.approx(100 * eer(trials[4][0][1:], trials[2][1:]))


BAD = {
    "": "the file is empty",
    "a b\n": "is not a score file",
    "a b 0.5\na b\n": ":2: fewer columns",
    "a b 0.5\na b 0.5 7\n": "scores:2: 4 columns, but 3 on earlier lines: not a list of scores or trials",
    "a b 0.5\n\na c 0.4\n": "scores:2: fewer columns",
    "\na b 0.5\n": "the file is empty, or its first line",
    "a b target 0.5\na c nontarget 0.1\na d no 0.2\n": "scores:3: 'a d no 0.2' is not 'enroll test label score' as",
    "a b 0.5 target\nc d nan target\n": ":2: score 'nan' is not a finite number",
    "a b 0.5\nc d x\n": ":2: score 'x' is not a finite number",
    "a b 1 0\nc d 0 1\n": "choose one with --layout",
    "\xff": "not a score file",
}


@pytest.mark.parametrize("content", BAD)
def test_bad_score_files(tmp_path, content):
    path = tmp_path / "scores"
    path.write_text(content)
    with pytest.raises(DataError, match=r"scores") as error:
        read_score_file(path)
    assert BAD[content] in str(error.value) and "\n" not in str(error.value)


def test_names_of_archives_and_addresses_are_names_of_files(tmp_path):
    for name in ("x.zip", "x.xz", "x.zst", "x.gz"):
        (tmp_path / name).write_text("a b 0.5\nc d 0.25\n")
        assert read_score_file(tmp_path / name).score.tolist() == [0.5, 0.25]
        (tmp_path / name).write_bytes(b"PK\x03\x04\xff\xfe")
        with pytest.raises(DataError, match="not a"):
            read_score_file(tmp_path / name)
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a b 0.5\n"))
    with pytest.raises(DataError, match=r"x\.gz: compressed with gzip: unpack it with gunzip first"):
        read_score_file(tmp_path / "x.gz")
    for name in ("http://localhost:1/x", "s3://bucket/x"):
        with pytest.raises(DataError, match="no such file"):
            read_score_file(name)


def test_scores_that_differ_in_the_last_digits_are_different(tmp_path):
    lines = [
        f"a{i}-1 a{j}-2 {0.99999999 if i == j else 0.99999998} {int(i == j)}\n" for i in range(4) for j in range(4)
    ]
    (tmp_path / "s").write_text("".join(lines))
    done = avsv_eval(tmp_path / "s", "--json", "--resamples", "20")
    assert json.loads(done.stdout)["scores"][0]["eer"] == 0
    assert "'nan' is not a share between 0 and 1" in avsv_eval(tmp_path / "s", "--max-lost", "nan").stderr


def test_files_without_common_trials_are_not_compared(tmp_path, trials):
    listed = write_trials(tmp_path / "t", trials)
    half = COUNT // 2
    parts = [
        write_as(tmp_path / "a", "kaldi", trials, 0, range(half)),
        write_as(tmp_path / "b", "kaldi", trials, 0, range(half, COUNT)),
    ]
    done = avsv_eval(*parts, "--trials", listed, "--max-lost", "0.9", "--resamples", "20")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "have no trials in common: compare them in separate calls" in done.stderr


def test_binary_missing_and_foreign_files(tmp_path, trials):
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    for path, said in ((tmp_path / "binary", "not a"), (tmp_path / "none", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(DataError, match=said):
            read_score_file(path)
    listed = write_trials(tmp_path / "t", trials)
    (tmp_path / "other").write_text("x y 0.5\n")
    result = avsv_eval(tmp_path / "other", "--trials", listed)
    assert result.returncode == 1 and "contains no trial of the list" in result.stderr
    (tmp_path / "no-labels").write_text("x y 0.5\n")
    result = avsv_eval(tmp_path / "no-labels")
    assert result.returncode == 1 and "Traceback" not in result.stderr and result.stderr.count("\n") == 1
    wrong = write_as(tmp_path / "wrong", "wespeaker", (*trials[:2], ~trials[2], *trials[3:]))
    result = avsv_eval(wrong, "--trials", listed)
    assert result.returncode == 1 and "wrong:1: " in result.stderr and "another label" in result.stderr
    doubled = write_as(tmp_path / "doubled", "kaldi", trials)
    doubled.write_text(doubled.read_text() + f"{trials[0][0]} {trials[1][0]} 77\n")
    result = avsv_eval(doubled, "--trials", listed)
    assert result.returncode == 1 and f"doubled:{COUNT + 1}: " in result.stderr and "another score" in result.stderr


@pytest.mark.parametrize("read", [read_score_file, read_trial_list, read_pairs])
def test_empty_lines_at_the_end_are_no_trials(tmp_path, read):
    (tmp_path / "s").write_text("a b 0.5 target\nc d 0.25 nontarget\n\n  \n")
    assert read(tmp_path / "s")[0].tolist() == ["a", "c"]


def test_one_wrong_line_is_named(tmp_path):
    lines = [f"a{n} b target\n" for n in range(7)] + ["a7 b tagret\n"]
    (tmp_path / "t").write_text("".join(lines))
    for read in (read_trial_list, read_pairs):
        with pytest.raises(DataError, match=r"t:8: 'a7 b tagret' is not 'enroll test label' as most lines are"):
            read(tmp_path / "t")


def test_what_fits_several_layouts(tmp_path, capsys):
    (tmp_path / "s").write_text("a b 1 0\nc d 0 1\n")
    assert read_trial_list(tmp_path / "s", "enroll test score label").is_target.tolist() == [False, True]
    with pytest.raises(DataError, match="choose one with --trials-layout"):
        read_trial_list(tmp_path / "s")
    # Only the ids are wanted, which are the same in both.
    assert [side.tolist() for side in read_pairs(tmp_path / "s")] == [["a", "c"], ["b", "d"]]
    (tmp_path / "t").write_text("1 0 1\n0 1 1\n")
    with pytest.raises(DataError, match="leave only the two ids on each line"):
        read_pairs(tmp_path / "t")
    eval_here(tmp_path / "s", "--layout", "enroll test label score", "--json", "--resamples", 20)
    assert json.loads(capsys.readouterr().out)["scores"][0]["eer"] == 100


def test_options_that_cannot_be_right(tmp_path, trials):
    listed = write_trials(tmp_path / "t", trials)
    scores = write_as(tmp_path / "x.llr", "kaldi", trials)
    page = tmp_path / "page.html"
    page.write_text("<html> a b\n<p> one two three four\n")
    before = scores.read_bytes()
    for words, message in (
        ([scores], "x.llr: contains no labels: give the trial list with --trials"),
        ([scores, "--trials", listed, "--det", scores], "x.llr: the name of this output must end in .png"),
        ([page], "page.html:2: 5 columns, but 3 on earlier lines: not a list of scores or trials"),
    ):
        with pytest.raises(DataError, match=message):
            eval_here(*words)
    scores = scores.rename(tmp_path / "x.png")
    with pytest.raises(DataError, match="is read and would be replaced"):
        eval_here(scores, "--trials", listed, "--det", scores)
    assert scores.read_bytes() == before


def test_huge_scores_fit_in_the_table(tmp_path, capsys):
    (tmp_path / "s").write_text("a b 1e300 nontarget\na c -1e300 target\nb d 1 target\nb c 0 nontarget\n")
    eval_here(tmp_path / "s")
    assert max(map(len, capsys.readouterr().out.splitlines())) < 120
