"""Weights that others have published: the list of them, and how a network takes them over.

What of a published network fits into ours, and under which name, the network itself knows
(:meth:`avsv.nnet.backbone.Backbone.convert_published`). This module imports torch only where weights are read.
"""

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import avsv
from avsv.config.strict import nearest, read_dataclass, read_yaml
from avsv.errors import DataError
from avsv.io.names import check_name

if TYPE_CHECKING:
    from torch import Tensor

    from avsv.nnet.backbone import Backbone

WEIGHTS_LIST = Path(avsv.__file__).parent.parent / "conf" / "weights.yaml"


@dataclass(frozen=True)
class PublishedWeights:
    """One entry of ``conf/weights.yaml``.

    Args:
        network: name in :mod:`avsv.model.registry` of the network that they are for.
        note: what they are, or where a user gets them.
        url: where they are; None where no program can fetch them.
        sha256: the file's SHA-256 in hexadecimal, or its first eight digits or more; None where none is published.

    Raises:
        ValueError: ``url`` or ``sha256`` is none.
    """

    network: str
    note: str
    url: str | None
    sha256: str | None

    def __post_init__(self) -> None:
        if self.url is not None and not re.match(r"https?://[^/]+/.", self.url):
            raise ValueError(f"url: {self.url}: expected http(s)://HOST/FILE")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"sha256: {self.sha256}: expected 8 to 64 small hexadecimal digits")


def read_weights_list(path: str | Path = WEIGHTS_LIST) -> dict[str, PublishedWeights]:
    """Published weights by name.

    Raises:
        DataError: the file is missing or wrong.

    Example:
        >>> read_weights_list()["resnet50_imagenet"].sha256
        '0676ba61'
    """
    return {
        check_name(name, str(path)): read_dataclass(PublishedWeights, entry, f"{path}: {name}")
        for name, entry in read_yaml(path).items()
    }


def find_weights(name: str, listed: Mapping[str, PublishedWeights]) -> PublishedWeights:
    """The entry of a name that can be downloaded.

    Raises:
        DataError: no such name, or no program can fetch it.
    """
    if name not in listed:
        raise DataError(f"{name}: no published weights of this name: {nearest(name, listed)}")
    entry = listed[name]
    if entry.url is None:
        raise DataError(f"{name}: cannot be fetched by a program: get it by hand and give its path: {entry.note}")
    return entry


def weights_path(name: str, entry: PublishedWeights, folder: str | Path) -> Path:
    """Where the downloaded file of a name is kept: ``FOLDER/NAME`` with the suffix that the publisher gave it.

    Example:
        >>> str(weights_path("hubert_base", read_weights_list()["hubert_base"], "data/weights"))
        'data/weights/hubert_base.pth'
    """
    return Path(folder) / f"{name}{Path(urlsplit(entry.url).path).suffix}"


def resolve_weights(name_or_path: str, folder: str | Path, listing: str | Path = WEIGHTS_LIST) -> Path:
    """The file behind what a configuration names: a file, or weights that have been downloaded.

    Args:
        name_or_path: a file, or a name of the list; where it is both, the name counts.
        folder: where downloaded weights are kept.
        listing: the list of published weights.

    Raises:
        DataError: there is no such file; the message has the command that downloads it.
    """
    listed = read_weights_list(listing)
    if name_or_path in listed:
        path = weights_path(name_or_path, find_weights(name_or_path, listed), folder)
        if not path.is_file():
            raise DataError(f"{path}: not there yet: run 'utils/download_weights.sh {name_or_path} {folder}' once")
        return path
    path = Path(name_or_path)
    if not path.is_file():
        raise DataError(f"{path}: no such file, and no published weights of this name: {nearest(path.name, listed)}")
    return path


def read_state(path: str | Path) -> "dict[str, Tensor]":
    """The state dict in a PyTorch or safetensors file, which may hold it under ``state_dict`` or ``model``.

    Only tensors and plain values are read: the file cannot run code.

    Raises:
        DataError: the file is missing or broken, needs code to be read, or holds no state dict.
    """
    from torch import Tensor

    content = _read_file(Path(path))
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = {}
    if isinstance(content, Mapping):
        state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise DataError(f"{path}: holds no state dict, neither alone nor under 'state_dict' or 'model'")
    if all(key.startswith("module.") for key in state):  # saved from inside DistributedDataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _read_file(path: Path) -> object:
    import torch

    try:
        with path.open("rb") as stream:
            if path.suffix == ".safetensors":
                from safetensors.torch import load

                return load(stream.read())
            return torch.load(stream, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except ImportError:
        raise DataError(f"{path}: reading safetensors files needs a package: run 'pip install safetensors'") from None
    except Exception as error:
        # What a broken file raises depends on where it is broken.
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise DataError(
                f"{path}: holds objects beside tensors, and reading those can run code: save its state dict alone"
            ) from None
        raise DataError(f"{path}: no PyTorch file of weights, or broken: download it again") from None


def load_published(network: "Backbone", path: str | Path) -> list[str]:
    """Load published weights into a network.

    Args:
        network: an audio or visual network; changed only if all is well.
        path: a file of published weights.

    Returns:
        What the file does not have and keeps its fresh weights: the names of whole modules where possible.

    Raises:
        DataError: the file cannot be read, or its weights are not of this network.
    """
    state = read_state(path)
    try:
        converted = network.convert_published(state)
    except ValueError as error:
        raise DataError(
            f"{path}: {error}: give weights of this network, or make its options those of the file"
        ) from None
    own = network.state_dict()
    unknown = network.load_state_dict(converted, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"{type(network).__name__}.convert_published gives {unknown[0]}, which the network lacks")
    # How many batches a statistic has seen is not published everywhere, and does not matter.
    fresh = [key for key in own if key not in converted and not key.endswith("num_batches_tracked")]
    return _shortened(fresh, converted)


def _shortened(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Modules for names: of each as much as none of the others begins with."""
    taken = {part for other in others for part in _beginnings(other)}
    return list(dict.fromkeys(next(part for part in _beginnings(name) if part not in taken) for name in names))


def _beginnings(name: str) -> Iterable[str]:
    """'a', 'a.b', 'a.b.c' of 'a.b.c'."""
    return accumulate(name.split("."), "{}.{}".format)
