"""Geometry of systems' embeddings: angles, silhouettes, a projection to the plane."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avsv.analysis.geometry import Geometry, angles, geometry, sample_identities
from avsv.analysis.plots import angle_plot, projection_plot
from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.scoring.trials import read_embeddings

MAX_PROJECTED = 240  # utterances in a projection: more are no longer told apart
MAX_IDENTITIES = 16


def main() -> None:
    """Analyse every system; print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the samples and the projection")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("systems", nargs="+", help="their names")
    args = parser.parse_args()
    utt2spk = read_list(args.data / "utt2spk", fields=2)
    for system in args.systems:
        analyse(args.exp / system, args.data.name, utt2spk, args.seed)


def analyse(folder: Path, name: str, utt2spk: dict[str, str], seed: int) -> None:
    """Write ``analysis/geometry.csv``, ``angles.png`` and ``projection.png`` of one system."""
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
    projection_plot(output / "projection.png", folder.name, projections, {m: identities[m][rows[m]] for m in vectors})
    write_text(output / "geometry.csv", to_csv(measures, audio_video))
    print(f"{folder.name}: " + "; ".join(summary(m, measures[m]) for m in measures))


def voice_to_face(keys: Mapping[str, list[str]], vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Angles in degrees between the voice's and the face's embedding of every clip that has both."""
    row_of = {key: row for row, key in enumerate(keys["V"])}
    pairs = [(row, row_of[key]) for row, key in enumerate(keys["A"]) if key in row_of]
    if not pairs:
        return np.empty(0)
    voice, face = np.array(pairs).T
    return angles(vectors["A"][voice], vectors["V"][face])


def project(vectors: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of embeddings (N, D) of length 1 to (N, 2), from a start in the plane of the principal components."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(15.0, (len(vectors) - 1) / 3)
    # The order in which threads add up changes the picture, and so few points are no work for them.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


def to_csv(measures: Mapping[str, Geometry], audio_video: np.ndarray | None) -> str:
    """The text of geometry.csv: angles in degrees, silhouettes in [-1, 1]."""
    values = [(m, what, column) for m in measures for what, column in measures[m]._asdict().items()]
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
