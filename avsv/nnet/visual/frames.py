"""The base class of visual networks, which process single frames and then pool over time."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from avsv.nnet.backbone import Backbone

# Mean and scale of pixels in [0, 1], for all channels or for red, green and blue: (x / 255 - mean) / scale.
SCALINGS = {
    "none": ((0.5,), (1.0,)),
    "unit": ((0.0,), (1.0,)),
    "pixels": ((0.0,), (1 / 255,)),
    "half": ((0.5,), (0.5,)),
    "facenet": ((0.5,), (128 / 255,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "voxceleb": ((0.4582268298, 0.3447833359, 0.3283427358), (0.2709922791, 0.2274252474, 0.2343513072)),
}

# In evaluation, long clips are processed in chunks of this many pixels (128 frames of 128 x 128): an hour of video at
# once would take hundreds of gigabytes.
PIECE_PIXELS = 2**21


class FrameScaling(nn.Module):
    """Scale frames in [-0.5, 0.5] as a network expects them: (x / 255 - mean) / scale for pixels x in 0..255.

    Source: ``voxceleb``: the channel statistics of VoxCeleb2 in Claborne et al. 2023, appendix B; ``half``: ArcFace,
    (x / 255 - 0.5) / 0.5; ``facenet``: facenet-pytorch, (x - 127.5) / 128; ``imagenet``: torchvision and timm;
    ``unit``: x / 255; ``pixels``: x; ``none``: unchanged frames.

    Args:
        name: one of :data:`SCALINGS`.

    Shape:
        - images: (N, C, H, W) in [-0.5, 0.5]; imagenet and voxceleb: red, green, blue
        - output: (N, C, H, W)

    Example (white frames):
        >>> FrameScaling("half")(torch.full((1, 3, 1, 1), 0.5)).flatten().tolist()
        [1.0, 1.0, 1.0]
        >>> [round(x, 4) for x in FrameScaling("voxceleb")(torch.full((1, 3, 1, 1), 0.5)).flatten().tolist()]
        [1.9992, 2.881, 2.866]
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        mean, scale = (np.array(values, np.float32) for values in SCALINGS[name])
        # Constants of the code, not weights: they are not saved in checkpoints. Computed without PyTorch, which would
        # import its compiler, in a second and more, where a network is built on the meta device.
        mean -= np.float32(0.5)
        self.register_buffer("mean", torch.tensor(mean.tolist()).view(-1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(scale.tolist()).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.scale


class FrameBackbone(Backbone):
    """A backbone that computes a feature of each frame separately: scaling, ``trunk``, ``head``.

    Only valid frames are processed by the network. A subclass sets ``trunk`` ((N, C, H, W) to maps) and ``head`` (maps
    to (N, F)) in addition to the attributes of :class:`~avsv.nnet.backbone.Backbone`.

    Args:
        image_shape: (C, H, W) of a frame.
        scaling: one of :data:`SCALINGS`.
    """

    trunk: nn.Module
    head: nn.Module

    # Prefixes of published names that are needed only for classification.
    unneeded: ClassVar[tuple[str, ...]] = ()

    def __init__(self, image_shape: tuple[int, int, int], scaling: str) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.scaling = FrameScaling(scaling)

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, F, T), zero where the mask is False, and the unchanged mask."""
        if inputs.ndim != 5 or tuple(inputs.shape[2:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            name = type(self).__name__
            raise ValueError(f"{name}: frames of shape {tuple(inputs.shape)}, expected (B, T, {expected})")
        images = inputs.flatten(0, 1) if mask is None else inputs[mask]
        features = self.images(images)
        if mask is None:
            return features.reshape(inputs.shape[0], inputs.shape[1], features.shape[1]).transpose(1, 2), None
        padded = features.new_zeros(*mask.shape, features.shape[1])
        padded[mask] = features
        return padded.transpose(1, 2), mask

    def images(self, images: Tensor) -> Tensor:
        """Features (N, F) of single frames (N, C, H, W)."""
        # Not in training, where the statistics of batch normalization are computed over all frames together; nor in an
        # exported graph, whose pieces would be those of the clip that it was traced with.
        whole = self.training or torch.jit.is_tracing()
        size = max(1, PIECE_PIXELS // (images.shape[2] * images.shape[3]))
        pieces = [
            self.head(self.trunk(self.scaling(piece).contiguous(memory_format=torch.channels_last)))
            for piece in ([images] if whole else images.split(size))
        ]
        return torch.cat(pieces)

    def published_name(self, name: str) -> str:
        """The published name of the weight ``name`` of the trunk or head."""
        raise ValueError(f"no published weights are known for {type(self).__name__}")

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the trunk and head; see :meth:`avsv.nnet.backbone.Backbone.convert_published`.

        For a network with one channel, the first published convolution is summed over the colors: a gray image is an
        RGB image with three equal channels, and a convolution is linear.
        """
        where = f"published weights of {type(self).__name__}"
        own = {
            self.published_name(name): (name, value)
            for name, value in self.state_dict().items()
            if name.startswith(("trunk.", "head."))
        }
        # Files from before PyTorch 0.4.1 do not have this counter, which is used only with a momentum of None.
        missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
        unknown = [key for key in state if key not in own and not key.startswith(self.unneeded)]
        for keys, what in ((missing, "missing"), (unknown, "not part of this network")):
            if keys:
                raise ValueError(f"{where}: {_first_few(keys)}: {what}")

        converted, misshapen = {}, []
        for key, (name, value) in own.items():
            weight = state.get(key, value)
            if value.ndim == 4 and value.shape[1] == 1 and weight.ndim == 4 and weight.shape[1] == 3:
                weight = weight.sum(dim=1, keepdim=True)
            if weight.shape != value.shape:
                misshapen.append(f"{key} has shape {tuple(weight.shape)}, expected {tuple(value.shape)}")
            converted[name] = weight
        if misshapen:
            raise ValueError(f"{where}: {_first_few(misshapen)}")
        return converted


def _first_few(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more
