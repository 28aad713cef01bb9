"""People enrolled from several recordings, and the search for one of them: a gallery is one file.

A person is represented, per mode of the embedder, by the mean of the embeddings of their recordings, each scaled to
length 1, like a cohort speaker in the recipe. The file holds the sums, so that recordings can be added later, and the
model's identity.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.safetensors import read_tensors, write_tensors
from avsv.verification.decision import operating_point
from avsv.verification.model import Model
from avsv.verification.pairs import Embedded, possible_assignments

_FORMAT = "1"


@dataclass(frozen=True)
class Person:
    """An enrolled person.

    Args:
        name: of the person.
        sums: per mode (D,) the sum of the embeddings of length 1 of their recordings.
        counts: per mode the number of these recordings.
        seconds: mean duration of the recordings; None if unknown.
        faces: mean number of face crops; None if no recording has any.
        lengths: per mode the mean length of the embeddings before they were scaled.
    """

    name: str
    sums: dict[str, NDArray[np.float64]]
    counts: dict[str, int]
    seconds: float | None
    faces: float | None
    lengths: dict[str, float]

    @property
    def letters(self) -> str:
        """The modalities that the recordings have: A, V or AV."""
        return "".join(letter for letter in "AV" if any(letter in mode for mode in self.sums))

    def side(self) -> Embedded:
        """The person as a side of trials."""
        vectors = {mode: (total / np.linalg.norm(total)).astype(np.float32) for mode, total in self.sums.items()}
        return Embedded(self.name, vectors, self.lengths, self.seconds, self.faces)

    def more(self, recordings: Sequence[Embedded]) -> "Person":
        """The person with additional recordings."""
        sums = {mode: total.copy() for mode, total in self.sums.items()}
        counts = dict(self.counts)
        lengths = {mode: self.lengths[mode] * count for mode, count in counts.items()}
        for recording in recordings:
            for mode, vector in recording.vectors.items():
                sums[mode] = sums.get(mode, 0) + vector.astype(np.float64)
                counts[mode] = counts.get(mode, 0) + 1
                lengths[mode] = lengths.get(mode, 0.0) + recording.lengths[mode]
        before = max(self.counts.values(), default=0)
        seconds = _mean(self.seconds, before, [recording.seconds for recording in recordings])
        faces = _mean(self.faces, before, [recording.faces for recording in recordings])
        means = {mode: total / counts[mode] for mode, total in lengths.items()}
        return Person(self.name, sums, counts, seconds, faces, means)


def _mean(before: float | None, count: int, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if before is not None:
        known += [before] * count
    return float(np.mean(known)) if known else None


def combine(name: str, recordings: Sequence[Embedded]) -> Embedded:
    """Several recordings as one side of trials: an enrollment model of the recipe."""
    return Person(name, {}, {}, None, None, {}).more(recordings).side()


@dataclass(frozen=True)
class Candidate:
    """How well a recording fits an enrolled person.

    Args:
        name: of the person.
        mode: in which they were compared.
        cosine, score, llr: as in :class:`avsv.verification.model.Verification`.
        accepted: whether ``llr`` is above the threshold; None without ``llr``.
    """

    name: str
    mode: str
    cosine: float
    score: float
    llr: float | None
    accepted: bool | None


@dataclass(frozen=True)
class Identification:
    """Which person of a gallery a recording shows.

    Args:
        name: of the person; None for nobody.
        decided: whether the modes that were compared are calibrated; if not, nobody is named.
        far: wanted rate at which a stranger is mistaken for somebody who is enrolled.
        candidates: all persons that could be compared, the best first.
    """

    name: str | None
    decided: bool
    far: float
    candidates: tuple[Candidate, ...]


class Gallery:
    """Enrolled people.

    Args:
        identity: of the model that embedded them.
        model: where the model was; only for a reader's convenience.
        people: by name.
    """

    def __init__(self, identity: str, model: str, people: dict[str, Person] | None = None) -> None:
        self.identity, self.model = identity, model
        self.people = people or {}

    @classmethod
    def read(cls, path: Path) -> "Gallery":
        """Read a file. Raises DataError: no such file, or not a gallery."""
        if not path.is_file():
            raise DataError(f"{path}: no such gallery: 'avsv enroll' creates one")
        arrays, metadata = read_tensors(path)
        if metadata.get("gallery") != _FORMAT:
            raise DataError(f"{path}: not a gallery of format {_FORMAT}, which this version of avsv reads")
        people = {}
        for number, about in enumerate(json.loads(metadata["people"])):
            sums = {mode: arrays[f"{number}.{mode}"] for mode in about["counts"]}
            people[about["name"]] = Person(sums=sums, **about)
        return cls(metadata["identity"], metadata["model"], people)

    def write(self, path: Path) -> None:
        """Write the file; it appears complete or not at all."""
        arrays, people = {}, []
        for number, person in enumerate(self.people.values()):
            arrays.update({f"{number}.{mode}": total for mode, total in person.sums.items()})
            about = {name: getattr(person, name) for name in ("name", "counts", "seconds", "faces", "lengths")}
            people.append(about)
        metadata = {
            "gallery": _FORMAT,
            "identity": self.identity,
            "model": self.model,
            "people": json.dumps(people, ensure_ascii=False),
        }
        write_tensors(path, arrays, metadata)

    def check_model(self, model: Model, path: Path) -> None:
        """Raise DataError if another model embedded the people."""
        identity = model.package.settings.identity
        if identity != self.identity:
            raise DataError(
                f"{path}: its people were enrolled with the model {self.identity} ({self.model}), not with {identity}"
                f" ({model.package.where}): their embeddings cannot be compared: enroll them again"
            )

    def enroll(self, name: str, recordings: Sequence[Embedded]) -> Person:
        """Enroll a person, or add recordings to one who is enrolled.

        Raises:
            DataError: an empty name, or one on several lines.
        """
        if not name.strip() or not name.isprintable():
            raise DataError(f"name '{name}': use printable characters")
        person = self.people.get(name, Person(name, {}, {}, None, None, {})).more(recordings)
        self.people[name] = person
        return person

    def identify(self, model: Model, recording: Embedded, far: float = 0.01) -> Identification:
        """Look for the person of a recording among the enrolled people.

        With N people there are N comparisons, any of which can accept a stranger: each is made at the rate ``far`` / N.

        Args:
            model: that enrolled them.
            recording: embedded by it.
            far: rate at which a stranger is mistaken for somebody who is enrolled.

        Raises:
            DataError: nobody is enrolled, or nobody has anything in common with the recording.
        """
        if not self.people:
            raise DataError("nobody is enrolled in the gallery")
        letters = "".join(letter for letter in "AV" if any(letter in mode for mode in recording.vectors))
        sides = [person.side() for person in self.people.values()]
        modes = [model.find_mode(person.letters, letters) for person in self.people.values()]
        calibration, development = model.package.settings.calibration, model.package.development
        candidates = []
        for mode in dict.fromkeys(modes):
            rows = np.array([n for n, chosen in enumerate(modes) if chosen == mode])
            # All have the same modalities in this mode.
            orders = possible_assignments(mode, sides[rows[0]], recording)
            found = model.score([*sides, recording], rows, np.full(len(rows), len(sides)), mode, orders)
            threshold = None
            if mode in calibration:
                threshold = operating_point(*development[mode], far / len(sides)).threshold
            for place, row in enumerate(rows):
                llr = None if found.llr is None else float(found.llr[place])
                accepted = None if llr is None else llr > threshold
                scores = float(found.cosine[place]), float(found.score[place])
                candidates.append(Candidate(sides[row].name, mode, *scores, llr, accepted))
        decided = all(one.llr is not None for one in candidates)
        candidates.sort(key=lambda one: -(one.llr if decided else one.score))
        best = candidates[0]
        return Identification(best.name if decided and best.accepted else None, decided, far, tuple(candidates))
