"""Measure scoring at the size of the VoxCeleb1 lists O, E and H, optionally compared with WeSpeaker and SpeechBrain.

Generates embeddings and trials and runs the commands of stages 7, 8, 9 and 11: cosine scores, adaptive s-norm,
calibration and results (EER, minDCF, Cllr, intervals from resampled speakers, curves), each from files to files in a
separate process. Prints clock and processor times and the peak memory. A part of the trials is then scored one by one
directly from the definition, and compared.

``--wespeaker`` and ``--speechbrain`` name checkouts of these toolkits, whose code is run on the same embeddings and
trials with the Python of ``--peer-python``, which must have their dependencies. WeSpeaker processes all trials; its
s-norm needs twice the memory of the utterances of a list times the cohort, 7 GB at full size, and its cosines are
computed in a loop over trials: if that is too much, decrease ``--trials`` and ``--utterances`` together. SpeechBrain
processes the part: its s-norm computes the cohort scores twice for every trial, and its EER and minDCF process all
scores for every score. The times of a part are scaled to all trials if they grow proportionally. Differences between
the definitions:

- WeSpeaker writes cosines with five decimals and normalizes these; its EER depends on the order of equal scores.
- SpeechBrain divides the variance by N - 1 instead of N, which scales its s-norm (undone before scores are compared);
  its EER is the mean of P_miss and P_fa where they differ least; its minDCF is not divided by P_target (here it is).
- Both receive the speaker means of ``score_norm`` as cohort.

Usage: python benchmarks/scoring.py [--trials 1168323] [--utterances 150000] [--cohort 5994] [--part 500]
           [--wespeaker FOLDER] [--speechbrain FOLDER] [--peer-python PYTHON]
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avsv.io.ark import ArkWriter, append_vectors, read_vectors, write_vectors
from avsv.io.lists import Trials, read_list, read_scores, read_trials, write_list
from avsv.scoring.metrics import eer, min_dcf
from avsv.scoring.norm import Cohort, speaker_cohort
from avsv.scoring.trials import read_embedding_blocks

LISTS = {"E": 579_818, "H": 550_894, "O": 37_611}  # trials of the cleaned lists of VoxCeleb1
STAGES = ("cos", "asnorm")
SPEAKERS, SPEAKERS_OF_O = 1250, 40
BLOCK = 10_000  # utterances at a time: memory of a large parent process would count as memory of its children

# Runs a file of WeSpeaker as a script. Its package is not imported completely, since that would load its models.
WESPEAKER = """
import runpy, sys, types
package = types.ModuleType("wespeaker")
package.__path__ = [sys.argv[1] + "/wespeaker"]
sys.modules["wespeaker"] = package
sys.argv = [f"{sys.argv[1]}/wespeaker/bin/{sys.argv[2]}.py", *sys.argv[3:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Sets the variables of SpeechBrain's recipe that its main part would set, and measures the time of its functions.
SPEECHBRAIN = """
import importlib.util, json, sys, time
import numpy as np
import torch
checkout, folder, cohort_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, checkout)
path = checkout + "/recipes/VoxCeleb/SpeakerRec/speaker_verification_cosine.py"
recipe = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("recipe", path))
spec.loader.exec_module(recipe)
part = np.load(folder + "/part.npz")
recipe.enrol_dict = {key: torch.from_numpy(row[None]) for key, row in zip(part["keys"].tolist(), part["matrix"])}
recipe.test_dict = recipe.enrol_dict
recipe.train_dict = {str(n): torch.from_numpy(row[None]) for n, row in enumerate(part["cohort"])}
lines = open(folder + "/part.txt").read().splitlines()

def timed(function, *arguments):
    start = time.perf_counter(), time.process_time()
    value = function(*arguments)
    return value, (time.perf_counter() - start[0], time.process_time() - start[1])

report = {}
for stage, params in ("cos", {}), ("asnorm", {"score_norm": "s-norm", "cohort_size": cohort_size}):
    recipe.params = {"output_folder": folder, **params}
    classes, scoring = timed(recipe.get_verification_scores, lines)
    classes = [torch.tensor(scores).flatten() for scores in classes]
    (eer, _), of_eer = timed(recipe.EER, *classes)
    (min_dcf, _), of_min_dcf = timed(recipe.minDCF, *classes)
    scores = [float(line.split()[3]) for line in open(folder + "/scores.txt")]
    metrics = [a + b for a, b in zip(of_eer, of_min_dcf)]
    report[stage] = {"scoring": scoring, "metrics": metrics, "eer": eer, "min_dcf": min_dcf, "scores": scores}
json.dump(report, open(folder + "/report.json", "w"))
"""


class Cost(NamedTuple):
    """Cost of a process: seconds by the clock and of all processors, and peak memory in MiB."""

    wall: float
    busy: float
    mebibytes: float | None = None


class Part(NamedTuple):
    """The first trials of list E: ids and labels (N,), rows of both sides (N,), our scores (N,) by stage."""

    trials: Trials
    enroll: np.ndarray
    test: np.ndarray
    scores: dict[str, np.ndarray]
    keys: list[str]  # utterances in these trials
    matrix: np.ndarray  # (U, D) their embeddings


def total(costs: list[Cost]) -> Cost:
    """The total cost of processes that run one after another."""
    return Cost(sum(c.wall for c in costs), sum(c.busy for c in costs), max(c.mebibytes for c in costs))


def show(what: str, cost: Cost, ours: Cost | None = None) -> None:
    """Print a cost, and its ratio to the cost of ``ours``."""
    memory = "" if cost.mebibytes is None else f"{cost.mebibytes:7.0f} MiB"
    ratios = f" {cost.wall / ours.wall:8.1f} x {cost.busy / ours.busy:8.1f} x" if ours else ""
    print(f"{what:40s} {cost.wall:8.1f} s {cost.busy:8.1f} s {memory:11s}{ratios}".rstrip(), flush=True)


def run(log: Path, *command: str | Path) -> Cost:
    """Run a command with its output in a file; if it fails, exit with the end of that file."""
    with log.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        words = " ".join(str(word) for word in command if "\n" not in str(word))
        sys.exit(f"{words}: status {process.returncode}\n{log.read_text(errors='replace')[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=sum(LISTS.values()), help="total number of trials of the three lists"
    )
    parser.add_argument("--utterances", type=int, default=150_000)
    parser.add_argument("--cohort", type=int, default=5_994, help="cohort speakers, two utterances each")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--top-n", type=int, default=300)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument(
        "--part", type=int, default=500, help="first trials of E, for programs that are too slow for all trials"
    )
    parser.add_argument("--num-threads", type=int, default=2)
    parser.add_argument("--wespeaker", type=Path, help="checkout of WeSpeaker to compare with")
    parser.add_argument("--speechbrain", type=Path, help="checkout of SpeechBrain to compare with")
    parser.add_argument("--peer-python", default=sys.executable, help="Python with their dependencies")
    args = parser.parse_args()
    for checkout, file in (
        (args.wespeaker, "wespeaker/bin/score.py"),
        (args.speechbrain, "recipes/VoxCeleb/SpeakerRec/speaker_verification_cosine.py"),
    ):
        if checkout and not (checkout / file).is_file():
            parser.error(f"{checkout}: there is no {file}: not a checkout of the toolkit")
    if args.utterances < 100 or args.trials < 1000 or args.part < 50:
        parser.error("fewer than 100 utterances, 1000 trials or 50 of a part can lack a kind of trial: use more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_up(folder, args)
        print(f"{args.trials} trials of {args.utterances} utterances, a cohort of {args.cohort} speakers")
        print(f"{'':40s} {'clock':>10s} {'processor':>10s} {'memory':>11s}   times ours: clock, processor", flush=True)
        ours = run_ours(folder, args)
        theirs = run_wespeaker(folder, args, ours) if args.wespeaker else {}
        part, cohort = read_part(folder, args.part), cohort_of(folder).means
        run_loop(part, cohort, args, ours)
        if args.speechbrain:
            run_speechbrain(folder, part, cohort, args, ours)
        show_metrics(folder, theirs)


def make_up(folder: Path, args: argparse.Namespace) -> None:
    """Write the data directories eval, dev and train, with embeddings that distinguish speakers with a few errors."""
    rng = np.random.default_rng(0)
    (folder / "exp/system/embeddings").mkdir(parents=True)
    speakers = min(SPEAKERS, args.utterances // 10)
    of_o = max(10, speakers * SPEAKERS_OF_O // SPEAKERS)
    keys, speaker_of = make_set(folder, "eval", "id", speakers, args.utterances, args.dim, rng)
    counts = {name: args.trials * count // sum(LISTS.values()) for name, count in LISTS.items()}
    counts["E"] += args.trials - sum(counts.values())
    for name, count in counts.items():
        known = of_o if name == "O" else speakers
        make_trials(folder / "eval/trials" / name, keys, speaker_of[speaker_of < known], count, rng)
    size = args.utterances * of_o // speakers
    keys, speaker_of = make_set(folder, "dev", "dev", of_o, size, args.dim, rng)
    make_trials(folder / "dev/trials/dev", keys, speaker_of, counts["O"], rng)
    make_set(folder, "train", "tr", args.cohort, 2 * args.cohort, args.dim, rng)


def make_set(
    folder: Path, name: str, prefix: str, speakers: int, utterances: int, dim: int, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Write utt2spk and embeddings, which are speaker vectors plus noise; return keys and speakers (U,)."""
    speaker_of = np.arange(utterances) * speakers // utterances
    keys = [f"{prefix}{speaker:05d}-video{n % 100:02d}-{n:06d}" for n, speaker in enumerate(speaker_of.tolist())]
    (folder / name / "trials").mkdir(parents=True)
    write_list(folder / name / "utt2spk", {key: key.split("-")[0] for key in keys})
    vectors = rng.standard_normal((speakers, dim), dtype=np.float32)
    with ArkWriter(folder / f"exp/system/embeddings/{name}.A", "float") as writer:
        for start in range(0, utterances, BLOCK):
            matrix = vectors[speaker_of[start : start + BLOCK]]
            strength = 1.7 * np.exp(0.2 * rng.standard_normal((len(matrix), 1), dtype=np.float32))
            matrix += strength * rng.standard_normal(matrix.shape, dtype=np.float32)
            append_vectors(writer, keys[start : start + BLOCK], matrix)
    return keys, speaker_of


def make_trials(path: Path, keys: list[str], speaker_of: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Write a list of trials among the first utterances, whose speakers are given; half of them are target trials."""
    enroll = rng.integers(0, len(speaker_of), count)
    is_target = rng.random(count) < 0.5
    first, end = (np.searchsorted(speaker_of, speaker_of[enroll], side) for side in ("left", "right"))
    same = first + (enroll - first + rng.integers(1, end - first)) % (end - first)
    other = (end + rng.integers(0, len(speaker_of) - (end - first))) % len(speaker_of)
    test = np.where(is_target, same, other)
    with path.open("w") as file:
        for e, t, target in zip(enroll.tolist(), test.tolist(), is_target.tolist(), strict=True):
            file.write(f"{keys[e]} {keys[t]} {'target' if target else 'nontarget'}\n")


def run_ours(folder: Path, args: argparse.Namespace) -> dict[str, Cost]:
    """Run the commands of the recipe; print and return their costs."""
    exp, train, dev, evaluated = folder / "exp", folder / "train", folder / "dev", folder / "eval"
    places = exp / "system/embeddings", exp / "system/scores"
    norm = ["--top-n", str(args.top_n), "--num-threads", str(args.num_threads), *places, train, dev, evaluated]
    results = ["--corpus", "made-up", "--preset", "none", "--seed", "0", "--git", "none", "--command", "none"]
    results += ["--resamples", str(args.resamples), "--systems", "system", exp, folder / "results", evaluated]
    costs = {}
    for name, arguments in (
        ("score_cosine", [*places, dev, evaluated]),
        ("score_norm", norm),
        ("calibrate", [exp, dev, "system"]),
        ("results", results),
    ):
        costs[name] = run(folder / "log", sys.executable, "-m", f"avsv.bin.{name}", *arguments)
        what = f"results, {args.resamples} resamplings" if name == "results" else name
        show(what, costs[name])
    show("all", total(list(costs.values())))
    return costs


def run_wespeaker(
    folder: Path, args: argparse.Namespace, ours: dict[str, Cost]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Run WeSpeaker's scripts and print their costs; return EER in percent and minDCF by list and stage."""
    scores, embeddings = folder / "wespeaker/scores", folder / "exp/system/embeddings/eval.A.scp"
    scores.mkdir(parents=True)
    cohort = cohort_of(folder)
    write_vectors(folder / "cohort", cohort.speakers, cohort.means)

    def script(name: str, *arguments: str | Path) -> Cost:
        return run(folder / "log", args.peer_python, "-c", WESPEAKER, args.wespeaker, name, *arguments)

    places = f"--exp_dir={scores.parent}", f"--eval_scp_path={embeddings}", f"--cal_mean_dir={folder}"
    cosine = script("score", *places, "--cal_mean=False", *(folder / "eval/trials" / name for name in LISTS))
    show("WeSpeaker, score", cosine, ours["score_cosine"])
    files = {(name, "cos"): scores / f"{name}.score" for name in LISTS}
    norms = []
    for name in LISTS:
        files[name, "asnorm"] = scores / f"asnorm_{name}.score"
        places = f"--trial_score_file={files[name, 'cos']}", f"--score_norm_file={files[name, 'asnorm']}"
        places += f"--cohort_emb_scp={folder / 'cohort.scp'}", f"--eval_emb_scp={embeddings}"
        norms.append(script("score_norm", "--score_norm_method=asnorm", f"--top_n={args.top_n}", *places))
    show("WeSpeaker, score_norm", total(norms), ours["score_norm"])
    metrics = script("compute_metrics", "--p_target=0.01", "--c_fa=1", "--c_miss=1", *files.values())
    show("WeSpeaker, compute_metrics", metrics, ours["results"])
    show("WeSpeaker, all", total([cosine, *norms, metrics]), total(list(ours.values())))
    values = re.findall(r"^(?:EER|minDCF).* = ([\d.]+)$", (folder / "log").read_text(), re.MULTILINE)
    return dict(zip(files, zip(values[::2], values[1::2], strict=True), strict=True))


def cohort_of(folder: Path) -> Cohort:
    """The speaker means that score_norm uses as cohort."""
    blocks = read_embedding_blocks(folder / "exp/system/embeddings/train.A.scp")
    return speaker_cohort(*blocks, read_list(folder / "train/utt2spk"))


def read_part(folder: Path, size: int) -> Part:
    """Read the first trials of list E with our scores and their embeddings."""
    trials = Trials(*(column[:size] for column in read_trials(folder / "eval/trials/E")))
    scores = {stage: read_scores(folder / f"exp/system/scores/E/AxA.{stage}").score[:size] for stage in STAGES}
    keys, rows = np.unique(np.stack(trials[:2]), return_inverse=True)
    all_keys, matrix = read_vectors(folder / "exp/system/embeddings/eval.A.scp")
    row_of = {key: row for row, key in enumerate(all_keys)}
    keys = keys.tolist()
    return Part(trials, *rows.reshape(2, -1), scores, keys, matrix[[row_of[key] for key in keys]])


def run_loop(part: Part, means: np.ndarray, args: argparse.Namespace, ours: dict[str, Cost]) -> None:
    """Score the part trial by trial in double precision; print the time for all trials and the largest difference."""
    matrix, cohort = part.matrix.astype(np.float64), means.astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    pairs = list(zip(part.enroll, part.test, strict=True))
    start = time.perf_counter(), time.process_time()
    expected = np.array([score_one(matrix[e], matrix[t], cohort, args.top_n) for e, t in pairs])
    scale = args.trials / len(pairs)
    cost = Cost(scale * (time.perf_counter() - start[0]), scale * (time.process_time() - start[1]))
    show(f"a loop over trials, from {len(pairs)}", cost, ours["score_norm"])
    difference = np.abs(part.scores["asnorm"] - expected) / np.maximum(1, np.abs(expected))
    print(f"  largest difference from ours: {difference.max():.1e} (relative where above 1)")


def score_one(enroll: np.ndarray, test: np.ndarray, cohort: np.ndarray, top_n: int) -> float:
    """Adaptive s-norm 1 of one trial, directly from its definition in double precision."""
    tops = [np.sort(cohort @ side)[-top_n:] for side in (enroll, test)]
    raw = enroll @ test
    return sum((raw - top.mean()) / top.std() for top in tops) / 2


def run_speechbrain(
    folder: Path, part: Part, means: np.ndarray, args: argparse.Namespace, ours: dict[str, Cost]
) -> None:
    """Run SpeechBrain's functions on the part, and avsv's on the same scores; print times, scores and metrics."""
    labels = part.trials.is_target
    np.savez(folder / "part.npz", keys=part.keys, matrix=part.matrix, cohort=means)
    rows = zip(labels.tolist(), part.trials.enroll.tolist(), part.trials.test.tolist(), strict=True)
    (folder / "part.txt").write_text("".join(f"{target:d} {e} {t}\n" for target, e, t in rows))
    top_n = min(args.top_n, len(means))
    run(folder / "log", args.peer_python, "-c", SPEECHBRAIN, args.speechbrain, folder, str(top_n))
    report = json.loads((folder / "report.json").read_text())
    scale = args.trials / len(labels)
    for stage, command in zip(STAGES, ("score_cosine", "score_norm"), strict=True):
        cost = Cost(*(scale * seconds for seconds in report[stage]["scoring"]))
        show(f"SpeechBrain, {stage}, from {len(labels)} trials", cost, ours[command])
    for stage in STAGES:
        theirs = report[stage]
        start = time.perf_counter(), time.process_time()
        figures = 100 * eer(part.scores[stage], labels), min_dcf(part.scores[stage], labels)
        cost = Cost(time.perf_counter() - start[0], time.process_time() - start[1])
        show(f"SpeechBrain, metrics of {len(labels)}, not scaled", Cost(*theirs["metrics"]), cost)
        scores = np.array(theirs["scores"]) * (np.sqrt(top_n / (top_n - 1)) if stage == "asnorm" else 1)
        print(f"  {stage}: largest difference from our scores: {np.abs(scores - part.scores[stage]).max():.1e}")
        print(f"  EER: ours {figures[0]:.3f} %, of its scores {100 * eer(scores, labels):.3f} %,", end="")
        print(f" as it defines it {100 * theirs['eer']:.3f} %; minDCF: ours {figures[1]:.4f},", end="")
        print(f" its own {theirs['min_dcf'] / 0.01:.4f}")


def show_metrics(folder: Path, theirs: dict[tuple[str, str], tuple[str, str]]) -> None:
    """Print results.csv, and WeSpeaker's metrics of its own scores."""
    print("list  stage    EER %      95 %          minDCF    Cllr  WeSpeaker: EER %, minDCF")
    with (folder / "results/results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            eer_percent, low, high, cost = (float(row[name]) for name in ("eer", "eer_low", "eer_high", "mindcf"))
            peer = " ".join(theirs.get((row["trials"], row["stage"]), ()))
            figures = f"{eer_percent:7.3f} {low:7.3f} {high:7.3f} {cost:9.3f} {row['cllr']:>8s}"
            print(f"{row['trials']:4s}  {row['stage']:6s} {figures}  {peer}".rstrip())


if __name__ == "__main__":
    main()
