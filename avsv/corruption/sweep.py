"""Error rates of systems with corruptions of the test side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.corruption.clips import corrupted_sources
from avsv.corruption.embed import Side, embed_sides, modes_of_side
from avsv.corruption.kinds import Corruption
from avsv.corruption.mixture import MISSING, Mixture
from avsv.data.lists import read_utterances
from avsv.data.quality import measure_faces, measure_voices, read_quality, side_quality
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.model.saved import TrainedEmbedder
from avsv.scoring.bootstrap import resampled_eers, speaker_bootstrap
from avsv.scoring.gate import Gated, find_gate
from avsv.scoring.metrics import eer, eer_threshold
from avsv.scoring.norm import Normalizer, speaker_cohort
from avsv.scoring.scorer import labeled_sets
from avsv.scoring.trials import Embeddings, TrialList, TrialSet, read_embedding_blocks, read_embeddings

MODALITIES = ("AV", "A", "V")


class Measured(NamedTuple):
    """The error rate of a system on a list of trials; rates in percent.

    Attributes:
        trials: name of the list.
        mode: evaluation mode, such as AVxAV.
        eer, low, high: EER of normalized scores and its 95 % interval.
        eer_cos: EER of cosines.
        n_target, n_nontarget: numbers of trials.
        guessed: number of these trials in which a side has no modality that the mode uses; see :func:`fill_guesses`.
        n_speakers: number of speakers on both sides of the trials.
        draws: rates for resampled speakers, with the same speakers for all systems on the same trials.
    """

    trials: str
    mode: str
    eer: float
    low: float
    high: float
    eer_cos: float
    n_target: int
    n_nontarget: int
    guessed: int
    n_speakers: int
    draws: list[float]


@dataclass(frozen=True)
class Protocol:
    """What is measured under every corruption, and how.

    Args:
        exp: folder of the systems.
        cohort: data directory of the cohort.
        directories: data directories with trials.
        corrupted: the test side only, with clean enrollment, or both sides.
        top_n: cohort speakers of adaptive s-norm.
        resamples: draws of speakers for the intervals.
        seed: of these draws.
    """

    exp: Path
    cohort: Path
    directories: Sequence[Path]
    corrupted: Literal["test", "both"] = "test"
    top_n: int = 300
    resamples: int = 1000
    seed: int = 0


class Compared(NamedTuple):
    """Scores of the trials (N,) of a list in one mode.

    Attributes:
        rows: (N,) of both sides.
        is_target: (N,).
        known: (N,) trials whose sides have what the mode needs.
        cosines, normalized: (K,) scores of these.
    """

    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    is_target: NDArray[np.bool_]
    known: NDArray[np.bool_]
    cosines: NDArray[np.float64]
    normalized: NDArray[np.float64]

    def everywhere(self) -> NDArray[np.float64]:
        """The normalized scores (N,); 0 where there is none."""
        scores = np.zeros(len(self.known))
        scores[self.known] = self.normalized
        return scores


class Bench:
    """Systems, clean embeddings and trials, to be measured under one corruption after the other.

    Clean embeddings and the cohort of the score normalization are the stored ones. Of the networks only those run that
    see or hear something else than before.

    Args:
        protocol: what is measured.
        systems: their names, and those of gates; of these, the fused systems are loaded.
        device: where the systems compute.
        num_workers: loader processes.

    Raises:
        DataError: raised by the readers of trials, systems and embeddings.
    """

    def __init__(
        self, protocol: Protocol, systems: Sequence[str], device: torch.device | str = "cpu", num_workers: int = 0
    ) -> None:
        self.protocol, self.device, self.num_workers = protocol, device, num_workers
        sets = zip(labeled_sets(protocol.directories), protocol.directories, strict=True)
        self.sets = [(trial_set, directory) for trial_set, directory in sets if trial_set.lists]
        self.gates = {name: found for name in systems if (found := find_gate(protocol.exp, name)) is not None}
        networks = dict.fromkeys(self.gates[name].system if name in self.gates else name for name in systems)
        self.systems = {name: TrainedEmbedder.load(protocol.exp / name, device) for name in networks}
        cohort = protocol.cohort
        utt2spk = read_list(cohort / "utt2spk", fields=2)
        self.clean: dict[tuple[str, str], dict[str, Embeddings]] = {}
        self.cohorts = {}
        for name in networks:
            folder = protocol.exp / name / "embeddings"
            modes = [mode for mode in MODALITIES if (folder / f"{cohort.name}.{mode}.scp").is_file()]
            if not modes:
                raise DataError(f"{folder}: no embeddings of {cohort}: run steps/extract_embeddings.sh first")
            cohorts = {mode: read_embedding_blocks(folder / f"{cohort.name}.{mode}.scp") for mode in modes}
            self.cohorts[name] = {mode: speaker_cohort(*found, utt2spk) for mode, found in cohorts.items()}
            for trial_set, _ in self.sets:
                paths = {mode: folder / f"{trial_set.name}.{mode}.scp" for mode in modes}
                found = {m: read_embeddings(path, trial_set.members.utterances) for m, path in paths.items()}
                self.clean[name, trial_set.name] = {mode: trial_set.pool(x) for mode, (_, x) in found.items()}
        self._sides: dict[tuple[str, str], dict[str, Side]] = {}
        self._measured: dict[tuple[str, str], list[Measured]] = {}

    def measure(self, corruption: Corruption | None, names: Sequence[str]) -> dict[str, list[Measured]]:
        """The error rates of some systems in all their modes, and of gates, with a corruption or without (None).

        For a mode that the corruption does not affect, the rates without it are returned.
        """
        results: dict[str, list[Measured]] = {name: [] for name in names}
        gates = [self.gates[name] for name in names if name in self.gates]
        needed = {*names, *(gate.system for gate in gates)}
        systems = [system for name, system in self.systems.items() if name in needed]
        for trial_set, directory in self.sets:
            tests = self.embed(systems, trial_set, directory, corruption) if corruption is not None else {}
            for name in names:
                if name in self.gates:
                    results[name] += self._measure_gate(self.gates[name], trial_set, directory, corruption, tests)
                else:
                    results[name] += self._measure_set(name, trial_set, tests.get(name, {}))
        return results

    def _measure_set(self, name: str, trial_set: TrialSet, tests: dict[str, Embeddings]) -> list[Measured]:
        clean = self.clean[name, trial_set.name]
        speakers = np.unique(trial_set.speakers, return_inverse=True)[1]

        def rates_of(mode: str, test: Embeddings) -> list[Measured]:
            return [
                self._rate(name, trials, speakers, mode, self.compare(name, trials, mode, clean[mode], test))
                for trials in trial_set.lists
            ]

        rates = []
        for mode in clean:
            if mode in tests:
                rates += rates_of(mode, tests[mode])
                continue
            known = self._measured.setdefault((name, f"{trial_set.name}.{mode}"), [])
            if not known:
                known += rates_of(mode, clean[mode])
            rates += known
        return rates

    def _measure_gate(
        self,
        gated: Gated,
        trial_set: TrialSet,
        directory: Path,
        corruption: Corruption | None,
        tests: dict[str, dict[str, Embeddings]],
    ) -> list[Measured]:
        speakers = np.unique(trial_set.speakers, return_inverse=True)[1]
        rates = []
        quality = self.quality(gated.system, trial_set, directory, corruption)
        for trials in trial_set.lists:
            found = self.compare_modes(gated.system, trials, trial_set, tests.get(gated.system, {}))
            usable = {}
            for letter in "AV":
                enroll, test = (gated.gate.reliabilities[letter](side) for side in quality[letter])
                rows = found["AV"].rows
                usable[letter] = np.where(found[letter].known, enroll[rows[0]] * test[rows[1]], 0.0)
            known = found["AV"].known
            scores = {mode: part.everywhere()[known] for mode, part in found.items()}
            llr = gated.gate(scores, {letter: part[known] for letter, part in usable.items()})
            rates.append(self._rate(gated.name, trials, speakers, "AV", found["AV"]._replace(normalized=llr)))
        return rates

    def compare_modes(
        self, name: str, trials: TrialList, trial_set: TrialSet, tests: Mapping[str, Embeddings]
    ) -> dict[str, Compared]:
        """The scores of a fused system in its three modes, for the trials that it scores with both modalities."""
        clean = self.clean[name, trial_set.name]
        chosen = clean["AV"].present[trials.enroll] & clean["AV"].present[trials.test]
        return {
            mode: self.compare(name, trials, mode, clean[mode], tests.get(mode, clean[mode]), chosen)
            for mode in MODALITIES
        }

    def compare(
        self,
        name: str,
        trials: TrialList,
        mode: str,
        clean: Embeddings,
        test: Embeddings,
        chosen: NDArray[np.bool_] | None = None,
    ) -> Compared:
        """The scores of a system for the trials of a list that it can score without corruption, or the chosen ones."""
        enroll = clean if self.protocol.corrupted == "test" else test
        if chosen is None:
            chosen = clean.present[trials.enroll] & clean.present[trials.test]
        rows = trials.enroll[chosen], trials.test[chosen]
        known = enroll.present[rows[0]] & test.present[rows[1]]
        normalizer = Normalizer(
            {"enroll": enroll, "test": test},
            dict.fromkeys(("enroll", "test"), self.cohorts[name][mode]),
            top_n=self.protocol.top_n,
        )
        pairs = rows[0][known], rows[1][known]
        cosines = np.einsum("nd,nd->n", enroll.matrix[pairs[0]], test.matrix[pairs[1]], dtype=np.float64)
        normalized = normalizer.score("enroll", "test", *pairs) if known.any() else cosines
        return Compared(rows, trials.trials.is_target[chosen], known, cosines, normalized)

    def _rate(self, name: str, trials: TrialList, speakers: NDArray, mode: str, found: Compared) -> Measured:
        is_target, known = found.is_target, found.known
        cosines, normalized = (fill_guesses(scores, known, is_target) for scores in (found.cosines, found.normalized))
        sides = speakers[found.rows[0]], speakers[found.rows[1]]
        try:
            options = self.protocol.resamples, self.protocol.seed
            draws = resampled_eers(normalized, is_target, *sides, *options)
            interval = speaker_bootstrap(normalized, is_target, *sides, *options, draws=draws)
            rate = eer(normalized, is_target)
        except ValueError as error:
            raise DataError(f"{trials.path}: {name}, mode {mode}: {error}") from error
        return Measured(
            trials.name,
            f"{mode}x{mode}",
            *(100 * value for value in (rate, *interval, eer(cosines, is_target))),
            int(is_target.sum()),
            int((~is_target).sum()),
            int((~known).sum()),
            len(np.union1d(*sides)),
            np.round(100 * draws, 5).tolist(),
        )

    def embed(
        self,
        systems: Sequence[TrainedEmbedder],
        trial_set: TrialSet,
        directory: Path,
        corruption: Corruption | Mixture,
    ) -> dict[str, dict[str, Embeddings]]:
        """For each system, embeddings of the corrupted utterances in the modes that the corruption affects."""
        touched = {system.name: [x for x in system.embedder.letters if x in corruption.touches] for system in systems}
        systems = [system for system in systems if touched[system.name]]
        missing = corruption.kind in MISSING
        changed: dict[str, Side] = {}
        if not missing:
            only = self._corrupted(trial_set)
            changed = self._run(systems, trial_set, directory, corruption.touches, corruption, only)
        result = {}
        for system in systems:
            side = dict(changed.get(system.name, {}))
            for letter in system.embedder.letters:
                if letter not in side:
                    side[letter] = self._clean_side(system, trial_set, directory, letter)
            complete = np.logical_and.reduce([side[letter].present for letter in side])
            if missing:
                lacks = np.array([corruption.lacks(key) for key in trial_set.members.utterances])
                found = side[corruption.touches]
                side[corruption.touches] = found._replace(present=found.present & ~lacks)
            modes = modes_of_side(system, side, complete, self.device)
            result[system.name] = {
                mode: trial_set.pool(found)
                for mode, found in modes.items()
                if any(letter in corruption.touches for letter in mode)
            }
        return result

    def quality(
        self, name: str, trial_set: TrialSet, directory: Path, corruption: Corruption | Mixture | None
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """The measured quality of both modalities: (S, K) of the sides as enrollment and as test.

        Args:
            name: a system with both, for the form of its inputs.
            trial_set, directory: the sides and where their utterances are.
            corruption: of the test side, or of both (``Protocol.corrupted``).
        """
        utterances = trial_set.members.utterances
        clean = {letter: read_quality(directory, letter, utterances) for letter in "AV"}
        test = {letter: found.copy() for letter, found in clean.items()}
        if corruption is not None and corruption.kind not in MISSING:
            row_of = {key: row for row, key in enumerate(utterances)}
            inputs = self.systems[name].inputs.only(corruption.touches)
            audio = inputs.audio and "audio.scp"
            only = self._corrupted(trial_set)
            table = read_utterances(directory, audio, inputs.video is not None, only=only)
            sources = corrupted_sources(table, inputs, corruption)
            if sources.waveforms is not None:
                for key, found in measure_voices(sources.table, sources.waveforms, inputs.audio):
                    test["A"][row_of[key]] = found
            if sources.faces is not None:
                for key, found in measure_faces(sources.table, sources.faces):
                    test["V"][row_of[key]] = found
        enroll = clean if self.protocol.corrupted == "test" else test
        return {
            letter: tuple(side_quality(trial_set.members, side[letter]) for side in (enroll, test)) for letter in "AV"
        }

    def _corrupted(self, trial_set: TrialSet) -> set[str]:
        """The utterances of the sides that are corrupted."""
        rows = [np.concatenate([x.test, x.enroll]) for x in trial_set.lists]
        if self.protocol.corrupted == "test":
            rows = [x.test for x in trial_set.lists]
        return trial_set.members.utterances_of(np.unique(np.concatenate(rows)))

    def _clean_side(self, system: TrainedEmbedder, trial_set: TrialSet, directory: Path, letter: str) -> Embeddings:
        sides = self._sides.setdefault((trial_set.name, letter), {})
        if system.name not in sides:
            others = [other for other in self.systems.values() if other.embedder.letters == "AV"]
            others = others if system in others else [system]
            sides.update(self._run(others, trial_set, directory, letter, None, None))
        return sides[system.name][letter]

    def _run(self, systems, trial_set, directory, letters, corruption, only) -> dict[str, Side]:
        return embed_sides(
            systems, directory, trial_set.members.utterances, letters, corruption, only, self.device, self.num_workers
        )


def fill_guesses(scores: NDArray, known: NDArray[np.bool_], is_target: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores (N,) of all trials, given the scores (K,) of the ``known`` ones; a system can only guess the others.

    The others get the score at the equal error rate of the known trials, so that half of them count as errors: a system
    with an error rate p that has no information in a share s of the trials has the rate (1 - s) p + s / 2.

    Example:
        >>> fill_guesses(np.array([3.0, 1.0]), np.array([True, False, True]), np.array([True, True, False])).tolist()
        [3.0, 1.0, 1.0]
    """
    filled = np.zeros(len(known))
    filled[known] = scores
    targets = is_target[known]
    if not known.all() and targets.any() and not targets.all():
        filled[~known] = eer_threshold(scores, targets)
    return filled
