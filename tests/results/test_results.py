"""Tables for readers, differences between systems and published figures, with synthetic results."""

import csv
import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from commands import run
from paths import ROOT, SHARED

from avsv.errors import DataError
from avsv.io.lists import write_list, write_scores
from avsv.results.differences import Comparison, compare, read_members
from avsv.results.document import to_console, to_markdown
from avsv.results.frames import to_csv
from avsv.results.model import Results
from avsv.results.published import Published, read_published
from avsv.results.rates import Row, Run
from avsv.results.thresholds import OperatingPoint, apply_thresholds
from avsv.scoring.bootstrap import paired_difference
from avsv.scoring.metrics import eer
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.thresholds import Threshold, thresholds_csv

RUN = Run("c", "mini", 7, "abc", 100, "./run.sh")


def row(system, stage, rate, mode="AVxAV", trials="eval", cllr=None):
    figures = rate, rate / 2, 2 * rate, rate, 0.5, cllr
    return Row("c", "mini", system, trials, mode, stage, 10, 90, *figures, 7, "abc", "f00d")


ROWS = [
    row("one", "cos", 9.0),
    row("one", "asnorm", 8.0),
    row("one", "llr", 8.0, cllr=0.4),
    row("one", "asnorm", 18.0, mode="AxA"),
    row("two", "asnorm", 4.0),
    row("two", "asnorm", 3.0, trials="hard"),
    row("voice", "asnorm", 7.0, mode="AxA"),
    row("sum", "asnorm", 2.0),
]


def results(rows, differences=(), published=(), thresholds=(), **options):
    """Results made of rows that were not written to files."""
    found = {
        "differences": pd.DataFrame(differences, columns=Comparison._fields),
        "published": pd.DataFrame(published, columns=Published._fields),
        "thresholds": pd.DataFrame(thresholds, columns=OperatingPoint._fields),
    }
    return Results(pd.DataFrame(rows), **found, **options)


def cells_of(lines):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_systems_are_shown_in_their_widest_mode_by_kind_and_error_rate():
    console = to_console(results(ROWS, ensembles=["sum"])).splitlines()
    assert console[0] == "Trials 'eval': 10 target, 90 non-target"
    assert console[3].split() == ["voice", "AxA", "7.00", "3.50", "-", "14.00", "0.500", "voice"]
    two = console[4].split()
    assert two == ["two", "AVxAV", "4.00", "2.00", "-", "8.00", "0.500", "voice", "and", "face"]
    assert console[5].split() == [
        "one",
        "AVxAV",
        "8.00",
        "4.00",
        "-",
        "16.00",
        "9.00",
        "0.500",
        "0.400",
        *console[4].split()[-3:],
    ]
    assert console[6].split() == ["sum", "AVxAV", "2.00", "1.00", "-", "4.00", "0.500", "ensemble"]
    assert console[1].index("95 % interval") + len("95 % interval") == console[5].index("16.00") + 5
    assert console[8] == "Trials 'eval', all modes: EER % s-norm; the intervals are in RESULTS.md"
    assert console[9].split() == ["system", "AVxAV", "AxA"] and console[11].split() == ["one", "8.00", "18.00"]
    assert [results(ROWS).leading(name, 2) for name in ("eval", "hard")] == [["sum", "two"], ["two"]]


def test_systems_that_could_not_score_all_trials_are_named():
    rows = [*ROWS, row("part", "asnorm", 3.0)._replace(n_target=7)]
    gap = "part AVxAV: measured on 97 of the 100 trials, the others lack a voice or a face"
    assert f"  {gap}" in to_console(results(rows, ensembles=["sum"])).splitlines()
    assert f"- {gap}" in to_markdown(results(rows), RUN, []).splitlines()
    assert f"  {gap.replace('100', '120')}" in to_console(results(rows, sizes={"eval": 120, "hard": 100})).splitlines()
    assert not any("measured on" in line for line in to_console(results(ROWS, ensembles=["sum"])).splitlines())


def test_markdown_marks_the_best():
    markdown = to_markdown(results(ROWS, ensembles=["sum"]), RUN, [("A plot", "det.png")])
    lines = markdown.splitlines()
    assert "| voice | AxA | 7.00 | 3.50 - 14.00 |  | 0.500 |  | voice |" in lines
    # Only this system has raw and calibrated scores and several modes, and a single figure is not marked as best.
    assert "| one | AVxAV | 8.00 | 4.00 - 16.00 | 9.00 | 0.500 | 0.400 | voice and face |" in lines
    assert "| one | 8.00 (4.00 - 16.00) | 18.00 (9.00 - 36.00) |" in lines
    assert "| sum | AVxAV | **2.00** | 1.00 - 4.00 |  | 0.500 |  | ensemble |" in lines
    assert "| two | AVxAV | 4.00 | 2.00 - 8.00 |  | 0.500 |  | voice and face |" in lines
    assert "| two | AVxAV | 3.00 | 1.50 - 6.00 |  | 0.500 |  | voice and face |" in lines
    assert "## Trials `hard`" in markdown
    assert "![A plot](det.png)" in markdown
    assert "Published" not in markdown
    assert "Differences" not in markdown
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {9, 4}


def make_world(folder, systems, lose=()):
    """Write scores of systems, given as {name: {mode: noise}}, for one list of trials of eight speakers."""
    rng = np.random.default_rng(0)
    keys = [f"s{n}-{k}" for n in range(8) for k in range(4)]
    (folder / "data/eval/trials").mkdir(parents=True)
    write_list(folder / "data/eval/utt2spk", {key: key.split("-")[0] for key in keys})
    pairs = list(combinations(keys, 2))
    is_target = np.array([a.split("-")[0] == b.split("-")[0] for a, b in pairs])
    lines = [f"{a} {b} {'target' if t else 'nontarget'}\n" for (a, b), t in zip(pairs, is_target, strict=True)]
    (folder / "data/eval/trials/eval").write_text("".join(lines))
    enroll, test = np.array(pairs).T
    shared = rng.normal(size=len(pairs))
    for system, modes in systems.items():
        for mode, noise in modes.items():
            path = folder / f"exp/{system}/scores/eval/{mode}.asnorm"
            path.parent.mkdir(parents=True, exist_ok=True)
            scores = 3 * is_target + noise * (shared + rng.normal(size=len(pairs)))
            kept = np.arange(len(pairs)) >= (5 if system in lose else 0)
            write_scores(path, enroll[kept], test[kept], scores[kept])
    speakers = [np.array([key.split("-")[0] for key in side]) for side in (enroll, test)]
    return is_target, speakers, read_trial_sets([folder / "data/eval"])


def scores_of(folder, system, mode):
    lines = (folder / f"exp/{system}/scores/eval/{mode}.asnorm").read_text().split()
    return np.array(lines[2::3], dtype=np.float64)


WORLD = {"ecapa": {"AxA": 1.0}, "av": {"AVxAV": 0.8, "AxA": 1.3}, "mean": {"AVxAV": 0.7}}


def test_all_pairs_are_compared_on_equal_draws(tmp_path):
    is_target, speakers, sets = make_world(tmp_path, WORLD)
    (tmp_path / "exp/ensembles").write_text("mean ecapa/AxA av/AxA\n")
    members = read_members(tmp_path / "exp")
    assert members == {"mean": [("ecapa", "AxA"), ("av", "AxA")]}
    assert read_members(tmp_path / "exp/none") == {}
    rows = compare(tmp_path / "exp", list(WORLD), members, sets, RUN)
    named = {(r.system_a, r.system_b, r.mode): r for r in rows}
    # The ensemble is compared with av in its widest mode too, and with ecapa once.
    assert list(named) == [
        ("ecapa", "av", "AxA/AVxAV"),
        ("ecapa", "mean", "AxA/AVxAV"),
        ("av", "mean", "AVxAV"),
        ("mean", "av", "AVxAV/AxA"),
    ]
    for (a, b, mode), found in named.items():
        modes = mode.split("/")
        one, other = scores_of(tmp_path, a, modes[0]), scores_of(tmp_path, b, modes[-1])
        expected = paired_difference(one, other, is_target, *speakers, resamples=100, seed=7)
        assert found[9:12] == pytest.approx([100 * x for x in expected[:3]])
        assert found.p == pytest.approx(expected.p)
        assert found.eer_a == pytest.approx(100 * eer(one, is_target))
        assert found.difference == pytest.approx(found.eer_a - found.eer_b)
    header = "corpus,preset,trials,mode,stage,system_a,system_b,eer_a,eer_b,difference,low,high,p,seed"
    assert to_csv(rows, Comparison).splitlines()[0] == header
    assert to_csv([], Comparison) == header + "\n"


def test_comparisons_use_the_trials_that_all_have(tmp_path):
    is_target, speakers, sets = make_world(tmp_path, WORLD, lose=["av"])
    rows = compare(tmp_path / "exp", ["ecapa", "av", "absent"], {}, sets, RUN)
    one, other = scores_of(tmp_path, "ecapa", "AxA")[5:], scores_of(tmp_path, "av", "AVxAV")
    sides = [side[5:] for side in speakers]
    expected = paired_difference(one, other, is_target[5:], *sides, resamples=100, seed=7)
    assert len(rows) == 1
    assert rows[0][9:12] == pytest.approx([100 * x for x in expected[:3]])
    assert compare(tmp_path / "exp", ["ecapa"], {}, sets, RUN) == []


def comparison(a, b, rates, p=0.5, mode="AVxAV"):
    difference = rates[a] - rates[b]
    return Comparison(
        "c", "mini", "eval", mode, "asnorm", a, b, rates[a], rates[b], difference, difference - 1, difference + 1, p, 7
    )


def test_differences_shown_are_those_from_the_best(tmp_path):
    kinds = {"a1": "AxA", "a2": "AxA", "a3": "AxA", "v1": "VxV", "f1": "AVxAV", "f2": "AVxAV", "e1": "AVxAV"}
    rates = {"a1": 5.0, "a2": 6.0, "a3": 7.0, "v1": 8.0, "f1": 3.0, "f2": 4.0, "e1": 2.5}
    rows = [row(system, "asnorm", rates[system], mode) for system, mode in kinds.items()]
    pairs = [
        comparison(a, b, rates, 0.001, kinds[a] if kinds[a] == kinds[b] else f"{kinds[a]}/{kinds[b]}")
        for a, b in combinations(kinds, 2)
    ]
    pairs.append(comparison("e1", "f2", rates, 0.00001, "AVxAV/AxA"))
    markdown = to_markdown(results(rows, pairs, ensembles=["e1"]), RUN, [])
    assert "all 22 pairs are in `differences.csv`" in markdown
    shown = cells_of(markdown.split("Differences in EER")[1].splitlines())[1:]
    assert [line[:3] for line in shown] == [
        *[[x, "e1", "AxA/AVxAV"] for x in ("a1", "a2", "a3")],
        ["v1", "e1", "VxV/AVxAV"],
        ["f1", "e1", "AVxAV"],
        ["f2", "e1", "AVxAV"],
        ["a2", "a1", "AxA"],
        ["a3", "a1", "AxA"],
        ["f2", "f1", "AVxAV"],
        ["e1", "f2", "AVxAV/AxA"],
    ]
    assert shown[0][3:] == ["5.00", "2.50", "**+2.50**", "+1.50 to +3.50", "0.0010"]
    assert shown[-1][5:] == ["**-1.50**", "-2.50 to -0.50", "< 0.0001"]


def test_forty_systems_stay_readable(tmp_path):
    rng = np.random.default_rng(0)
    modes = ["AxA"] * 15 + ["VxV"] * 5 + ["AVxAV"] * 20
    systems = {f"system{n}": mode for n, mode in enumerate(modes)}
    rows = [row(s, "asnorm", float(rng.uniform(1, 9)), mode) for s, mode in systems.items()]
    rows += [row(f"system{n}", "asnorm", 20.0, mode) for n in range(20, 30) for mode in ("AxA", "VxV")]
    rates = {r.system: r.eer for r in rows[:40]}
    pairs = [
        comparison(a, b, rates, mode=systems[a] if systems[a] == systems[b] else f"{systems[a]}/{systems[b]}")
        for a, b in combinations(systems, 2)
    ]
    markdown = to_markdown(results(rows, pairs, ensembles=["system39"]), RUN, [])
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("| ")]
    assert [len(table) - 2 for table in tables[:2]] == [40, 10]
    assert len(tables[2]) - 2 < 80  # of 780 pairs
    kinds = [line.split("|")[-2].strip() for line in tables[0][2:]]
    assert list(dict.fromkeys(kinds)) == ["voice", "face", "voice and face", "ensemble"]
    assert max(map(len, to_console(results(rows)).splitlines())) <= 120


# Our names for the rows of the tables in the papers, with the modality or the paper if the name is not unique.
NAMES = {
    "ECAPA-TDNN": "ecapa1024",
    "SimAM-ResNet": "simam_resnet34",
    "HuBERT Base (frozen, classifier fine-tuned)": "hubert_base",
    "HuBERT Large (frozen, classifier fine-tuned)": "hubert_large",
    "WavLM Base+ (frozen, classifier fine-tuned)": "wavlm_base_plus",
    "WavLM Large (frozen, classifier fine-tuned)": "wavlm_large",
    "HuBERT Large (all fine-tuned)": "hubert_large_ft",
    "WavLM Large (all fine-tuned)": "wavlm_large_ft",
    "Z. Chen 2020 (1)": "chen2020_audio",
    "Z. Chen 2020 (2)": "chen2020_visual",
    "Z. Chen 2020 (3) fusion": "chen2020_fusion",
    "Z. Chen 2020 ensemble(1;2)": "chen2020_ens12",
    "Z. Chen 2020 ensemble(1;2;3)": "chen2020_ens123",
    "Y. Qian 2021 fusion": "qian2021_fusion",
    "Ours (4)": "ecapa_we",
    "Ours (5)": "iresnet18_we",
    "Ours fusion w/o cycle consistency": "jap",
    "Ours fusion": "jap",
    "Ours (6) fusion with cycle consistency": "jap_cycle",
    "Ours fusion(cycle)": "jap_cycle",
    "Ours fusion(diffusion)": "jap_diffusion",
    "Ours (6) fusion(NCE)": "jap_nce",
    "Multi-view fusion": "multiview_fusion",
    "Mean fusion": "mean_fusion",
    "MLP fusion": "mlp_fusion",
    "REPTAR": "reptar",
    ("Y. Qian 2021", "A"): "qian2021_audio",
    ("Y. Qian 2021", "V"): "qian2021_visual",
    ("Ours w/o enhanced", "A"): "ecapa",
    ("Ours w/o enhanced", "V"): "iresnet18",
    ("Ours ensemble(4;5;6)", "001"): "ens_jap_cycle",
    ("Ours ensemble(4;5;6)", "004"): "ens_jap_nce",
}
LEFT_OUT = {
    "abstract": "repeats the best rows of the tables; the abstract of 001 has 0.27 % on E where its table has 0.26 %",
    "text section V": "means over the five matched modes of Table I",
    "text section VI-B": "silhouettes of embeddings: no figure of a trial list",
}


def test_published_figures_are_those_of_the_papers():
    shared = SHARED / "paper_results.csv"
    if not shared.is_file():
        pytest.skip(f"{shared} is not there")
    with shared.open(newline="") as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == 219
    figures = read_published(ROOT / "conf" / "published.csv")
    found = {(f.system, f.trials, f.mode, f.metric, f.value) for f in figures}
    used, left_out = set(), 0
    for line in expected:
        if line["table"] in LEFT_OUT:
            left_out += 1
            continue
        keys = [line["system"], (line["system"], line["modality"]), (line["system"], line["seed"])]
        system = next(NAMES[key] for key in keys if key in NAMES)
        modality = line["modality"]
        mode = modality if "x" in modality else f"{modality}x{modality}"
        trials = line["condition"].removesuffix(" (as labelled)")
        metric = {"EER_percent": "eer", "minDCF_p0.01": "mindcf"}[line["metric"]]
        key = system, trials, mode, metric, line["value"]
        assert key in found, line
        used.add(key)
    assert left_out == 12
    # All other figures come from another source.
    assert {system for system, *_ in found - used} == {"avcleanse_audio", "avcleanse_visual", "avcleanse_ens"}


def test_published_figures_are_sound():
    figures = read_published(ROOT / "conf" / "published.csv")
    for figure in figures:
        assert figure.modality in {"A", "V", "AV"}
        assert set(figure.mode) - {"x"} <= set(figure.modality)
        assert figure.corpus == "VoxCeleb1"
        assert figure.trials in {"VoxCeleb1-O", "VoxCeleb1-E", "VoxCeleb1-H"}
        assert all(figure)
        assert 0 < float(figure.value) < (1 if figure.metric == "mindcf" else 100)


def test_matched_modes_are_averaged_as_in_the_paper():
    """The rates of Table I of Claborne et al. have the means that its text names; AxV does not count."""
    modes = ("AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV")
    printed = {
        "multiview_fusion": (10.6, 15.8, 15.2, 17.2, 18.1, 29.7),
        "mean_fusion": (10.1, 16.0, 14.6, 17.0, 15.0, 35.9),
        "mlp_fusion": (10.5, 17.7, 14.3, 18.4, 15.1, 30.9),
    }
    rows = [
        row(name, "asnorm", rate, mode) for name in printed for mode, rate in zip(modes, printed[name], strict=True)
    ]
    rows += [row("ssa", "asnorm", 9.0, mode) for mode in modes[1:]]
    lines = to_console(results(rows)).splitlines()
    table = lines[next(n for n, line in enumerate(lines) if "all modes" in line) + 1 :]
    assert table[0].split() == ["system", *modes, "matched"]
    found = {line.split()[0]: line.split()[1:] for line in table[2:] if line.strip()}
    assert {name: found[name][-1] for name in printed} == {
        "multiview_fusion": "15.38",
        "mean_fusion": "14.54",
        "mlp_fusion": "15.20",
    }
    assert len(found["ssa"]) == 5  # has no rate in one of the modes, so there is no mean


def test_published_figures_are_next_to_ours():
    published = read_published(ROOT / "conf" / "published.csv")
    rows = [
        row("ecapa", "asnorm", 7.0, "AxA"),
        row("ecapa", "asnorm", 8.0, "AxA", trials="hard"),
        row("jap_cycle", "asnorm", 3.0),
        row("jap_cycle", "asnorm", 9.0, "AxA"),
        row("mean_fusion", "asnorm", 12.0),
        row("mean_fusion", "cos", 14.0),
        row("ours_only", "asnorm", 5.0),
    ]
    text = to_markdown(results(rows, published=published), RUN, [])
    assert "measured on different data: VoxCeleb1, our figures on c. Neither" in text
    table = cells_of(text.split("## Published figures")[1].splitlines())
    header = ["system", "mode", "ours, eval", "ours, hard", "VoxCeleb1-O", "VoxCeleb1-E", "VoxCeleb1-H", "published as"]
    assert sorted(table[0]) == sorted(header) and table[0][4:] == header[4:]
    ecapa = dict(zip(table[0], table[1], strict=True))
    assert table[1][:2] == ["ecapa", "AxA"]
    assert ecapa["published as"].startswith("Sun et al. 2022")
    figures = ["7.00 (0.500)", "8.00 (0.500)", "0.98 (0.140)", "1.24 (0.163)", "2.30 (0.264)"]
    assert [ecapa[name] for name in header[2:7]] == figures
    cycle = [line for line in table if line[0] == "jap_cycle"]
    assert [line[2:7] for line in cycle] == [
        ["3.00 (0.500)", "", "0.18 (0.017)", "0.26 (0.035)", "0.49 (0.057)"],
        ["3.00 (0.500)", "", "0.18 (0.017)", "0.26 (0.035)", "0.49 (0.058)"],
    ]
    assert {line[0] for line in table[1:]} == {"ecapa", "jap_cycle", "mean_fusion"}
    # The paper of this system does not normalize scores.
    ours = {line[1]: line[2] for line in table if line[0] == "mean_fusion"}
    assert len(ours) == 6 and ours["AVxAV"] == "14.00 (0.500)"
    notes = {
        int(line.split(".")[0]) for line in text.split("## Published figures")[1].splitlines() if line[:1].isdigit()
    }
    assert notes == {int(line[-1].split("[")[1].rstrip("]")) for line in table[1:]}
    vox = to_markdown(results([r._replace(corpus="voxceleb") for r in rows], published=published), RUN, [])
    assert "different data" not in vox
    rows = [r._replace(corpus="voxceleb (part)") for r in rows]
    part = to_markdown(results(rows, published=published), RUN, [])
    assert "measured on different data: " in part and "our figures on voxceleb (part)." in part


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", ":1: expected the columns system,paper"),
        ("{header}\na,b\n", ":2: 2 fields instead of 12"),
        ("{header}\ns,p,t,r,A,c,l,AxB,cos,eer,1,x\n", ":2: mode 'AxB' is not one of"),
        ("{header}\ns,p,t,r,A,c,l,AxA,cos,eer,low,x\n", ":2: could not convert string to float: 'low'"),
        ("{header}\ns,p,t,r,A,c,l,AxA,llr,eer,1,x\n", ":2: stage 'llr' is not one of asnorm cos"),
        ("{header}\ns,p,t,r,A,c,l,AxA,cos,cllr,1,x\n", ":2: metric 'cllr' is not one of eer mindcf"),
    ],
)
def test_bad_published_figures(tmp_path, text, message):
    header = "system,paper,table,row,modality,corpus,trials,mode,stage,metric,value,condition"
    path = tmp_path / "published.csv"
    path.write_text(text.format(header=header))
    with pytest.raises(DataError, match=message):
        read_published(path)
    with pytest.raises(DataError, match="none: no such file"):
        read_published(tmp_path / "none")


def run_results(folder, *options):
    command = [sys.executable, "-m", "avsv.bin.results", "--corpus", "c", "--preset", "mini", "--seed", "7"]
    command += ["--git", "abc", "--command", "./run.sh", "--resamples", "60", *options]
    command += ["--systems", " ".join(WORLD), folder / "exp", folder / "results", folder / "data/eval"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return (folder / "results/RESULTS.md").read_text()


def test_command_writes_everything(tmp_path):
    make_world(tmp_path, WORLD)
    (tmp_path / "exp/ensembles").write_text("mean ecapa/AxA av/AxA\n")
    assert "Published" not in run_results(tmp_path)
    text = run_results(tmp_path, "--published", ROOT / "conf/published.csv")
    assert "| mean | AVxAV |" in text
    assert "## Published figures" in text
    lines = (tmp_path / "results/differences.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("c,mini,eval,AxA/AVxAV,asnorm,ecapa,av,")
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {
        "RESULTS.md",
        "results.csv",
        "differences.csv",
        "conditions.csv",
        "thresholds.csv",
        "environment.json",
        "table.txt",
        "det.png",
    }


def test_thresholds_are_applied_to_other_trials(tmp_path):
    is_target, _, sets = make_world(tmp_path, WORLD)
    folder = tmp_path / "exp/ecapa/scores"
    (folder / "eval/AxA.asnorm").rename(folder / "eval/AxA.llr")
    with pytest.raises(DataError, match=r"ecapa/scores/thresholds.csv: no such file: calibrate again"):
        apply_thresholds(tmp_path / "exp", list(WORLD), sets, RUN)
    (folder / "thresholds.csv").write_text(
        thresholds_csv(
            [Threshold("AxA", 10.0, 1.5, 9.9, 4.0, 80, 400), Threshold("AxA", 1.0, None, None, None, 80, 400)]
        )
    )
    points = apply_thresholds(tmp_path / "exp", list(WORLD), sets, RUN)
    llr = np.array((folder / "eval/AxA.llr").read_text().split()[2::3], dtype=np.float64)
    accepted = llr > 1.5
    rates = 100 * accepted[~is_target].mean(), 100 * (~accepted)[is_target].mean()
    counts = int(is_target.sum()), int((~is_target).sum())
    names = "c", "mini", "eval", "ecapa", "AxA"
    assert points == [(*names, 10.0, 1.5, *rates, *counts, 7), (*names, 1.0, None, None, None, *counts, 7)]
    rows = [row("ecapa", "asnorm", 8.0, mode="AxA"), row("av", "asnorm", 5.0)]
    lines = to_markdown(results(rows, thresholds=points), RUN, []).splitlines()
    assert f"| ecapa | AxA | 10 | 1.50 | {rates[0]:.2f} | {rates[1]:.2f} |" in lines
    assert any("a threshold needs 30 false accepts of development trials: 1 %." in line for line in lines)
    assert "| system | mode | wanted % | threshold | false accepts % | false rejects % |" in lines
    assert "Thresholds" not in to_markdown(results(rows), RUN, [])
    (folder / "thresholds.csv").write_text("mode,wanted\nAxA,x\n")
    with pytest.raises(DataError, match=r"thresholds\.csv: not a table of thresholds"):
        apply_thresholds(tmp_path / "exp", list(WORLD), sets, RUN)


def test_results_need_no_torch():
    code = "import sys, avsv.bin.results; sys.exit('torch' in sys.modules)"
    assert run(sys.executable, "-c", code).returncode == 0
