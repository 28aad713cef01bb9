"""What the commands that score trial lists share: arguments, and reading and writing."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from numpy.typing import NDArray

from avsv.bin.command import share
from avsv.scoring.members import Embeddings
from avsv.scoring.scorer import (
    Scorer,
    modes_of,
    read_modalities,
    read_trial_sets,
    report_written,
    write_set_scores,
)
from avsv.scoring.trials import TrialSet


def scoring_parser(description: str, suffix: str, other: tuple[str, str] | None = None) -> argparse.ArgumentParser:
    """The parser of a command, with the arguments that all of them have.

    Args:
        description: of the command.
        suffix: of the score files.
        other: name and description of the data directory that the command learns from, if there is one.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--modes", default="", help="evaluation modes; default: all for which there are embeddings")
    parser.add_argument("--max-lost", type=share, default=0.0, help="largest share of a list's trials without scores")
    parser.add_argument("embeddings", type=Path, help="folder with SET.MODALITY.scp")
    parser.add_argument("scores", type=Path, help=f"folder for LIST/MODE.{suffix}")
    if other is not None:
        parser.add_argument(other[0], type=Path, help=other[1])
    parser.add_argument("data", nargs="+", help="data directories with trial lists")
    return parser


def add_subtract_mean(parser: argparse.ArgumentParser) -> None:
    """Add the option that centers embeddings."""
    parser.add_argument("--subtract-mean", type=Path, help="data directory whose mean embedding is subtracted from all")


class Task(NamedTuple):
    """What a command is to score.

    Attributes:
        embeddings, scores: folders.
        sets: the trial lists.
        modes: evaluation modes.
        max_lost: largest share of the trials of a list without scores.
    """

    embeddings: Path
    scores: Path
    sets: list[TrialSet]
    modes: list[str]
    max_lost: float

    @classmethod
    def of(cls, args: argparse.Namespace, others: Sequence[Path | None]) -> "Task":
        """Read the trials, before anything is scored.

        Args:
            args: parsed by :func:`scoring_parser`.
            others: data directories whose embeddings the command also needs; None for none.

        Raises:
            DataError: as :func:`avsv.scoring.scorer.read_trial_sets` and :func:`avsv.scoring.scorer.modes_of`.
        """
        sets = read_trial_sets(args.data)
        names = [*(folder.name for folder in others if folder), *(trial_set.name for trial_set in sets)]
        modes = modes_of(args.embeddings, names, args.modes.split())
        return cls(args.embeddings, args.scores, sets, modes, args.max_lost)

    def read(self, trial_set: TrialSet, means: Mapping[str, NDArray]) -> dict[str, Embeddings]:
        """The embeddings of the sides of trials in every modality that the modes need, with the means subtracted."""
        return read_modalities(self.embeddings, trial_set, self.modes, means)

    def write(
        self,
        suffix: str,
        trial_set: TrialSet,
        embeddings: dict[str, Embeddings],
        scorer: Scorer,
        keep_order: bool = False,
    ) -> None:
        """Score the lists of a data directory in all modes, write ``LIST/MODE.SUFFIX``, and print a line for each.

        ``keep_order``: see :func:`avsv.scoring.scorer.write_set_scores`.
        """
        wanted = self.scores, suffix, trial_set, self.modes, embeddings, scorer, self.max_lost, keep_order
        report_written(write_set_scores(*wanted))
