"""The description of a model for readers, ``MODEL.md``, made from its settings."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from avsv.io.atomic import write_text
from avsv.verification.package import Package, Settings

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
        license: terms of use; None keeps those of the package.

    Raises:
        DataError: as :meth:`avsv.verification.package.Package.save`.
    """
    if license is not None:
        package = replace(package, settings=replace(package.settings, license=license))
    package.save(folder)
    write_text(folder / "MODEL.md", model_card(package.settings))


def model_card(settings: Settings) -> str:
    """The text of ``MODEL.md``."""
    training = settings.training
    parts = [
        f"# {settings.name}",
        _networks(settings),
        "Use it with the program or the package `avsv`:",
        f"```\navsv verify {settings.name} FIRST SECOND\n```",
        "## Terms",
        f"License: {settings.license}. The weights are derived from the training data, whose terms apply as well.",
        "## Inputs",
        _inputs(settings),
        "## Results",
        _results(settings),
        "## Decisions",
        "Thresholds on the log-likelihood ratio (natural logarithm) at false-accept rates of the development trials;"
        " none where these are too few. They are valid only for recordings like those of the development data.",
        _thresholds(settings),
        "## Training",
        f"{training.speakers} speakers, seed {training.seed}; code {training.git or 'of an unknown revision'}, "
        + ", ".join(f"{name} {version}" for name, version in training.versions.items())
        + f". The folder was written by avsv {settings.avsv}.",
        _table(["list", "md5"], training.lists.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _networks(settings: Settings) -> str:
    system = settings.system
    named = {"audio": system.audio, "visual": system.visual, "fusion": system.fusion}
    networks = [f"{role} `{network.name}`" for role, network in named.items() if network is not None]
    what = {("A",): "by their voices", ("V",): "by their faces"}.get(system.modalities, "by voice and face")
    return f"Verifies people {what}. Networks: {', '.join(networks)}. Weights: md5 `{settings.identity}`."


def _inputs(settings: Settings) -> str:
    lines = []
    for name, values in (
        ("Audio", settings.fbank and settings.fbank.to_dict()),
        ("Face crops", settings.faces and settings.faces.form.settings()),
    ):
        if values:
            lines.append(
                f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items() if value != "") + "."
            )
    return "\n\n".join(lines)


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
    return _table(head, table) + "\n\n" + "; ".join(f"{mode}: {_MODES[mode]}" for mode in modes) + "."


def _thresholds(settings: Settings) -> str:
    rates = list(dict.fromkeys(rate for part in settings.thresholds.values() for rate in part))
    rows = []
    for mode, part in settings.thresholds.items():
        values = [part.get(rate) for rate in rates]
        rows.append([mode.replace("/1", ", one order"), *("" if value is None else f"{value:.3f}" for value in values)])
    return _table(["mode", *(f"{rate} %" for rate in rates)], rows) if rows else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
