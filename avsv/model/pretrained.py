"""Published weights: the list of them, and loading them into networks.

Each network converts the names and shapes of published weights itself
(:meth:`avsv.nnet.backbone.Backbone.convert_published`). This module imports torch only when weights are read.
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
from avsv.io.safetensors import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from avsv.nnet.backbone import Backbone

WEIGHTS_LIST = Path(avsv.__file__).parent.parent / "conf" / "weights.yaml"
# Keys under which checkpoints hold the weights of a network.
STATE_KEYS = ("state_dict", "model", "model_state")


@dataclass(frozen=True)
class PublishedWeights:
    """One entry of ``conf/weights.yaml``.

    Args:
        network: name of the network in :mod:`avsv.model.registry` to which they belong.
        note: a description, or where a user can get them.
        url: address of the file; None if it is in a package, or if a program cannot download it.
        sha256: the SHA-256 of the file in hexadecimal, or its first eight or more digits; None if it is not published.
        package: the Python package that contains the file, as ``NAME==VERSION``.
        member: path of the file in the wheel of the package.

    Raises:
        ValueError: ``url``, ``sha256`` or ``package`` is malformed, or they contradict each other.
    """

    network: str
    note: str
    url: str | None
    sha256: str | None
    package: str | None = None
    member: str | None = None

    def __post_init__(self) -> None:
        if self.url is not None and not re.match(r"https?://[^/]+/.", self.url):
            raise ValueError(f"url: {self.url}: expected http(s)://HOST/FILE")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"sha256: {self.sha256}: expected 8 to 64 lowercase hexadecimal digits")
        if self.package is not None and not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.+!]*", self.package
        ):
            raise ValueError(f"package: {self.package}: expected NAME==VERSION")
        if (self.package is None) != (self.member is None):
            raise ValueError("member: the path of the file in the package: give both or none")
        if self.package is not None and self.url is not None:
            raise ValueError("package: the file has a url: remove one of the two")


def read_weights_list(path: str | Path = WEIGHTS_LIST) -> dict[str, PublishedWeights]:
    """Read the list of published weights, by name.

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
    """Find the entry of weights that can be downloaded.

    Raises:
        DataError: no such name, or a program cannot download it.
    """
    if name not in listed:
        raise DataError(f"{name}: no published weights of this name: {nearest(name, listed)}")
    entry = listed[name]
    if entry.url is None and entry.package is None:
        raise DataError(
            f"{name}: cannot be downloaded by a program: download it by hand and give its path: {entry.note}"
        )
    return entry


def weights_path(name: str, entry: PublishedWeights, folder: str | Path) -> Path:
    """The path of a downloaded file: ``FOLDER/NAME`` with the suffix of the published file.

    Example:
        >>> str(weights_path("hubert_base", read_weights_list()["hubert_base"], "data/weights"))
        'data/weights/hubert_base.pth'
    """
    return Path(folder) / f"{name}{Path(entry.member or urlsplit(entry.url).path).suffix}"


def resolve_weights(name_or_path: str, folder: str | Path, listing: str | Path = WEIGHTS_LIST) -> Path:
    """The file of the weights that a configuration names: a path, or weights that have been downloaded.

    Args:
        name_or_path: a file, or a name in the list; the name takes precedence.
        folder: folder of the downloaded weights.
        listing: the list of published weights.

    Raises:
        DataError: there is no such file; the message contains the command that downloads it.
    """
    listed = read_weights_list(listing)
    if name_or_path in listed:
        path = weights_path(name_or_path, find_weights(name_or_path, listed), folder)
        if not path.is_file():
            raise DataError(f"{path}: not downloaded yet: run 'utils/download_weights.sh {name_or_path} {folder}' once")
        return path
    path = Path(name_or_path)
    if not path.is_file():
        raise DataError(f"{path}: no such file, and no published weights of this name: {nearest(path.name, listed)}")
    return path


def read_state(path: str | Path) -> "dict[str, Tensor]":
    """Read the state dict in a PyTorch or safetensors file, possibly under a key of :data:`STATE_KEYS`.

    Only tensors and plain values are read: the file cannot run code. The bytes of a file ``.onnx`` become a tensor
    under the key ``onnx``.

    Raises:
        DataError: the file is missing or broken, needs code to be read, or does not contain a state dict.
    """
    from torch import Tensor

    content = _read_file(Path(path))
    if isinstance(content, Mapping) and {"config", "embedder", "classes"} <= content.keys():
        raise DataError(
            f"{path}: a system trained by this toolkit, not published weights: name its folder in init_from, as in"
            f" init_from: {{system: {Path(path).parent}}}"
        )
    for key in STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = {}
    if isinstance(content, Mapping):
        state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise DataError(
            f"{path}: contains no state dict, neither directly nor under 'state_dict', 'model' or 'model_state'"
        )
    if all(key.startswith("module.") for key in state):  # saved from within DistributedDataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _read_file(path: Path) -> object:
    import torch

    try:
        if path.suffix == ".safetensors":
            return {name: torch.from_numpy(array) for name, array in read_tensors(path).arrays.items()}
        with path.open("rb") as stream:
            if path.suffix == ".onnx":
                return {"onnx": torch.frombuffer(bytearray(stream.read() or b" "), dtype=torch.uint8)}
            return torch.load(stream, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except DataError:
        raise
    except Exception as error:
        # The error that a broken file raises depends on where it is broken.
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise DataError(
                f"{path}: contains objects other than tensors, and reading those can run code: save only its state dict"
            ) from None
        raise DataError(f"{path}: not a PyTorch file of weights, or broken: download it again") from None


def load_published(network: "Backbone", path: str | Path) -> list[str]:
    """Load published weights into a network.

    Args:
        network: an audio or visual network; unchanged if there is an error.
        path: a file of published weights.

    Returns:
        The parts that the file does not contain and that keep their random weights: names of whole modules if possible.

    Raises:
        DataError: the file cannot be read, or its weights do not belong to this network.
    """
    state = read_state(path)
    try:
        converted = network.convert_published(state)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except ValueError as error:
        raise DataError(
            f"{path}: {error}: use weights of this network, or set its options to those of the file"
        ) from None
    own = network.state_dict()
    unknown = network.load_state_dict(converted, strict=False).unexpected_keys
    if unknown:
        raise ValueError(
            f"{type(network).__name__}.convert_published returns {unknown[0]}, which the network does not have"
        )
    # The number of batches behind running statistics is not always published, and it is not used.
    fresh = [key for key in own if key not in converted and not key.endswith("num_batches_tracked")]
    return _shortened(fresh, converted)


def _shortened(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Shorten names of weights to modules: the shortest beginning of each that no other name has."""
    taken = {part for other in others for part in _beginnings(other)}
    return list(dict.fromkeys(next(part for part in _beginnings(name) if part not in taken) for name in names))


def _beginnings(name: str) -> Iterable[str]:
    """'a', 'a.b', 'a.b.c' for 'a.b.c'."""
    return accumulate(name.split("."), "{}.{}".format)
