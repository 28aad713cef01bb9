"""The data of a training: lists, noise and ages, read and checked."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig, load_fbank_config
from avsv.audio.speed import SPEEDS
from avsv.data.clips import TrainingClips, reads_waveforms, whole_audio_list
from avsv.data.inputs import FEATURE_LISTS, Inputs
from avsv.data.lists import PackedStrings, UtteranceTable, read_ages, read_genders, read_sessions, read_utterances
from avsv.data.stored import check_fbank
from avsv.data.worth import list_of
from avsv.data.wrong import wrong_rows
from avsv.errors import DataError
from avsv.io.lists import ENROLL, trial_lists
from avsv.model.config import SystemConfig
from avsv.model.inputs import inputs_of
from avsv.model.registry import find_class
from avsv.train.held_out import HeldOut, held_out_rows
from avsv.video.config import FaceFormat

FBANK_STEP, FACES_STEP = "steps/make_fbank.sh", "steps/make_face_crops.sh"


@dataclass(frozen=True)
class Sources:
    """The folders and files of a training.

    Args:
        train: data directory of the training utterances.
        dev: data directory with trials for the development EER, which is not computed if there are no trials.
        fbank: configuration of the features.
        noise: data directory of noises; this or ``rirs`` is required if ``data.noise_reverb`` is on.
        rirs: data directory of room impulse responses.
    """

    train: Path
    dev: Path
    fbank: Path
    noise: Path | None = None
    rirs: Path | None = None


@dataclass(frozen=True)
class Material:
    """Training clips and their sources.

    Args:
        inputs: the form of the stored data and of the inputs of the networks.
        clips: the training clips.
        held_out: clips of the same speakers that are not trained on; None for none.
        speakers: the speakers of the training list.
        classes: the speakers in the order of their labels; with speed perturbation, those at other speeds follow.
        files: all lists and files on which the clips and the development trials depend, with the markers of the steps
            that made the features.
    """

    inputs: Inputs
    clips: TrainingClips
    held_out: HeldOut | None
    speakers: list[str]
    classes: list[str]
    files: list[Path]

    def warn(self, directory: Path, warn: Callable[[str], None]) -> None:
        """Report unusual properties of the data of a directory."""
        video = self.inputs.video
        if video is not None and self.inputs.image_shape != (video.channels, video.height, video.width):
            shown = FaceFormat(*self.inputs.image_shape)
            warn(f"{directory}/faces.conf: {_size(video)}; the network receives {_size(shown)}")
        if self.clips.ages is not None and np.isnan(self.clips.ages).all():
            warn(f"{directory}: no ages are known (utt2age, spk2age): training without the age loss")
        if self.clips.genders is not None and np.isnan(self.clips.genders).all():
            warn(f"{directory}: no genders are known (spk2gender): training without the gender loss")


def read_material(config: SystemConfig, config_path: str | Path, sources: Sources, seed: int) -> Material:
    """Read and check the lists of a training.

    Args:
        config: configuration of the system.
        config_path: its file, for error messages.
        sources: folders and files of the training.
        seed: base seed.

    Raises:
        DataError: configuration, lists and features do not match.
    """
    inputs = read_inputs(config, config_path, sources)
    noise = _noise(config, sources, inputs.audio)
    audio_list = inputs.audio_list
    if inputs.audio is not None and reads_waveforms(config.data, inputs, noise):
        audio_list = "audio.scp"
    table = read_utterances(sources.train, audio_list, inputs.video is not None)
    if audio_list == FEATURE_LISTS["fbank"]:
        check_fbank(table, inputs.audio, f"in {sources.fbank}")
    kept_out = held_out_rows(table.speakers, config.data.held_out, seed)
    held_out_keys = {table.keys[row] for row in kept_out}
    table = table.take(np.setdiff1d(np.arange(len(table)), kept_out)) if len(kept_out) else table
    table = _with_other_faces(table, config.data.wrong_faces, seed)
    table = _relabeled(table, config.data.wrong_labels, seed)
    speakers = sorted(set(table.speakers))
    if len(speakers) < 2:
        raise DataError(f"{sources.train}/utt2spk: {len(speakers)} speaker with features: training needs at least two")
    classes = speakers
    if config.data.speed_perturb:
        classes = [speaker if speed == 1.0 else f"{speaker}#{speed}" for speed in SPEEDS for speaker in speakers]
    ages = _ages(table, config.data.wrong_ages, seed) if config.loss.needs("age") else None
    genders = read_genders(table) if config.loss.needs("gender") else None
    sessions = read_sessions(table) if config.data.av_mixup else None
    # A supervision needs the true worth in training only, unlike a pooling.
    taught = config.supervision is not None and find_class("supervision", config.supervision.name).needs_worth
    shown = replace(inputs, worth="AV") if taught else inputs
    if config.data.wrong_faces and "V" in shown.worth:
        raise DataError(f"{config_path}: data.wrong_faces: the true worth of moments is known of the right face only")
    clips = TrainingClips(table, table.labels(speakers), config.data, shown, seed, noise, ages, sessions, genders)
    held_out = _held_out(sources.train, held_out_keys, speakers, config, inputs, seed)
    files = _files(config, sources, inputs, audio_list, noise)
    if held_out is not None and inputs.audio is not None:
        files.append(sources.train / inputs.audio_list)
    files += [list_of(sources.train, letter) for letter in shown.worth]
    files += [list_of(sources.dev, letter) for letter in inputs.worth]
    return Material(inputs, clips, held_out, speakers, classes, files)


def _held_out(
    directory: Path, keys: set[str], speakers: list[str], config: SystemConfig, inputs: Inputs, seed: int
) -> HeldOut | None:
    """The held-out clips, which have these keys."""
    if config.data.held_out == 0:
        return None
    if not keys:
        raise DataError(
            f"data.held_out: {config.data.held_out}: {directory} has too few utterances per speaker to hold one"
            " out: make it larger, or set it to 0"
        )
    # What is trained on may be read as waveforms, to which noise is added.
    table = read_utterances(directory, inputs.audio_list, inputs.video is not None, only=keys)
    return HeldOut(table, table.labels(speakers), config.data, inputs, seed, config.train.batch_size)


def _relabeled(table: UtteranceTable, share: float, seed: int) -> UtteranceTable:
    """The table with the speakers of a share of its utterances exchanged."""
    if share == 0:
        return table
    speakers = np.array(list(table.speakers), dtype=object)
    rows, sources = wrong_rows(speakers, share, seed, "speaker")
    speakers[rows] = speakers[sources]
    return replace(table, speakers=PackedStrings(speakers))


def _with_other_faces(table: UtteranceTable, share: float, seed: int) -> UtteranceTable:
    """The table with the faces of a share of its utterances exchanged."""
    if share == 0:
        return table
    seen = np.flatnonzero(table.video_frames > 0)
    rows, sources = (seen[of] for of in wrong_rows([table.speakers[row] for row in seen], share, seed, "face"))
    video, frames = np.array(list(table.video), dtype=object), table.video_frames.copy()
    video[rows], frames[rows] = video[sources], frames[sources]
    return replace(table, video=PackedStrings(video), video_frames=frames)


def _ages(table: UtteranceTable, share: float, seed: int) -> np.ndarray:
    """The ages of a table, with those of a share of its utterances exchanged."""
    ages = read_ages(table)
    if share > 0:
        rows, sources = wrong_rows([str(age) for age in ages], share, seed, "age")
        ages[rows] = ages[sources]
    return ages


def read_inputs(config: SystemConfig, config_path: str | Path, sources: Sources) -> Inputs:
    """The form of the data of a training and of the inputs of the networks.

    Raises:
        DataError: the networks cannot take features or faces of this form, or those of the two directories differ.
    """
    audio = load_fbank_config(sources.fbank) if config.audio is not None else None
    video = _face_format(sources.train) if config.visual is not None else None
    inputs = inputs_of(config, audio, video)
    if audio is not None and inputs.takes == "fbank" and inputs.num_bins != audio.num_mel_bins:
        raise DataError(
            f"{config_path}: audio.feature_dim: {inputs.num_bins}, but the data have {audio.num_mel_bins}: change it,"
            f" or make the features again with {FBANK_STEP}"
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
    files = [*trial_lists(sources.dev), sources.dev / ENROLL]
    for directory, name in ((sources.train, audio_list), (sources.dev, whole_audio_list(config.embed, inputs))):
        files.append(directory / "utt2spk")
        if name is not None:
            files += [directory / name, directory / "utt2num_frames", directory / ".fbank.done"]
        if config.visual is not None:
            files += [directory / name for name in ("faces.scp", "utt2num_faces", "faces.conf", ".faces.done")]
    if config.loss.needs("age"):
        files += [sources.train / "utt2age", sources.train / "spk2age"]
    if config.loss.needs("gender"):
        files.append(sources.train / "spk2gender")
    if config.data.av_mixup:
        files.append(sources.train / "utt2session")
    if noise is not None:
        folders = [folder for folder in (sources.noise, sources.rirs) if folder is not None]
        files += [folder / name for folder, name in itertools.product(folders, ("wav.scp", "utt2type"))]
    return [path for path in files if path.is_file()]
