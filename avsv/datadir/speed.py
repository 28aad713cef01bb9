"""Speed perturbation of a data directory."""

import shlex
from pathlib import Path

from avsv.datadir.copy import copy_data
from avsv.datadir.create import is_positive, note, seconds_of
from avsv.datadir.lists import need_data_directory, read_keys
from avsv.errors import DataError
from avsv.io.lists import AUDIO_WORTH, VIDEO_WORTH

# Formats that every build of sox reads; ffmpeg decodes all others for it.
SOX_SUFFIXES = (".wav", ".flac", ".sph", ".au", ".aiff")


def at_speed(location: str, factor: str) -> str:
    """The ``wav.scp`` value that plays a recording at another speed, and hence another pitch, with sox.

    >>> at_speed("a b.wav", "0.9")
    "sox 'a b.wav' -t wav - speed 0.9 |"
    >>> at_speed("sph2pipe a.sph |", "1.1")
    'sph2pipe a.sph | sox -t wav - -t wav - speed 1.1 |'
    >>> at_speed("a.mp4", "0.9")
    'ffmpeg -nostdin -v error -i a.mp4 -f wav - | sox -t wav - -t wav - speed 0.9 |'
    """
    through_sox = f"sox -t wav - -t wav - speed {factor} |"
    if location.endswith("|"):
        return f"{location} {through_sox}"
    if location.lower().endswith(SOX_SUFFIXES):
        return f"sox {shlex.quote(location)} -t wav - speed {factor} |"
    return f"ffmpeg -nostdin -v error -i {shlex.quote(location)} -f wav - | {through_sox}"


def perturb_speed(source: Path, target: Path, factor: str, keep_video: bool) -> int:
    """Copy a data directory at another speed with new speakers ``spFACTOR-...``; returns the number of utterances.

    Utterances without audio and lists computed from the audio are omitted.

    Args:
        source, target: data directories.
        factor: speed factor; 0.9 is slower and lower.
        keep_video: keep the video lists, whose speed does not change; otherwise they are omitted.

    Raises:
        DataError: no ``wav.scp``, or a factor that is not a positive number.
    """
    if not is_positive(factor):
        raise DataError(f"speed factor '{factor}': expected a positive number such as 0.9")
    need_data_directory(source)
    if not (source / "wav.scp").is_file():
        raise DataError(f"{source}: no wav.scp: only the speed of audio can be changed")
    video = ("video.scp", "faces.scp", "utt2num_faces", VIDEO_WORTH, "utt2face_quality")
    audio_results = ("feats.scp", "audio.scp", "utt2num_frames", "vad.scp", AUDIO_WORTH, "utt2voice_quality")
    leave_out = audio_results if keep_video else (*audio_results, *video)
    gone = [name for name in leave_out if (source / name).is_file()]
    if gone:
        note(f"{target}: omitted because they do not apply to the new speed: {' '.join(gone)}")
    keep = set(read_keys(source / "wav.scp"))
    prefix = f"sp{factor}-"
    return copy_data(
        source,
        target,
        prefix.__add__,
        prefix.__add__,
        leave_out,
        {
            "wav.scp": lambda location: at_speed(location, factor),
            "utt2dur": lambda seconds: f"{seconds_of(source, seconds) / float(factor):.6g}",
        },
        keep,
        trials=False,
    )
