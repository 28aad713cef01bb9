"""A complete training, from lists and a configuration to a trained system."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from avsv.io.atomic import write_text
from avsv.io.lists import has_labels, trial_lists
from avsv.model.config import SystemConfig, load_config
from avsv.model.saved import TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.seeding import seed_for
from avsv.train.centers import start_at_means
from avsv.train.development import Development
from avsv.train.distributed import Ranks
from avsv.train.log_mel import fit_log_mel
from avsv.train.loop import Trainer
from avsv.train.material import Material, Sources, read_material
from avsv.train.provenance import environment, identity
from avsv.train.published import keep_published
from avsv.train.report import log
from avsv.train.start import load_pretrained, start_from


def train_system(
    config_path: str | Path,
    sources: Sources,
    folder: str | Path,
    *,
    seed: int = 0,
    use_gpu: bool = False,
    num_workers: int = 0,
    init: Mapping[str, Path] | None = None,
    weights_dir: str | Path = "data/weights",
    progress: Path | None = None,
) -> None:
    """Train a system, resuming where an earlier run stopped, and write ``folder/final.pt``.

    A system that is not trained keeps the published weights that it names (:mod:`avsv.train.published`).
    The folder also contains config.yaml (the configuration), run.yaml (seed, versions, revision, md5 of every list),
    train.csv, tensorboard/ and checkpoints/.

    Args:
        config_path: configuration of the system.
        sources: data directories and the configuration of the features.
        folder: folder of the system, created if necessary.
        seed: base seed.
        use_gpu: train on GPUs, one per process.
        num_workers: loader processes of each training process.
        init: maps 'audio', 'visual' or 'system' to the folder of a trained system, as ``init_from`` requires.
        weights_dir: folder of the published weights that ``pretrained`` names.
        progress: file for "DONE TOTAL" in steps.

    Raises:
        DataError: configuration, lists, features or checkpoints do not match.
        avsv.train.signals.Interrupted: after SIGTERM or SIGINT.
    """
    config, folder, init = load_config(config_path), Path(folder), dict(init or {})
    if not config.trained:
        keep_published(config, config_path, sources, folder, seed, weights_dir)
        return
    material = read_material(config, config_path, sources, seed)
    with Ranks(use_gpu) as ranks:
        warn = log if ranks.is_first else (lambda _message: None)
        material.warn(sources.train, warn)
        labeled = any(map(has_labels, trial_lists(sources.dev)))
        development = Development(sources.dev, config, material.inputs, warn) if labeled else None
        system, weights, new_speakers = _new_system(config, material, init, seed, weights_dir, warn)
        described = identity(config, seed, [*material.files, *weights], material.inputs.audio)

        def prepare() -> None:
            fit_log_mel(system.embedder.audio, material.clips, seed, num_workers)
            if new_speakers:
                start_at_means(system, config, material.clips, num_workers)

        trainer = Trainer(
            system.to(ranks.device),
            config,
            material.clips,
            material.held_out,
            development,
            folder,
            ranks,
            seed,
            described,
            num_workers,
            progress,
            prepare=prepare,
        )
        if ranks.is_first:
            _describe(folder, config, material, system, described)
        system.load_state_dict(trainer.run())
        if ranks.is_first:
            inputs = material.inputs
            TrainedSystem.of(system, config, material.classes, inputs.audio, inputs.video).save(folder / "final.pt")


def _new_system(
    config: SystemConfig,
    material: Material,
    init: Mapping[str, Path],
    seed: int,
    weights_dir: str | Path,
    warn: Callable[[str], None],
) -> tuple[TrainableSystem, list[Path], bool]:
    """A system with its first weights, the files that these were read from, and whether its speakers are new to it."""
    torch.manual_seed(seed_for(seed, "weights"))
    system = TrainableSystem(config, len(material.classes), len(material.clips.video_rows))
    files = [path / "final.pt" for path in init.values() if (path / "final.pt").is_file()]
    files += load_pretrained(system.embedder, config, weights_dir, warn)
    new_speakers = start_from(system, config, init, material.classes)
    return system, files, new_speakers


def _describe(
    folder: Path, config: SystemConfig, material: Material, system: TrainableSystem, described: Mapping[str, Any]
) -> None:
    """Write config.yaml and run.yaml, and log the size of the system and of the data."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", config.to_yaml())
    about = {"seed": described["seed"], **environment(), "files": described["files"]}
    write_text(folder / "run.yaml", yaml.safe_dump(about, sort_keys=False, width=1000))
    parameters, utterances = sum(parameter.numel() for parameter in system.parameters()), len(material.clips.table)
    log(f"{folder}: {parameters} parameters; {utterances} utterances of {len(material.speakers)} speakers")
    if short := material.clips.count_short():
        log(f"{short} of {utterances} utterances are shorter than {config.data.window} s and are padded")
