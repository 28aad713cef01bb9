"""The report page of a small synthetic run: its content compared with the inputs, and its behavior in a browser."""

import base64
import csv
import io
import re
import shutil
import sys
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from browser import Page, needs_browser
from matplotlib.figure import Figure
from scipy.special import ndtr

from avsv.bin.report import main
from avsv.errors import DataError
from avsv.io.ark import ArkWriter, read_rows
from avsv.io.lists import read_list, write_list, write_scores
from avsv.report.exhibits import MAX_PICTURES, SWEEP_COLUMNS, read_exhibits, sweeps_of
from avsv.report.gather import ScoreSet
from avsv.report.hardest import hardest_places
from avsv.results.conditions import ConditionRow, evaluate_conditions
from avsv.results.differences import Comparison, compare, read_members
from avsv.results.frames import to_csv
from avsv.results.plots import DetLine, draw_det
from avsv.results.rates import Row, Run, evaluate
from avsv.results.thresholds import OperatingPoint, apply_thresholds
from avsv.scoring.metrics import eer
from avsv.scoring.scorer import read_trial_sets
from avsv.scoring.thresholds import Threshold, thresholds_csv
from avsv.video.config import FaceFormat

ENSEMBLE = "a_sum_with_a_name_that_does_not_fit_a_phone"
SYSTEMS = {
    "voice": {"AxA": 1.6},
    "face": {"VxV": 1.2},
    "av": {"AVxAV": 0.9, "AxA": 1.7, "VxV": 1.3},
    ENSEMBLE: {"AVxAV": 1},
}
ODD = "s0-<b>&amp;'\"0"  # a key that must not become markup
KEYS = [ODD, *(f"s{n}-{k}" for n in range(6) for k in range(4) if (n, k) != (0, 0))]
COMMAND = "./run.sh --preset made --seed 5"


def speaker(key: str) -> str:
    return key.split("-")[0]


def make_clips(data: Path) -> None:
    """Write half a second of a tone and eight gray frames for every utterance."""
    rng = np.random.default_rng(1)
    time = np.arange(8000) / 16000
    audio = {}
    with ArkWriter(data / "faces", "pixels") as faces:
        for number, key in enumerate(KEYS):
            audio[key] = data / f"{number}.wav"
            soundfile.write(audio[key], 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time), 16000)
            frames = np.clip(rng.integers(20, 200) + 4 * np.arange(8)[:, None] + rng.integers(0, 8, (8, 256)), 0, 255)
            faces.write(key, frames.astype(np.uint8))
    FaceFormat(1, 16, 16, 25.0).write(data / "faces.conf")
    write_list(data / "wav.scp", audio)
    write_list(data / "utt2num_faces", dict.fromkeys(KEYS, 8))
    write_list(data / "utt2dur", {key: 0.3 if key == ODD else 0.5 for key in KEYS})
    write_list(data / "utt2session", {key: f"{speaker(key)}-{int(key[-1]) % 2}" for key in KEYS})
    write_list(data / "spk2gender", {f"s{n}": "mf"[n % 2] for n in range(6)})


def make_run(folder: Path) -> Path:
    """Write a run with everything that the page can show."""
    rng = np.random.default_rng(0)
    data, exp = folder / "data/eval", folder / "exp/made"
    (data / "trials").mkdir(parents=True)
    write_list(data / "utt2spk", {key: speaker(key) for key in KEYS})
    make_clips(data)
    pairs = [pair for pair in combinations(KEYS, 2) if rng.random() < 0.7]
    enroll, test = np.array(pairs).T
    is_target = np.array([speaker(a) == speaker(b) for a, b in pairs])
    lines = [f"{a} {b} {'target' if t else 'nontarget'}\n" for (a, b), t in zip(pairs, is_target, strict=True)]
    (data / "trials/eval").write_text("".join(lines))
    noise = rng.normal(size=len(pairs))
    for system, modes in SYSTEMS.items():
        for mode, spread in modes.items():
            scores = 3 * is_target + spread * (noise + rng.normal(size=len(pairs)))
            (exp / system / "scores/eval").mkdir(parents=True, exist_ok=True)
            write_scores(exp / system / f"scores/eval/{mode}.asnorm", enroll, test, scores)
            if system != ENSEMBLE:
                write_scores(
                    exp / system / f"scores/eval/{mode}.cos", enroll, test, scores + rng.normal(size=len(pairs))
                )
    write_scores(exp / ENSEMBLE / "scores/eval/AVxAV.llr", enroll, test, scores - 1.5)
    (exp / "ensembles").write_text(f"{ENSEMBLE} voice/AxA face/VxV\n")
    for system, names in {"voice": ["A"], "face": ["V"], "av": ["AV"]}.items():
        (exp / system / "analysis").mkdir()
        places = rng.normal(size=(len(KEYS), 2))
        spreads = [f"{names[0]},within,24,30.5,5,20,30.25,40", f"{names[0]},between,15,80,5,70,81,90"]
        spreads += [f"{names[0]},silhouette{of},24,-0.125,0.1,-0.2,-0.1,0" for of in ("", " of the UMAP")]
        head = "modality,measure,count,mean,std,p05,median,p95\n"
        (exp / system / "analysis/geometry.csv").write_text(head + "\n".join(spreads) + "\n")
        points = [
            f"{names[0]},{key},{speaker(key)},{x:.4f},{y:.4f}\n" for key, (x, y) in zip(KEYS, places, strict=True)
        ]
        (exp / system / "analysis/projection.csv").write_text("modality,utterance,identity,x,y\n" + "".join(points))
        parts = {"audio": 2_500_000, "visual": 1_000_000} if system == "av" else {"audio": 1_234_567}
        parts["all"] = sum(parts.values())
        lines = [f"{part},{count},{200 * count},0.25\n" for part, count in parts.items()]
        (exp / system / "analysis/cost.csv").write_text("part,parameters,multiply_adds,seconds\n" + "".join(lines))
        text = "epoch,loss,accuracy,dev_eer\n1,4.5,0.2,0.31\n2,3.5,0.4,\n3,2.5,0.8,0.21\n"
        (exp / system / "train.csv").write_text(text)
    make_sweeps(exp / "sweeps")
    results = exp / "results"
    results.mkdir()
    run, sets = Run("made-up", "made", 5, "abc", 40, COMMAND), read_trial_sets([data])
    (results / "results.csv").write_text(to_csv(evaluate(exp, list(SYSTEMS), sets, run), Row))
    found = compare(exp, list(SYSTEMS), read_members(exp), sets, run)
    (results / "differences.csv").write_text(to_csv(found, Comparison))
    conditions = evaluate_conditions(exp, list(SYSTEMS), sets, [data], run)
    (results / "conditions.csv").write_text(to_csv(conditions, ConditionRow))
    chosen = [Threshold("AVxAV", 10.0, -0.25, 9.5, 4.0, 50, 400), Threshold("AVxAV", 1.0, None, None, None, 50, 400)]
    (exp / ENSEMBLE / "scores/thresholds.csv").write_text(thresholds_csv(chosen))
    points = apply_thresholds(exp, list(SYSTEMS), sets, run)
    (results / "thresholds.csv").write_text(to_csv(points, OperatingPoint))
    (folder / "published.csv").write_text(
        "system,paper,table,row,modality,corpus,trials,mode,stage,metric,value,condition\n"
        "av,A & B 1999,Table <1>,Theirs,AV,VoxCeleb1,VoxCeleb1-O,AVxAV,asnorm,eer,0.16,much data\n"
        "av,A & B 1999,Table <1>,Theirs,AV,VoxCeleb1,VoxCeleb1-O,AVxAV,asnorm,mindcf,0.014,much data\n"
        "other,C 2000,Table 2,Not ours,AV,VoxCeleb1,VoxCeleb1-O,AVxAV,asnorm,eer,0.99,nothing\n"
    )
    return folder


def make_sweeps(folder: Path) -> None:
    rates = {("voice", "AxA"): [20, 26, 35], ("face", "VxV"): [15, 15, 16], ("av", "AVxAV"): [9, 14, 22]}
    lines = [",".join(SWEEP_COLUMNS)]
    above = {"clean": (-6, -1.5), "10": (-1, -0.5), "0": (6, 8.0)}  # differences and upper limits of their intervals
    for (system, mode), values in rates.items():
        for level, rate in zip(("clean", "10", "0"), values, strict=True):
            value, high = above[level]
            difference = f"face VxV,{value},{2 * value - high},{high}" if system == "av" else ",,,"
            lines.append(f"{system},eval,{mode},loud_noise,{level},{rate}.5,{rate - 2},{rate + 3},5,{difference}")
    folder.mkdir()
    (folder / "loud_noise.csv").write_text("\n".join(lines) + "\n")
    (folder / "command.txt").write_text("steps/sweep.sh exp/made\n")


def arguments(*options: str) -> list[str]:
    rest = ["--systems", "voice face av", "exp/made", "exp/made/results", "data/eval"]
    return ["--seed", "5", "--command", COMMAND, *options, *rest]


def report(folder: Path, *options: str) -> str:
    """Make the page as the step does, and return it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["report", *arguments(*options)])
        main()
    return (folder / "exp/made/results/report.html").read_text()


class Reader(HTMLParser):
    """The tables of a page by caption, as rows of cell texts with the header first, and its texts by tag and class."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: dict[str, list[str]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self._rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.elements.append((tag, named))
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        if tag not in ("meta", "link", "img", "wbr"):
            self._open.append((f"{tag}.{named['class']}" if named.get("class") else tag, []))

    def handle_data(self, data):
        for _, parts in self._open:
            parts.append(data)

    def handle_endtag(self, tag):
        kind, parts = self._open.pop()
        assert kind.split(".")[0] == tag, f"<{kind}> is closed by </{tag}>"
        text = " ".join("".join(parts).split())
        self.texts.setdefault(kind, []).append(text)
        if tag in ("th", "td"):
            self._rows[-1].append(text)
        elif tag == "caption":
            self.tables[text] = self._rows

    def table(self, start: str) -> list[list[str]]:
        return next(rows for caption, rows in self.tables.items() if caption.startswith(start))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("a report"))
    report(folder, "--published", "published.csv")
    return folder


@pytest.fixture(scope="module")
def page(made) -> str:
    return (made / "exp/made/results/report.html").read_text()


@pytest.fixture(scope="module")
def read(page) -> Reader:
    return Reader(page)


def records(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def scores_of(made: Path, system: str, mode: str) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """Pairs, scores and labels from the files."""
    words = [line.split() for line in (made / f"exp/made/{system}/scores/eval/{mode}.asnorm").read_text().splitlines()]
    pairs = [(a, b) for a, b, _ in words]
    return pairs, np.array([float(s) for *_, s in words]), np.array([speaker(a) == speaker(b) for a, b in pairs])


def number(text: str) -> float:
    return float(text.replace("−", "-").split()[0])


def test_tables_show_the_results(made, read, page):
    rows = {(r["system"], r["mode"], r["stage"]): r for r in records(made / "exp/made/results/results.csv")}
    header, *shown = read.table("Systems in their widest mode")
    assert [row[0] for row in shown] == ["voice", "face", "av", ENSEMBLE]
    assert [row[header.index("kind")] for row in shown] == ["voice", "face", "voice and face", "ensemble"]
    for row in shown:
        expected = rows[row[0], row[1], "asnorm"]
        assert row[2] == f"{float(expected['eer']):.2f}"
        assert row[3] == f"{float(expected['eer_low']):.2f} – {float(expected['eer_high']):.2f}"
        raw = rows.get((row[0], row[1], "cos"))
        assert row[5] == (f"{float(raw['eer']):.2f}" if raw else "")
        assert row[6] == f"{float(expected['mindcf']):.3f}"
    results = re.search(r"<table.*?Systems in their widest mode.*?</table>", page, re.S)[0]
    marked = re.findall(r'<td class="[^"]*best"[^>]*>([^<]*)<', results)
    # The lowest of each column except Cllr, which only the ensemble has here.
    assert shown[3][7] and not any(row[7] for row in shown[:3])
    assert sorted(marked) == sorted(min((row[n] for row in shown if row[n]), key=float) for n in (2, 5, 6))
    (header, modes) = read.table("EER % of normalized scores")
    assert header == ["system", "AVxAV", "AxA", "VxV"]
    assert [cell.split()[0] for cell in modes] == [
        "av",
        *(f"{float(rows['av', mode, 'asnorm']['eer']):.2f}" for mode in header[1:]),
    ]
    _, *shown = read.table("Differences in EER of all pairs")
    expected = records(made / "exp/made/results/differences.csv")
    assert [row[:2] for row in shown] == [[r["system_a"], r["system_b"]] for r in expected]
    assert [number(row[5]) for row in shown] == [round(float(r["difference"]), 2) for r in expected]
    assert "Seed 5, code revision abc." in read.texts["p.lead"][0]


def shown_rate(row: dict[str, str]) -> str:
    if not row["eer"]:
        return row["missing"]
    return f"{float(row['eer']):.2f} {float(row['eer_low']):.2f} – {float(row['eer_high']):.2f}"


def test_conditions_are_those_of_the_table(made, read):
    """The figures of the best systems by condition and those of all systems by list are the lines of conditions.csv."""
    rows = records(made / "exp/made/results/conditions.csv")
    names = {"utt2dur": "duration", "utt2session": "session", "spk2gender": "gender"}
    assert list(dict.fromkeys(row["source"] for row in rows)) == list(names)
    header, overall, *shown = read.table("EER % and its 95 % interval by condition")
    assert header == ["condition", "target", "non-target", "voice AxA", "face VxV", "av AVxAV", f"{ENSEMBLE} AVxAV"]
    assert overall[0] == "all trials"
    assert [number(cell) for cell in overall[3:]] == [
        number(row[2]) for row in read.table("Systems in their widest mode")[1:]
    ]
    for row in shown:
        found = [r for r in rows if f"{names[r['source']]} {r['condition']}" == row[0]]
        by_system = {f"{r['system']} {r['mode']}": r for r in found}
        assert row[1:3] == [f"{int(found[0][column]):,}" for column in ("n_target", "n_nontarget")]
        assert row[3:] == [shown_rate(by_system[name]) for name in header[3:]]
    assert [row[0] for row in shown[-3:]] == ["gender f", "gender m", "gender not the same"]
    assert shown[-3][3:] == ["too few speakers"] * 4
    for source, name in names.items():
        header, *lines = read.table(f"All systems by {name} ({source})")
        assert [line[:2] for line in lines] == [
            ["voice", "AxA"], ["face", "VxV"], ["av", "AVxAV"], ["av", "AxA"], ["av", "VxV"], [ENSEMBLE, "AVxAV"],
        ]  # fmt: skip
        for line in lines:
            mine = {r["condition"]: r for r in rows if (r["source"], r["system"], r["mode"]) == (source, *line[:2])}
            assert header[2:] == list(mine)
            assert line[2:] == [shown_rate(r) for r in mine.values()]


def test_thresholds_are_those_of_the_table(made, read, page):
    llr = [line.split() for line in (made / f"exp/made/{ENSEMBLE}/scores/eval/AVxAV.llr").read_text().splitlines()]
    accepted = {kind: [float(s) > -0.25 for a, b, s in llr if (speaker(a) == speaker(b)) == kind] for kind in (0, 1)}
    rates = 100 * np.mean(accepted[0]), 100 - 100 * np.mean(accepted[1])
    assert read.table("Thresholds for false-accept rates") == [
        ["system", "mode", "wanted %", "threshold", "false accepts %", "false rejects %"],
        [ENSEMBLE, "AVxAV", "10", "−0.25", f"{rates[0]:.2f}", f"{rates[1]:.2f}"],
    ]
    assert "a threshold needs 30 false accepts of development trials: 1 %" in page
    assert "No record of the command" not in page


def test_published_figures_are_next_to_ours(made, read, page):
    ours = next(
        r for r in records(made / "exp/made/results/results.csv")
        if (r["system"], r["mode"], r["stage"]) == ("av", "AVxAV", "asnorm")
    )  # fmt: skip
    header, *shown = read.table("EER % and minDCF of this run")
    assert header == ["system", "mode", "ours, eval", "VoxCeleb1-O", "published as"]
    figures = f"{float(ours['eer']):.2f} {float(ours['mindcf']):.3f}"
    assert shown == [["av", "AVxAV", figures, "0.16 0.014", "A & B 1999: Theirs 1"]]
    assert "were measured on different data" in page
    assert "Table <1>; much data" in read.texts["li"]


def test_curves_are_operating_points(made, page):
    """Every corner of a drawn DET curve is a pair of error rates of some threshold, by counting."""
    systems = (("voice", "AxA"), ("face", "VxV"), ("av", "AVxAV"), (ENSEMBLE, "AVxAV"))
    found = [scores_of(made, *system)[1:] for system in systems]
    axis = Figure().subplots()
    draw_det(
        axis,
        [DetLine(name, *scored, number) for number, ((name, _), scored) in enumerate(zip(systems, found, strict=True))],
    )
    curves = [line for line in axis.get_lines() if len(line.get_xdata()) > 2]
    assert len(curves) == len(systems)
    (low, high), lines = ndtr(axis.get_xlim()), zip(curves, found, strict=True)
    for line, (scores, is_target) in lines:
        drawn = ndtr(np.stack([line.get_xdata(), line.get_ydata()], axis=1))
        points = [(np.mean(scores[~is_target] > t), np.mean(scores[is_target] <= t)) for t in [-99, *scores]]
        inside = ((drawn >= low) & (drawn <= high)).all(axis=1)
        assert inside.sum() > 10
        assert np.abs(drawn[inside][:, None] - np.array(points)[None]).max(axis=2).min(axis=1).max() < 1e-9
    # These are the curves of the page, in the colors of the systems.
    picture = next(svg for svg in re.findall(r"<svg.*?</svg>", page, re.S) if 'aria-label="DET curves' in svg)
    assert {f"stroke: var(--c{number})" for number in range(4)} <= set(re.findall(r"stroke: var\(--c\d\)", picture))
    assert not re.search(r"#[0-9a-f]{6}", picture)


def test_hardest_trials_by_counting(made, page, read):
    best = min(("av", ENSEMBLE), key=lambda s: eer(*scores_of(made, s, "AVxAV")[1:]))
    pairs, scores, is_target = scores_of(made, best, "AVxAV")
    articles = re.findall(r"<article>.*?</article>", page, re.S)
    assert len(articles) == 16
    expected = [*np.flatnonzero(is_target)[np.argsort(scores[is_target])][:8].tolist()]
    expected += [*np.flatnonzero(~is_target)[np.argsort(-scores[~is_target])][:8].tolist()]
    threshold = number(re.search(r"equal error rate, ([+−][\d.]+)\. Margins", page)[1])
    thresholds = {
        text.split()[0]: number(text.split()[-1]) for text in read.texts["figcaption.above"] if "threshold" in text
    }
    assert set(thresholds) == set(SYSTEMS)
    for name, value in thresholds.items():
        _, theirs, labels = scores_of(made, name, next(iter(SYSTEMS[name])))
        rates = np.mean(theirs[labels] <= value), np.mean(theirs[~labels] > value)
        assert abs(rates[0] - rates[1]) < 0.04
    for article, place in zip(articles, expected, strict=True):
        found = Reader(article)
        score, margin, side = re.match(r"\d Score (\S+), (\S+) (above|below) the", found.texts["h5"][0]).groups()
        assert number(score) == pytest.approx(scores[place], abs=0.006)
        assert float(margin) == pytest.approx(abs(scores[place] - threshold), abs=0.012)
        assert side == ("above" if scores[place] > threshold else "below")
        assert [text.split(",")[0] for text in found.texts["p.what"]] == list(pairs[place])
        opinions = found.tables["Scores and decisions of all systems on this trial"][1:]
        assert [row[0] for row in opinions] == list(SYSTEMS)
        wrong = 0
        for name, score, margin, _, decision in opinions:
            other, theirs, _ = scores_of(made, name, next(iter(SYSTEMS[name])))
            value = theirs[other.index(pairs[place])]
            assert number(score) == pytest.approx(value, abs=0.006)
            sign = 1 if is_target[place] else -1
            assert number(margin) == pytest.approx(sign * (value - thresholds[name]), abs=0.012)
            wrong += decision == "wrong"
            if abs(number(margin)) > 0.02:
                assert decision == ("right" if number(margin) > 0 else "wrong")
        reasons = found.texts["li"]
        verdict = ["None of the four systems shown is", "One of four systems shown is", "Two of four systems shown are"]
        verdict += ["Three of four systems shown are", "All four systems shown are"]
        assert f"{verdict[wrong]} wrong." in reasons
        a, b = pairs[place]
        if is_target[place]:
            same = int(a[-1]) % 2 == int(b[-1]) % 2
            assert ("Both clips are from one session." in reasons) == same
            assert ("The clips are from different sessions." in reasons) == (not same)
        else:
            differ = int(a[1]) % 2 != int(b[1]) % 2
            assert ("The two persons are of different gender." in reasons) == differ
        assert any("is short: 0.3 s" in r for r in reasons) == (ODD in (a, b))


def uri(text: str | None, kind: str) -> bytes:
    head, content = text.split(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(content)


def test_faces_and_voices_are_those_of_the_clips(made, read):
    """The pictures show the frames in the middle of each third, the sounds are the recordings."""
    number_of = {key: n for n, key in enumerate(KEYS)}
    seen = set()
    for tag, attributes in read.elements:
        if tag == "img":
            key = re.match(r"Face of s\d in (.*), up to three", attributes["alt"])[1]
            picture = cv2.imdecode(np.frombuffer(uri(attributes["src"], "image/jpeg"), np.uint8), cv2.IMREAD_GRAYSCALE)
            assert picture.shape == (96, 288)
            frames = read_rows(read_list(made / "data/eval/faces.scp")[key])[[1, 4, 6]].astype(float)
            shown = [picture[:, 96 * n + 4 : 96 * n + 92].mean() for n in range(3)]
            assert shown == pytest.approx(frames.mean(axis=1).tolist(), abs=2)
            seen.add(key)
        elif tag == "audio":
            key = re.match(r"Voice of s\d in (.*)", attributes["aria-label"])[1]
            samples, rate = soundfile.read(io.BytesIO(uri(attributes["src"], "audio/mpeg")))
            spectrum = np.abs(np.fft.rfft(samples[2000:6000]))
            assert abs(spectrum.argmax() * rate / 4000 - (200 + 40 * number_of[key])) <= 4
            assert len(samples) / rate == pytest.approx(0.5, abs=0.1)
            assert np.abs(samples).max() == pytest.approx(0.8, abs=0.2)
    assert len(seen) > 8


def test_every_figure_has_its_command_and_seed(page):
    """No section with a table or a picture is without the command that makes it."""
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.S)
    names = [name for name, _ in sections]
    assert names == [
        "results",
        "curves",
        "hardest",
        "thresholds",
        "differences",
        "conditions",
        "published",
        "embeddings",
        "sweeps",
        "cost",
        "training",
    ]
    for name, text in sections:
        made_by = re.findall(r'<p class="made">Made by <code>(.*?)</code>, seed (\d+)</p>', text)
        assert made_by, name
        assert {seed for _, seed in made_by} == {"5"}
    assert "steps/report.sh --seed 5 exp/made &#39;voice face av&#39; data/eval" in page
    assert "steps/sweep.sh exp/made" in page
    assert f"{COMMAND} --stage 4 --stop-stage 5" in page


def test_the_page_is_whole_and_safe(made, page, read):
    """The page needs no other file and no network, and data do not become markup."""
    addresses = [a[name] for _, a in read.elements for name in ("src", "href") if name in a]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|url\((?!#)|@import|<link(?! rel=\"icon\" href=\"data:)", page)
    anchors = {a["id"] for _, a in read.elements if "id" in a}
    assert {address[1:] for address in addresses if address.startswith("#")} <= anchors
    assert "<b>" not in page
    assert any(ODD in text for text in read.texts["p.what"])
    assert str(made) not in page
    assert len(page.encode()) < 1_000_000


def test_the_same_bytes_in_another_folder(made, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copytree(made, tmp_path / "run", dirs_exist_ok=True)
    for path in (tmp_path / "run/data/eval").glob("*.scp"):
        path.write_text(path.read_text().replace(str(made), str(tmp_path / "run")))
    before = (made / "exp/made/results/report.html").read_text()
    assert report(tmp_path / "run", "--published", "published.csv") == before


def test_what_is_missing_is_said(tmp_path):
    """A run with scores and results only, of one modality, and lists with few recordings."""
    folder = make_run(tmp_path)
    exp, data = folder / "exp/made", folder / "data/eval"
    for name in ("spk2gender", "utt2session", "utt2dur", "faces.conf"):
        (data / name).unlink()
    (data / "faces.scp").unlink()
    (data / "1.wav").write_bytes(b"no sound")
    lines = (data / "wav.scp").read_text().splitlines(keepends=True)
    (data / "wav.scp").write_text("".join(lines[:12]))
    for name in ("face", "av", ENSEMBLE, "sweeps"):
        shutil.rmtree(exp / name)
    tables = [f"results/{name}.csv" for name in ("differences", "conditions", "thresholds")]
    for name in ("ensembles", *tables, "voice/train.csv"):
        (exp / name).unlink()
    shutil.rmtree(exp / "voice/analysis")
    shutil.copy(data / "trials/eval", data / "trials/hard")
    shutil.copytree(exp / "voice/scores/eval", exp / "voice/scores/hard")
    head, *results = (exp / "results/results.csv").read_text().splitlines()
    results = [row for row in results if ",voice," in row]
    results += [row.replace(",eval,", ",hard,") for row in results]
    (exp / "results/results.csv").write_text("\n".join([head, *results]) + "\n")
    page = report(folder)
    read = Reader(page)
    assert "No picture" in page
    assert "No sound" in page
    reasons = " ".join(read.texts["li"])
    assert "no faces" in reasons
    assert "no voice" in reasons
    assert "the voice cannot be played" in reasons
    assert not [tag for tag, _ in read.elements if tag == "img"]
    assert {"Trials eval, judged by voice", "Trials hard, judged by voice"} <= set(read.texts["h3"])
    assert page.count("<article>") == 2 * 2 * 4
    assert page.count('aria-label="DET curves') == 2
    assert "uses voice and face" not in read.texts["p.text"][3]
    sections = ["thresholds", "differences", "conditions", "published", "embeddings", "sweeps", "more", "cost"]
    for section in (*sections, "training"):
        assert f'id="{section}"' not in page
        assert f'href="#{section}"' not in page


def test_sweeps_against_the_best_single_modality(made, read):
    (exhibit,) = read_exhibits(made / "exp/made", ["voice", "face", "av", ENSEMBLE])
    (sweep,) = sweeps_of(exhibit)
    assert sweep.levels == ["clean", "10", "0"]
    assert list(sweep.differences) == [("av", "AVxAV")]
    assert [sweep.helps(("av", "AVxAV"), level) for level in range(3)] == [True, True, False]
    assert not sweep.helps(("voice", "AxA"), 0)
    header, *rows = read.table("EER % and its 95 % interval by level")
    assert header == ["system", "mode", "clean", "10", "0"]
    assert rows[2] == ["av", "AVxAV", "9.50 7.00 – 12.00", "14.50 12.00 – 17.00", "22.50 20.00 – 25.00"]
    assert rows[3][:2] == ["av", "AVxAV − best single"]
    assert rows[3][2:] == [
        "−6.00 −10.50 to −1.50, face VxV", "−1.00 −1.50 to −0.50, face VxV", "+6.00 +4.00 to +8.00, face VxV",
    ]  # fmt: skip
    assert "av is significantly below the best single modality at 2 of 3 levels, not at 0." in read.texts["p.finding"]


def test_silhouettes_are_no_angles(page, read):
    _, *rows = read.table("Medians of angles")
    assert rows[0][2:6] == ["30.2", "81.0", "−0.125", "−0.125"]
    picture = next(svg for svg in re.findall(r"<svg.*?</svg>", page, re.S) if 'aria-label="Angles' in svg)
    assert "silhouette" not in picture
    assert "within" in picture


def test_costs(read):
    header, *rows = read.table("Cost of embedding a clip")
    assert header[1:5] == ["parameters, millions", "of the voice", "of the face", "of the fusion"]
    assert rows[0] == ["voice", "1.23", "1.23", "", "", "0.247", "0.25"]
    assert rows[-1] == ["av", "3.5", "2.5", "1", "", "0.7", "0.25"]


def test_other_tables_and_pictures(tmp_path):
    """All files in the folders are shown in the order of their names, as long as there is space."""
    for name in ("results", "analysis", "av/analysis"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "results/det.png").write_bytes(b"1")
    (tmp_path / "analysis/hard.csv").write_text("system,seconds\nav,0.5\n")
    (tmp_path / "analysis/hard.png").write_bytes(b"small")
    (tmp_path / "analysis/command.txt").write_text("make this\n")
    (tmp_path / "av/analysis/large.png").write_bytes(bytes(MAX_PICTURES))
    for name in ("angles.png", "projection.png", "projection.csv", "cost.csv"):
        (tmp_path / "av/analysis" / name).write_bytes(b"1")
    hard, large = read_exhibits(tmp_path, ["av"])
    assert (hard.name, hard.columns, hard.rows) == ("analysis/hard", ["system", "seconds"], [["av", "0.5"]])
    assert (hard.left_out, hard.command) == ("", "make this")
    assert uri(hard.picture, "image/png") == b"small"
    assert (large.name, large.picture, large.command) == ("av/analysis/large", None, None)
    assert "too large" in large.left_out
    for text, message in (("", "is empty"), ("a,b\n1\n", ":2: 1 fields, the header has 2")):
        (tmp_path / "analysis/hard.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_exhibits(tmp_path, [])


def test_hardest_places_leave_out_unscored_trials():
    scores = np.array([0.1, np.nan, -2, 3, 4, 0.2])
    judged = ScoreSet("a", "AxA", "asnorm", scores, np.array([True, True, True, False, False, False]), 0.0)
    assert hardest_places(judged, True, 5) == [2, 0]
    assert hardest_places(judged, False, 2) == [4, 3]


def test_bad_input_is_named(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    results = tmp_path / "exp/made/results/results.csv"
    (tmp_path / "exp/made/results/report.html").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", *arguments()])
    lines = results.read_text().splitlines(keepends=True)
    for text, message in (
        (lines[1], "results.csv:1: expected the columns corpus,preset"),
        (lines[0], "no results: make them first"),
        (lines[0] + lines[1].replace(",5,abc", ",x,abc"), "results.csv:2: seed: invalid literal"),
        (lines[0] + lines[1].replace(",eval,", ",other,"), "no system has scores of this list"),
    ):
        results.write_text(text)
        with pytest.raises(DataError, match=message):
            main()
    results.write_text("".join(lines))
    (tmp_path / "exp/made/sweeps/loud_noise.csv").write_text(
        ",".join(SWEEP_COLUMNS) + "\na,b,c,loud_noise,d,e,f,g,5,,,,\n"
    )
    with pytest.raises(DataError, match="loud_noise, level d: could not convert"):
        main()
    assert not (tmp_path / "exp/made/results/report.html").exists()


# In the browser.


@pytest.fixture(scope="module")
def browser(made, tmp_path_factory):
    with Page(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(made / "exp/made/results/report.html")
        yield browser


FIRST_TABLE = "document.querySelector('#results table')"


def column(browser: Page, index: int) -> list[str]:
    return browser.run(f"[...{FIRST_TABLE}.tBodies[0].rows].map(r => r.cells[{index}].textContent)")


@needs_browser
def test_opens_without_errors_and_without_a_network(browser):
    browser.wait("[...document.images].every(i => i.complete)")
    assert browser.complaints == []
    assert {address.split(":")[0] for address in browser.requests} <= {"file", "data"}
    assert len([address for address in browser.requests if address.startswith("file:")]) == 1
    assert browser.run("document.images.length") > 0
    assert browser.run("[...document.images].every(i => i.naturalWidth === 288)")


@needs_browser
def test_tables_sort(browser):
    def click(index):
        browser.run(f"{FIRST_TABLE}.tHead.rows[0].cells[{index}].querySelector('button').click()")
        return browser.run(f"{FIRST_TABLE}.tHead.rows[0].cells[{index}].getAttribute('aria-sort')")

    original = column(browser, 0)
    rates = [float(cell) for cell in column(browser, 2)]
    assert click(2) == "ascending"
    assert [float(cell) for cell in column(browser, 2)] == sorted(rates)
    assert click(2) == "descending"
    assert [float(cell) for cell in column(browser, 2)] == sorted(rates, reverse=True)
    assert click(5) == "ascending"
    raw = column(browser, 5)
    assert raw[-1] == ""
    assert [float(cell) for cell in raw[:-1]] == sorted(float(cell) for cell in raw[:-1])
    assert click(5) == "descending"
    assert column(browser, 5)[-1] == ""  # a missing figure is last in both directions
    assert click(0) == "ascending"
    assert column(browser, 0) == sorted(original)
    assert browser.run(f"{FIRST_TABLE}.querySelectorAll('[aria-sort]').length") == 1
    assert browser.complaints == []


@needs_browser
def test_conditions_open_and_sort(browser):
    section = "document.querySelector('#conditions')"
    assert browser.run("document.querySelector('nav a[href=\"#conditions\"]').textContent") == "By condition"
    visible = f"[...{section}.querySelectorAll('table')].map(t => t.checkVisibility())"
    assert browser.run(visible) == [False] * 4
    browser.run(f"{section}.querySelectorAll('summary').forEach((summary) => summary.click())")
    assert browser.run(visible) == [True] * 4
    rates = f"[...{section}.querySelector('table').tBodies[0].rows].map(r => r.cells[3].textContent)"
    given = browser.run(rates)
    browser.run(f"{section}.querySelectorAll('th button')[3].click()")
    figures = sorted((cell for cell in given if not cell.startswith("too")), key=number)
    assert browser.run(rates) == figures + [cell for cell in given if cell.startswith("too")]
    assert browser.complaints == []


@needs_browser
def test_voices_play_one_at_a_time(browser):
    browser.wait("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
    durations = browser.run("[...document.querySelectorAll('audio')].map(a => a.duration)")
    assert len(durations) == 32
    assert durations == pytest.approx([0.5] * 32, abs=0.1)
    browser.run("document.querySelectorAll('audio').forEach(a => a.loop = true)")
    for number in (0, 1):
        browser.run(f"document.querySelectorAll('audio')[{number}].play()")
    browser.wait("document.querySelectorAll('audio')[1].currentTime > 0")
    playing = "[...document.querySelectorAll('audio')].map((a, n) => a.paused ? -1 : n).filter(n => n >= 0)"
    assert browser.run(playing) == [1]
    browser.run("document.querySelectorAll('audio').forEach(a => a.pause())")
    assert browser.complaints == []


@needs_browser
def test_fits_a_phone_and_a_page(browser):
    for width in (360, 390, 768):
        browser.resize(width, 800)
        assert browser.run("document.documentElement.scrollWidth") == width
    browser.media("print")
    browser.resize(688, 990)  # a sheet of paper without its margins
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.documentElement.scrollWidth") == 688
    assert browser.run("[...document.querySelectorAll('details')].every(d => d.open)")
    assert browser.run("[...document.querySelectorAll('audio, nav')].every(e => e.offsetHeight === 0)")
    browser.media()
    browser.resize(1280, 900)


def contrast(one: str, other: str) -> float:
    """The contrast of two colors as defined by WCAG 2."""
    lights = []
    for color in (one, other):
        shares = np.array([int(v) for v in re.findall(r"\d+", color)[:3]]) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_is_legible_in_light_and_dark(browser, scheme):
    browser.media(scheme=scheme)
    style = "getComputedStyle({}).{}"
    ground = browser.run(style.format("document.body", "backgroundColor"))
    assert (contrast(ground, "rgb(0, 0, 0)") > 10) == (scheme == "light")
    assert contrast(browser.run(style.format("document.body", "color")), ground) > 7
    assert contrast(browser.run(style.format("document.querySelector('.made')", "color")), ground) > 4.5
    for number in range(8):
        probe = f"(() => {{ const e = document.createElement('i'); e.className = 's{number}'; document.body.append(e);"
        color = browser.run(f"{probe} const c = getComputedStyle(e).color; e.remove(); return c; }})()")
        assert contrast(color, ground) > 3
    browser.media()
