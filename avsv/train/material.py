"""What a training is made from: lists, noise and ages, read and checked."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig, load_fbank_config
from avsv.audio.speed import SPEEDS
from avsv.data.clips import TrainingClips, reads_waveforms, whole_audio_list
from avsv.data.inputs import FEATURE_LISTS, Inputs
from avsv.data.lists import read_ages, read_sessions, read_utterances
from avsv.data.stored import check_fbank
from avsv.errors import DataError
from avsv.io.lists import trial_lists
from avsv.model.config import SystemConfig
from avsv.model.inputs import inputs_of
from avsv.video.config import FaceFormat

FBANK_STEP, FACES_STEP = "steps/make_fbank.sh", "steps/make_face_crops.sh"


@dataclass(frozen=True)
class Sources:
    """The folders and files of a training.

    Args:
        train: data directory of the training utterances.
        dev: data directory with trials for the development EER; none is measured where it has no trials.
        fbank: what the features are.
        noise: data directory of noises, needed (or ``rirs``) when ``data.noise_reverb`` is on.
        rirs: data directory of room responses.
    """

    train: Path
    dev: Path
    fbank: Path
    noise: Path | None = None
    rirs: Path | None = None


@dataclass(frozen=True)
class Material:
    """Training clips, and what they are made from.

    Args:
        inputs: the form of what is stored, and of what the networks take.
        clips: the training clips.
        speakers: of the training list.
        classes: the speakers in the order of their labels; with speed perturbation those at other speeds follow.
        files: every list and file that the clips and the development trials depend on, with the markers of the steps
            that made the features.
    """

    inputs: Inputs
    clips: TrainingClips
    speakers: list[str]
    classes: list[str]
    files: list[Path]

    def warn(self, directory: Path, warn: Callable[[str], None]) -> None:
        """Report what is unusual about the data of a directory."""
        video = self.inputs.video
        if video is not None and self.inputs.image_shape != (video.channels, video.height, video.width):
            shown = FaceFormat(*self.inputs.image_shape)
            warn(f"{directory}/faces.conf: {_size(video)}; the network is shown {_size(shown)}")
        if self.clips.ages is not None and np.isnan(self.clips.ages).all():
            warn(f"{directory}: no age is known (utt2age, spk2age): trained without the age loss")


def read_material(config: SystemConfig, config_path: str | Path, sources: Sources, seed: int) -> Material:
    """Read and check the lists of a training.

    Args:
        config: of the system.
        config_path: its file, for error messages.
        sources: where everything is.
        seed: base seed.

    Raises:
        DataError: configuration, lists and features do not fit together.
    """
    inputs = _read_inputs(config, config_path, sources)
    noise = _noise(config, sources, inputs.audio)
    audio_list = inputs.audio_list
    if inputs.audio is not None and reads_waveforms(config.data, inputs, noise):
        audio_list = "audio.scp"
    table = read_utterances(sources.train, audio_list, inputs.video is not None)
    if audio_list == FEATURE_LISTS["fbank"]:
        check_fbank(table, inputs.audio, f"in {sources.fbank}")
    speakers = sorted(set(table.speakers))
    if len(speakers) < 2:
        raise DataError(f"{sources.train}/utt2spk: {len(speakers)} speaker with features: training needs at least two")
    classes = speakers
    if config.data.speed_perturb:
        classes = [speaker if speed == 1.0 else f"{speaker}#{speed}" for speed in SPEEDS for speaker in speakers]
    ages = read_ages(table) if config.loss.needs("age") else None
    sessions = read_sessions(table) if config.data.av_mixup else None
    clips = TrainingClips(table, table.labels(speakers), config.data, inputs, seed, noise, ages, sessions)
    return Material(inputs, clips, speakers, classes, _files(config, sources, inputs, audio_list, noise))


def _read_inputs(config: SystemConfig, config_path: str | Path, sources: Sources) -> Inputs:
    audio = load_fbank_config(sources.fbank) if config.audio is not None else None
    video = _face_format(sources.train) if config.visual is not None else None
    inputs = inputs_of(config, audio, video)
    if audio is not None and inputs.takes == "fbank" and inputs.num_bins != audio.num_mel_bins:
        raise DataError(
            f"{config_path}: audio.feature_dim: {inputs.num_bins}, but the data have {audio.num_mel_bins}: change it or"
            f" make the features anew with {FBANK_STEP}"
        )
    if video is not None and (difference := _face_format(sources.dev).difference(video)):
        raise DataError(f"{sources.dev}/faces.conf: {difference} as in {sources.train}: remake one with {FACES_STEP}")
    return inputs


def _face_format(directory: Path) -> FaceFormat:
    path = directory / "faces.conf"
    if not path.is_file():
        raise DataError(f"{path}: no such file: run {FACES_STEP} {directory}")
    return FaceFormat.read(path)


def _size(form: FaceFormat) -> str:
    return f"{'gray' if form.channels == 1 else 'color'} crops of {form.height} x {form.width}"


def _noise(config: SystemConfig, sources: Sources, audio: FbankConfig | None) -> NoiseReverb | None:
    if audio is None or not config.data.noise_reverb:
        return None
    if sources.noise is None and sources.rirs is None:
        raise DataError("data.noise_reverb: give --noise-dir or --rir-dir, or set it to false")
    return NoiseReverb(sources.noise, sources.rirs, audio.sample_rate)


def _files(
    config: SystemConfig, sources: Sources, inputs: Inputs, audio_list: str | None, noise: NoiseReverb | None
) -> list[Path]:
    files = trial_lists(sources.dev)
    for directory, name in ((sources.train, audio_list), (sources.dev, whole_audio_list(config.embed, inputs))):
        files.append(directory / "utt2spk")
        if name is not None:
            files += [directory / name, directory / "utt2num_frames", directory / ".fbank.done"]
        if config.visual is not None:
            files += [directory / name for name in ("faces.scp", "utt2num_faces", "faces.conf", ".faces.done")]
    if config.loss.needs("age"):
        files += [sources.train / "utt2age", sources.train / "spk2age"]
    if config.data.av_mixup:
        files.append(sources.train / "utt2session")
    if noise is not None:
        folders = [folder for folder in (sources.noise, sources.rirs) if folder is not None]
        files += [folder / name for folder, name in itertools.product(folders, ("wav.scp", "utt2type"))]
    return [path for path in files if path.is_file()]
