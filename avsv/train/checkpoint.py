"""Checkpoints, which remain valid if the process is killed at any time."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from avsv.io.torch_file import read_file, save_atomically


class CheckpointFolder:
    """The last checkpoints of a training, ``epoch-E-step-S.pt``, named by the position of the next step.

    Args:
        folder: folder of the checkpoints, created with the first one.
        warn: called with a message if a checkpoint cannot be read.
        keep: number of checkpoints to keep.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     checkpoints = CheckpointFolder(Path(name) / "checkpoints", print)
        ...     for step in range(3):
        ...         checkpoints.save(0, step, {"step": step})
        ...     _ = checkpoints.paths()[-1].write_bytes(b"torn")
        ...     [path.name for path in checkpoints.paths()], checkpoints.load()  # doctest: +ELLIPSIS
        /.../epoch-0000-step-00000002.pt: not readable (File is not a zip file): using the previous checkpoint
        (['epoch-0000-step-00000001.pt', 'epoch-0000-step-00000002.pt'], {'step': 1})
    """

    def __init__(self, folder: str | Path, warn: Callable[[str], None], keep: int = 2) -> None:
        self.folder, self.warn, self.keep = Path(folder), warn, keep

    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(p for p in self.folder.glob("epoch-*.pt") if re.fullmatch(r"epoch-\d+-step-\d+\.pt", p.name))

    def save(self, epoch: int, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, then remove the oldest ones beyond the number to keep."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_atomically(self.folder / f"epoch-{epoch:04d}-step-{step:08d}.pt", dict(state))
        for path in self.paths()[: -self.keep]:
            path.unlink(missing_ok=True)  # a canceled job that has not ended yet may have removed it

    def load(self) -> dict[str, Any] | None:
        """The newest readable checkpoint, with tensors on the CPU; None if there is none."""
        for path in reversed(self.paths()):
            try:
                return read_file(path)
            except ValueError as error:
                self.warn(f"{path}: not readable ({error}): using the previous checkpoint")
        return None


def mean_weights(states: list[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several state dicts, including batch normalization statistics; integer counters are the last ones.

    Example:
        >>> first = {"w": torch.tensor([1.0]), "n": torch.tensor(3)}
        >>> mean_weights([first, {"w": torch.tensor([2.0]), "n": torch.tensor(4)}])
        {'w': tensor([1.5000]), 'n': tensor(4)}
    """
    mean = {}
    for name, last in states[-1].items():
        if last.is_floating_point():
            mean[name] = (sum(state[name].double() for state in states) / len(states)).to(last.dtype)
        else:
            mean[name] = last
    return mean
