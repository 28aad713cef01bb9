"""Angles of identities are those of a computation by hand."""

import numpy as np

from avsv.analysis.identities import MAX_IDENTITIES, MEASURES, identity_boxes, shown_identities
from avsv.analysis.spaces import Space
from avsv.results.plots import identities_plot


def space(rng, keys):
    vectors = rng.normal(size=(len(keys), 6)).astype(np.float32)
    return Space(keys, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.array([k[0] for k in keys]))


def degrees(one, other):
    return np.degrees(np.arccos(np.float64(one) @ np.float64(other)))


def test_boxes_equal_brute_force(tmp_path):
    """Utterances in any order; some lack the face, one identity has a single utterance."""
    rng = np.random.default_rng(5)
    voice = space(rng, ["b1", "a1", "c1", "a2", "b2", "a3"])
    face = space(rng, ["a2", "b2", "a1", "b3"])
    boxes = identity_boxes("both", {"A": voice, "V": face, "AV": voice})
    of = {(box.measure, box.identity): box for box in boxes}
    assert set(of) == {*(("within voice", name) for name in "ab"), *((m, n) for m in MEASURES for n in "ab")}
    voices, faces = (dict(zip(s.keys, s.vectors, strict=True)) for s in (voice, face))
    expected = {
        ("voice to face", "a"): [degrees(voices[k], faces[k]) for k in ("a1", "a2")],
        ("voice to face", "b"): [degrees(voices["b2"], faces["b2"])],
        ("within voice", "a"): [degrees(voices[x], voices[y]) for x, y in (("a1", "a2"), ("a1", "a3"), ("a2", "a3"))],
        ("within face", "b"): [degrees(faces["b2"], faces["b3"])],
    }
    for key, angles in expected.items():
        assert of[key].count == len(angles)
        np.testing.assert_allclose(of[key][-5:], np.quantile(angles, (0.05, 0.25, 0.5, 0.75, 0.95)), rtol=1e-4)
    alone = identity_boxes("ecapa", {"A": voice})
    assert {box.measure for box in alone} == {"within voice"}
    identities_plot(tmp_path / "boxes.png", [*boxes, *alone], seed=0)
    assert (tmp_path / "boxes.png").stat().st_size > 10_000


def test_identities_that_are_drawn():
    rng = np.random.default_rng(1)
    keys = [f"{chr(97 + n)}{i}" for n in range(26) for i in range(2)]
    boxes = identity_boxes("ecapa", {"A": space(rng, keys)})
    shown = shown_identities(boxes, seed=3)
    assert len(shown) == MAX_IDENTITIES == len(set(shown))
    assert shown == shown_identities(boxes, seed=3) != shown_identities(boxes, seed=4)
