"""The training loop, which can be interrupted at any step and resumed without affecting the result."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from avsv.data.batch import Batch
from avsv.data.clips import TrainingClips
from avsv.data.loading import load_batches
from avsv.data.sampler import BatchSampler, SpeakerBatchSampler
from avsv.errors import DataError
from avsv.io.torch_file import load_file, save_atomically
from avsv.model.build import load_exactly
from avsv.model.config import SystemConfig
from avsv.model.trainable import TrainableSystem
from avsv.seeding import seed_for
from avsv.train.books import Books
from avsv.train.checkpoint import CheckpointFolder, mean_weights
from avsv.train.development import Development
from avsv.train.distributed import Ranks
from avsv.train.held_out import HeldOut
from avsv.train.optimization import Optimization
from avsv.train.provenance import difference, with_new_keys
from avsv.train.report import Report, log, write_history
from avsv.train.schedule import learning_rate
from avsv.train.signals import Interrupted, StopSignals

# Clips of each epoch's last batch on which is measured how the poolings and the fusion work.
FIGURE_CLIPS = 32
# Steps after which several processes agree on whether to save and to stop, which makes them wait for each other.
STEPS_TO_AGREE = 10


class Trainer:
    """Trains a system to the end, starting from the last checkpoint if there is one.

    Every random draw is a function of the seed and the position in training, so that neither the number of loader
    workers nor an interruption changes the result; on the CPU it is identical bit for bit.

    Args:
        system: a newly built system on the device of ``ranks``.
        config: training options.
        clips: training clips.
        held_out: clips of the same speakers that are not trained on; None for none.
        development: development trials; None for no development EER.
        folder: folder for checkpoints/, train.csv and tensorboard/.
        ranks: the processes that train together.
        seed: base seed.
        identity: everything that the training depends on, see :func:`avsv.train.provenance.identity`.
        num_workers: loader processes of each training process; 0 loads between the steps.
        progress: file for "DONE TOTAL" in steps.
        prepare: called before the first step of a training that does not resume from a checkpoint.

    Raises:
        DataError: the configuration needs development trials, but there are none.
    """

    def __init__(
        self,
        system: TrainableSystem,
        config: SystemConfig,
        clips: TrainingClips,
        held_out: HeldOut | None,
        development: Development | None,
        folder: Path,
        ranks: Ranks,
        seed: int,
        identity: dict[str, Any],
        num_workers: int = 0,
        progress: Path | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config.train
        self.optimization = Optimization(system, self.config, ranks)
        if development is None and held_out is None:
            needs = "needs development trials with labels, or data.held_out: add DEV/trials/NAME or"
            if self.config.keep == "best":
                raise DataError(f"train.keep: best {needs} set keep: last")
            if self.config.schedule.name == "plateau":
                raise DataError(f"train.schedule: plateau {needs} choose another")
        self.system, self.clips, self.held_out, self.development = system, clips, held_out, development
        self.folder, self.ranks, self.seed, self.identity = folder, ranks, seed, identity
        self.num_workers, self.progress, self._prepare = num_workers, progress, prepare
        self.sampler = _sampler(config, clips, seed, ranks)
        self.steps_per_epoch = self.sampler.batches_per_epoch
        self.checkpoints = CheckpointFolder(folder / "checkpoints", log)
        # The position of the next step.
        self.epoch, self.step = 0, 0
        self.history: list[dict[str, Any]] = []
        self.best: float | None = None
        self.books = Books(ranks.device, self.optimization.scaler.is_enabled())
        # Before anything is written: the folder may have another training, finished or not.
        self._resumed = self._resume()

    def run(self) -> dict[str, torch.Tensor]:
        """Train to the end and return the weights to keep, on the CPU.

        Raises:
            DataError: the checkpoints belong to another training that was not finished, the gradient is not finite in
                too many consecutive steps, or data cannot be read.
            Interrupted: after SIGTERM or SIGINT, when a checkpoint has been saved.
        """
        torch.set_num_threads(self.config.num_threads)
        torch.use_deterministic_algorithms(self.ranks.device.type == "cpu")
        # Filling memory takes time and only helps to find reads of uninitialized memory.
        torch.utils.deterministic.fill_uninitialized_memory = False
        if not self._resumed:
            self._prepare()
        if self.ranks.is_first and self.history:
            # The process that saved the checkpoint may have ended before it wrote this file.
            write_history(self.folder / "train.csv", self.history)
        if self.epoch < self.config.epochs:
            self._train()
        return self._final_weights()

    def _train(self) -> None:
        self._saved = time.monotonic()
        self.sampler.start(self.epoch, self.step)
        self._report = None
        if self.ranks.is_first:
            done = self.epoch * self.steps_per_epoch + self.step
            self._report = Report(self.folder, self.config.epochs, self.steps_per_epoch, done, self.progress)
        # Entered before the workers are forked, since a signal to the process group would otherwise end them.
        with StopSignals() as self._stop:
            batches = load_batches(self.clips, self.sampler, self.num_workers, self.ranks.device.type == "cuda")
            try:
                while self.epoch < self.config.epochs:
                    self._train_epoch(batches)
            finally:
                if self._report is not None:
                    self._report.close()

    def _train_epoch(self, batches: Iterator[Batch]) -> None:
        self.system.train()
        begin, first_step, waited = time.monotonic(), self.step, 0.0
        while self.step < self.steps_per_epoch:
            asked = time.monotonic()
            batch = next(batches).prepare(self.ranks.device)
            waited += time.monotonic() - asked
            stop, save = self._make_step(batch)
            self.step += 1
            if self.books.is_due:
                self._read_books()
            if save and self.step < self.steps_per_epoch:
                self._save()
            if stop and self.step < self.steps_per_epoch:
                raise Interrupted(self._stop.received or signal.SIGTERM)
        self._read_books()
        seconds = time.monotonic() - begin
        speed = (self.step - first_step) * self.sampler.batch_size / seconds
        self._end_epoch(batch.head(FIGURE_CLIPS), seconds, speed, waited / seconds)
        if self.ranks.any(self._stop.received is not None)[0]:
            raise Interrupted(self._stop.received or signal.SIGTERM)

    def _make_step(self, batch: Batch) -> tuple[bool, bool]:
        """Make an optimizer step unless its gradient is not finite; return whether to stop, and whether to save."""
        position = self.epoch * self.steps_per_epoch + self.step
        # The generator of dropout, different in each process.
        torch.manual_seed(seed_for(self.seed, "step", self.epoch, self.step, self.ranks.rank))
        lr = learning_rate(self.config, position, self.steps_per_epoch, list(map(self._error, self.history)))
        margin = self.system.at_epoch(position / self.steps_per_epoch)
        figures, finite = self.optimization.backward(batch, lr)
        finite = self.ranks.all(finite)
        self.optimization.apply(finite)
        self.books.note(self.epoch, self.step, batch, figures, finite, lr, margin)
        if self.ranks.world > 1 and (self.step + 1) % STEPS_TO_AGREE:
            return False, False
        due = self.ranks.is_first and (time.monotonic() - self._saved) / 60 >= self.config.checkpoint_minutes
        stop, save = self.ranks.any(self._stop.received is not None, due)
        return stop, save or stop

    def _read_books(self) -> None:
        for step in self.books.read():
            if self._report is not None:
                self._report.step(*step)

    def _end_epoch(self, batch: Batch, seconds: float, speed: float, wait_share: float) -> None:
        """Close the books of an epoch, whose last clips ``batch`` holds: its row, weights to keep, a checkpoint."""
        means = self._reduce(self.books.means() | self.system.figures(batch))
        row = {"epoch": self.epoch + 1, **{"loss": math.nan, "accuracy": math.nan, **means}}
        row["lr"] = self.optimization.lr
        row["margin"] = self.system.at_epoch(self.epoch + (self.steps_per_epoch - 1) / self.steps_per_epoch)
        row["skipped"] = self.books.sums.get("skipped", 0)
        # Each process has running statistics of its own batches; those of the first process are saved.
        self.ranks.copy_from_first(self.optimization.buffers)
        row["dev_eer"] = self._development_eer()
        if self.held_out is not None:
            row["held_out_accuracy"] = self.held_out.accuracy(self.system, self.ranks)
        row.update(seconds=seconds, samples_per_second=speed, data_wait=wait_share)
        self.history.append(row)
        self._keep_weights(self._error(row))
        self.epoch, self.step, self.books.sums = self.epoch + 1, 0, {}
        self._save()
        if self._report is not None:
            self._report.epoch(self.history)

    def _reduce(self, means: dict[str, float]) -> dict[str, float]:
        """Average over the processes; a figure that only some processes have is averaged over these."""
        gathered = self.ranks.gather(means)
        names = sorted({name for item in gathered for name in item})
        values = {name: [item[name] for item in gathered if name in item] for name in names}
        return {name: sum(items) / len(items) for name, items in values.items()}

    def _development_eer(self) -> float | None:
        due = (self.epoch + 1) % self.config.evaluate_every == 0 or self.epoch + 1 == self.config.epochs
        if self.development is None or not due:
            return None
        return self.development.eer(self.system.embedder, self.ranks)

    def _error(self, row: dict[str, Any]) -> float | None:
        """The error of an epoch by which the best one is chosen: on the held-out clips, or the development EER."""
        return row["dev_eer"] if self.held_out is None else 1.0 - row["held_out_accuracy"]

    def _keep_weights(self, error: float | None) -> None:
        """Save the weights for the final average or choice, before the checkpoint that marks the epoch as finished."""
        better = self.config.keep == "best" and error is not None and (self.best is None or error < self.best)
        if better:
            self.best = error
        if not self.ranks.is_first:
            return
        path = None
        if better:
            path = self._best_path
        elif self.config.average_last > 1 and self.epoch >= self.config.epochs - self.config.average_last:
            path = self._average_paths[self.epoch - self.config.epochs + self.config.average_last]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_atomically(path, self._weights())

    @property
    def _best_path(self) -> Path:
        return self.checkpoints.folder / "best.pt"

    @property
    def _average_paths(self) -> list[Path]:
        """Files of the weights after each of the epochs that are averaged."""
        first = self.config.epochs - self.config.average_last
        return [self.checkpoints.folder / f"weights-{epoch:04d}.pt" for epoch in range(first, self.config.epochs)]

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.system.state_dict().items()}

    def _final_weights(self) -> dict[str, torch.Tensor]:
        if self.config.keep == "best":
            return load_file(self._best_path)
        if self.config.average_last > 1:
            return mean_weights([load_file(path) for path in self._average_paths])
        return self._weights()

    def _save(self) -> None:
        """Save a checkpoint at the current position, in the first process only."""
        self._read_books()
        gathered = self._reduce(self.books.sums)
        self._saved = time.monotonic()
        if not self.ranks.is_first:
            return
        state = {
            "identity": self.identity,
            "epoch": self.epoch,
            "step": self.step,
            "weights": self._weights(),
            **self.optimization.state_dict(),
            "history": self.history,
            "best": self.best,
            "gathered": gathered,
            "skipped_in_a_row": self.books.skipped_in_a_row,
        }
        self.checkpoints.save(self.epoch, self.step, state)

    def _resume(self) -> bool:
        """Continue from the last checkpoint; False if there is none.

        Raises:
            DataError: the folder has a training with other settings or data, finished or not.
        """
        finished = (self.folder / "final.pt").is_file()
        state = self.checkpoints.load()
        if state is None and finished:
            raise DataError(
                f"{self.folder}/final.pt: a finished system without checkpoints, which cannot be compared with this"
                " training: use another --exp, or remove the folder to train again"
            )
        if state is None:
            return False
        before = state["identity"]
        if self.identity["config"].keys() - before["config"].keys():
            before = with_new_keys(before, self.folder / "config.yaml")
        changed = difference(before, self.identity)
        if changed is not None:
            what = "a finished system" if finished else "an unfinished training"
            raise DataError(
                f"{self.folder}: {what} with other settings or data ({changed}): use another --exp, or remove the"
                " folder to train again"
            )
        load_exactly(self.system, state["weights"], "the system")
        self.optimization.load_state_dict(state)
        self.epoch, self.step = state["epoch"], state["step"]
        self.history, self.best = state["history"], state["best"]
        self.books.sums, self.books.skipped_in_a_row = state["gathered"], state["skipped_in_a_row"]
        if self.ranks.is_first and self.epoch < self.config.epochs:
            log(f"resuming at epoch {self.epoch + 1}, step {self.step + 1}")
        return True


def _sampler(config: SystemConfig, clips: TrainingClips, seed: int, ranks: Ranks) -> BatchSampler | SpeakerBatchSampler:
    """The sampler of the batches of this process in all epochs."""
    settings = (config.train.epochs, seed, ranks.rank, ranks.world)
    per_speaker = config.data.utterances_per_speaker
    if per_speaker is None:
        sampler: BatchSampler | SpeakerBatchSampler = BatchSampler(len(clips), config.train.batch_size, *settings)
    else:
        sampler = SpeakerBatchSampler(clips.labels, config.train.batch_size, per_speaker, *settings)
    if sampler.batch_size < 2 * ranks.world:
        raise DataError(
            f"train.batch_size: batches of {sampler.batch_size} for {ranks.world} processes:"
            " batch normalization needs two clips in each process"
        )
    return sampler
