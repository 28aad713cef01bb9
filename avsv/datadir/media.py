"""Probing recordings: whether they can be used, and their durations, from headers if possible."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.audio.decode import check_rate, knows_length, read_audio
from avsv.audio.wav import read_wav_header
from avsv.errors import DataError
from avsv.io.command import is_command
from avsv.io.media import choose_stream, decode_frames, library_errors, measured_seconds, open_media, stated_seconds
from avsv.io.place import split_location
from avsv.io.text import check_regular_file
from avsv.io.whole import check_whole

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

# The duration of a container is rounded to its packets; less than this share of it means that packets are missing.
_LEAST_SHARE = Fraction(9, 10)
PIPE_RATE = 16000
FOLDER_FPS = 25.0


def probe(name: str, location: str, folder_fps: float = FOLDER_FPS) -> float:
    """Open a recording and return its duration.

    The beginning of a file is decoded; its length is read from the header, and a file that is shorter than its header
    states is an error. Commands are run, and the images of folders are counted. Damage further inside is detected by
    the feature steps, which decode everything.

    Args:
        name: the list that contains the recording, ``wav.scp`` or ``video.scp``.
        location: file, folder or ``command |``.
        folder_fps: frame rate of a folder of images that has no file ``fps``.

    Returns:
        The duration in seconds, larger than 0.

    Raises:
        DataError: the recording is missing, unreadable, truncated or empty.
    """
    try:
        seconds = _probe_video(location, folder_fps) if name == "video.scp" else _probe_audio(location)
    except OSError as error:  # a path that is too long, a folder that cannot be read
        raise DataError(f"{location}: {error.strerror or error}") from None
    if seconds <= 0:
        raise DataError(f"{location}: no {'frames' if name == 'video.scp' else 'samples'}")
    return seconds


def _probe_audio(location: str) -> float:
    if is_command(location):
        return len(read_audio(location, PIPE_RATE, resample=True, downmix=True)) / PIPE_RATE
    path, offset = location, 0
    if not Path(location).exists():
        path, offset = split_location(location)
    _need_content(path)
    header = read_wav_header(path, offset)
    if header is None and offset:
        raise DataError(f"{location}: no wav file begins at this offset")
    if header is not None and header.is_pcm:
        check_rate(location, header.sample_rate)
        return header.num_samples / header.sample_rate

    import soundfile

    check_whole(path)
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name like x.raw stands for samples without a header
        return _probe_container(path, "audio")
    with sound, library_errors(location, "audio"):
        if not knows_length(sound):
            return _probe_container(path, "audio")
        check_rate(location, sound.samplerate)
        if not sound.seekable():  # GSM is read only forward
            return len(sound.read(sound.frames, dtype="int16")) / sound.samplerate
        # The end is read because the header may state more samples than the file has.
        sound.seek(max(0, sound.frames - 1))
        if sound.frames and len(sound.read(1)) == 0:
            raise DataError(f"{location}: truncated: the header promises {sound.frames} samples")
        return sound.frames / sound.samplerate


def _probe_video(location: str, folder_fps: float) -> float:
    from avsv.video.decode import VideoSource, folder_rate, is_image, list_images

    if is_command(location):
        return sum(count for _, count in VideoSource(location).frames(FOLDER_FPS)) / FOLDER_FPS
    if Path(location).is_dir():
        next(VideoSource(location).frames(FOLDER_FPS))
        return float(len(list_images(Path(location))) / folder_rate(Path(location), folder_fps))
    _need_content(location)
    if is_image(Path(location)):
        next(VideoSource(location).frames(FOLDER_FPS))
        return 1.0 / folder_fps
    return _probe_container(location, "video")


def _need_content(path: str) -> None:
    check_regular_file(path)
    if Path(path).stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes)")


def _probe_container(path: str, kind: str) -> float:
    """Duration of the first audio or video stream of a file, whose first frame is decoded."""
    with open_media(path, path, kind) as container:
        stream = choose_stream(container, path, kind)
        if kind == "audio":
            check_rate(path, stream.rate)
        last = stream.index_entries[-1] if len(stream.index_entries) else None
        if last is not None and last.pos + last.size > Path(path).stat().st_size:
            raise DataError(f"{path}: truncated: the file ends before the {kind} that its header lists")
        if next(decode_frames(container, stream, path), None) is None:
            raise DataError(f"{path}: no {kind} frame could be decoded")
        promised = stated_seconds(container, stream, path)
        if not promised:
            with open_media(path, path, kind) as again:
                return measured_seconds(again, choose_stream(again, path, kind))
        if "mp4" not in container.format.name:  # the header of mp4 lists all packets; it was checked above
            begin = (stream.start_time or 0) * stream.time_base
            container.seek(int((begin + Fraction(9, 10) * promised) / stream.time_base), stream=stream)
            if _end_of_packets(container, stream) - begin < _LEAST_SHARE * promised:
                raise DataError(f"{path}: truncated: the header promises {float(promised):.2f} s of {kind}")
        return float(promised)


def _end_of_packets(container: "InputContainer", stream: "Stream") -> Fraction:
    """The end time of the last of the remaining packets of a stream."""
    ends = (packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None)
    return max(ends, default=0) * stream.time_base
