"""People enrolled from several recordings, and the search for one of them: a gallery is one file.

A person is represented, per mode of the embedder, by the mean of the embeddings of their recordings, each scaled to
length 1, like a cohort speaker in the recipe. The file holds the sums, so that recordings can be added later, and the
model's identity.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.safetensors import read_tensors, write_tensors
from avsv.scoring.modes import assignments
from avsv.verification.decision import check_far
from avsv.verification.model import Model
from avsv.verification.pairs import Embedded, possible_assignments

_FORMAT = "2"


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
        known: the number of recordings of which ``seconds`` is known, and of which ``faces`` is.
    """

    name: str
    sums: dict[str, NDArray[np.float64]]
    counts: dict[str, int]
    seconds: float | None
    faces: float | None
    lengths: dict[str, float]
    known: dict[str, int] = field(default_factory=dict)

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
        means: dict[str, float | None] = {}
        known = {}
        for name in ("seconds", "faces"):
            new = [value for recording in recordings if (value := getattr(recording, name)) is not None]
            before = self.known.get(name, 0)
            known[name] = before + len(new)
            total = before * (getattr(self, name) or 0.0) + sum(new)
            means[name] = total / known[name] if known[name] else None
        lengths = {mode: total / counts[mode] for mode, total in lengths.items()}
        return Person(self.name, sums, counts, means["seconds"], means["faces"], lengths, known)


def common_mode(modes: Sequence[str], person: Person, recording: Embedded) -> str | None:
    """The mode in which a person and a recording are compared, of those that are possible; None if none is.

    The one that uses most modalities, then the one with most of them on both sides, then the one for which the person
    has most recordings: somebody whose voice and face are from different recordings is compared by one of the two.

    Example:
        >>> one = np.ones(1)
        >>> person = Person("ann", {"A": one, "V": one}, {"A": 2, "V": 1}, None, None, {"A": 1.0, "V": 1.0})
        >>> recording = Embedded("x.mp4", {"A": one, "V": one, "AV": one}, {})
        >>> common_mode(["AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV"], person, recording)
        'AVxA'
    """
    found = [
        ((len(a) + len(b), len(set(a) & set(b)), person.counts[a]), mode)
        for mode in modes
        for a, b in assignments(mode)
        if a in person.sums and b in recording.vectors
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


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
        try:
            for number, about in enumerate(json.loads(metadata["people"])):
                sums = {mode: arrays[f"{number}.{mode}"] for mode in about["counts"]}
                people[about["name"]] = Person(sums=sums, **about)
            return cls(metadata["identity"], metadata["model"], people)
        except (KeyError, TypeError, ValueError, RecursionError):
            raise DataError(f"{path}: a damaged gallery: copy it again, or enroll its people again") from None

    def write(self, path: Path) -> None:
        """Write the file; it appears complete or not at all."""
        arrays, people = {}, []
        for number, person in enumerate(self.people.values()):
            arrays.update({f"{number}.{mode}": total for mode, total in person.sums.items()})
            about = {name: getattr(person, name) for name in ("name", "counts", "seconds", "faces", "lengths", "known")}
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
            DataError: an empty name, one on several lines, or ``nobody``, which stands for strangers.
        """
        if name.strip().casefold() == "nobody":
            raise DataError(f"name '{name}': is what 'avsv identify' answers for strangers: choose another")
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
            DataError: nobody is enrolled, nobody has anything in common with the recording, or not a rate.
        """
        check_far(far)
        sides, modes = [], []
        for person in self.people.values():
            mode = common_mode(model.modes, person, recording)
            if mode is not None:
                sides.append(person.side())
                modes.append((mode, tuple(possible_assignments(mode, sides[-1], recording))))
        if not sides:
            what = "has anything in common with the recording" if self.people else "is enrolled in the gallery"
            raise DataError(f"nobody {what}")
        candidates = []
        for mode, orders in dict.fromkeys(modes):
            rows = np.array([n for n, chosen in enumerate(modes) if chosen == (mode, orders)])
            found = model.score([*sides, recording], rows, np.full(len(rows), len(sides)), mode, orders)
            point = model.operating_point(mode, far / len(sides), len(orders))
            for place, row in enumerate(rows):
                llr = None if found.llr is None else float(found.llr[place])
                accepted = None if llr is None or point is None else llr > point.threshold
                scores = float(found.cosine[place]), float(found.score[place])
                candidates.append(Candidate(sides[row].name, mode, *scores, llr, accepted))
        decided = all(one.llr is not None for one in candidates)
        candidates.sort(key=lambda one: -(one.llr if decided else one.score))
        best = candidates[0]
        return Identification(best.name if decided and best.accepted else None, decided, far, tuple(candidates))
