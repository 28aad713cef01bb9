"""Files that were joined with cat are never taken for their first part."""

from pathlib import Path

import pytest
from video_media import ffmpeg

from avsv.audio.decode import read_audio
from avsv.datadir.media import probe
from avsv.errors import DataError
from avsv.io.whole import check_whole
from avsv.video.decode import VideoSource

SOUNDS = {
    "wav": [],
    "f.wav": ["-c:a", "pcm_f32le"],
    "mp3.wav": ["-c:a", "libmp3lame"],
    "rf64.wav": ["-rf64", "always"],
    "flac": [],
    "ogg": ["-c:a", "libvorbis"],
    "opus": [],
    "m4a": [],
    "aac": [],
    "aiff": [],
    "w64": [],
    "wma": [],
    "mka": [],
    "tta": [],
    "mp2": [],
    "ts": ["-c:a", "aac", "-f", "mpegts"],
}
VIDEOS = {"mp4": [], "frag.mp4": ["-movflags", "frag_keyframe+empty_moov"], "mkv": [], "live.mkv": ["-live", "1"]}
VIDEOS |= {"avi": [], "mpg": [], "ts": [], "flv": [], "wmv": [], "nut": [], "h264": [], "ogv": []}


def make(folder: Path, name: str, seconds: int, source: str, options: list[str]) -> Path:
    path = folder / f"{seconds}.{name}"
    ffmpeg("-f", "lavfi", "-i", f"{source}:d={seconds}", *options, path)
    return path


def join(parts: list[Path]) -> str:
    path = parts[0].with_name(f"joined{parts[0].name[1:]}")
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return str(path)


@pytest.mark.parametrize("name", SOUNDS)
def test_joined_sounds_are_read_whole_or_refused(tmp_path, name):
    options = ["-ar", "16000", *SOUNDS[name]]
    parts = [make(tmp_path, name, seconds, "sine=sample_rate=16000:frequency=440", options) for seconds in (2, 3)]
    for part in parts:
        check_whole(str(part))
        assert len(read_audio(str(part), resample=True)) == pytest.approx(16000 * int(part.name[0]), rel=0.1)
    whole = join(parts)
    looks = [lambda: len(read_audio(whole, resample=True)) / 16000]
    if name not in ("flac", "ogg", "opus"):  # their length is taken from the header without reading on
        looks.append(lambda: probe("wav.scp", whole))
    for look in looks:
        try:
            seconds = look()
        except DataError as error:
            assert "joined as by cat" in str(error)
        else:
            assert seconds == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize("name", VIDEOS)
def test_joined_videos_are_read_whole_or_refused(tmp_path, name):
    options = ["-pix_fmt", "yuv420p", *VIDEOS[name]]
    parts = [make(tmp_path, name, seconds, "testsrc=size=96x64:rate=25", options) for seconds in (2, 3)]
    whole = join(parts)
    for part in parts:
        check_whole(str(part))
    for look in (
        lambda: probe("video.scp", whole),
        lambda: sum(count for _, count in VideoSource(whole).frames(25)) / 25,
    ):
        try:
            seconds = look()
        except DataError as error:
            assert "joined as by cat" in str(error) or name == "ogv"  # truncated, says the library
        else:
            assert seconds == pytest.approx(5.0, abs=0.2)
