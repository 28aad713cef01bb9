"""Networks and fusion of a trained system as ONNX graphs, which other runtimes run without this package.

========== ============================================================ =====================
file       inputs                                                       output
========== ============================================================ =====================
audio      ``audio`` (batch, frames, features) or (batch, samples)      ``embedding`` (batch, D)
visual     ``video`` (batch, frames, channels, height, width)           ``embedding`` (batch, D)
fusion     ``audio``, ``visual`` (batch, D) of the networks, and        ``embedding`` (batch, D)
           ``present`` (batch, 2), true where they are there
========== ============================================================ =====================

All recordings of a batch have the same length: there are no masks. Features are normalized to mean 0, pixels are in
[-0.5, 0.5], as the networks take them here.
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
from avsv.io.atomic import atomic_path
from avsv.verification.package import Package

OPSET = 17
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
        folder: made if need be.

    Returns:
        What became of each.

    Raises:
        DataError: a graph differs from PyTorch by more than :data:`TOLERANCE`; the packages onnx or onnxruntime are not
            installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    embedder, system = package.embedder, package.settings.system
    exported = []
    for name, config in (("audio", system.audio), ("visual", system.visual), ("fusion", system.fusion)):
        if config is None:
            continue
        if config.name in UNSUPPORTED:
            exported.append(Exported(name, None, None, f"{config.name}: {UNSUPPORTED[config.name]}"))
            continue
        path = folder / f"{name}.onnx"
        draw = {"audio": _audio, "visual": _video, "fusion": _embeddings}[name](package)
        exported.append(Exported(name, path, export_network(getattr(embedder, name), draw, path), None))
    return exported


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
