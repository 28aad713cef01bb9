"""Reports of a training: log lines, a progress bar on a terminal, train.csv, TensorBoard, the progress file."""

import csv
import io
import sys
import time
from pathlib import Path
from typing import Any

from avsv.io.atomic import write_text

COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "lr",
    "margin",
    "grad_norm",
    "skipped",
    "dev_eer",
    "seconds",
    "samples_per_second",
    "data_wait",
)


def log(message: str) -> None:
    """Print a line with the time to stderr."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Format seconds as a short duration.

    Example:
        >>> clock(9), clock(75), clock(3675)
        ('9s', '1m15s', '1h01m')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def epoch_line(row: dict[str, Any], epochs: int, seconds_left: float) -> str:
    """Format the figures of an epoch as one line of text.

    Example:
        >>> row = dict(epoch=1, loss=2.5, accuracy=0.5, dev_eer=0.1, lr=0.01, margin=0.2, skipped=0, seconds=8.0,
        ...            samples_per_second=40.0, data_wait=0.02)
        >>> epoch_line(row, 12, 88)  # doctest: +ELLIPSIS
        'epoch 1/12: loss 2.5000, accuracy 50.0 %, dev EER 10.00 %, lr 0.01, margin 0.2, 8s, 40 clips/s, ...'
    """
    parts = [f"loss {row['loss']:.4f}", f"accuracy {100 * row['accuracy']:.1f} %"]
    if "held_out_accuracy" in row:
        parts.append(f"held out {100 * row['held_out_accuracy']:.1f} %")
    if row["dev_eer"] is not None:
        parts.append(f"dev EER {100 * row['dev_eer']:.2f} %")
    parts += [f"lr {row['lr']:.3g}", f"margin {row['margin']:.3g}"]
    if row["skipped"]:
        parts.append(f"{row['skipped']} steps skipped")
    parts += [clock(row["seconds"]), f"{row['samples_per_second']:.0f} clips/s"]
    parts += [f"waiting for data {100 * row['data_wait']:.0f} %", f"{clock(seconds_left)} left"]
    return f"epoch {row['epoch']}/{epochs}: {', '.join(parts)}"


def write_history(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write train.csv with one row per epoch; rates are shares, not percent; missing figures are empty."""
    text = io.StringIO()
    extra = sorted({name for row in rows for name in row} - set(COLUMNS))
    writer = csv.DictWriter(text, [*COLUMNS, *extra], lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    write_text(path, text.getvalue())


class Report:
    """The outputs of a training, written by its first process.

    Args:
        folder: folder of train.csv and tensorboard/.
        epochs: number of epochs in the training.
        steps_per_epoch: optimizer steps per epoch.
        done: steps made before by another process.
        progress: file that is rewritten with "DONE TOTAL", in steps, about once a second; None for no file.
    """

    def __init__(self, folder: Path, epochs: int, steps_per_epoch: int, done: int, progress: Path | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.epochs, self.steps_per_epoch, self.progress = folder, epochs, steps_per_epoch, progress
        # Points after the step at which training resumes were written by the process that died.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done)
        self._bar = None
        self._shown = 0.0
        self._begin, self._first = time.monotonic(), done

    def step(self, epoch: int, step: int, figures: dict[str, float]) -> None:
        """Report step ``step`` of epoch ``epoch``, both counted from 0."""
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=self.steps_per_epoch,
                initial=step,
                desc=f"epoch {epoch + 1}/{self.epochs}",
                unit="step",
                leave=False,
                disable=None,
            )
        self._bar.update()
        done = epoch * self.steps_per_epoch + step + 1
        self._bar.set_postfix(loss=f"{figures['loss']:.3f}", refresh=False)
        if step % max(1, self.steps_per_epoch // 20) == 0:
            self._board.add_scalar("step/loss", figures["loss"], done)
        self._write_progress(done, done == self.epochs * self.steps_per_epoch)

    def _write_progress(self, done: int, at_once: bool) -> None:
        now = time.monotonic()
        if self.progress is not None and (at_once or now - self._shown >= 1.0):
            self._shown = now
            write_text(self.progress, f"{done} {self.epochs * self.steps_per_epoch}\n")

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        """Report an epoch, whose row is the last of ``rows``."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        row = rows[-1]
        done = row["epoch"] * self.steps_per_epoch
        for name, value in row.items():
            if name not in ("epoch", "seconds") and value is not None:
                self._board.add_scalar(f"epoch/{name}", value, done)
        self._board.flush()
        write_history(self.folder / "train.csv", rows)
        speed = (time.monotonic() - self._begin) / max(1, done - self._first)
        log(epoch_line(row, self.epochs, speed * (self.epochs * self.steps_per_epoch - done)))

    def close(self) -> None:
        """Close the progress bar and the TensorBoard file."""
        if self._bar is not None:
            self._bar.close()
        self._board.close()
