"""Batches of synchronous audio and video clips."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avsv.audio.augment import hide
from avsv.data.windows import WaveformWindows
from avsv.video.augment import normalize


@dataclass
class Batch:
    """B utterances padded to common lengths; masks are True for valid frames.

    The mask row of an utterance that lacks a modality is all False; values under False have no meaning. A modality that
    the system does not use is None, and so is its mask.

    Args:
        keys: the B utterance ids.
        label: (B,) int64 class indices; -1 if the speaker is not a class.
        audio: (B, T, F) float32 features (Fbank features are mean-normalized), or (B, T) samples in [-1, 1].
        audio_mask: (B, T) boolean.
        video: (B, Tv, C, H, W) frames: float32 in [-0.5, 0.5], or uint8 pixels as loaded, see :meth:`prepare`.
        video_mask: (B, Tv) boolean.
        age: (B,) float32 ages in years, NaN if unknown; None if they are not needed.
        gender: (B,) float32, 0 for f, 1 for m, NaN if unknown; None if it is not needed.
        audio_worth: (B, T') float32 true worth of the moments of the voice, evenly spread over each clip, negative in
            padding; None if no network needs it.
        video_worth: (B, T'), likewise of the face.
        other_speeds: (S, B, T', F) or (S, B, T'), the same utterances at S other speeds, for embedding; None for none.
        other_speeds_mask: (S, B, T') boolean.
        windows: waveforms from which :meth:`prepare` computes ``audio``; None if there is nothing to compute.
        hidden: (B, 4) frames and bins of ``audio`` that :meth:`prepare` masks, see
            :func:`avsv.audio.augment.draw_masks`; None for none.
        complete: which of ``audio`` and ``video`` all utterances have without padding, as far as is known. A mask on a
            GPU cannot be looked at without waiting for all work before it.

    Raises:
        ValueError: fields have different batch sizes or lengths, or a field has no mask.

    Example:
        >>> batch = Batch(["a"], torch.zeros(1, dtype=torch.long), torch.zeros(1, 8, 4), torch.ones(1, 8).bool())
        >>> len(batch), batch.video is None
        (1, True)
    """

    keys: list[str]
    label: Tensor
    audio: Tensor | None = None
    audio_mask: Tensor | None = None
    video: Tensor | None = None
    video_mask: Tensor | None = None
    age: Tensor | None = None
    gender: Tensor | None = None
    audio_worth: Tensor | None = None
    video_worth: Tensor | None = None
    other_speeds: Tensor | None = None
    other_speeds_mask: Tensor | None = None
    windows: WaveformWindows | None = None
    hidden: Tensor | None = None
    complete: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.label.shape != (len(self.keys),):
            raise ValueError(f"batch: {len(self.keys)} keys but labels of shape {tuple(self.label.shape)}")
        for name in ("audio", "video"):
            values, mask = getattr(self, name), getattr(self, f"{name}_mask")
            if (values is None) != (mask is None):
                raise ValueError(f"batch: {name} and {name}_mask must be given together")
            if values is not None and (values.shape[:2] != mask.shape or len(values) != len(self.keys)):
                raise ValueError(
                    f"batch: {name} {tuple(values.shape)} and its mask {tuple(mask.shape)} do not fit"
                    f" {len(self.keys)} utterances"
                )

    def __len__(self) -> int:
        return len(self.keys)

    def there(self, name: Literal["audio", "video"]) -> Tensor | slice | None:
        """The utterances that have a modality, as an index of rows; None if no utterance has it."""
        if name in self.complete:
            return slice(None)
        mask = getattr(self, f"{name}_mask")
        rows = None if mask is None else mask.any(dim=1)
        return rows if rows is not None and rows.any() else None

    def map_tensors(self, function: Callable) -> "Batch":
        """The same batch with every tensor replaced by a function of it."""
        changed = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, WaveformWindows):
                changed[field.name] = value.map_tensors(function)
            elif isinstance(value, Tensor | np.ndarray):
                changed[field.name] = function(value)
        return replace(self, **changed)

    def head(self, count: int) -> "Batch":
        """The first ``count`` utterances, at the recorded speed only."""
        names = ("label", "audio", "audio_mask", "video", "video_mask", "age", "gender")
        values = {name: getattr(self, name) for name in names}
        first = {name: value[:count] for name, value in values.items() if value is not None}
        return replace(self, keys=self.keys[:count], other_speeds=None, other_speeds_mask=None, **first)

    def at_other_speeds(self) -> "list[Batch]":
        """The utterances at every other speed, with the same video."""
        if self.other_speeds is None:
            return []
        others = zip(self.other_speeds, self.other_speeds_mask, strict=True)
        return [
            replace(self, audio=audio, audio_mask=mask, other_speeds=None, other_speeds_mask=None)
            for audio, mask in others
        ]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch with every tensor on ``device``."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def prepare(self, device: torch.device | str) -> "Batch":
        """Move the batch to ``device``; there, compute and mask its audio features and normalize its pixels."""
        masks = {"audio": self.windows.mask if self.windows is not None else self.audio_mask, "video": self.video_mask}
        complete = frozenset(name for name, mask in masks.items() if mask is not None and mask.all())
        batch = replace(self.to(device, non_blocking=True), complete=complete)
        if batch.windows is not None:
            batch = replace(batch, audio=batch.windows.features(), audio_mask=batch.windows.mask, windows=None)
        if batch.hidden is not None:
            batch.audio, batch.hidden = hide(batch.audio, batch.hidden), None
        if batch.video is not None and batch.video.dtype == torch.uint8:
            batch.video = normalize(batch.video)
        return batch

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; called by a DataLoader with ``pin_memory``."""
        return self.map_tensors(Tensor.pin_memory)
