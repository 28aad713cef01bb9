"""Initial weights of a system, from published weights or trained systems."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from avsv.errors import DataError
from avsv.model.build import load_exactly, load_fitting, part_of
from avsv.model.config import SystemConfig
from avsv.model.embedder import Embedder
from avsv.model.pretrained import load_published, resolve_weights
from avsv.model.saved import TrainedSystem
from avsv.model.trainable import TrainableSystem


def load_pretrained(
    embedder: Embedder, config: SystemConfig, folder: str | Path, warn: Callable[[str], None]
) -> list[Path]:
    """Load the published weights that a configuration names, and return their files.

    Args:
        embedder: the embedder, changed in place.
        config: configuration, of which the section ``pretrained`` is used.
        folder: folder of downloaded weights.
        warn: called with the loaded file and the weights that it does not contain.

    Raises:
        DataError: weights are missing or do not match.
    """
    files = []
    for role in ("audio", "visual"):
        name = getattr(config.pretrained, role)
        if name is not None:
            files.append(resolve_weights(name, Path(folder)))
            fresh = load_published(getattr(embedder, role), files[-1])
            warn(f"{role}: published weights {files[-1]}; random: {', '.join(fresh) if fresh else 'nothing'}")
    return files


def start_from(system: TrainableSystem, config: SystemConfig, init: Mapping[str, Path], classes: list[str]) -> bool:
    """Load the weights of the systems that ``init_from`` names.

    From an audio and a visual system come the networks, and with ``train.fuse_classes`` the classes if both have
    learned the same ones. From a whole system comes everything except what the configuration changes in the objective,
    and without the classifiers if it was trained on other speakers.

    Args:
        system: the system, changed in place.
        config: configuration, of which the section ``init_from`` is used.
        init: maps 'audio', 'visual' or 'system' to the folder of a trained system.
        classes: training speakers in the order of their labels.

    Returns:
        Whether the speakers are new to a whole system, so that their classes can start from the means of its
        embeddings (:func:`avsv.train.centers.start_at_means`).

    Raises:
        DataError: ``init`` contradicts the configuration, or weights do not match.
    """
    for role in ("audio", "visual", "system"):
        name = getattr(config.init_from, role)
        if (name is None) != (role not in init):
            there = "does not name" if name is None else f"names '{name}'"
            raise DataError(
                f"init_from.{role}: the configuration {there} a system, --init disagrees: change one of them"
            )
    trained = {role: TrainedSystem.load(path / "final.pt") for role, path in init.items()}
    if "system" in trained:
        source = trained["system"]
        load_exactly(system.embedder, source.embedder, "the system")
        new_speakers = source.classes != classes
        kept = {
            name: w for name, w in source.objective.items() if not (new_speakers and name.startswith("classifiers."))
        }
        load_fitting(system.objective, kept)
        return new_speakers
    for role, source in trained.items():
        load_exactly(getattr(system.embedder, role), part_of(source.embedder, role), role)
    # In a system trained with speed perturbation, the speakers at the recorded speed come first.
    if (
        config.train.fuse_classes
        and len(trained) == 2
        and all(source.classes[: len(classes)] == classes for source in trained.values())
    ):
        weights = {role: source.class_weights() for role, source in trained.items()}
        if system.objective.main.class_weights is not None and all(x is not None for x in weights.values()):
            start_classes(system, *(weights[role][: len(classes)] for role in ("audio", "visual")))
    return False


@torch.no_grad()
def start_classes(system: TrainableSystem, audio: Tensor, visual: Tensor) -> None:
    """Initialize the class weights of a fused system as the fusion of the class weights of two trained systems.

    Random class weights would change the trained networks in the first epochs for no benefit.

    Args:
        system: a system whose classifier has one weight vector per class.
        audio: (K, audio embedding size), the class weights of the audio system.
        visual: (K, visual embedding size), those of the visual system, for the same classes in the same order.

    Raises:
        ValueError: the shape of the fused class weights is not that of the classifier.
    """
    fusion = system.embedder.fusion
    was_training = fusion.training
    centers, weights = fusion.eval()(audio, visual), system.objective.main.class_weights
    fusion.train(was_training)
    if centers.shape != weights.shape:
        raise ValueError(
            f"class centers have the shape {tuple(centers.shape)}, but the classifier has {tuple(weights.shape)}"
        )
    weights.copy_(centers)
