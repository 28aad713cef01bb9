"""Layers of two independent networks, one per modality, that are computed together."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class PairedLinear(nn.Module):
    """Two independent linear layers in one batched product, initialized as ``torch.nn.Linear``.

    Args:
        inputs: size of the inputs.
        outputs: size of the outputs.

    Shape:
        - inputs: (2, N, inputs), the inputs of the first and of the second layer
        - output: (2, N, outputs)

    Example:
        >>> PairedLinear(5, 3)(torch.zeros(2, 7, 5)).shape
        torch.Size([2, 7, 3])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


def leaky_relu(inputs: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, as in CycleGAN and CUT."""
    return functional.leaky_relu(inputs, 0.2)


class PairedMLP(nn.Module):
    """Two independent multilayer perceptrons, one per modality; the last layer is linear.

    Args:
        sizes: sizes of the input, of every hidden layer and of the output.
        activation: activation after every layer except the last.

    Shape:
        - inputs: (2, N, sizes[0])
        - output: (2, N, sizes[-1])

    Example:
        >>> mlp = PairedMLP((50, 128, 128, 50))
        >>> sum(p.numel() for p in mlp.parameters()), mlp(torch.zeros(2, 7, 50)).shape
        (58980, torch.Size([2, 7, 50]))
    """

    def __init__(self, sizes: tuple[int, ...], activation: Callable[[Tensor], Tensor] = leaky_relu) -> None:
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(PairedLinear(*pair) for pair in itertools.pairwise(sizes))

    def hidden(self, inputs: Tensor) -> list[Tensor]:
        """The outputs of all layers except the last, each (2, N, size)."""
        outputs = []
        for layer in self.layers[:-1]:
            inputs = self.activation(layer(inputs))
            outputs.append(inputs)
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers[-1](self.hidden(inputs)[-1])
