"""The figures of the steps of a training: noted on the device, read from it once for several steps."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.train.report import log

# Consecutive steps without a finite gradient after which training fails. The loss scale of fp16 starts at 2^16, so it
# can take 16 steps to reach a suitable value.
MAX_SKIPPED = 20
# Steps whose figures are read together from a GPU: reading one waits until all work before it is done.
STEPS_AT_A_TIME = 10


class _Step(NamedTuple):
    """A step whose figures are still on the device: ``values`` are those of ``names`` in float64."""

    epoch: int
    step: int
    names: list[str]
    values: Tensor
    lr: float
    margin: float
    clips: str


class StepFigures(NamedTuple):
    """The figures of a step, which was skipped if they are not finite; epoch and step are counted from 0."""

    epoch: int
    step: int
    values: dict[str, float]


class Books:
    """The figures of the steps of an epoch and their sums.

    Attributes:
        sums: "sum NAME" and "count NAME" of each figure since the start of the epoch, and "skipped", a number of steps.
        skipped_in_a_row: skipped steps up to the last one that was read.

    Args:
        device: device of the figures; those on the CPU are read after every step.
        is_scaled: whether losses are scaled, so that steps are skipped until the scale is suitable.

    Example:
        >>> books = Books(torch.device("cpu"), False)
        >>> batch = Batch(["a"], torch.zeros(1, dtype=torch.long))
        >>> norm = {"loss": torch.tensor(2.0), "grad_norm": torch.tensor(0.5)}
        >>> books.note(0, 0, batch, norm, torch.tensor(True), lr=0.1, margin=0.0)
        >>> books.read()[0].values["loss"], books.sums["sum loss"], books.read()
        (2.0, 2.0, [])
    """

    def __init__(self, device: torch.device, is_scaled: bool) -> None:
        self.sums: dict[str, float] = {}
        self.skipped_in_a_row = 0
        self._is_scaled = is_scaled
        self._at_a_time = 1 if device.type == "cpu" else STEPS_AT_A_TIME
        self._noted: list[_Step] = []

    @property
    def is_due(self) -> bool:
        """Whether so many steps have been noted that they should be read."""
        return len(self._noted) >= self._at_a_time

    def note(
        self,
        epoch: int,
        step: int,
        batch: Batch,
        figures: Mapping[str, Tensor],
        finite: Tensor,
        lr: float,
        margin: float,
    ) -> None:
        """Note a step, made or skipped, without waiting for its figures.

        Args:
            epoch: counted from 0.
            step: in the epoch, counted from 0.
            batch: its clips.
            figures: scalars on the device.
            finite: a boolean on the device: False for a step that was skipped.
            lr: learning rate.
            margin: of the classifier.
        """
        values = torch.stack([finite.double(), *(value.double() for value in figures.values())])
        clips = f"{batch.keys[0]} and {len(batch) - 1} more"
        self._noted.append(_Step(epoch, step, list(figures), values, lr, margin, clips))

    def read(self) -> list[StepFigures]:
        """The figures of the steps noted since the last call; those of the steps that were made are added up.

        Raises:
            DataError: the gradient was not finite in too many consecutive steps.
        """
        if not self._noted:
            return []
        numbers = iter(torch.cat([step.values for step in self._noted]).tolist())
        found = []
        noted, self._noted = self._noted, []
        for step in noted:
            is_finite = bool(next(numbers))
            values = {name: next(numbers) for name in step.names}
            if is_finite:
                self.skipped_in_a_row = 0
                self._add({**values, "margin": step.margin, "lr": step.lr})
            else:
                self._skip(step, values)
            found.append(StepFigures(step.epoch, step.step, values))
        return found

    def _add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.sums[f"sum {name}"] = self.sums.get(f"sum {name}", 0.0) + value
            self.sums[f"count {name}"] = self.sums.get(f"count {name}", 0) + 1

    def _skip(self, step: _Step, figures: Mapping[str, float]) -> None:
        self.sums["skipped"] = self.sums.get("skipped", 0) + 1
        self.skipped_in_a_row += 1
        where = f"epoch {step.epoch + 1}, step {step.step + 1}"
        told = f"loss {figures['loss']:g}, gradient norm {figures['grad_norm']:g}"
        if "auxiliary_grad_norm" in figures:
            told += f", gradient norm of the supervision {figures['auxiliary_grad_norm']:g}"
        told += f" at lr {step.lr:g}"
        # With fp16, steps fail until the loss scale is suitable.
        if not (self._is_scaled and math.isfinite(figures["loss"])):
            log(f"{where}: {told}: step skipped ({step.clips})")
        if self.skipped_in_a_row == MAX_SKIPPED:
            raise DataError(
                f"{where}: {MAX_SKIPPED} consecutive steps without a finite gradient ({told}):"
                " decrease train.optimizer.lr, set train.clip_norm, or check the values of the features"
            )

    def means(self) -> dict[str, float]:
        """The mean of each figure over the steps that have it."""
        names = sorted(name.removeprefix("sum ") for name in self.sums if name.startswith("sum "))
        return {name: self.sums[f"sum {name}"] / self.sums[f"count {name}"] for name in names}
