"""Trials on which a gate is fitted: development trials whose test side is corrupted, each in its own way."""

from collections.abc import Sequence

import numpy as np

from avsv.corruption.mixture import Mixture
from avsv.corruption.sweep import Bench
from avsv.data.quality import MEASURES
from avsv.scoring.gate import EXPERTS, Material


def gate_material(bench: Bench, system: str, mixtures: Sequence[Mixture]) -> Material:
    """The trials of the lists of a bench with both modalities on both sides: clean, and once with each mixture.

    Args:
        bench: of the development data.
        system: a fused system.
        mixtures: that differ in their seeds.
    """
    clean: dict[str, list] = {mode: [] for mode in EXPERTS}
    scores: dict[str, list] = {letter: [] for letter in MEASURES}
    quality: dict[str, list] = {letter: [] for letter in MEASURES}
    labels, clean_labels = [], []
    for trial_set, directory in bench.sets:
        for mixture in (None, *mixtures):
            tests = (
                {} if mixture is None else bench.embed([bench.systems[system]], trial_set, directory, mixture)[system]
            )
            measured = {} if mixture is None else bench.quality(system, trial_set, directory, mixture)
            for trials in trial_set.lists:
                found = bench.compare_modes(system, trials, trial_set, tests)
                both = found["A"].known & found["V"].known
                enroll, test = (rows[both] for rows in found["AV"].rows)
                (labels if measured else clean_labels).append(found["AV"].is_target[both])
                for mode in scores if measured else clean:
                    (scores if measured else clean)[mode].append(found[mode].everywhere()[both])
                for letter, (of_enroll, of_test) in measured.items():
                    quality[letter].append(np.stack([of_enroll[enroll], of_test[test]], axis=1))
    joined = [{name: np.concatenate(found) for name, found in part.items()} for part in (clean, scores, quality)]
    return Material(joined[0], np.concatenate(clean_labels), joined[1], joined[2], MEASURES, np.concatenate(labels))
