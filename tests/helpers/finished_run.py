"""A small finished run: a short training, and the commands of stages 6 to 9."""

import importlib
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import cv2
from synthetic import FACES, make_data_dir, make_trials, write_config

from avsv.embed.directories import embed_share
from avsv.embed.parts import merge_shares
from avsv.io.ark import read_rows
from avsv.io.lists import read_list, write_list
from avsv.model.config import load_config
from avsv.train.material import Sources
from avsv.train.run import train_system
from avsv.video.config import FacesConfig

CROPS = FacesConfig(**vars(FACES))
SIDES = {"train": (12, 4), "dev": (6, 6), "eval": (4, 3)}  # speakers and utterances of each


class FinishedRun(NamedTuple):
    """Folders of a run: EXP/SYSTEM, and the data directories by name."""

    system: Path
    data: dict[str, Path]


def make_run(
    folder: Path,
    modalities: str = "AV",
    variant: str = "as-norm1",
    quality: str = "",
    subtract_mean: bool = False,
    **sections: dict | None,
) -> FinishedRun:
    """Data directories with the videos as folders of images, and a system that embedded, scored and calibrated them."""
    data = {name: make_data_dir(folder / name, *sizes, seed=n) for n, (name, sizes) in enumerate(SIDES.items())}
    for name, directory in data.items():
        CROPS.write(directory / "faces.conf")
        write_list(directory / "video.scp", _write_images(directory))
        if name != "train":
            make_trials(directory, name)
    system = folder / "exp" / "small"
    system.parent.mkdir()
    if sections.get("train", {}) is not None:
        sections["train"] = {"epochs": 6, **sections.get("train", {})}
    written = write_config(folder / "system.yaml", modalities, **sections)
    train_system(written, Sources(data["train"], data["dev"], data["train"] / "fbank.yaml"), system)

    parts, embeddings, scores = system / "parts", system / "embeddings", system / "scores"
    parts.mkdir()
    embeddings.mkdir()
    modes = list(load_config(written).modalities)
    embed_share(system, modes, list(data.values()), parts)
    merge_shares(parts, 1, modes, embeddings, list(data.values()))
    mean = ["--subtract-mean", data["train"]] if subtract_mean else []
    trials = [data["dev"], data["eval"]]
    run_step("score_cosine", *mean, embeddings, scores, *trials)
    run_step("score_norm", *mean, "--variant", variant, "--top-n", 5, embeddings, scores, data["train"], *trials)
    of_quality = ["--quality", quality, "--others", data["eval"], "--"] if quality else []
    run_step("calibrate", *of_quality, system.parent, data["dev"], system.name)
    return FinishedRun(system, data)


def _write_images(directory: Path) -> dict[str, Path]:
    """Every utterance's face crops as a folder of images that decodes to the same pixels."""
    places = {}
    for key, location in read_list(directory / "faces.scp").items():
        places[key] = directory / "images" / key
        places[key].mkdir(parents=True)
        for number, row in enumerate(read_rows(location)):
            cv2.imwrite(str(places[key] / f"{number}.png"), row.reshape(FACES.height, FACES.width))
    return places


def run_step(name: str, *words: object) -> None:
    """Run a command of ``avsv/bin``, here in the process, which takes a fraction of the time."""
    main = importlib.import_module(f"avsv.bin.{name}").main
    with patch.object(sys, "argv", [name, *map(str, words)]), redirect_stdout(StringIO()):
        main()


def recording_of(directory: Path, key: str):
    """The voice and the face of an utterance."""
    from avsv.verification.recording import Recording

    audio, video = (read_list(directory / name)[key] for name in ("wav.scp", "video.scp"))
    return Recording(key, audio, video)
