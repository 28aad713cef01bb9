"""Recordings in many formats, intact and damaged: read as the ffmpeg program does, or rejected with one line."""

import contextlib
import io
import os
import random
import struct
import subprocess
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from video_media import ffmpeg

from avsv.audio.config import FbankConfig
from avsv.audio.decode import read_audio
from avsv.audio.recording import read_codes
from avsv.bin.make_face_crops import make_face_crops
from avsv.datadir.media import probe
from avsv.errors import DataError
from avsv.io import command, media
from avsv.io.ark import ArkWriter
from avsv.video.config import FacesConfig
from avsv.video.decode import VideoSource
from avsv.video.picture import PictureConverter, center_crop, whole_picture

AUDIO = {
    "wav": [], "flac": [], "aiff": [], "au": [], "w64": [], "caf": [], "mp3": ["-c:a", "libmp3lame"],
    "vbr.mp3": ["-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0"],
    "cbr.mp3": ["-c:a", "libmp3lame", "-b:a", "64k", "-write_xing", "0"],
    "mp2": ["-c:a", "mp2"], "aac": ["-c:a", "aac"], "m4a": ["-c:a", "aac"], "alac.m4a": ["-c:a", "alac"],
    "ogg": ["-c:a", "libvorbis"], "opus": ["-c:a", "libopus"], "opus.webm": ["-c:a", "libopus"], "ac3": ["-c:a", "ac3"],
    "eac3": ["-c:a", "eac3"], "wma": ["-c:a", "wmav2"], "vorbis.mka": ["-c:a", "libvorbis"], "mp2.ts": ["-c:a", "mp2"],
    "aac.ts": ["-c:a", "aac"], "aac.flv": ["-c:a", "aac"], "float.wav": ["-c:a", "pcm_f32le"],
    "u8.wav": ["-c:a", "pcm_u8"],
    "mulaw.wav": ["-c:a", "pcm_mulaw"], "adpcm.wav": ["-c:a", "adpcm_ms"], "s24.wav": ["-c:a", "pcm_s24le"],
    "mp3.avi": ["-c:a", "libmp3lame"], "tta": [], "wv": [], "voc": ["-c:a", "pcm_u8"],
}  # fmt: skip
VIDEO = {
    "h264.mp4": ["-c:v", "libx264"], "mpeg4.avi": ["-c:v", "mpeg4"], "mpeg1.mpg": ["-c:v", "mpeg1video"],
    "h264.mkv": ["-c:v", "libx264"], "vp8.webm": ["-c:v", "libvpx"], "h264.ts": ["-c:v", "libx264"],
    "h264.flv": ["-c:v", "libx264"], "wmv2.asf": ["-c:v", "wmv2"], "mjpeg.avi": ["-c:v", "mjpeg"],
    "mjpeg.mov": ["-c:v", "mjpeg"], "raw.h264": ["-c:v", "libx264"], "raw.m4v": ["-c:v", "mpeg4"],
}  # fmt: skip
SECONDS = 3.1


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """One recording in every format that begins with three seconds of silence, so that bit rates vary."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    voice = np.r_[np.zeros(16000), 0.3 * np.sin(np.arange(int(16000 * (SECONDS - 1))) * 0.2) * rng.normal(1, 0.3)]
    noise = 0.02 * rng.normal(size=len(voice)) * (np.arange(len(voice)) > 16000)
    codes = np.rint(32767 * np.clip(voice + noise, -1, 1)).astype("<i2")
    raw = folder / "source.wav"
    from avsv.audio.wav import wav_bytes

    raw.write_bytes(wav_bytes(codes, 16000))
    for name, options in AUDIO.items():
        rate = ["-ar", "44100"] if "flv" in name or "mp3" in name or "voc" in name else []
        ffmpeg("-i", raw, *rate, *options, folder / f"a.{name}")
    for name, options in VIDEO.items():
        picture = ["-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=25:duration={SECONDS}"]
        ffmpeg(*picture, *options, "-pix_fmt", "yuvj420p" if "mjpeg" in name else "yuv420p", folder / f"v.{name}")
    return folder


def reference(path, kind) -> np.ndarray:
    """What the ffmpeg program decodes: samples at 16 kHz in [-1, 1), or the mean of every frame in [0, 1]."""
    form = ["-vn", "-f", "f32le", "-ac", "1", "-ar", "16000", "-"]
    if kind == "video":
        form = ["-f", "rawvideo", "-pix_fmt", "gray", "-vf", "scale=8:8", "-vsync", "passthrough", "-"]
    done = subprocess.run(["ffmpeg", "-v", "quiet", "-i", str(path), *form], capture_output=True, check=False)
    if kind == "video":
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, 64).mean(axis=1) / 255
    return np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], "<f4")


def reference_seconds(path, kind) -> float:
    """The duration that the ffmpeg program decodes from a file."""
    return len(reference(path, kind)) / (16000 if kind == "audio" else 25)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The mean difference of two waveforms of about the same length, of which one may begin up to 0.1 s earlier."""
    length = min(len(ours), len(theirs)) - 1600
    if length <= 0:
        return 0.0
    spectra = [np.fft.rfft(x[: length + 1600], 2 * len(ours)) for x in (ours, theirs)]
    lag = np.fft.irfft(spectra[0] * spectra[1].conj())
    lags = np.arange(-1600, 1601)
    best = int(lags[np.argmax(lag[lags])])
    first, second = ours[max(best, 0) :], theirs[max(-best, 0) :]
    shared = min(len(first), len(second))
    return float(np.abs(first[:shared] - second[:shared]).mean())


@pytest.mark.parametrize("name", AUDIO)
def test_audio_formats(recordings, name):
    path = recordings / f"a.{name}"
    samples = read_audio(str(path), 16000, resample=True, downmix=True)
    expected = reference_seconds(path, "audio")
    assert expected > 3
    # Encoders pad to whole frames, and some decoders remove the padding.
    assert len(samples) / 16000 == pytest.approx(expected, abs=0.08)
    assert difference(samples, reference(path, "audio")) < 0.02
    assert probe("wav.scp", str(path)) == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("name", VIDEO)
def test_video_formats(recordings, name):
    path = recordings / f"v.{name}"
    pictures = [(PictureConverter(1, whole_picture())(frame), n) for frame, n in VideoSource(str(path)).frames(25)]
    found, theirs = np.repeat([p.mean() / 255 for p, _ in pictures], [n for _, n in pictures]), reference(path, "video")
    frames = len(found)
    assert frames == pytest.approx(len(theirs), abs=2)
    shared = min(frames, len(theirs))
    assert np.abs(found[:shared] - theirs[:shared]).max() < 0.02
    assert probe("video.scp", str(path)) == pytest.approx(frames / 25, abs=0.13)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) // 20, len(data)) :]


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 30)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def _flip_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(min(200, len(data)))] = rng.randrange(256)


def _zero(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    length = rng.randint(1, len(data) // 3)
    data[start : start + length] = bytes(len(data[start : start + length]))


def _remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, len(data) // 3)]


def _insert(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data)) : 0] = rng.randbytes(rng.randint(1, 5000))


DAMAGES = [_cut, _flip, _flip_header, _zero, _remove, _insert]


@pytest.mark.parametrize("name", [*(f"a.{name}" for name in AUDIO), *(f"v.{name}" for name in VIDEO)])
def test_damaged_recordings(recordings, tmp_path, inputs, name):
    """A damaged recording is rejected with one line, is as long as ffmpeg reads it, or a warning says why not."""
    kind = "audio" if name.startswith("a.") else "video"
    whole = (recordings / name).read_bytes()
    for rng in inputs.draw(3):
        data = bytearray(whole)
        rng.choice(DAMAGES)(data, rng)
        path = tmp_path / name
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            assert probe(_LISTS[kind], str(path)) > 0
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found = _seconds(path, kind)
            except DataError as error:
                assert str(path) in str(error), error
                continue
        theirs = reference_seconds(path, kind)
        # Some libraries read what others do not. Of ffmpeg's frames, one may stand for some that are lost.
        if theirs and not warned:
            assert found == pytest.approx(theirs, abs=0.15 + 0.1 * theirs)


_LISTS = {"audio": "wav.scp", "video": "video.scp"}


def _seconds(path, kind) -> float:
    if kind == "audio":
        return len(read_audio(str(path), 16000, resample=True, downmix=True)) / 16000
    return sum(count for _, count in VideoSource(str(path)).frames(25)) / 25


@pytest.mark.parametrize("name", ["v.mpeg4.avi", "v.h264.mkv", "v.h264.mp4", "a.mp3", "a.m4a", "a.flac"])
def test_tags_that_are_not_utf8(recordings, tmp_path, name):
    path = tmp_path / name
    ffmpeg("-i", recordings / name, "-c", "copy", "-metadata", "title=Mxxxxller", path)
    data = path.read_bytes()
    assert b"Mxxxxller" in data
    path.write_bytes(data.replace(b"Mxxxxller", b"M\xfc\xff\xfe\xfcller"))
    kind = "audio" if name.startswith("a.") else "video"
    assert _seconds(path, kind) == pytest.approx(SECONDS, abs=0.15)
    assert probe(_LISTS[kind], str(path)) == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize("suffix", ["raw", "pcm", "sph", "wav", "dat", "txt", "mp4", "", "gsm", "vox"])
def test_files_that_are_not_media(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(random.Random(0).randbytes(5000))
    for read in (lambda: read_audio(str(path)), lambda: probe("wav.scp", str(path)), lambda: _seconds(path, "video"),
                 lambda: probe("video.scp", str(path))):  # fmt: skip
        with pytest.raises(DataError, match=r"x\."):
            read()


def test_codec_that_is_not_known(recordings, tmp_path):
    for name, code in (("v.h264.mp4", b"avc1"), ("v.mpeg4.avi", b"FMP4")):
        path = tmp_path / name
        path.write_bytes((recordings / name).read_bytes().replace(b"avc1mp41", b"isomiso2").replace(code, b"zzzz"))
        kind = "audio" if name.startswith("a.") else "video"
        for read in (lambda: _seconds(path, kind), lambda: probe(_LISTS[kind], str(path))):  # noqa: B023 -- called here
            with pytest.raises(DataError, match=name):
                read()


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{file}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {file}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "<?xml version='1.0'?><MPD><Period><AdaptationSet><BaseURL>{file}</BaseURL></AdaptationSet></Period></MPD>",
        "[playlist]\nFile1={file}\n",
    ],
)
@pytest.mark.parametrize("suffix", ["m3u8", "txt", "mp4", "sdp", "mpd", "ffconcat"])
def test_playlists_open_nothing(recordings, tmp_path, content, suffix):
    path = tmp_path / f"list.{suffix}"
    path.write_text(content.format(file=recordings / "v.h264.mp4"))
    with pytest.raises(DataError):
        _seconds(path, "video")
    with pytest.raises(DataError):
        list(VideoSource(f"cat '{path}' |").frames(25))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_images_are_shown_as_exif_says(tmp_path, orientation, suffix):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30], pixels[:20, 30:], pixels[20:, :30] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x112] = orientation
    options = {"tiff": {"tiffinfo": exif}, "webp": {"lossless": True, "exif": exif}}.get(suffix, {"exif": exif})
    image.save(tmp_path / f"1.{suffix}", **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"1.{suffix}")).convert("RGB"))
    (frame,) = [frame for frame, _ in VideoSource(str(tmp_path)).frames(25)]
    shown = PictureConverter(3, whole_picture())(frame)
    assert frame.size == expected.shape[1::-1]
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 6


def _set_matrix(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An mp4 file whose first track has another display matrix."""
    place = data.index(b"tkhd") + 44
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return data[:place] + matrix + data[place + 36 :]


MATRICES = {
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda x: np.rot90(x, 2),
    (0, 1, -1, 0): lambda x: np.rot90(x, -1),
    (0, -1, 1, 0): lambda x: np.rot90(x, 1),
    (0, 1, 1, 0): lambda x: x.swapaxes(0, 1),
    (0, -1, -1, 0): lambda x: np.rot90(x, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_videos_are_shown_as_their_matrix_says(recordings, tmp_path, matrix):
    plain = recordings / "v.h264.mp4"
    (tmp_path / "turned.mp4").write_bytes(_set_matrix(plain.read_bytes(), *matrix))
    frames = []
    for path in (plain, tmp_path / "turned.mp4"):
        frame, _ = next(VideoSource(str(path)).frames(25))
        frames.append(PictureConverter(1, whole_picture())(frame))
    np.testing.assert_array_equal(frames[1], MATRICES[matrix](frames[0]))


@pytest.mark.parametrize("aspect", ["2/1", "1/2", "16/15", "4/3"])
def test_pixels_that_are_not_square(tmp_path, aspect):
    source = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=0.2"]
    ffmpeg(*source, "-vf", f"setsar={aspect}", "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p", tmp_path / "v.mp4")
    frame, _ = next(VideoSource(str(tmp_path / "v.mp4")).frames(25))
    above, below = map(int, aspect.split("/"))
    width = round(96 * above / below)
    assert frame.size == (width, 64)
    assert PictureConverter(1, whole_picture())(frame).shape == (64, width)
    # A square crop shows a square part of the scene: the same as ffmpeg's, after it has made the pixels square.
    side = min(width, 64)
    chain = f"scale={width}:64:flags=bilinear,crop={side}:{side},scale=32:32:flags=bilinear,format=gray"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(tmp_path / "v.mp4"),
        "-frames:v",
        "1",
        "-vf",
        chain,
        "-f",
        "rawvideo",
        "-",
    ]
    expected = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8).reshape(32, 32)
    shown = PictureConverter(1, center_crop(32, 32))(frame)
    assert np.abs(shown.astype(int) - expected).mean() < 8


def test_the_default_track_is_read(tmp_path):
    tones = [["-f", "lavfi", "-i", f"sine=frequency={f}:duration=2:sample_rate=16000"] for f in (300, 2000)]
    maps = ["-map", "0", "-map", "1"]
    for default, expected in ((0, 300), (1, 2000)):
        flags = [f"-disposition:a:{default}", "default", f"-disposition:a:{1 - default}", "0"]
        path = tmp_path / f"{default}.mkv"
        ffmpeg(*tones[0], *tones[1], *maps, *flags, "-c:a", "flac", path)
        spectrum = np.abs(np.fft.rfft(read_audio(str(path))[:16000]))
        assert abs(int(spectrum.argmax()) - expected) < 5


def test_audio_and_video_of_a_cover_are_not_confused(recordings, tmp_path):
    cover = tmp_path / "cover.png"
    Image.new("RGB", (32, 32)).save(cover)
    path = tmp_path / "song.mp3"
    ffmpeg(
        "-i",
        recordings / "a.mp3",
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
        path,
    )
    assert _seconds(path, "audio") == pytest.approx(SECONDS, abs=0.1)
    with pytest.raises(DataError, match="no video stream"):
        _seconds(path, "video")


def test_limits(tmp_path, monkeypatch):
    """Recordings that would take all memory or never end are rejected immediately."""
    wav = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 0xFFFFFFF0, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 0x7FFF0000
    )
    (tmp_path / "promises.wav").write_bytes(wav + bytes(3200))
    with pytest.raises(DataError, match="truncated"):
        read_audio(str(tmp_path / "promises.wav"))
    header = io.BytesIO()
    Image.new("1", (30000, 30000)).save(header, "png")
    (tmp_path / "1.png").write_bytes(header.getvalue())
    with pytest.raises(DataError, match=r"1\.png: a picture of more than 67108864 pixels"):
        list(VideoSource(str(tmp_path)).frames(25))
    monkeypatch.setattr(media, "MAX_MEGABYTES", 1)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=30:sample_rate=16000", tmp_path / "long.flac")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=30:sample_rate=16000", tmp_path / "long.mp3")
    for name in ("long.flac", "long.mp3"):
        with pytest.raises(DataError, match="AVSV_MAX_MEGABYTES"):
            read_audio(str(tmp_path / name), resample=True, downmix=True)
    os.mkfifo(tmp_path / "pipe.wav")
    for read in (lambda: read_audio(str(tmp_path / "pipe.wav")), lambda: probe("wav.scp", str(tmp_path / "pipe.wav")),
                 lambda: VideoSource(str(tmp_path / "pipe.wav"))):  # fmt: skip
        with pytest.raises(DataError, match=r"pipe\.wav"):
            read()
    monkeypatch.setattr(command, "MAX_SECONDS", 0.5)
    for text in ("sleep 100 |", "yes |", "sleep 100 & exec >&- ; wait |"):
        monkeypatch.setattr(command, "MAX_BYTES", 1 << 20)
        with pytest.raises(DataError, match="the command"):
            read_audio(text)
    monkeypatch.setenv("AVSV_NO_COMMANDS", "1")
    with pytest.raises(DataError, match="forbidden"):
        read_audio("touch x |")


RAMP = np.sin(np.arange(16000) * 0.3).astype(np.float32)
VALUES = {
    "silence": (0 * RAMP, "nothing was recorded"),
    "constant": (0 * RAMP + np.float32(0.25), "nothing was recorded"),
    "integers as floats": (32767 * RAMP, "samples are outside"),
    "8-bit integers as floats": (127 * RAMP, "samples are outside"),
    "doubled": (2 * RAMP, "samples are outside"),
    "not a number": (np.where(np.arange(16000) == 5, np.nan, RAMP), "not finite numbers"),
    "infinite": (np.where(np.arange(16000) == 5, np.inf, RAMP), "not finite numbers"),
    "one overshoot": (np.where(np.arange(16000) == 5, 1.2, RAMP), None),
    "some overshoots": (np.where(np.arange(16000) < 20, 1.2, RAMP), None),
    "less than a step of 16 bits": (1e-5 * RAMP, "too quiet for 16 bits"),
    "constant in 16 bits": (0.25 + 1e-6 * RAMP, "nothing was recorded"),
    "quiet": (1e-4 * RAMP, None),
    "full scale": (RAMP, None),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("form", ["f32le", "f64le"])
def test_values_that_cannot_be_right(tmp_path, name, form):
    samples, said = VALUES[name]
    (tmp_path / "x.raw").write_bytes(samples.astype("<f4").tobytes())
    path = tmp_path / "x.wav"
    ffmpeg("-f", "f32le", "-ar", "16000", "-i", tmp_path / "x.raw", "-c:a", f"pcm_{form}", path)
    if said is None:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            codes = read_codes(str(path), FbankConfig())
        said = ["20 of 16000 samples outside [-1, 1] are clipped"] if name == "some overshoots" else []
        assert [str(one.message) for one in warned] == [f"{path}: {text}" for text in said]
        np.testing.assert_array_equal(codes, np.rint(samples * 32768).clip(-32768, 32767))
        return
    with pytest.raises(DataError, match=said):
        read_codes(str(path), FbankConfig())


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (200, 10, 90)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_one_color(tmp_path, color, channels):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), color).save(folder / f"{number}.png")
    config = FacesConfig(channels=channels, height=16, width=16)
    with ArkWriter(tmp_path / "a", "pixels") as faces:
        counts, failed = make_face_crops({"x": str(folder)}, config, faces, None)
    assert not counts and "all pixels have the same color" in failed["x"]
    image = Image.new("RGB", (40, 40), color)
    image.putpixel((20, 20), (7, 130, 60))
    image.resize((16, 16)).save(folder / "3.png")
    with ArkWriter(tmp_path / "b", "pixels") as faces:
        assert make_face_crops({"x": str(folder)}, config, faces, None) == ({"x": 4}, {})
