"""Files that were joined with cat or cut short are never taken for their first part."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from video_media import ffmpeg

from avsv.audio.decode import read_audio
from avsv.datadir.media import probe
from avsv.errors import DataError
from avsv.io.whole import check_jpeg, check_whole
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


def sound(folder: Path, name: str, *options: str) -> Path:
    """Two seconds in a format that is chosen by the suffix."""
    path, kind = folder / name, name.rpartition(".")[2]
    if kind in ("avr", "8svx", "voc"):
        form = {"8svx": "SVX"}.get(kind, kind.upper())
        soundfile.write(path, np.sin(np.arange(32000) * 0.1) * 0.5, 16000, "PCM_16", format=form)
    else:
        ffmpeg("-f", "lavfi", "-i", "sine=sample_rate=16000:duration=2", *options, path)
    return path


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def looks(path: Path, kind: str) -> list:
    if kind == "video":
        return [lambda: probe("video.scp", str(path)), lambda: list(VideoSource(str(path)).frames(25))]
    return [lambda: probe("wav.scp", str(path)), lambda: read_audio(str(path), resample=True)]


@pytest.mark.parametrize("share", [0.6, 0.99])
@pytest.mark.parametrize(
    "name", ["a.8svx", "a.avr", "a.voc", "a.wma", "a.ogg", "a.opus", "a.oga", "a.flv", "a.tta", "a.sph"]
)
def test_sounds_that_end_too_early(tmp_path, name, share):
    if name == "a.sph":
        path = tmp_path / name
        header = b"NIST_1A\n   1024\nsample_count -i 32000\nsample_n_bytes -i 2\nchannel_count -i 1\n"
        header += b"sample_byte_format -s2 01\nsample_rate -i 16000\nsample_coding -s3 pcm\nend_head\n"
        path.write_bytes(header.ljust(1024) + np.arange(32000, dtype="<i2").tobytes())
    else:
        path = sound(tmp_path, name, *(["-ar", "22050"] if name == "a.flv" else []))
    for look in looks(path, "audio"):
        look()
    cut(path, int(share * path.stat().st_size))
    for look in looks(path, "audio"):
        with pytest.raises(DataError, match=f"{name}: truncated: "):
            look()


@pytest.mark.parametrize("name", ["a.flv", "a.wmv"])
def test_videos_that_end_too_early(tmp_path, name):
    path = make(tmp_path, name, 2, "testsrc=size=96x64:rate=25", ["-pix_fmt", "yuv420p"])
    for look in looks(path, "video"):
        look()
    cut(path, int(0.6 * path.stat().st_size))
    for look in looks(path, "video"):
        with pytest.raises(DataError, match=f"{name}: truncated: the header promises"):
            look()


def test_an_flv_file_that_ends_with_a_whole_packet(tmp_path):
    path = make(tmp_path, "a.flv", 2, "testsrc=size=96x64:rate=25", ["-pix_fmt", "yuv420p"])
    content = path.read_bytes()
    place, ends = 13, []
    while place < len(content):
        place += 15 + int.from_bytes(content[place + 1 : place + 4], "big")
        ends.append(place)
    cut(path, ends[len(ends) // 2])
    with pytest.raises(DataError, match=r"promises 2\.\d\d s, the last packet is at [01]\.\d\d s"):
        check_whole(str(path))


@pytest.mark.parametrize("name", ["a.opus", "a.nut"])
def test_a_missing_mark_of_the_end_is_a_warning(tmp_path, name):
    """Some recorders never write it."""
    path = sound(tmp_path, name)
    content = path.read_bytes()
    end = content.rindex(b"OggS" if name == "a.opus" else b"NX\xdd\x67\x2f\x23\xe6\x4e")
    cut(path, end)
    with pytest.warns(UserWarning, match=f"{name}: .* it may be truncated"):
        assert probe("wav.scp", str(path)) > 0.5


def jpeg(**options) -> bytes:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_pictures_that_end_too_early(tmp_path, options):
    inside = jpeg()
    whole = jpeg(comment=inside[:20000], **options)  # as a thumbnail is
    path = tmp_path / "a.jpg"
    for content in (whole, whole + b"more", whole + inside, whole[:2] + b"\xff\xff" + whole[2:]):
        path.write_bytes(content)
        list(VideoSource(str(path)).frames(25))
    for size in (len(whole) // 2, len(inside) + 100, len(whole) - 2, 4, 3):
        with pytest.raises(DataError, match="the JPEG picture has no end"):
            check_jpeg("a.jpg", whole[:size])
    path.write_bytes(whole[:-500])
    for look in looks(path, "video"):
        with pytest.raises(DataError, match=r"a\.jpg: truncated: the JPEG picture has no end"):
            look()
