"""A published ONNX graph as a visual network."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from avsv.nnet.normalization import UnitLength
from avsv.nnet.onnx_graph import OnnxGraph
from avsv.nnet.pooling import PoolingName, build_pooling
from avsv.nnet.visual.frames import FrameBackbone


class FrameGraph(nn.Module):
    """A graph on images with the order of colors and the layout that it was made for.

    Args:
        embedding_dim: size D of its embeddings.
        colors: order of the channels.
        layout: nchw or nhwc.

    Shape:
        - images: (N, C, H, W), channels red, green, blue
        - output: (N, D)

    Example:
        >>> graph = FrameGraph(3, "bgr", "nhwc")
        >>> graph.graph = nn.Flatten()
        >>> graph(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)).tolist()
        [[3.0, 2.0, 1.0]]
    """

    def __init__(self, embedding_dim: int, colors: str, layout: str) -> None:
        super().__init__()
        self.graph = OnnxGraph(embedding_dim)
        self.colors, self.layout = colors, layout

    def arrange(self, images: Tensor) -> Tensor:
        """Images as the graph takes them."""
        if self.colors == "bgr":
            images = images.flip(1)
        return images.permute(0, 2, 3, 1) if self.layout == "nhwc" else images

    def forward(self, images: Tensor) -> Tensor:
        return self.graph(self.arrange(images))


class VisualONNX(FrameBackbone):
    """Face embeddings of a clip by a published ONNX graph: frame vectors of length 1 are pooled and scaled to length 1.

    The graph is named in the section ``pretrained`` as a file ``.onnx`` and stays as it is: it is not trained, and runs
    on the CPU through onnxruntime. Its options are its input convention. The defaults are those of insightface, for
    faces aligned to five points (``align: true``); SFace of OpenCV's model zoo needs ``scaling: pixels`` and
    ``embedding_dim: 128``.

    Args:
        image_channels: channels of a frame.
        image_height: rows of a frame.
        image_width: columns of a frame.
        embedding_dim: size D of the graph's output.
        scaling: half, (x - 127.5) / 127.5 for pixels x in 0..255; facenet, (x - 127.5) / 128; pixels, x; unit, x / 255;
            imagenet, with the mean and deviation of ImageNet's colors.
        colors: order of the channels that the graph takes.
        layout: order of the axes that the graph takes.
        pooling: tap, tstp, asp, we_asp or we_asp_literal over time.

    Shape:
        - inputs: (B, T, C, H, W) in [-0.5, 0.5]
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D), rows of length 1; (B, 2 * D) with a pooling that adds the deviation

    Raises:
        DataError: see :class:`avsv.nnet.onnx_graph.OnnxGraph`.
        ValueError: inputs have another shape, or a clip has no valid frame.

    Example:
        >>> net = VisualONNX(embedding_dim=128, scaling="pixels")
        >>> net.embedding_dim, list(net.state_dict())
        (128, ['trunk.graph._extra_state'])
    """

    def __init__(
        self,
        *,
        image_channels: Literal[1, 3] = 3,
        image_height: int = 112,
        image_width: int = 112,
        embedding_dim: int = 512,
        scaling: Literal["half", "facenet", "pixels", "unit", "imagenet"] = "half",
        colors: Literal["rgb", "bgr"] = "rgb",
        layout: Literal["nchw", "nhwc"] = "nchw",
        pooling: PoolingName = "tap",
    ) -> None:
        super().__init__((image_channels, image_height, image_width), scaling)
        self.trunk = FrameGraph(embedding_dim, colors, layout)
        self.head = UnitLength()
        self.pool = build_pooling(pooling, embedding_dim, 128, context=True)
        self.embed = UnitLength()
        self.embedding_dim = self.pool.output_dim

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take an ONNX graph; see :meth:`avsv.nnet.backbone.Backbone.convert_published`."""
        probe = self.trunk.arrange(torch.zeros(1, *self.image_shape))
        return {"trunk.graph._extra_state": self.trunk.graph.read(state, probe)}
