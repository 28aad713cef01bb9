"""Fit the gate of a fused system on corrupted development trials, and score lists with it like a system."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.corruption.gate import gate_material
from avsv.corruption.kinds import conditions
from avsv.corruption.mixture import Mixture
from avsv.corruption.shares import Plan
from avsv.corruption.sound import Noises
from avsv.corruption.sweep import MODALITIES, Bench, Protocol
from avsv.data.quality import read_quality, side_quality
from avsv.embed.device import job_device
from avsv.errors import DataError
from avsv.io.names import system_name
from avsv.scoring.gate import Gate, Gated, fit_gate, write_gate, write_gate_scores
from avsv.scoring.trials import read_trial_set
from avsv.seeding import seed_for


def main() -> None:
    """Fit, score, and print a line for both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="conf/sweeps.yaml: kinds and levels of corruption")
    parser.add_argument("--noise-dir", type=Path, help="folder with wav.scp and utt2type")
    parser.add_argument("--cohort", type=Path, required=True, help="data directory of the cohort")
    parser.add_argument("--top-n", type=int, default=300, help="cohort speakers of adaptive s-norm")
    parser.add_argument("--rounds", type=int, default=10, help="how often each development utterance is corrupted")
    parser.add_argument("--prior", type=float, default=0.5, help="prior probability of a target trial for the fit")
    parser.add_argument("--seed", type=int, default=0, help="of all corruptions")
    parser.add_argument("--gpu", action="store_true", help="compute on a GPU")
    parser.add_argument("--num-workers", type=int, default=0, help="loader processes (0)")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("name", type=system_name, help="of the gate")
    parser.add_argument("system", type=system_name, help="a fused system")
    parser.add_argument("dev", type=Path, help="data directory of the development trials")
    parser.add_argument("data", type=Path, nargs="*", help="data directories of other trials to score")
    args = parser.parse_args()
    if not 0 < args.prior < 1:
        raise DataError(f"--prior {args.prior}: must be larger than 0 and smaller than 1")

    scores = args.exp / args.name / "scores"
    (scores / "gate.csv").unlink(missing_ok=True)
    gated = Gated(args.name, args.system, _fit(args))
    scores.mkdir(parents=True, exist_ok=True)
    write_gate(scores, gated)
    for directory in (args.dev, *args.data):
        trial_set = read_trial_set(directory)
        reliabilities = {}
        for letter, reliability in gated.gate.reliabilities.items():
            quality = read_quality(directory, letter, trial_set.members.utterances)
            reliabilities[letter] = reliability(side_quality(trial_set.members, quality))
        for path, count in write_gate_scores(args.exp, gated, trial_set, reliabilities):
            print(f"{path}: {count} trials")


def _fit(args: argparse.Namespace) -> Gate:
    # The noises that are held out are those of sweeps.
    noises = Noises(args.noise_dir, others=True) if args.noise_dir else None
    sweeps = Plan.read(args.config, [], noises).sweeps
    bench = Bench(
        Protocol(args.exp, args.cohort, [args.dev], top_n=args.top_n),
        [args.system],
        job_device(1, args.gpu),
        args.num_workers,
    )
    if not set(MODALITIES) <= set(bench.systems[args.system].embedder.modes):
        raise DataError(f"{args.system}: a gate needs a system with the modes AV, A and V")
    mixtures = [Mixture(conditions(sweeps), seed_for(args.seed, "gate", n), noises) for n in range(args.rounds)]
    material = gate_material(bench, args.system, mixtures)
    try:
        gate = fit_gate(material, args.prior)
    except ValueError as error:
        raise DataError(f"{args.name} on {args.dev}: {error}") from error
    print(f"{args.name}: fitted on {len(material.is_target)} trials with {args.rounds} corruptions of each recording")
    return gate


if __name__ == "__main__":
    run_command(main)
