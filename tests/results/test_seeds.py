"""Tables of systems with several seeds, against the functions of scoring on the same trials."""

import csv
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from commands import run

from avsv.errors import DataError
from avsv.io.lists import write_list, write_scores
from avsv.results.seeds import Entry, compare_seeds, parse_entry, parse_pair
from avsv.scoring.bootstrap import resampled_eers, speaker_bootstrap
from avsv.scoring.metrics import eer
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.seeds import holm, seeds_difference, seeds_interval

KEYS = [f"s{n:02}-{k}" for n in range(10) for k in range(4)]
PAIRS = list(combinations(KEYS, 2))
SEPARATION = {"voice": 1.0, "av": 3.0, "twin": 3.0}
LOST = 7  # a trial that one training has not scored


class World:
    """Score files of three systems with three seeds."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data/eval"
        (self.data / "trials").mkdir(parents=True)
        write_list(self.data / "utt2spk", {key: key[:3] for key in KEYS})
        self.is_target = np.array([a[:3] == b[:3] for a, b in PAIRS])
        labels = ["target" if label else "nontarget" for label in self.is_target]
        lines = [f"{a} {b} {label}\n" for (a, b), label in zip(PAIRS, labels, strict=True)]
        (self.data / "trials/eval").write_text("".join(lines))
        self.runs = [folder / f"exp/seed{n}/mini" for n in range(3)]
        rng = np.random.default_rng(0)
        self.scores = {}
        enroll, test = np.array(PAIRS).T
        for number, path in enumerate(self.runs):
            for system, separation in SEPARATION.items():
                for mode in ("AVxAV", "AxA") if system != "voice" else ("AxA",):
                    values = (separation + 0.2 * number) * self.is_target + rng.normal(size=len(PAIRS))
                    self.scores[system, mode, number] = values.astype(np.float32)
                    file = path / system / "scores/eval" / f"{mode}.asnorm"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    kept = np.arange(len(PAIRS)) != (LOST if (system, number) == ("voice", 1) else -1)
                    write_scores(file, enroll[kept], test[kept], values[kept])
        kept = np.arange(len(PAIRS)) != LOST
        speakers = np.array([[int(key[1:3]) for key in pair] for pair in PAIRS])[kept]
        self.trials = self.is_target[kept], *speakers.T
        self.kept = kept

    def compare(self, systems=(), pairs=()):
        return compare_seeds(self.runs, systems, pairs, read_trial_sets([self.data]), "asnorm", 40, 0)

    def of(self, system, mode):
        scores = [self.scores[system, mode, n][self.kept] for n in range(3)]
        return scores, np.array([resampled_eers(values, *self.trials, 40, 0) for values in scores])


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_rows_and_contrasts_equal_the_functions_of_scoring(world):
    pairs = [parse_pair(word) for word in ("av:voice", "twin/AxA:voice/AxA", "twin:av")]
    rows, contrasts = world.compare([parse_entry("av")], pairs)
    assert [(row.system, row.mode, row.seeds) for row in rows if row.run == "all"] == [
        ("av", "AVxAV", 3),
        ("voice", "AxA", 3),
        ("twin", "AxA", 3),
        ("twin", "AVxAV", 3),
    ]
    for row in rows:
        scores, draws = world.of(row.system, row.mode)
        rates = [eer(values, world.trials[0]) for values in scores]
        if row.run == "all":
            assert row.eer == pytest.approx(100 * np.mean(rates))
            expected = seeds_interval(scores, *world.trials, draws)
            assert row.seed_std == pytest.approx(100 * np.std(rates, ddof=1))
        else:
            number = [str(path) for path in world.runs].index(row.run)
            assert row.eer == pytest.approx(100 * rates[number])
            expected = speaker_bootstrap(scores[number], *world.trials, 40, 0)
        assert (row.low, row.high) == pytest.approx([100 * limit for limit in expected])
    p_values = []
    for row in contrasts:
        sides = [world.of(system, mode) for system, mode in ((row.a, row.mode_a), (row.b, row.mode_b))]
        rates = [[eer(values, world.trials[0]) for values in scores] for scores, _ in sides]
        expected = seeds_difference(*rates, *(draws for _, draws in sides), 10)
        assert (row.difference, row.low, row.high) == pytest.approx([100 * value for value in expected[:3]])
        assert row.difference == pytest.approx(row.eer_a - row.eer_b)
        assert row.p == pytest.approx(expected.p)
        p_values.append(row.p)
    assert [row.p_holm for row in contrasts] == pytest.approx(holm(p_values))
    assert contrasts[0].p_holm < 0.05 < contrasts[2].p_holm


def command(world, *words):
    return run(sys.executable, "-m", "avsv.bin.compare_seeds", "--data", world.data, "--resamples", 40, *words)


def test_the_command_prints_and_writes_the_tables(world, tmp_path):
    out = tmp_path / "seeds"
    result = command(world, "--pairs", "av:voice twin:av", "--out", out, *world.runs)
    assert result.returncode == 0, result.stderr
    _, contrasts = world.compare([], [parse_pair("av:voice"), parse_pair("twin:av")])
    found = contrasts[0]
    line = next(line for line in result.stdout.splitlines() if line.startswith("| av/AVxAV | voice/AxA |"))
    assert line.split("|")[5].strip() == f"**{found.difference:+.2f} ({found.low:+.2f} to {found.high:+.2f})**"
    with (out / "seed_differences.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [float(record["difference"]) for record in records] == pytest.approx(
        [row.difference for row in contrasts], abs=1e-4
    )
    with (out / "seeds.csv").open() as file:
        assert [record["run"] for record in csv.DictReader(file)][:4] == [*map(str, world.runs), "all"]


def test_the_page_of_a_study(tmp_path):
    """Its contrasts are those of the file, its figures those of the tables, and its sentences follow from them."""
    world = World(tmp_path)
    conf = tmp_path / "conf"
    for folder in ("systems", "studies"):
        (conf / folder).mkdir(parents=True)
    (conf / "systems/base.yaml").touch()
    (conf / "studies/both.yaml").write_text(
        "question: Are two modalities better than one?\nbase: base\nseeds: [3, 4]\n"
        "variants: {av: , twin: {set: {train.epochs: 4}}, voice: }\n"
        "contrasts: ['av:voice', 'twin/AxA:voice', 'twin:av']\n"
    )
    minutes = {}
    for number, path in enumerate(world.runs):
        for name in SEPARATION:
            folder = path / f"both-{name}"
            (path / name).rename(folder)
            (folder / "run.yaml").write_text(
                "git: 0a1b\nversions: {torch: 2.9}\nprocessor: {model: Some CPU, instructions: AVX2}\n"
            )
            (folder / "analysis").mkdir()
            (folder / "analysis/cost.csv").write_text(
                "part,parameters,multiply_adds,seconds\na,5,7,1\nwhole,1234,56789,1\n"
            )
            (folder / "train.csv").write_text(
                "epoch,seconds,accuracy,audio_attention_entropy\n"
                f"1,{60 * (number + 1)},0.1,1\n2,30,0.{number + 5},0.9\n"
            )
            if name == "av":
                (folder / "analysis/averaging.csv").write_text(
                    f"utterances,correlation,largest_difference\n9,0.{number + 7},0.5\n"
                )
            (folder / "analysis/worth.csv").write_text(
                "modality,utterances,correlation,low,high,good_weight\n"
                f"audio,9,0.{number + 2},0,1,1.5\nvisual,9,0.7,0,1,2\n"
            )
            minutes[name] = (1.5 + 2.5 + 3.5) / 3
    out = tmp_path / "page"
    study = ["--study", conf / "studies/both.yaml"]
    assert run(sys.executable, "-m", "avsv.bin.compare_seeds", *study, "--list-seeds").stdout == "3 4\n"
    result = command(world, *study, "--out", out, *world.runs)
    assert result.returncode == 0, result.stderr
    page = (out / "STUDY.md").read_text()
    assert page.startswith("# Study: both\n\nAre two modalities better than one?\n")
    assert "Trained with revision 0a1b, PyTorch 2.9, Some CPU, AVX2.\n" in page
    row = next(line.split("|") for line in page.splitlines() if line.startswith("| both-twin | base |"))
    assert [cell.strip() for cell in row[3:-1]] == ["train.epochs: 4", "1,234", "56,789", f"{minutes['twin']:.1f}"]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| both-")
    ]
    assert ["both-twin", "0.600"] in rows
    assert ["both-av", "0.800", "0.500"] in rows
    assert ["both-twin, voice", "0.900", "0.300", "1.500"] in rows
    assert not any("face" in row[0] for row in rows)
    with (out / "seed_differences.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(r["a"], r["mode_a"], r["b"]) for r in found] == [
        ("both-av", "AVxAV", "both-voice"), ("both-twin", "AxA", "both-voice"), ("both-twin", "AVxAV", "both-av")
    ]  # fmt: skip
    for record, line in zip(found, [line for line in page.splitlines() if line.startswith("- ")], strict=True):
        better = float(record["p_holm"]) < 0.05
        assert ("makes fewer errors" in line) == better
        assert better or "Not decided" in line or "No difference seen" in line
    assert (out / "contrasts.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "runs", "message"),
    [
        (["--systems", "av"], [0], "needs at least two runs, each given once"),
        (["--systems", "av"], [0, 0], "needs at least two runs, each given once"),
        ([], [0, 1], "nothing to compare: name systems with --systems, contrasts with --pairs, or a study"),
        (["--pairs", "av-voice"], [0, 1], "contrast 'av-voice': expected SYSTEM:SYSTEM"),
        (["--systems", "av/AxB"], [0, 1], "mode 'AxB' is not one of"),
        (["--systems", "nobody"], [0, 1], "nobody/scores/eval: no scores of"),
        (["--systems", "voice/VxV"], [0, 1], "VxV.asnorm: no such file: every run must have scored voice"),
        (["--systems", "av", "--stage", "plda"], [0, 1], "AVxAV.plda: no such file"),
        (["--systems", "av", "--resamples", "1"], [0, 1], "--resamples 1: a spread needs at least 2"),
    ],
)
def test_what_cannot_be_compared(world, tmp_path, options, runs, message):
    out = tmp_path / "seeds"
    result = command(world, "--out", out, *options, "--", *(world.runs[number] for number in runs))
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_trials_of_one_class(world):
    path = world.data / "trials/eval"
    path.write_text("".join(line for line in path.open() if line.endswith(" target\n")))
    for file in world.runs[0].parents[1].rglob("*.asnorm"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if line[:3] == line.split()[1][:3]))
    with pytest.raises(DataError, match="no non-target trial"):
        world.compare([Entry("av", None)])
