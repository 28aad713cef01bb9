"""Analyses of systems: geometry of embeddings, cost, attention of voice and face."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from avsv.analysis.geometry import Geometry, angles, geometry, sample_identities
from avsv.analysis.umap import umap
from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.io.names import system_name
from avsv.results.plots import angle_plot, attention_plot, projection_plot
from avsv.scoring.trials import read_embeddings

MAX_PROJECTED = 240  # utterances in a projection: more are no longer told apart
MAX_IDENTITIES = 16
NEIGHBORS = 5  # of UMAP
COST_SECONDS = 3.0  # clip whose cost is measured
ATTENTION_SECONDS = 0.8  # clip whose attention is shown
ATTENTION_CLIPS = 200  # over which voice and face are correlated


def main() -> None:
    """Analyse every system; print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the samples and the projection")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("systems", nargs="+", type=system_name, help="their names")
    args = parser.parse_args()
    utt2spk = read_list(args.data / "utt2spk", fields=2)
    for system in args.systems:
        analyse(args.exp / system, args.data.name, utt2spk, args.seed)
        if (args.exp / system / "final.pt").is_file():
            analyse_networks(args.exp / system, args.data, utt2spk, args.seed)


def analyse(folder: Path, name: str, utt2spk: dict[str, str], seed: int) -> None:
    """Write ``analysis/geometry.csv``, ``angles.png``, ``projection.csv`` and ``projection.png`` of one system."""
    vectors, identities = {}, {}
    keys: dict[str, list[str]] = {}
    for modality in ("AV", "A", "V"):
        scp = folder / "embeddings" / f"{name}.{modality}.scp"
        if scp.is_file():
            keys[modality], embeddings = read_embeddings(scp)
            unknown = [key for key in keys[modality] if key not in utt2spk]
            if unknown:
                raise DataError(f"{scp}: '{unknown[0]}' is not in utt2spk: extract embeddings again")
            vectors[modality] = embeddings.matrix
            identities[modality] = np.array([utt2spk[key] for key in keys[modality]])
            if len(np.unique(identities[modality])) < 2:
                raise DataError(f"{scp}: all utterances are of one identity: angles between identities need two")
    if not vectors:
        raise DataError(f"{folder}/embeddings: no embeddings of {name}: extract them first")
    measures = {m: geometry(vectors[m], identities[m], seed=seed) for m in vectors}
    audio_video = voice_to_face(keys, vectors) if {"A", "V"} <= vectors.keys() else None

    output = folder / "analysis"
    output.mkdir(exist_ok=True)
    angle_plot(output / "angles.png", folder.name, measures, audio_video)
    rows = {m: sample_identities(identities[m], MAX_PROJECTED, MAX_IDENTITIES, seed) for m in vectors}
    projections = {m: project(vectors[m][rows[m]], seed) for m in vectors}
    shown = {m: identities[m][rows[m]] for m in vectors}
    projection_plot(output / "projection.png", folder.name, projections, shown)
    points = [
        f"{m},{keys[m][row]},{identities[m][row]},{x:.4f},{y:.4f}\n"
        for m in vectors
        for row, (x, y) in zip(rows[m], projections[m], strict=True)
    ]
    write_text(output / "projection.csv", "modality,utterance,identity,x,y\n" + "".join(points))
    write_text(output / "geometry.csv", to_csv(measures, audio_video, projections, shown))
    print(f"{folder.name}: " + "; ".join(summary(m, measures[m]) for m in measures))


def analyse_networks(folder: Path, directory: Path, utt2spk: Mapping[str, str], seed: int) -> None:
    """Write ``analysis/cost.csv`` of a trained system; attention.csv and .png where both networks pool with weights."""
    import torch

    from avsv.analysis.attention import has_series
    from avsv.analysis.cost import Cost, clip_batch, measure_cost
    from avsv.model.saved import TrainedEmbedder
    from avsv.results.frames import to_csv as table

    torch.set_num_threads(1)
    system = TrainedEmbedder.load(folder)
    costs = measure_cost(system.embedder, clip_batch(system.inputs, COST_SECONDS, system.config.video_frames, seed))
    write_text(folder / "analysis" / "cost.csv", table(costs, Cost))
    whole = costs[-1]
    print(
        f"{folder.name}: {whole.parameters:,} parameters; a clip of {COST_SECONDS:g} s takes {whole.multiply_adds:,}"
        f" multiply-adds, {whole.seconds:.3f} s"
    )
    if has_series(system.embedder):
        analyse_attention(system, directory, utt2spk, folder / "analysis", seed)


def analyse_attention(system, directory: Path, utt2spk: Mapping[str, str], output: Path, seed: int) -> None:
    """Correlate the weights of voice and face over short clips, and draw those of one."""
    from avsv.analysis.attention import attention_of, correlations, mean_interval, weight_series
    from avsv.corruption.clips import corrupted_utterances
    from avsv.corruption.kinds import Corruption
    from avsv.data.lists import read_utterances

    fps = system.inputs.video.fps
    grid = round(ATTENTION_SECONDS * fps)
    audio = system.inputs.audio
    table = read_utterances(directory, "audio.scp", True)
    long_enough = table.audio_frames >= audio.num_frames(round(ATTENTION_SECONDS * audio.sample_rate))
    long_enough &= table.video_frames >= grid
    long = [table.keys[row] for row in np.flatnonzero(long_enough)]
    if not long:
        print(
            f"{system.name}: no clip of {directory} has {ATTENTION_SECONDS} s of voice and face: no attention to show"
        )
        return
    step = -(-len(long) // ATTENTION_CLIPS)
    table = read_utterances(directory, "audio.scp", True, only=set(long[::step]))
    corruption = Corruption("length", ATTENTION_SECONDS, seed)
    embed = replace(system.config, video_frames=None, mirror=False)
    clips = corrupted_utterances(table, embed, system.inputs, corruption)
    keys, series, first = [], [], None
    for number in range(len(clips)):
        batch = clips[number]
        if isinstance(batch, DataError):
            raise batch
        batch = batch.prepare("cpu")
        first = first or batch
        keys += batch.keys
        series.append(np.stack(weight_series(system.embedder, batch, grid), axis=1))
    series = np.concatenate(series)
    found = correlations(series[:, 0], series[:, 1])
    rows = [f"{key},{utt2spk[key]},{value:.4f}\n" for key, value in sorted(zip(keys, found, strict=True))]
    write_text(output / "attention.csv", "utterance,speaker,correlation\n" + "".join(rows))
    voice = attention_of(system.embedder.audio, first.audio, first.audio_mask)
    face = attention_of(system.embedder.visual, first.video, first.video_mask)
    maps = {
        "voice, logits": voice.logits, "voice, enhanced": voice.enhanced,
        "face, logits": face.logits, "face, enhanced": face.enhanced,
    }  # fmt: skip
    title = f"weights of {first.keys[0]}\ncorrelation {found[0]:.2f}"
    known = np.isfinite(found)
    speakers = [utt2spk[key] for key, there in zip(keys, known, strict=True) if there]
    if len(set(speakers)) > 1:
        mean, low, high = mean_interval(found[known], speakers)
        title += f"\n{known.sum()} clips: {mean:.2f} [{low:.2f}, {high:.2f}]"
        print(
            f"{system.name}: weights of voice and face over {known.sum()} clips of {ATTENTION_SECONDS} s correlate by"
            f" {mean:.2f} (95 % interval {low:.2f} to {high:.2f})"
        )
    attention_plot(output / "attention.png", title, ATTENTION_SECONDS, maps, series[0])


def voice_to_face(keys: Mapping[str, list[str]], vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Angles in degrees between the voice's and the face's embedding of every clip that has both."""
    row_of = {key: row for row, key in enumerate(keys["V"])}
    pairs = [(row, row_of[key]) for row, key in enumerate(keys["A"]) if key in row_of]
    if not pairs:
        return np.empty(0)
    voice, face = np.array(pairs).T
    return angles(vectors["A"][voice], vectors["V"][face])


def project(vectors: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of embeddings (N, D) of length 1 to (N, 2)."""
    # The order in which threads add up changes the picture, and so few points are no work for them.
    with threadpool_limits(1):
        return umap(vectors, NEIGHBORS, seed=seed)


def to_csv(
    measures: Mapping[str, Geometry],
    audio_video: np.ndarray | None,
    projections: Mapping[str, np.ndarray],
    identities: Mapping[str, np.ndarray],
) -> str:
    """The text of geometry.csv: angles in degrees, silhouettes in [-1, 1], the last of the projections' points."""
    from sklearn.metrics import silhouette_samples

    values = [(m, what, column) for m in measures for what, column in measures[m]._asdict().items()]
    values += [(m, "silhouette of the UMAP", silhouette_samples(projections[m], identities[m])) for m in projections]
    if audio_video is not None:
        values.append(("A-V", "same clip", audio_video))
    lines = ["modality,measure,count,mean,std,p05,median,p95"]
    for modality, what, column in values:
        figures = (
            [column.mean(), column.std(), *np.quantile(column, [0.05, 0.5, 0.95])] if len(column) else [np.nan] * 5
        )
        lines.append(",".join([modality, what, str(len(column)), *(f"{x:.4f}" for x in figures)]))
    return "\n".join(lines) + "\n"


def summary(modality: str, measures: Geometry) -> str:
    """One modality in a few words."""
    parts = [f"{what} {np.median(x):.0f}°" for what, x in (("within", measures.within), ("between", measures.between))]
    return f"{modality} {', '.join(parts)}, silhouette {measures.silhouette.mean():.2f}"


if __name__ == "__main__":
    run_command(main)
