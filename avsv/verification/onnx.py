"""Networks and fusion of a trained system as ONNX graphs, which other runtimes run without this package.

========== ============================================================ =====================
file       inputs                                                       output
========== ============================================================ =====================
audio      ``audio`` (batch, frames, features) or (batch, samples)      ``embedding`` (batch, D)
visual     ``video`` (batch, frames, channels, height, width)           ``embedding`` (batch, D)
fusion     ``audio``, ``visual`` (batch, D) of the networks, and        ``embedding`` (batch, D)
           ``present`` (batch, 2), true where they are there
========== ============================================================ =====================

All recordings of a batch have the same length: there are no masks. ``README.md`` beside them says what each input is.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from avsv.errors import DataError
from avsv.io.atomic import atomic_path, write_text
from avsv.verification.card import describe_audio, describe_faces, table
from avsv.verification.package import Package

OPSET = 17
README = "README.md"
_MARK = "<!-- avsv export --onnx -->"  # the first line of this file: the folder holds graphs only
TOLERANCE = 1e-4
"""Largest relative difference between a graph and PyTorch."""
UNSUPPORTED = {
    "dvector": "it computes a short-time Fourier transform, which the exporter does not support",
    "speechbrain_ecapa": "it computes a short-time Fourier transform, which the exporter does not support",
    "audio_onnx": "it is a published graph already: use that file",
    "visual_onnx": "it is a published graph already: use that file",
    "compact_bilinear": "it multiplies spectra, and ONNX has no real Fourier transform of this form",
}


class Exported(NamedTuple):
    """What became of a network.

    Attributes:
        name: audio, visual or fusion.
        path: of the graph; None where there is none.
        difference: largest difference to PyTorch on random inputs of several lengths, relative to the largest output.
        reason: why there is no graph.
    """

    name: str
    path: Path | None
    difference: float | None
    reason: str | None


def export_onnx(package: Package, folder: Path) -> list[Exported]:
    """Write ``audio.onnx``, ``visual.onnx`` and ``fusion.onnx``, as far as the system has them, and check each.

    Args:
        package: the system.
        folder: new, empty, or with the graphs of an earlier export.

    Returns:
        What became of each.

    Raises:
        DataError: a graph differs from PyTorch by more than :data:`TOLERANCE`; the folder holds other files.
        ModuleNotFoundError: the packages onnx or onnxruntime are not installed.
    """
    _check_target(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / README, describe_graphs(package))
    embedder, system = package.embedder, package.settings.system
    exported = []
    for name, config in (("audio", system.audio), ("visual", system.visual), ("fusion", system.fusion)):
        path = folder / f"{name}.onnx"
        path.unlink(missing_ok=True)
        if config is None:
            continue
        if config.name in UNSUPPORTED:
            exported.append(Exported(name, None, None, f"{config.name}: {UNSUPPORTED[config.name]}"))
            continue
        draw = {"audio": _audio, "visual": _video, "fusion": _embeddings}[name](package)
        exported.append(Exported(name, path, export_network(getattr(embedder, name), draw, path), None))
    return exported


def _check_target(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file: give a new folder")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not names:
        return
    about = folder / README
    ours = about.is_file() and about.read_bytes().startswith(_MARK.encode())
    others = names - {"audio.onnx", "visual.onnx", "fusion.onnx", README}
    if others or not ours:
        raise DataError(f"{folder}: holds other files: give a new folder, or that of an earlier export with --onnx")


def describe_graphs(package: Package) -> str:
    """The text of ``README.md`` beside the graphs: names, shapes and meaning of their inputs."""
    inputs, embedder, system = package.inputs, package.embedder, package.settings.system
    rows = []
    if audio := describe_audio(package):
        shape = "samples" if inputs.takes == "waveform" else f"frames, {inputs.num_bins}"
        rows.append(["`audio.onnx`", "`audio`", f"(batch, {shape}) float32", audio])
    if faces := describe_faces(package):
        shape = ", ".join(map(str, inputs.image_shape))
        about = f"{faces} A pixel is x / 255 - 0.5 for a byte x."
        rows.append(["`visual.onnx`", "`video`", f"(batch, frames, {shape}) float32", about])
    if system.fusion is not None:
        for name in ("audio", "visual"):
            size = getattr(embedder, name).embedding_dim
            about = f"Output of `{name}.onnx` as it is; zeros where the recording has none."
            rows.append(["`fusion.onnx`", f"`{name}`", f"(batch, {size}) float32", about])
        about = "Whether the recording has a voice (first column) and a face (second column)."
        rows.append(["`fusion.onnx`", "`present`", "(batch, 2) bool", about])
    parts = [
        f"{_MARK}\n# ONNX graphs of {package.settings.name}",
        f"Weights: md5 `{package.settings.identity}`. The output of each graph is `embedding`, (batch, D) float32, not"
        " scaled: compare two of them by their cosine. All recordings of a batch have the same length: there is no"
        " padding. A graph that is not here could not be written: `avsv export --onnx` says why.",
        table(["graph", "input", "shape and type", "content"], rows),
    ]
    if system.embed.mirror:
        parts.append("`avsv` gives the mirrored face crops as further frames.")
    if system.embed.speeds:
        parts.append("`avsv` also embeds the voice at 0.9 and 1.1 times its speed, and averages the three cosines.")
    parts.append("Normalization and calibration of scores are not part of the graphs.")
    return "\n\n".join(parts) + "\n"


Draw = Callable[[int, int], dict[str, Tensor]]
"""Random inputs by name, given the size of a batch and a number that changes their length."""


def _audio(package: Package) -> Draw:
    inputs, rate = package.inputs, package.settings.fbank.sample_rate
    if inputs.takes == "waveform":
        return lambda batch, more: {"audio": 0.1 * torch.randn(batch, rate + 3000 * more)}
    return lambda batch, more: {"audio": torch.randn(batch, 120 + 37 * more, inputs.num_bins)}


def _video(package: Package) -> Draw:
    shape = package.inputs.image_shape
    return lambda batch, more: {"video": torch.rand(batch, 2 + more, *shape) - 0.5}


def _embeddings(package: Package) -> Draw:
    sizes = package.embedder.audio.embedding_dim, package.embedder.visual.embedding_dim

    def draw(batch: int, more: int) -> dict[str, Tensor]:
        present = torch.ones(batch, 2, dtype=torch.bool)
        for row in range(batch - 1):
            present[row, row % 2] = False
        return {"audio": torch.randn(batch, sizes[0]), "visual": torch.randn(batch, sizes[1]), "present": present}

    return draw


def export_network(network: nn.Module, draw: Draw, path: Path) -> float:
    """Write one network as a graph and return its largest relative difference to PyTorch.

    The batch is free, and so is the length where the inputs have one.

    Raises:
        DataError: see :func:`export_onnx`; then there is no file.
    """
    inputs = draw(3, 2)
    free = {0: "batch"} if "present" in inputs else {0: "batch", 1: "length"}
    axes = dict.fromkeys(inputs, free)
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            # Tracing warns of every shape that is compared; the comparison below finds what it got wrong.
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                network,
                tuple(inputs.values()),
                str(temporary),
                input_names=list(inputs),
                output_names=["embedding"],
                dynamic_axes={**axes, "embedding": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )
        difference = max(_difference(network, temporary, draw(*sizes)) for sizes in ((1, 0), (2, 5), (5, 1)))
        if not difference <= TOLERANCE:
            raise DataError(f"{path}: the graph differs from PyTorch by {difference:.2g}, more than {TOLERANCE:g}")
    return difference


def _difference(network: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {item.name: inputs[item.name].numpy() for item in session.get_inputs()})
    with torch.inference_mode():
        wanted = network(*inputs.values()).numpy()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
