"""One training from its files: lists and configuration in, a trained system out."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import yaml

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig, load_fbank_config
from avsv.audio.speed import SPEEDS
from avsv.data.clips import TrainingClips, reads_waveforms, whole_audio_list
from avsv.data.inputs import Inputs
from avsv.data.lists import read_ages, read_sessions, read_utterances
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.model.config import SystemConfig, load_config
from avsv.model.inputs import inputs_of
from avsv.model.pretrained import load_published, resolve_weights
from avsv.model.saved import TrainedSystem
from avsv.model.system import TRAINING_ONLY, AVSystem, build_system
from avsv.seeding import seed_for
from avsv.train.development import Development, trial_lists
from avsv.train.distributed import Ranks
from avsv.train.log_mel import fit_log_mel
from avsv.train.loop import Trainer
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
    weights_dir: str | Path = "data/weights",
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
        init: 'audio', 'visual' or 'system' to the folders of trained systems; as many as ``init_from`` names.
        weights_dir: where the published weights lie that ``pretrained`` names.
        progress: file for "DONE TOTAL" in steps.

    Raises:
        DataError: configuration, lists, features or checkpoints do not fit together.
        avsv.train.loop.Interrupted: after SIGTERM or SIGINT.
    """
    config, folder, train_dir, init = load_config(config_path), Path(folder), Path(train_dir), dict(init or {})
    audio = load_fbank_config(fbank_config) if config.audio is not None else None
    video = _face_format(train_dir) if config.visual is not None else None
    inputs = inputs_of(config, audio, video)
    if audio is not None and inputs.takes == "fbank" and inputs.num_bins != audio.num_mel_bins:
        raise DataError(
            f"{config_path}: audio.feature_dim: {inputs.num_bins}, but the data have {audio.num_mel_bins}: change it or"
            f" make the features anew with {FBANK_STEP}"
        )
    if video is not None and (dev := _face_format(Path(dev_dir))) != video:
        raise DataError(f"{dev_dir}/faces.conf: {dev} is not {video} as in {train_dir}: remake one with {FACES_STEP}")
    noise = _noise(config, noise_dir, rir_dir, audio)

    audio_list = None if audio is None else inputs.audio_list
    if audio is not None and reads_waveforms(config.data, inputs, noise):
        audio_list = "audio.scp"
    table = read_utterances(train_dir, audio_list, video is not None)
    speakers = sorted(set(table.speakers))
    if len(speakers) < 2:
        raise DataError(f"{train_dir}/utt2spk: {len(speakers)} speaker with features: training needs at least two")
    classes = speakers
    if config.data.speed_perturb:
        classes = [speaker if speed == 1.0 else f"{speaker}#{speed}" for speed in SPEEDS for speaker in speakers]
    ages = read_ages(table) if config.loss.age > 0 else None
    sessions = read_sessions(table) if config.data.av_mixup else None
    clips = TrainingClips(table, table.labels(speakers), config.data, inputs, seed, noise, ages, sessions)

    with Ranks(use_gpu) as ranks:
        warn = log if ranks.is_first else (lambda _message: None)
        if video is not None and inputs.image_shape != (video.channels, video.height, video.width):
            warn(
                f"{train_dir}/faces.conf: {_size(video)}; the network is shown {_size(FaceFormat(*inputs.image_shape))}"
            )
        if ages is not None and np.isnan(ages).all():
            warn(f"{train_dir}: no age is known (utt2age, spk2age): trained without the age loss")
        development = Development(dev_dir, config, inputs, warn) if trial_lists(dev_dir) else None
        torch.manual_seed(seed_for(seed, "weights"))
        system = build_system(config, len(classes), len(clips.video_rows))
        files = _files(config, train_dir, Path(dev_dir), noise_dir, rir_dir, inputs, audio_list, noise, init)
        files += _load_pretrained(system, config, weights_dir, warn)
        _load_init(system, config, init, classes)
        described = identity(config, seed, files, audio)
        trainer = Trainer(
            system.to(ranks.device),
            clips,
            development,
            folder,
            ranks,
            seed,
            described,
            num_workers,
            progress,
            prepare=lambda: fit_log_mel(system, clips, seed, num_workers),
        )
        if ranks.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.yaml", config.to_yaml())
            about = {"seed": seed, **environment(), "files": described["files"]}
            write_text(folder / "run.yaml", yaml.safe_dump(about, sort_keys=False, width=1000))
            parameters = sum(parameter.numel() for parameter in system.parameters())
            log(f"{folder}: {parameters} parameters; {len(table)} utterances of {len(speakers)} speakers")
            if short := clips.count_short():
                log(f"{short} of {len(table)} utterances are shorter than {config.data.window} s and are padded")
        weights = trainer.run()
        if ranks.is_first:
            TrainedSystem(config, weights, classes, audio, video).save(folder / "final.pt")


def _face_format(directory: Path) -> FaceFormat:
    path = directory / "faces.conf"
    if not path.is_file():
        raise DataError(f"{path}: no such file: run {FACES_STEP} {directory}")
    return FaceFormat.read(path)


def _size(form: FaceFormat) -> str:
    return f"{'gray' if form.channels == 1 else 'colour'} crops of {form.height} x {form.width}"


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
    for role in ("audio", "visual", "system"):
        name = getattr(config.init_from, role)
        if (name is None) != (role not in init):
            there = "does not name" if name is None else f"names '{name}'"
            raise DataError(f"init_from.{role}: the configuration {there} a system, --init disagrees: change either")
    trained = {role: TrainedSystem.load(path / "final.pt") for role, path in init.items()}
    if "system" in trained:
        source = trained["system"]
        if source.classes != classes:
            raise DataError(f"{init['system']}: trained on other speakers: it cannot be trained on with these")
        system.load_weights(source.weights, partly=TRAINING_ONLY)
        return
    system.load_backbones({role: source.weights for role, source in trained.items()})
    # A system that was trained with speed perturbation has the speakers at the recorded speed first.
    if len(trained) == 2 and all(source.classes[: len(classes)] == classes for source in trained.values()):
        centres = [source.weights.get("classifiers.main.weight") for source in trained.values()]
        known = [
            weight is not None and len(weight) == len(source.classes)
            for weight, source in zip(centres, trained.values(), strict=True)
        ]
        own = getattr(system.classifiers["main"], "weight", None)
        if all(known) and own is not None and len(own) == len(classes):
            roles = dict(zip(trained, (weight[: len(classes)] for weight in centres), strict=True))
            system.start_classes(roles["audio"], roles["visual"])


def _load_pretrained(
    system: AVSystem, config: SystemConfig, folder: str | Path, warn: Callable[[str], None]
) -> list[Path]:
    """Load published weights and return their files."""
    files = []
    for role in ("audio", "visual"):
        name = getattr(config.pretrained, role)
        if name is not None:
            files.append(resolve_weights(name, Path(folder)))
            fresh = load_published(getattr(system, role), files[-1])
            warn(f"{role}: published weights {files[-1]}; fresh: {', '.join(fresh) if fresh else 'nothing'}")
    return files


def _files(
    config: SystemConfig,
    train_dir: Path,
    dev_dir: Path,
    noise_dir: str | Path | None,
    rir_dir: str | Path | None,
    inputs: Inputs,
    audio_list: str | None,
    noise: NoiseReverb | None,
    init: Mapping[str, Path],
) -> list[Path]:
    """Every list and file that the training depends on, with the markers of the steps that made the features."""
    files = [*trial_lists(dev_dir), *(path / "final.pt" for path in init.values())]
    for directory, name in ((train_dir, audio_list), (dev_dir, whole_audio_list(config.embed, inputs))):
        files.append(directory / "utt2spk")
        if name is not None:
            files += [directory / name, directory / "utt2num_frames", directory / ".fbank.done"]
        if config.visual is not None:
            files += [directory / name for name in ("faces.scp", "utt2num_faces", "faces.conf", ".faces.done")]
    if config.loss.age > 0:
        files += [train_dir / "utt2age", train_dir / "spk2age"]
    if config.data.av_mixup:
        files.append(train_dir / "utt2session")
    if noise is not None:
        folders = [Path(folder) for folder in (noise_dir, rir_dir) if folder is not None]
        files += [folder / name for folder, name in itertools.product(folders, ("wav.scp", "utt2type"))]
    return [path for path in files if path.is_file()]
