"""One training from its files: lists and configuration in, a trained system out."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig, load_fbank_config
from avsv.data.clips import TrainingClips
from avsv.data.lists import read_utterances
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.seeding import seed_for
from avsv.system.config import SystemConfig, load_config
from avsv.system.system import AVSystem, build_system
from avsv.train.development import Development, trial_lists
from avsv.train.distributed import Ranks
from avsv.train.loop import Trainer
from avsv.train.model import TrainedSystem
from avsv.train.provenance import environment, identity
from avsv.train.report import log
from avsv.video.config import FaceFormat

FBANK_STEP, FACES_STEP = "steps/make_fbank.sh", "steps/make_face_crops.sh"


def train_system(
    config_path: str | Path,
    train_dir: str | Path,
    dev_dir: str | Path,
    folder: str | Path,
    *,
    fbank_config: str | Path,
    seed: int = 0,
    use_gpu: bool = False,
    num_workers: int = 0,
    noise_dir: str | Path | None = None,
    rir_dir: str | Path | None = None,
    init: Mapping[str, Path] | None = None,
    progress: Path | None = None,
) -> None:
    """Train a system, going on where an earlier run stopped, and write ``folder/final.pt``.

    Beside it stand config.yaml (the configuration), run.yaml (seed, versions, revision, md5 of every list), train.csv,
    tensorboard/ and checkpoints/.

    Args:
        config_path: the system's configuration.
        train_dir: data directory of the training utterances.
        dev_dir: data directory with trials for the development EER; none is measured where it has no trials.
        folder: made if need be.
        fbank_config: what the features are.
        seed: base seed.
        use_gpu: train on GPUs, one per process.
        num_workers: loader processes of each training process.
        noise_dir: data directory of noises, needed (or rir_dir) when ``data.noise_reverb`` is on.
        rir_dir: data directory of room responses.
        init: 'audio' and 'visual' to the folders of trained systems; as many as ``init_from`` names.
        progress: file for "DONE TOTAL" in steps.

    Raises:
        DataError: configuration, lists, features or checkpoints do not fit together.
        avsv.train.loop.Interrupted: after SIGTERM or SIGINT.
    """
    config, folder, train_dir, init = load_config(config_path), Path(folder), Path(train_dir), dict(init or {})
    audio = load_fbank_config(fbank_config) if config.audio is not None else None
    video = _face_format(train_dir) if config.visual is not None else None
    _check_inputs(config, str(config_path), audio, video, train_dir)
    if video is not None and (dev := _face_format(Path(dev_dir))) != video:
        raise DataError(f"{dev_dir}/faces.conf: {dev} is not {video} as in {train_dir}: remake one with {FACES_STEP}")
    noise = _noise(config, noise_dir, rir_dir, audio)

    table = read_utterances(train_dir, _audio_list(audio, noise), video is not None)
    classes = sorted(set(table.speakers))
    if len(classes) < 2:
        raise DataError(f"{train_dir}/utt2spk: {len(classes)} speaker with features: training needs at least two")
    clips = TrainingClips(table, table.labels(classes), config.data, audio, video, seed, noise)

    with Ranks(use_gpu) as ranks:
        warn = log if ranks.is_first else (lambda _message: None)
        bins = audio.num_mel_bins if audio else None
        development = Development(dev_dir, config, bins, video, warn) if trial_lists(dev_dir) else None
        torch.manual_seed(seed_for(seed, "weights"))
        system = build_system(config, len(classes))
        _load_init(system, config, init, classes)
        files = _files(config, train_dir, Path(dev_dir), noise_dir, rir_dir, audio, noise, init)
        described = identity(config, seed, files, audio)
        trainer = Trainer(
            system.to(ranks.device), clips, development, folder, ranks, seed, described, num_workers, progress
        )
        if ranks.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.yaml", config.to_yaml())
            about = {"seed": seed, **environment(), "files": described["files"]}
            write_text(folder / "run.yaml", yaml.safe_dump(about, sort_keys=False, width=1000))
            parameters = sum(parameter.numel() for parameter in system.parameters())
            log(f"{folder}: {parameters} parameters; {len(table)} utterances of {len(classes)} speakers")
            if short := clips.count_short():
                log(f"{short} of {len(table)} utterances are shorter than {config.data.window} s and are padded")
        weights = trainer.run()
        if ranks.is_first:
            TrainedSystem(config, weights, classes, audio, video).save(folder / "final.pt")


def _audio_list(audio: FbankConfig | None, noise: NoiseReverb | None) -> str | None:
    if audio is None:
        return None
    return "feats.scp" if noise is None else "audio.scp"


def _face_format(directory: Path) -> FaceFormat:
    path = directory / "faces.conf"
    if not path.is_file():
        raise DataError(f"{path}: no such file: run {FACES_STEP} {directory}")
    return FaceFormat.read(path)


def _check_inputs(
    config: SystemConfig, path: str, audio: FbankConfig | None, video: FaceFormat | None, directory: Path
) -> None:
    """The networks' inputs must be what the features are."""
    pairs = []
    if audio is not None:
        pairs.append(("audio", "feature_dim", audio.num_mel_bins, f"make the features anew with {FBANK_STEP}"))
    if video is not None:
        remake = f"make the faces of {directory} anew with {FACES_STEP}"
        for option in ("channels", "height", "width"):
            pairs.append(("visual", f"image_{option}", getattr(video, option), remake))
    for role, option, there, advice in pairs:
        wanted = getattr(config, role).options.get(option, there)
        if wanted != there:
            raise DataError(f"{path}: {role}.{option}: {wanted}, but the data have {there}: change it or {advice}")


def _noise(
    config: SystemConfig, noise_dir: str | Path | None, rir_dir: str | Path | None, audio: FbankConfig | None
) -> NoiseReverb | None:
    if audio is None or not config.data.noise_reverb:
        return None
    if noise_dir is None and rir_dir is None:
        raise DataError("data.noise_reverb: give --noise-dir or --rir-dir, or set it to false")
    return NoiseReverb(noise_dir, rir_dir, audio.sample_rate)


def _load_init(system: AVSystem, config: SystemConfig, init: Mapping[str, Path], classes: list[str]) -> None:
    """Start the backbones, and the classes where both systems have learnt the same ones, from trained systems."""
    for role in ("audio", "visual"):
        name = getattr(config.init_from, role)
        if (name is None) != (role not in init):
            there = "does not name" if name is None else f"names '{name}'"
            raise DataError(f"init_from.{role}: the configuration {there} a system, --init disagrees: change either")
    trained = {role: TrainedSystem.load(path / "final.pt") for role, path in init.items()}
    system.load_backbones({role: source.weights for role, source in trained.items()})
    if len(trained) == 2 and all(source.classes == classes for source in trained.values()):
        system.start_classes(*(trained[role].weights["classifiers.main.weight"] for role in ("audio", "visual")))


def _files(
    config: SystemConfig,
    train_dir: Path,
    dev_dir: Path,
    noise_dir: str | Path | None,
    rir_dir: str | Path | None,
    audio: FbankConfig | None,
    noise: NoiseReverb | None,
    init: Mapping[str, Path],
) -> list[Path]:
    """Every list and file that the training depends on, with the markers of the steps that made the features."""
    files = [*trial_lists(dev_dir), *(path / "final.pt" for path in init.values())]
    for directory, audio_list in ((train_dir, _audio_list(audio, noise)), (dev_dir, _audio_list(audio, None))):
        files.append(directory / "utt2spk")
        if audio is not None:
            files += [directory / name for name in (audio_list, "utt2num_frames", ".fbank.done")]
        if config.visual is not None:
            files += [directory / name for name in ("faces.scp", "utt2num_faces", "faces.conf", ".faces.done")]
    if noise is not None:
        folders = [Path(folder) for folder in (noise_dir, rir_dir) if folder is not None]
        files += [folder / name for folder, name in itertools.product(folders, ("wav.scp", "utt2type"))]
    return [path for path in files if path.is_file()]
