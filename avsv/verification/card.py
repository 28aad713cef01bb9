"""The description of a model for readers, ``MODEL.md``, made from its settings."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from avsv.verification.decision import decimals
from avsv.verification.package import NO_LICENSE, Package, Settings, model_to_replace
from avsv.video.config import FacesConfig

_MODES = {
    "AVxAV": "voice and face on both sides",
    "AxA": "voice on both sides",
    "VxV": "face on both sides",
    "AVxA": "voice and face on one side, voice on the other",
    "AVxV": "voice and face on one side, face on the other",
    "AxV": "voice on one side, face on the other",
}
_STAGES = {"cos": "cosine", "asnorm": "normalized", "llr": "calibrated"}


def write_model(package: Package, folder: Path, license: str | None = None) -> None:
    """Write the folder of a model, with its description.

    Args:
        package: what to write.
        folder: new, or that of a model to replace.
        license: terms of use; None keeps those of the package, or if it has none those of a model of the same name
            that is replaced.

    Raises:
        DataError: as :meth:`avsv.verification.package.Package.save`.
    """
    there = model_to_replace(folder)
    if license is None and package.settings.license == NO_LICENSE and there and there.name == package.settings.name:
        license = there.license
    if license is not None:
        package = replace(package, settings=replace(package.settings, license=license))
    package.save(folder, model_card(package))


def model_card(package: Package) -> str:
    """The text of ``MODEL.md``."""
    settings, training = package.settings, package.settings.training
    parts = [
        f"# {settings.name}",
        f"**Caution: {package.caution}.**" if package.caution else "",
        _networks(settings),
        "Use it with the program or the package `avsv`; FOLDER is the folder of this file:",
        "```\navsv verify FOLDER FIRST SECOND\n```",
        "## Terms",
        f"License: {settings.license}. The weights are derived from the training data, whose terms apply as well.",
        "## Inputs",
        *filter(None, (describe_audio(package), describe_faces(package))),
        "## Results",
        _results(settings),
        "## Decisions",
        _thresholds(settings),
        "## Training",
        f"{training.speakers} speakers of {training.corpus or 'an unnamed corpus'}, seed {training.seed};"
        f" code {training.git or 'of an unknown revision'}, "
        + ", ".join(f"{name} {version}" for name, version in training.versions.items())
        + f". The folder was written by avsv {settings.avsv}.",
        table(["list", "md5"], training.lists.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _networks(settings: Settings) -> str:
    system = settings.system
    named = {"audio": system.audio, "visual": system.visual, "fusion": system.fusion}
    networks = [f"{role} `{network.name}`" for role, network in named.items() if network is not None]
    what = {("A",): "by their voices", ("V",): "by their faces"}.get(system.modalities, "by voice and face")
    return f"Verifies people {what}. Networks: {', '.join(networks)}. Weights: md5 `{settings.identity}`."


def describe_audio(package: Package) -> str | None:
    """What the audio network receives, in a sentence; None for a system without audio."""
    inputs, form = package.inputs, package.inputs.audio
    if form is None:
        return None
    if inputs.takes == "waveform":
        what = "as samples in [-1, 1]"
    elif inputs.takes == "log_mel":
        what = f"as {inputs.num_bins} log-mel energies, log(x + 1e-6), in centered Hann windows of 25 ms every 10 ms"
    else:
        what = (
            f"as {form.num_mel_bins} log-mel filterbank energies as Kaldi computes them (16-bit samples,"
            f" {form.low_freq:g} to {form.top_freq:g} Hz,"
            f" {form.window} windows of {form.frame_length:g} ms every {form.frame_shift:g} ms,"
            f" pre-emphasis {form.preemphasis:g}, no dither), minus their mean over the recording"
        )
    return f"Audio: one channel at {form.sample_rate} Hz, {what}."


def describe_faces(package: Package) -> str | None:
    """What the visual network receives, in a sentence; None for a system without video."""
    form = package.inputs.video
    if form is None:
        return None
    if not isinstance(form, FacesConfig):
        how = "how they were cut out is not known"
    elif form.detector == "none":
        how = "the central part of the picture, since the videos of the training were face tracks"
    elif form.align:
        how = f"found by the detector {form.detector} and aligned by five points of the face"
    else:
        how = f"found by the detector {form.detector}, with a margin of {form.margin:g} of the longer side of the box"
    channels, height, width = package.inputs.image_shape
    color = "red, green and blue" if channels == 3 else "gray"
    return f"Face crops: {color}, {height} rows, {width} columns, {form.fps:g} per second; {how}."


def _results(settings: Settings) -> str:
    rows = [row for row in settings.results if row.get("stage") in _STAGES]
    if not rows:
        return "There were no results when this folder was written."
    table = []
    for row in rows:
        interval = f"{float(row['eer_low']):.2f} - {float(row['eer_high']):.2f}" if row.get("eer_low") else ""
        trials = f"{row['corpus']} {row['trials']}, {row['n_target']} target, {row['n_nontarget']} non-target"
        table.append([trials, row["mode"], _STAGES[row["stage"]], f"{float(row['eer']):.2f}", interval])
    head = ["trials", "mode", "scores", "EER %", "95 % interval"]
    modes = dict.fromkeys(row["mode"] for row in rows)
    return table(head, table) + "\n\n" + "; ".join(f"{mode}: {_MODES[mode]}" for mode in modes) + "."


def _thresholds(settings: Settings) -> str:
    found = {(mode, rate): x for mode, part in settings.thresholds.items() for rate, x in part.items() if x is not None}
    valid = "They are valid only for recordings like those of the development data."
    if not found:
        return (
            "The development trials are too few to measure a threshold: `avsv` extrapolates thresholds on the"
            f" log-likelihood ratio from their mean and standard deviation. {valid}"
        )
    modes, rates = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    rows = []
    for mode in modes:
        values = [decimals(found[mode, rate]) if (mode, rate) in found else "" for rate in rates]
        rows.append([mode.replace("/1", ", one order"), *values])
    head = ["mode", *(f"{rate} %" for rate in rates)]
    return (
        "Thresholds on the log-likelihood ratio (natural logarithm) at false-accept rates of the development trials,"
        f" where these are enough to measure them. {valid}\n\n{table(head, rows)}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
