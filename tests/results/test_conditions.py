"""Results by condition, compared with a loop that sorts trials into conditions."""

import csv
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avsv.errors import DataError
from avsv.io.lists import write_list, write_scores
from avsv.results.conditions import ConditionRow, conditions_of, evaluate_conditions
from avsv.results.document import to_markdown
from avsv.results.frames import read_frame, records, to_csv
from avsv.results.model import Results
from avsv.results.rates import Row, Run
from avsv.scoring.bootstrap import speaker_bootstrap
from avsv.scoring.scorer import read_trial_sets

RUN = Run("c", "mini", 7, "abc", 30, "./run.sh")
KEYS = [f"s{n:02}-{k}" for n in range(12) for k in range(5)]
NO_FACE, NO_DURATION, NO_MOOD, NO_GENDER = "s03-2", "s04-0", ("s05-1", "s05-2"), "s11"
CHOICES = np.random.default_rng(3)
LISTS = {
    "utt2spk": {key: key[:3] for key in KEYS},
    "utt2dur": {key: f"{CHOICES.uniform(1, 9):.3f}" for key in KEYS if key != NO_DURATION},
    "utt2num_faces": {key: str(CHOICES.integers(20, 200)) for key in KEYS if key != NO_FACE},
    "utt2num_frames": dict.fromkeys(KEYS, "100"),
    "utt2session": {key: f"{key[:3]}-{int(key[-1]) // 2}" for key in KEYS},
    "utt2mood": {key: CHOICES.choice(["sad", "gay|loud", "<i>calm"]) for key in KEYS if key not in NO_MOOD},
    "utt2room": {key: "hall" if key in ("s00-0", "s01-0", "s02-0", "s03-0") else "yard" for key in KEYS},
    "utt2age": {key: "30" if key < "s06" else "40" for key in KEYS},
    "utt2const": dict.fromkeys(KEYS, "same"),
    "utt2text": {key: f"t{n}" for n, key in enumerate(KEYS)},
    "spk2gender": {f"s{n:02}": "mf"[n % 2] for n in range(11)},
}


@pytest.fixture
def world(tmp_path):
    """Labels and trials of twelve speakers, a voice system with missing trials, and a system with all modes."""
    data, rng = tmp_path / "data/eval", np.random.default_rng(0)
    (data / "trials").mkdir(parents=True)
    for name, content in LISTS.items():
        write_list(data / name, content)
    pairs = [pair for pair in combinations(KEYS, 2) if rng.random() < 0.6]
    labels = [a[:3] == b[:3] for a, b in pairs]
    lines = [f"{a} {b} {'target' if t else 'nontarget'}\n" for (a, b), t in zip(pairs, labels, strict=True)]
    (data / "trials/eval").write_text("".join(lines))
    enroll, test = np.array(pairs).T
    for system, modes in {"voice": ["AxA"], "av": ["AVxAV", "AxA", "VxV", "AVxA"]}.items():
        for mode in modes:
            folder = tmp_path / f"exp/{system}/scores/eval"
            folder.mkdir(parents=True, exist_ok=True)
            kept = rng.permutation(len(pairs))[: 900 if system == "voice" else None]
            scores = 2 * np.array(labels) + rng.normal(size=len(pairs))
            stages = ("cos", "asnorm", "llr") if system == "av" else ("cos",)
            for stage in stages:
                write_scores(folder / f"{mode}.{stage}", enroll[kept], test[kept], scores[kept])
                scores = scores + 0.5 * rng.normal(size=len(pairs))
    return tmp_path


def evaluated(world: Path) -> list[ConditionRow]:
    sets = read_trial_sets([world / "data/eval"])
    return evaluate_conditions(world / "exp", ["voice", "av"], sets, [world / "data/eval"], RUN)


def scored(world: Path, row: ConditionRow) -> list[tuple[str, str, float]]:
    lines = (world / f"exp/{row.system}/scores/eval/{row.mode}.{row.stage}").read_text().splitlines()
    return [(a, b, float(score)) for a, b, score in map(str.split, lines)]


def holds(source: str, condition: str, a: str, b: str) -> bool:
    """Whether a trial belongs to a condition, by the name of the condition and the lists."""
    target = a[:3] == b[:3]
    sides = [LISTS[source].get(key[:3] if source.startswith("spk2") else key) for key in (a, b)]
    if source == "utt2num_faces":
        sides = [side or "0" for side in sides]
    if None in sides:
        # Target trials of unknown gender still belong to identities.
        return condition == "not known" or (condition, source, target) == ("not the same", "spk2gender", True)
    if source in ("utt2dur", "utt2num_faces"):
        size = min(map(float, sides))
        low, high = size_limits(condition)
        return size == 0 if condition == "no face" else size > 0 and low <= size < high
    if source == "utt2session":
        return not target or condition == ("one session" if sides[0] == sides[1] else "two sessions")
    if condition == "not the same":
        return sides[0] != sides[1] or (source == "spk2gender" and target)
    return sides == [condition, condition]


def size_limits(condition: str) -> tuple[float, float]:
    numbers = [float(word) for word in re.findall(r"[\d.]+", condition)]
    low, high = (numbers[0], np.inf) if condition.startswith("from") else (0, numbers[-1]) if numbers else (0, 0)
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (low, high)


def counted_eer(target: list[float], other: list[float]) -> float:
    """The equal error rate by counting at every threshold, with linear interpolation between two of them."""
    previous = (0.0, 1.0)
    for threshold in sorted({*target, *other}):
        point = sum(s <= threshold for s in target) / len(target), sum(s > threshold for s in other) / len(other)
        if point[0] >= point[1]:
            step = point[0] - previous[0], point[1] - previous[1]
            share = (previous[1] - previous[0]) / (step[0] - step[1])
            return previous[0] + share * step[0]
        previous = point
    raise AssertionError


def test_every_rate_is_that_of_its_trials(world):
    rows = evaluated(world)
    for row in rows:
        trials = [(a, b, s) for a, b, s in scored(world, row) if holds(row.source, row.condition, a, b)]
        target, other = ([s for a, b, s in trials if (a[:3] == b[:3]) == kind] for kind in (True, False))
        assert (row.n_target, row.n_nontarget) == (len(target), len(other)), row
        persons = {side[:3] for a, b, _ in trials for side in (a, b)}
        if not target or not other:
            assert row.missing == f"no {'non-' if target else ''}target trials"
        elif min(len(target), len(other)) < 10 or len(persons) < 5:
            assert row.missing.startswith("too few")
        else:
            assert row.missing == ""
            assert row.eer == pytest.approx(100 * counted_eer(target, other))
            labels = [a[:3] == b[:3] for a, b, _ in trials]
            sides = [[trial[n][:3] for trial in trials] for n in (0, 1)]
            low, high = speaker_bootstrap([s for *_, s in trials], labels, *sides, resamples=30, seed=7)
            assert (row.eer_low, row.eer_high) == pytest.approx((100 * low, 100 * high))
        assert (row.eer is None) == (row.eer_low is None) == (row.eer_high is None) == bool(row.missing)
    missing = {(row.source, row.condition): row.missing for row in rows if row.system == "av"}
    assert missing["utt2room", "hall"] == "no target trials"
    assert missing["utt2num_faces", "no face"] == "too few target trials"
    assert missing["spk2gender", "not the same"] == ""


def test_conditions_and_modes(world, capsys):
    rows = evaluated(world)
    assert list(dict.fromkeys((row.system, row.mode, row.stage) for row in rows)) == [
        ("voice", "AxA", "cos"),
        ("av", "AVxAV", "asnorm"),
        ("av", "AxA", "asnorm"),
        ("av", "VxV", "asnorm"),
    ]
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.mode == "AVxAV":
            found.setdefault(row.source, []).append(row.condition)
    assert list(found) == ["utt2dur", "utt2num_faces", "utt2session", "utt2mood", "utt2room", "spk2gender"]
    assert found["utt2session"] == ["one session", "two sessions"]
    assert found["utt2mood"] == ["<i>calm", "gay|loud", "sad", "not the same", "not known"]
    assert found["spk2gender"] == ["f", "m", "not the same", "not known"]
    assert (found["utt2dur"][-1], found["utt2num_faces"][0]) == ("not known", "no face")
    out = capsys.readouterr().out
    for name in ("utt2const", "utt2text"):
        assert f"{world}/data/eval/{name}: defines no conditions for the trials eval" in out
    assert out.count("\n") == 2
    # Limits are the thirds of all trials, rounded to two digits.
    trials = [line.split() for line in (world / "data/eval/trials/eval").read_text().splitlines()]
    for source, unit in (("utt2dur", " s"), ("utt2num_faces", "")):
        sides = [[LISTS[source].get(key) for key in trial[:2]] for trial in trials]
        sizes = sorted(min(map(float, pair)) for pair in sides if None not in pair)
        first, second = (f"{sizes[len(sizes) * n // 3]:.2g}" for n in (1, 2))
        first, second = (f"{float(edge):g}" for edge in (first, second))
        thirds = [name for name in found[source] if name not in ("no face", "not known")]
        assert thirds == [f"below {first}{unit}", f"{first} to {second}{unit}", f"from {second}{unit}"]


def test_conditions_share_or_part_the_trials(world):
    """Every trial is in one condition of a list, except for trials of one class that several conditions share."""
    (trial_set,) = read_trial_sets([world / "data/eval"])
    (trials,) = trial_set.lists
    counts: dict[str, np.ndarray] = {}
    for condition in conditions_of(world / "data/eval", trial_set, trials):
        counts[condition.source] = counts.get(condition.source, 0) + condition.chosen
    is_target = trials.trials.is_target
    for source in ("utt2dur", "utt2num_faces", "utt2mood", "utt2room"):
        assert set(counts[source]) == {1}
    assert set(counts["utt2session"][is_target]) == {1}
    assert set(counts["utt2session"][~is_target]) == {2}
    assert set(counts["spk2gender"][is_target]) == {2}
    assert set(counts["spk2gender"][~is_target]) == {1}


def test_one_kind_of_session_or_size_is_no_condition(world):
    data = world / "data/eval"
    write_list(data / "utt2session", {key: key for key in KEYS})
    write_list(data / "utt2dur", dict.fromkeys(KEYS, "3.0"))
    for name in ("spk2gender", "utt2mood", "utt2room", "utt2num_faces"):
        (data / name).unlink()
    assert evaluated(world) == []


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("utt2dur", "s00-0 long", "utt2dur: s00-0: 'long' is not a positive number of seconds"),
        ("utt2num_faces", "s00-0 0", "utt2num_faces: s00-0: '0' is not a positive whole number"),
        ("utt2mood", "s00-0 very sad", "utt2mood:1: 3 fields, expected 2"),
        ("spk2gender", "s00 m\ns00 f", "spk2gender:2: 's00' occurs twice"),
    ],
)
def test_bad_lists_are_named(world, name, line, message):
    (world / "data/eval" / name).write_text(f"{line}\n")
    with pytest.raises(DataError, match=re.escape(message)):
        evaluated(world)


def test_table_and_markdown(world):
    rows = evaluated(world)
    path = world / "conditions.csv"
    path.write_text(to_csv(rows, ConditionRow))
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    for written, row in zip(records(read_frame(path, ConditionRow), ConditionRow), rows, strict=True):
        assert written[:10] == row[:10]
        assert written[10:13] == pytest.approx(row[10:13], abs=1e-4)
        assert written[13:] == row[13:]

    figures = 20.0, 10.0, 30.0, 20.0, 0.5, None
    results = [
        Row("c", "mini", "voice", "eval", "AxA", "cos", 90, 810, *figures, 7, "abc", "f00d"),
        Row("c", "mini", "av", "eval", "AVxAV", "asnorm", 100, 900, *figures, 7, "abc", "f00d"),
        Row("c", "mini", "av", "eval", "AxA", "asnorm", 100, 900, *figures, 7, "abc", "f00d"),
    ]
    scores, conditions = (pd.DataFrame(found) for found in (results, rows))
    text = to_markdown(Results(scores, conditions=conditions), RUN, []).split("By condition")[1]
    table = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    assert table[0] == ["condition", "target", "non-target", "voice AxA", "av AVxAV"]
    assert table[1][:3] == ["all trials", "100", "900"]
    shown = [row for row in rows if (row.system, row.mode) in (("voice", "AxA"), ("av", "AVxAV"))]
    cells = [cell for line in table[2:] for cell in line[-2:]]
    by_condition = {}
    for row in shown:
        by_condition.setdefault((row.source, row.condition), []).append(row)
    expected = [
        row.missing or f"{row.eer:.2f} ({row.eer_low:.2f} - {row.eer_high:.2f})"
        for pair in by_condition.values()
        for row in pair
    ]
    assert cells == expected
    assert "| mood gay\\|loud |" in text and "| mood \\<i>calm |" in text
    assert "no target trials" in cells
    assert "By condition" not in to_markdown(Results(scores), RUN, [])
