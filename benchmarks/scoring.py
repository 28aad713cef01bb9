"""Time scoring with adaptive s-norm at the size of VoxCeleb1-E, beside the per-trial loop that it replaces.

Makes embeddings and trials up, runs ``avsv.bin.score_norm`` from files to files with its time and peak memory, then
scores a part of the trials one by one (two cosines against the cohort, a sort of each) and compares the values.

Usage: python benchmarks/scoring.py [--trials 579818] [--utterances 145160] [--cohort 5994] [--part 2000]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from avsv.io.ark import write_vectors
from avsv.io.lists import read_scores, write_list


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=579_818)
    parser.add_argument("--utterances", type=int, default=145_160)
    parser.add_argument("--cohort", type=int, default=5_994, help="cohort speakers, two utterances each")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--top-n", type=int, default=300)
    parser.add_argument("--part", type=int, default=2_000, help="trials for the per-trial loop")
    parser.add_argument("--num-threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        embeddings, cohort, pairs = make_up(Path(folder), args)
        seconds, mebibytes = run(Path(folder), args)
        scores = read_scores(Path(folder) / "scores/list/AxA.asnorm").score
        part = np.random.default_rng(1).choice(args.trials, min(args.part, args.trials), replace=False)
        start = time.perf_counter()
        expected = [score_one(embeddings[e], embeddings[t], cohort, args.top_n) for e, t in pairs[part]]
        loop = (time.perf_counter() - start) * args.trials / len(part)
    difference = np.max(np.abs(scores[part] - expected) / np.maximum(1, np.abs(expected)))
    print(f"ours: {seconds:.1f} s, {mebibytes:.0f} MiB for {args.trials} trials of {args.utterances} utterances")
    print(f"per-trial loop: {loop:.0f} s from {len(part)} trials: {loop / seconds:.0f} times as long")
    print(f"largest difference: {difference:.1e} (relative where above 1)")


def make_up(folder: Path, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write embeddings and lists; return float64 embeddings and cohort means of length 1, (N, 2) rows of trials."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((args.utterances, args.dim), dtype=np.float32)
    keys = [f"id{n:06d}-video-{n % 100:05d}" for n in range(args.utterances)]
    train = rng.standard_normal((2 * args.cohort, args.dim), dtype=np.float32)
    train_keys = [f"tr{n // 2:05d}-{n % 2}" for n in range(len(train))]
    pairs = np.stack([rng.integers(0, args.utterances, args.trials), rng.integers(0, args.utterances, args.trials)], 1)
    is_target = rng.random(args.trials) < 0.5
    for name in ("eval/trials", "train", "embeddings"):
        (folder / name).mkdir(parents=True)
    write_vectors(folder / "embeddings/eval.A", keys, matrix)
    write_vectors(folder / "embeddings/train.A", train_keys, train)
    write_list(folder / "eval/utt2spk", {key: key[:8] for key in keys})
    write_list(folder / "train/utt2spk", {key: key[:7] for key in train_keys})
    with (folder / "eval/trials/list").open("w") as file:
        for (e, t), target in zip(pairs, is_target, strict=True):
            file.write(f"{keys[e]} {keys[t]} {'target' if target else 'nontarget'}\n")
    train = train.astype(np.float64)
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    cohort = train.reshape(args.cohort, 2, -1).mean(axis=1)
    matrix = matrix.astype(np.float64)
    return (*(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (matrix, cohort)), pairs)


def run(folder: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds and peak MiB of the scoring command."""
    command = [sys.executable, "-m", "avsv.bin.score_norm", "--num-threads", str(args.num_threads)]
    command += ["--top-n", str(args.top_n), folder / "embeddings", folder / "scores", folder / "train", folder / "eval"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def score_one(enroll: np.ndarray, test: np.ndarray, cohort: np.ndarray, top_n: int) -> float:
    """Adaptive s-norm 1 of one trial, straight from its definition in double precision."""
    tops = [np.sort(cohort @ side)[-top_n:] for side in (enroll, test)]
    raw = enroll @ test
    return sum((raw - top.mean()) / top.std() for top in tops) / 2


if __name__ == "__main__":
    main()
