"""The page that shows what a verification compared."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from finished_run import make_run, recording_of

import avsv
from avsv.verification.explain import attention, explain


class Balance(HTMLParser):
    """Checks that every element that needs an end has one."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pooling = {"audio": {"pooling": "we_asp"}, "visual": {"pooling": "we_asp"}}
    run = make_run(tmp_path_factory.mktemp("run"), **pooling)
    model = avsv.load(run.system)
    recordings = [recording_of(run.data["eval"], key) for key in ("s0-u0", "s1-u0")]
    readings = model.read_pair(*recordings)
    result = model.verify_readings(*readings)
    return model, readings, result, explain(model, readings, result)


def test_the_page_shows_the_crops_that_the_network_saw(page):
    _, readings, _, text = page
    images = [base64.b64decode(content) for content in re.findall(r"base64,([^\"]+)", text)]
    pixels = [cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED) for image in images]
    crops = [crop[0] for reading in readings for crop in reading.faces.crops]
    assert len(pixels) == len(crops) == 6
    for shown, crop in zip(pixels, crops, strict=True):
        np.testing.assert_array_equal(shown, crop)


def test_the_page_is_well_formed_and_names_the_scores(page):
    _, _, result, text = page
    parser = Balance()
    parser.feed(text)
    assert parser.open == [] and parser.seen.count("svg") == 5
    for number in (f"{result.cosine:.4f}", f"{result.score:.3f}", f"{result.llr:.3f}", f"{result.threshold:.3f}"):
        assert f"<td>{number}" in text
    assert "Different persons" in text
    for name, value in (("threshold", result.threshold), ("this pair", result.llr)):
        (shown,) = re.findall(rf">{name} (-?[\d.]+)</text>", text)
        assert float(shown) == pytest.approx(value, abs=0.006)


def test_a_picture_is_shown_once_and_in_gray_and_a_mean_has_no_attention(page, monkeypatch):
    model, readings, result, _ = page
    gray = readings[0].faces.crops[:1]
    copies = np.repeat(np.repeat(gray, 3, axis=1), 4, axis=0)
    picture = readings[0]._replace(faces=readings[0].faces._replace(crops=copies, count=1))
    monkeypatch.setattr(type(model.embedder.visual.pool), "gives_weights", False)
    text = explain(model, [picture, readings[1]], result)
    (shown, *others) = [base64.b64decode(content) for content in re.findall(r"base64,([^\"]+)", text)]
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_UNCHANGED), gray[0, 0])
    assert len(others) == 3 and "1 of 1 face crops" in text
    assert "No attention to the face over time: the pooling has no temporal weights." in text


def test_attention_is_that_of_the_pooling(page):
    model, readings, _, _ = page
    for letter in "AV":
        weights = attention(model, readings[0], letter)
        assert weights.mean() == pytest.approx(1, abs=1e-5) and weights.std() > 0
    # The share of each frame in the mean of a weighted pooling, by hand from the network's own frames.
    batch = readings[0].batch(model.package.inputs).prepare("cpu")
    network = model.embedder.visual
    _, by_hand, _ = network.forward_with_weights(batch.video, batch.video_mask)
    by_hand = by_hand[0].detach().numpy()
    np.testing.assert_allclose(attention(model, readings[0], "V"), by_hand / by_hand.mean(), rtol=1e-5)


def test_names_are_escaped(page):
    model, readings, result, _ = page
    named = [reading._replace(name="<b>&.mp4") for reading in readings]
    text = explain(model, named, result)
    assert "<b>&" not in text and "&lt;b&gt;&amp;.mp4" in text
