"""Who of a gallery is named, and what tells recordings and names apart."""

import fcntl

import numpy as np
import pytest

from avsv.errors import DataError
from avsv.verification.decision import Operating
from avsv.verification.gallery import Gallery, Person, file_digest, lock_gallery, person_name
from avsv.verification.pairs import Embedded, PairScores

ONE = np.ones(1, np.float32)


class Judge:
    """A model that gives each person's ratio, and whose modes have different thresholds."""

    modes = ("AVxAV", "AxA", "AVxA")
    thresholds = {"AVxAV": 3.0, "AVxA": 6.0}  # noqa: RUF012

    def __init__(self, llr: dict[str, float]) -> None:
        self.llr = llr

    def score(self, sides, enroll, test, mode, orders):
        llr = np.array([self.llr[sides[row].name] for row in enroll])
        return PairScores(llr / 10, llr, llr)

    def operating_point(self, mode, far, orders):
        return Operating(self.thresholds[mode], mode == "AVxAV", 100)


@pytest.mark.parametrize(
    ("llr", "name", "order"),
    [
        ({"Ann": 4.0, "Bob": 5.0}, "Ann", ["Ann", "Bob"]),  # Bob's ratio is larger, but below the threshold of his mode
        ({"Ann": 4.0, "Bob": 7.0}, "Bob", ["Bob", "Ann"]),
        ({"Ann": 2.0, "Bob": 5.0}, None, ["Bob", "Ann"]),
    ],
)
def test_who_is_named_is_the_first_who_is_accepted(llr, name, order):
    people = {
        "Bob": Person("Bob", {"A": ONE}, {"A": 1}, None, None, {"A": 1.0}),
        "Ann": Person("Ann", {"AV": ONE}, {"AV": 1}, None, None, {"AV": 1.0}),
    }
    recording = Embedded("x.mp4", {"A": ONE, "AV": ONE}, {})
    found = Gallery("id", people=people).identify(Judge(llr), recording, 0.02)
    assert found.name == name and [one.name for one in found.candidates] == order and found.rate == 0.01
    by_name = {one.name: one for one in found.candidates}
    assert (by_name["Ann"].threshold, by_name["Ann"].measured, by_name["Bob"].measured) == (3.0, True, False)
    assert any(one.accepted for one in found.candidates) == (name is not None)


def test_modes_that_nobody_has():
    people = {"Ann": Person("Ann", {"A": ONE}, {"A": 1}, None, None, {"A": 1.0})}
    with pytest.raises(DataError, match="nobody can be compared with it in mode AVxAV"):
        Gallery("id", people=people).identify(Judge({}), Embedded("x", {"A": ONE}, {}), 0.01, "AVxAV")


@pytest.mark.parametrize("name", ["Ann Lee ", "  Ann Lee", "Ann  Lee", "Ann Lee"])
def test_names_that_look_alike_are_one(name):
    assert person_name(name) == "Ann Lee"
    assert person_name("Zoe\u0308") == "Zo\u00eb"


@pytest.mark.parametrize("name", ["", " ", "Ann\nLee", "a\x1b[2J", " Nobody "])
def test_names_that_are_none(name):
    with pytest.raises(DataError, match=r"^name '"):
        person_name(name)


def test_recordings_are_known_by_their_content(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(b"one")
    (tmp_path / "y/2.png").write_bytes(b"two")
    digests = [file_digest(tmp_path / name) for name in ("a", "b", "x", "y")]
    assert digests[0] == digests[2] and len(set(digests)) == 3
    gallery = Gallery("id")
    gallery.enroll("Ann", [Embedded("a", {"A": ONE}, {"A": 1.0})], digests[:1])
    gallery.write(tmp_path / "g")
    again = Gallery.read(tmp_path / "g")
    assert again.find_new("Ann", [digests[1], digests[0], digests[1]]) == [0]
    assert again.find_new("Bob", digests[:1]) == [0]


def test_only_one_at_a_time_changes_a_gallery(tmp_path):
    with lock_gallery(tmp_path / "g"), (tmp_path / ".g.lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
