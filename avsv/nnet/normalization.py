"""Normalization layers: of padded frames, of single rows, of vectors."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch normalization over the valid frames of a batch; padding is excluded from the statistics and set to 0.

    With zeros, the next convolution gives the same result as after the end of an unpadded utterance.

    Shape:
        - frames: (B, C, T), whose layout in memory the output has too
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, C, T)

    Example:
        >>> norm = MaskedBatchNorm1d(1)
        >>> frames, mask = torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[True, True, False]])
        >>> [round(x, 3) for x in norm(frames, mask).flatten().tolist()]
        [-1.0, 1.0, 0.0]
    """

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None or not self.training:
            # As maps of height 1, since torch knows only of maps that their channels may be adjacent in memory.
            normed = super().forward(frames.unsqueeze(2)).squeeze(2)
            return normed if mask is None else normed.masked_fill(~mask.unsqueeze(1), 0.0)
        by_frame = frames.transpose(1, 2)
        normed = super().forward(by_frame[mask])
        # As with autocast, half-precision input gives half-precision output.
        padded = normed.new_zeros(by_frame.shape)
        padded[mask] = normed
        return padded.transpose(1, 2)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"expected frames (B, C, T), got maps or rows of shape {tuple(input.shape)}")


class RowBatchNorm(nn.BatchNorm1d):
    """Batch normalization that uses its running statistics if a training batch has only one row.

    Shape:
        - rows: (B, C)
        - output: (B, C)

    Example:
        >>> RowBatchNorm(2)(torch.zeros(1, 2)).tolist()
        [[0.0, 0.0]]
    """

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) == 1:
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(rows)


class UnitLength(nn.Module):
    """Scale vectors to length 1; zero vectors remain zero.

    Shape:
        - vectors: (N, D)
        - output: (N, D)

    Example:
        >>> UnitLength()(torch.tensor([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    def forward(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)))
