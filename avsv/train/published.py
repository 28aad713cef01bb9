"""Systems that are not trained: networks with published weights, saved like trained ones."""

from pathlib import Path

import torch
import yaml

from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.model.config import SystemConfig
from avsv.model.embedder import NETWORKS, Embedder
from avsv.model.pretrained import load_published, resolve_weights
from avsv.model.saved import TrainedSystem
from avsv.train.material import Sources, read_inputs
from avsv.train.provenance import environment, identity
from avsv.train.report import log


def keep_published(
    config: SystemConfig,
    config_path: str | Path,
    sources: Sources,
    folder: Path,
    seed: int,
    weights_dir: str | Path,
) -> None:
    """Write ``final.pt``, config.yaml and run.yaml of a system that keeps its published weights.

    Args:
        config: a configuration without loss and train.
        config_path: its file, for error messages.
        sources: data directories, of which only the form of their features and faces matters.
        folder: folder of the system, created if necessary.
        seed: base seed, which is noted.
        weights_dir: folder of the published weights that ``pretrained`` names.

    Raises:
        DataError: weights are missing, do not match or leave a part of the network random; the data have another form;
            or the folder has another system.
    """
    inputs = read_inputs(config, config_path, sources)
    embedder, files = Embedder(config), []
    for letter in embedder.letters:
        role = NETWORKS[letter]
        files.append(resolve_weights(getattr(config.pretrained, role), weights_dir))
        random = load_published(embedder.network(letter), files[-1])
        if random:
            raise DataError(
                f"{config_path}: {role}: {files[-1]} has no {', '.join(random)}: give loss and train, which learn it,"
                " or set the options of the network to those of the file"
            )
    weights = {name: value.clone() for name, value in embedder.state_dict().items()}
    system = TrainedSystem(config, weights, {}, [], inputs.audio, inputs.video)
    _check_folder(folder, system)
    files += [path for path in (sources.train / "faces.conf",) if inputs.video is not None]
    described = identity(config, seed, files, inputs.audio)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", config.to_yaml())
    about = {"seed": seed, **environment(), "files": described["files"]}
    write_text(folder / "run.yaml", yaml.safe_dump(about, sort_keys=False, width=1000))
    system.save(folder / "final.pt")
    log(f"{folder}: published weights {', '.join(map(str, files[: len(embedder.letters)]))}, nothing to train")


def _check_folder(folder: Path, system: TrainedSystem) -> None:
    """Raise DataError if a folder has another system than this one: a finished system is never overwritten."""
    if not (folder / "final.pt").is_file():
        if (folder / "checkpoints").is_dir():
            raise DataError(f"{folder}: an unfinished training: use another --exp, or remove the folder")
        return
    there = TrainedSystem.load(folder / "final.pt")
    same = (there.config, there.audio) == (system.config, system.audio)
    same = same and (there.video is None or there.video.difference(system.video) is None)
    same = same and there.embedder.keys() == system.embedder.keys()
    if not same or any(not torch.equal(there.embedder[name], value) for name, value in system.embedder.items()):
        raise DataError(
            f"{folder}: a finished system with other settings, data or weights: use another --exp, or remove the folder"
        )
