"""A page that shows what a verification compared: faces as cropped, attention over time, and the scores."""

import base64
import html
import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avsv.scoring.modes import calibration_name
from avsv.verification.decision import decimals, named_order
from avsv.verification.model import Model, Used, Verification
from avsv.verification.recording import Reading

_WIDTH, _HEIGHT = 640, 150  # of a drawing, in its own units
_LABELS = 36  # of them the two lines of labels above a histogram
_BINS = 60
_SHOWN = 12  # face crops of a recording
_NAMES = {"A": "voice", "V": "face"}
_VERDICTS = {True: "The same person", False: "Different persons", None: "No decision"}
_PAGE_STYLE = """:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }"""
# Also for a part of another page, so that it touches nothing outside.
_STYLE = """.explained img { display: inline-block; height: 96px; margin: 2px }
.explained svg { display: block; width: 100%; max-width: 640px; height: auto }
.explained table { border-collapse: collapse; width: auto }
.explained td, .explained th { border: none; padding: .2em 1em .2em 0; text-align: left; vertical-align: top }
.explained h2 { margin-top: 1.5em; overflow-wrap: anywhere }
.explained .target { fill: #0072b2; fill-opacity: .7 } .explained .nontarget { fill: #d55e00; fill-opacity: .7 }
.explained .line { fill: none; stroke: currentColor; stroke-width: 1.5 }
.explained .threshold { stroke: currentColor; stroke-opacity: .6; stroke-dasharray: 5 4 }
.explained .score { stroke: currentColor; stroke-width: 3 } .explained text { fill: currentColor; font-size: 13px }
@media (max-width: 40em) { .explained text { font-size: 20px } }"""


def attention(model: Model, reading: Reading, letter: str) -> NDArray[np.float32] | None:
    """The temporal weights (T,) around 1 with which a network pools a recording; None where its pooling has none."""
    network = model.embedder.network(letter)
    if not network.pool.gives_weights:
        return None
    batch = reading.batch(model.package.inputs).prepare(model.device)
    inputs, mask = (batch.audio, batch.audio_mask) if letter == "A" else (batch.video, batch.video_mask)
    with torch.inference_mode():
        _, weights, valid = network.forward_with_weights(inputs, mask)
    length = weights.shape[1] if valid is None else int(valid[0].sum())
    values = weights[0, :length].float().cpu().numpy()
    return values / values.mean()


def explain(model: Model, readings: Sequence[Reading], result: Verification) -> str:
    """The page, as HTML that needs no other file; arguments as for :func:`explain_part`."""
    title = html.escape(f"{_VERDICTS[result.accepted]}: {result.a.name}, {result.b.name}")
    look = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{look}<title>{title}</title><style>{_PAGE_STYLE}</style>'
    body = explain_part(model, readings, result)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def explain_part(model: Model, readings: Sequence[Reading], result: Verification) -> str:
    """What was compared, as a part of an HTML page.

    Args:
        model: that verified.
        readings: the two recordings, as it read them.
        result: what it found.
    """
    verdict = _VERDICTS[result.accepted]
    parts = [f"<h1>{verdict}</h1>", _summary(model, result)]
    if result.llr is not None:
        parts += ["<h2>Among the development trials</h2>", _histogram(model, result)]
    for reading, used in zip(readings, (result.a, result.b), strict=True):
        parts += [f"<h2>{html.escape(reading.name)}</h2>", _side(model, reading, used)]
    inside = "\n".join(parts)
    return f'<style>{_STYLE}</style><div class="explained">\n{inside}\n</div>'


def _summary(model: Model, result: Verification) -> str:
    rows = [("model", model.name), ("mode", named_order(result.mode, result.orders))]
    rows.append(("cosine", decimals(result.cosine, 4)))
    rows.append(("normalized score", decimals(result.score)))
    if result.llr is None:
        rows.append(("log-likelihood ratio", "the development trials of this mode could not be calibrated"))
    else:
        how = "measured" if result.measured else "extrapolated, since the development trials are too few"
        rows.append(("log-likelihood ratio", decimals(result.llr)))
        rows.append((f"threshold at {100 * result.far:g} % false accepts", f"{decimals(result.threshold)} ({how})"))
    if model.package.caution is not None:
        rows.append(("caution", model.package.caution))
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _histogram(model: Model, result: Verification) -> str:
    """The development trials of the mode by their ratios, with this score and the threshold."""
    target, nontarget = model.package.development[calibration_name(result.mode, result.orders)]
    every = np.concatenate([target, nontarget, [result.llr, result.threshold]])
    low, high = float(every.min()), float(every.max())
    high = high if high > low else low + 1.0
    shares = [np.histogram(part, _BINS, (low, high))[0] / len(part) for part in (target, nontarget)]
    most = max(share.max() for share in shares)

    def place(value: float) -> float:
        return (value - low) / (high - low) * _WIDTH

    bars = []
    for share, kind in zip(shares, ("target", "nontarget"), strict=True):
        for n in np.flatnonzero(share):
            tall = share[n] / most * (_HEIGHT - 20 - _LABELS)
            at = f'x="{n * _WIDTH / _BINS:.1f}" y="{_HEIGHT - 20 - tall:.1f}"'
            bars.append(f'<rect class="{kind}" {at} width="{_WIDTH / _BINS:.1f}" height="{tall:.1f}"/>')
    # Enough to tell a thousandth of the axis apart.
    count = max(2, 3 - math.floor(math.log10(high - low)))
    lines = []
    for kind, name, value, y in (
        ("threshold", "threshold", result.threshold, _LABELS / 2 - 5),
        ("score", "this pair", result.llr, _LABELS - 5),
    ):
        x = place(value)
        lines.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT - 20}"/>')
        beside = f'x="{x + 5:.1f}"' if x < _WIDTH / 2 else f'x="{x - 5:.1f}" text-anchor="end"'
        lines.append(f'<text {beside} y="{y:.0f}">{name} {decimals(value, count)}</text>')
    ends = f'<text x="0" y="{_HEIGHT - 4}">{decimals(low, count)}</text>'
    ends += f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{decimals(high, count)}</text>'
    said = (
        f"Log-likelihood ratios of {len(target)} trials of the same person (blue) and {len(nontarget)} of different"
        " ones (orange), each as shares of its kind. Thick: this pair. Dashed: the threshold."
    )
    return f"{_svg(''.join([*bars, *lines, ends]), 'histogram')}<p>{said}</p>"


def _side(model: Model, reading: Reading, used: Used) -> str:
    parts = []
    if "V" in used.modality:
        crops = model.package.inputs.show(reading.faces.distinct)
        shown = crops[np.unique(np.linspace(0, len(crops) - 1, min(_SHOWN, len(crops))).round().astype(int))]
        size = "" if used.face_pixels is None else f", each about {used.face_pixels:.0f} pixels wide in the picture"
        parts.append("".join(map(_image, shown)))
        parts.append(f"<p>{len(shown)} of {len(crops)} face crops, as the network saw them{size}.</p>")
    if "A" in used.modality:
        parts.append(f"<p>{used.seconds:.2f} s of audio, of which {used.voice_seconds:.2f} s are voice.</p>")
    for letter in used.modality:
        weights = attention(model, reading, letter)
        if weights is None:
            parts.append(f"<p>No attention to the {_NAMES[letter]} over time: the pooling has no temporal weights.</p>")
        else:
            parts.append(_series(weights, _NAMES[letter]))
    return "\n".join(parts)


def _image(crop: NDArray[np.uint8]) -> str:
    """A face crop (C, H, W) as an image inside the page."""
    picture = crop[0] if len(crop) == 1 else crop.transpose(1, 2, 0)[..., ::-1]
    content = base64.b64encode(cv2.imencode(".png", np.ascontiguousarray(picture))[1].tobytes()).decode()
    return f'<img alt="face crop" src="data:image/png;base64,{content}">'


def _series(weights: NDArray[np.float32], name: str) -> str:
    """Temporal weights as a line over the length of the recording."""
    most = max(float(weights.max()), 1.0)
    across = np.linspace(0, _WIDTH, len(weights)) if len(weights) > 1 else np.array([0.0])
    points = " ".join(
        f"{x:.1f},{(1 - y / most) * (_HEIGHT - 20):.1f}" for x, y in zip(across, weights.tolist(), strict=True)
    )
    drawn = f'<polyline class="line" points="{points}"/>'
    said = f"Attention to the {name} over time; the mean is 1, the highest {most:.2f}."
    return f"{_svg(drawn, f'attention {name}')}<p>{said}</p>"


def _svg(content: str, name: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{content}</svg>'
