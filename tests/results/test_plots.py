"""Every plot shows its data."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from avsv.analysis.geometry import geometry
from avsv.results.plots import (
    DetLine,
    angle_plot,
    attention_plot,
    det_plot,
    draw_history,
    hard_plot,
    projection_plot,
    training_plot,
)
from avsv.results.style import COLORS


def colors_in(path):
    """The colors of a picture that are exactly in the palette."""
    pixels = np.round(255 * imread(path)[..., :3]).astype(int) @ [65536, 256, 1]
    return {color for color in COLORS if (pixels == int(to_hex(color)[1:], 16)).any()}


def gaussian_line(label, distance, count=2000, number=0):
    rng = np.random.default_rng(count)
    scores = np.r_[rng.normal(distance, 1, count), rng.normal(0, 1, count)]
    return DetLine(label, scores, np.arange(2 * count) < count, number)


def test_det_plot(tmp_path):
    lines = [gaussian_line("good", 4), gaussian_line("bad", 1, number=1), gaussian_line("few", 2, 10, number=2)]
    det_plot(tmp_path / "det.png", {"eval": lines})
    assert colors_in(tmp_path / "det.png") >= set(COLORS[:3])
    size = imread(tmp_path / "det.png").shape
    det_plot(tmp_path / "two.png", {"eval": lines, "hard": lines[:1]})
    assert imread(tmp_path / "two.png").shape[1] == pytest.approx(2 * size[1], rel=0.01)
    # There is nothing to see, but nothing fails either: no errors at all, and only errors.
    perfect = DetLine("perfect", np.array([1.0, 2, 3, 4]), np.array([False, False, True, True]), 0)
    inverted = DetLine("inverted", -perfect.scores, perfect.is_target, 1)
    det_plot(tmp_path / "edge.png", {"a": [perfect], "b": [inverted]})
    assert not list(tmp_path.glob(".*"))


def test_other_plots(tmp_path):
    history = {"epoch": np.arange(1, 4), "loss": np.array([3, 2, 1.0]), "accuracy": np.array([0.1, 0.2, 0.3])}
    history["dev_eer"] = np.array([0.4, np.nan, 0.2])
    training_plot(tmp_path / "training.png", {"one": history, "two": {**history, "loss": history["loss"] + 1}})
    assert colors_in(tmp_path / "training.png") >= set(COLORS[:2])
    embeddings, labels = np.random.default_rng(0).normal(size=(40, 8)), np.repeat([f"id{n}" for n in range(10)], 4)
    measures = geometry(embeddings, labels)
    angle_plot(tmp_path / "one.png", "s", {"A": measures}, None)
    angle_plot(tmp_path / "more.png", "s", {"AV": measures, "A": measures}, np.array([10.0, 20.0]))
    assert imread(tmp_path / "more.png").shape[0] > imread(tmp_path / "one.png").shape[0]
    projection_plot(
        tmp_path / "p.png", "s", {"A": embeddings[:, :2], "V": embeddings[:, 2:4]}, {"A": labels, "V": labels}
    )
    assert imread(tmp_path / "p.png").shape[1] > imread(tmp_path / "p.png").shape[0]


def test_the_panels_of_a_projection_fill_the_figure(tmp_path):
    """Whatever points lie outside the frame, and however many identities the legend has."""
    points, labels = np.random.default_rng(0).normal(size=(200, 2)), np.repeat([f"id{n:02d}" for n in range(50)], 4)
    points[0] = 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        projection_plot(tmp_path / "p.png", "s", {"A": points, "V": points}, {"A": labels, "V": labels})
    picture = imread(tmp_path / "p.png")[..., :3]
    # The frames of both panels are the longest lines.
    sides = np.flatnonzero((np.abs(picture - picture[0, 0]).sum(axis=2) > 0.2).mean(axis=0) > 0.8)
    assert sides.max() - sides.min() > 0.6 * picture.shape[1]


def test_plots_of_hard_samples_and_attention(tmp_path):
    rng = np.random.default_rng(0)
    panel = rng.normal(size=(7, 2)), np.array([True, False, False, True]), np.array(["a", "b", "c"])
    hard_plot(tmp_path / "hard.png", {"one": panel, "two": panel}, np.array(["a", "b", "b", "c"]))
    assert colors_in(tmp_path / "hard.png") >= set(COLORS[:3])
    maps = {name: rng.normal(size=(8, 20)) for name in ("voice", "face")}
    attention_plot(tmp_path / "attention.png", "weights", 0.8, maps, rng.uniform(0, 2, (2, 10)))
    assert colors_in(tmp_path / "attention.png") >= set(COLORS[:2])


@pytest.mark.parametrize("values", [[1.0, 0.999, 1.0], [0.2, 0.5, 0.4], [0.0, 0.0, 0.0]])
def test_lines_do_not_lie_on_the_border(values):
    axis = Figure().subplots()
    draw_history(axis, {"a": {"epoch": np.arange(3), "x": np.array(values)}}, {"a": 0}, "x", 1)
    bottom, top = axis.get_ylim()
    assert bottom == 0 and top >= 1.04 * max(values) and top > 0
