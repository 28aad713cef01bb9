"""Analyses of systems: geometry of embeddings, cost, attention of voice and face."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from avsv.analysis.attention import SECONDS, attention_maps, clip_weights, has_series
from avsv.analysis.cost import clip_batch, measure_cost
from avsv.analysis.geometry import averaging, geometry, geometry_table, voice_to_face
from avsv.analysis.null import null_representations
from avsv.analysis.projection import project, projection_table
from avsv.analysis.rows import Agreement, Averaging, Cost, NullRepresentation
from avsv.analysis.spaces import read_spaces
from avsv.analysis.worth import agreements, attending
from avsv.bin.command import run_command
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.io.names import system_name
from avsv.model.saved import TrainedEmbedder
from avsv.results.frames import frame_csv, to_csv
from avsv.results.plots import angle_plot, attention_plot, projection_plot

COST_SECONDS = 3.0  # clip whose cost is measured


def main() -> None:
    """Analyze every system and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples and the projection")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("systems", nargs="+", type=system_name, help="their names")
    args = parser.parse_args()
    utt2spk = read_list(args.data / "utt2spk", fields=2)
    for system in args.systems:
        analyse(args.exp / system, args.data.name, utt2spk, args.seed)
        if (args.exp / system / "final.pt").is_file():
            analyse_networks(args.exp / system, args.data, utt2spk, args.seed)


def analyse(folder: Path, name: str, utt2spk: Mapping[str, str], seed: int) -> None:
    """Write ``analysis/geometry.csv``, ``angles.png``, ``projection.csv`` and ``projection.png`` of one system."""
    spaces = read_spaces(folder, name, utt2spk)
    measures = {m: geometry(space.vectors, space.identities, seed=seed) for m, space in spaces.items()}
    audio_video = voice_to_face(spaces["A"], spaces["V"]) if {"A", "V"} <= spaces.keys() else None
    projections = {m: project(space, seed) for m, space in spaces.items()}
    points = {m: found.points for m, found in projections.items()}
    shown = {m: found.identities for m, found in projections.items()}

    output = folder / "analysis"
    output.mkdir(exist_ok=True)
    angle_plot(output / "angles.png", folder.name, measures, audio_video)
    projection_plot(output / "projection.png", folder.name, points, shown)
    write_text(output / "projection.csv", frame_csv(projection_table(projections)))
    table = geometry_table(measures, audio_video, {m: (points[m], shown[m]) for m in spaces})
    write_text(output / "geometry.csv", frame_csv(table, missing="nan"))
    print(f"{folder.name}: " + "; ".join(f"{m} {of.summary()}" for m, of in measures.items()))
    if {"A", "V", "AV"} <= spaces.keys():
        found = averaging(spaces["AV"], spaces["A"], spaces["V"], seed=seed)
        write_text(output / "averaging.csv", to_csv([found], Averaging))
        print(f"{folder.name}: fused cosine and mean of those of voice and face: correlation {found.correlation:.4f}")


def analyse_networks(folder: Path, directory: Path, utt2spk: Mapping[str, str], seed: int) -> None:
    """Write cost.csv of a trained system to its ``analysis``; null.csv, worth.csv and attention.csv where possible."""
    torch.set_num_threads(1)
    system = TrainedEmbedder.load(folder)
    costs = measure_cost(system.embedder, clip_batch(system.inputs, COST_SECONDS, system.config, seed))
    write_text(folder / "analysis" / "cost.csv", to_csv(costs, Cost))
    whole = costs[-1]
    print(
        f"{folder.name}: {whole.parameters:,} parameters; a clip of {COST_SECONDS:g} s takes {whole.multiply_adds:,}"
        f" multiply-adds, {whole.seconds:.3f} s"
    )
    if system.embedder.fusion is not None:
        compare_null(system, directory, folder / "analysis")
    if attending(system.embedder, directory):
        compare_attention(system, directory, folder / "analysis")
    if has_series(system.embedder):
        analyse_attention(system, directory, utt2spk, folder / "analysis", seed)


def compare_null(system: TrainedEmbedder, directory: Path, output: Path) -> None:
    """Write ``null.csv``: how the fusion represents a missing modality."""
    rows = null_representations(system, directory)
    write_text(output / "null.csv", to_csv(rows, NullRepresentation))
    for row in rows:
        print(
            f"{system.name}: without {row.missing} input, embeddings are {row.distance:.2f} (95 % interval"
            f" {row.low:.2f} to {row.high:.2f}) deviations from the mean over the inputs of others"
        )


def compare_attention(system: TrainedEmbedder, directory: Path, output: Path) -> None:
    """Write ``worth.csv``: the attention of the poolings against the true worth of the moments."""
    rows = agreements(system, directory)
    write_text(output / "worth.csv", to_csv(rows, Agreement))
    for row in rows:
        print(
            f"{system.name}: {row.modality} attention and true worth over {row.utterances} utterances: rank correlation"
            f" {row.correlation:.2f} (95 % interval {row.low:.2f} to {row.high:.2f})"
        )


def analyse_attention(
    system: TrainedEmbedder, directory: Path, utt2spk: Mapping[str, str], output: Path, seed: int
) -> None:
    """Correlate the weights of voice and face over short clips, and plot those of one clip."""
    weights = clip_weights(system, directory, seed)
    if weights is None:
        print(f"{system.name}: no clip of {directory} has {SECONDS} s of voice and face: attention is not shown")
        return
    write_text(output / "attention.csv", frame_csv(weights.table(utt2spk), missing="nan"))
    title = f"weights of {weights.keys[0]}\ncorrelation {weights.correlation[0]:.2f}"
    if summary := weights.mean_correlation(utt2spk):
        clips, mean, low, high = summary
        title += f"\n{clips} clips: {mean:.2f} [{low:.2f}, {high:.2f}]"
        print(
            f"{system.name}: weights of voice and face over {clips} clips of {SECONDS} s correlate by"
            f" {mean:.2f} (95 % interval {low:.2f} to {high:.2f})"
        )
    maps = attention_maps(system.embedder, weights.first)
    attention_plot(output / "attention.png", title, SECONDS, maps, weights.series[0])


if __name__ == "__main__":
    run_command(main)
