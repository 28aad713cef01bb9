"""How well a voice could be matched with a face on a corpus by the speakers' gender alone.

Prints the equal error rate of cross-modal trials (voice against face, both orders averaged, as in the mode AxV) when
the gender of both sides is known, and when logistic regressions guess it: from the mean and the standard deviation of
an utterance's features, and from its mean face crop. They are fitted on the training speakers; no network is trained.

Usage: python benchmarks/gender_probe.py data/train data/eval
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avsv.io.ark import read_rows
from avsv.io.lists import read_list
from avsv.scoring.metrics import eer
from avsv.scoring.trials import read_trial_set

PIXELS = 1200  # of a mean face crop, evenly spaced: more say no more of a gender
COMPONENTS = 50


class Utterances(NamedTuple):
    """What is known of a data directory's utterances: names, inputs of both modalities (N, D), and who is male (N,)."""

    keys: list[str]
    voice: NDArray[np.float64]
    face: NDArray[np.float64]
    male: NDArray[np.bool_]


def read_utterances(data: Path) -> Utterances:
    """The utterances that have both modalities."""
    features, faces = read_list(data / "feats.scp"), read_list(data / "faces.scp")
    utt2spk, genders = read_list(data / "utt2spk"), read_list(data / "spk2gender")
    keys = [key for key in utt2spk if key in features and key in faces]
    voice, face = [], []
    for key in keys:
        frames = read_rows(features[key])
        voice.append(np.r_[frames.mean(axis=0), frames.std(axis=0)])
        crop = read_rows(faces[key]).mean(axis=0)
        face.append(crop[:: max(1, len(crop) // PIXELS)])
    male = np.array([genders[utt2spk[key]] == "m" for key in keys])
    return Utterances(keys, np.array(voice), np.array(face), male)


def guess(fitted_on: NDArray, male: NDArray, inputs: NDArray) -> NDArray[np.float64]:
    """The probability (N,) that each of the inputs is of a man."""
    components = min(COMPONENTS, *fitted_on.shape)
    model = make_pipeline(StandardScaler(), PCA(components), LogisticRegression(C=0.1, max_iter=1000))
    return model.fit(fitted_on, male).predict_proba(inputs)[:, 1]


def main() -> None:
    """Fit the probes; print their accuracy and the error rates of every trial list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="data directory with feats.scp, faces.scp and spk2gender")
    parser.add_argument("eval", type=Path, help="the same, with trials")
    args = parser.parse_args()

    train, test = read_utterances(args.train), read_utterances(args.eval)
    voice, face = guess(train.voice, train.male, test.voice), guess(train.face, train.male, test.face)
    for name, probability in (("voice", voice), ("face", face)):
        print(
            f"gender from the {name}: right for {100 * ((probability > 0.5) == test.male).mean():.0f} % of utterances"
        )
    trial_set, row_of = read_trial_set(args.eval), {key: row for row, key in enumerate(test.keys)}
    rows = np.array([row_of.get(key, -1) for key in trial_set.sides])
    for trials in trial_set.lists:
        enroll, other = rows[trials.enroll], rows[trials.test]
        known = (enroll >= 0) & (other >= 0)
        enroll, other, is_target = enroll[known], other[known], trials.trials.is_target[known]
        alike = test.male[enroll] == test.male[other]

        def same(one: NDArray, two: NDArray, a: NDArray = enroll, b: NDArray = other) -> NDArray:
            return np.log(one[a] * two[b] + (1 - one[a]) * (1 - two[b]))

        guessed = eer(same(voice, face) + same(face, voice), is_target)
        print(
            f"{trials.name}: genders differ in {100 * (~alike[~is_target]).mean():.1f} % of the non-target trials;"
            f" AxV EER {100 * eer(alike, is_target):.1f} % if both are known, {100 * guessed:.1f} % if guessed"
        )


if __name__ == "__main__":
    main()
