"""Files that are huge, or say that they are: rejected or read within 1 GiB of memory."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from paths import ROOT
from PIL import Image
from video_media import ffmpeg

from avsv.audio.wav import wav_bytes

LIMIT = 1 << 30
SIDE = 30000
# Reads one file in a process of its own; prints the refusal, or the size of what was read, and the peak of memory.
PROGRAM = """
import sys
from pathlib import Path
from avsv.errors import DataError

def audio(path):
    from avsv.audio.decode import read_audio
    return len(read_audio(path, resample=True, downmix=True))

def video(path):
    from avsv.video.config import FacesConfig
    from avsv.video.crop import FaceCropper
    return len(FaceCropper(FacesConfig())(path))

def frames(path):
    from avsv.video.config import FacesConfig
    from avsv.video.crop import FaceCropper
    return FaceCropper(FacesConfig()).locate(path)[0]

def seconds(path):
    from avsv.datadir.media import probe
    return probe("video.scp" if Path(path).suffix in (".avi", ".mkv", ".mp4", ".h264") else "wav.scp", path)

def matrix(path):
    from avsv.io.ark import read_rows
    return read_rows(path).size

def vector(path):
    from avsv.io.ark import read_vectors
    return read_vectors(path)[1].size

try:
    print("read", globals()[sys.argv[1]](sys.argv[2]))
except DataError as error:
    print("refused", error)
# Not getrusage, which begins with what the process had that started this one.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def look(kind, path, timeout=300) -> str:
    """What reading a file says; its memory must stay below the limit."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, peak = done.stdout.splitlines()
    assert int(peak) * 1024 < LIMIT
    assert said.startswith("read") or str(path).rpartition("/")[0] in said
    return said


def sparse(path, start: bytes, size: int):
    """A file of a size that takes no room on the disk: its end is zeros."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path


def wav_header(length: int, rate: int = 16000, channels: int = 1, junk: int = 0) -> bytes:
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, 2 * channels * rate % 2**32, 2 * channels, 16)
    start = struct.pack("<4sI", b"JUNK", junk) if junk else struct.pack("<4sI", b"data", length)
    return struct.pack("<4sI4s", b"RIFF", 0xFFFFFFFF, b"WAVE") + fmt + start


AUDIO = {
    "promises.wav": (wav_header(0xFFFFFFF0), 40000, "read"),  # unknown length, as of a pipe: what is there
    "promises_less.wav": (wav_header(0x7FFF0000), 40000, "truncated"),
    "has_all.wav": (wav_header(0xFFFFFFF0), (1 << 32) + 44, "AVSV_MAX_MEGABYTES"),
    "stereo.wav": (wav_header(0x7FFF0000, channels=2), 0x7FFF0000 + 44, "AVSV_MAX_MEGABYTES"),
    "junk.wav": (wav_header(0, junk=0xFFFFFFF0), (1 << 32) + 44, "ends before its samples begin"),
    "chunks.wav": (wav_header(0, junk=8), 1 << 32, "chunks before its samples"),
    "slow.wav": (wav_header(1 << 26, rate=1), (1 << 26) + 44, "sample rate 1"),
    "fast.wav": (wav_header(32000, rate=2**32 - 5), 32044, "sample rate 4294967291"),
    "low.wav": (wav_header(1 << 26, rate=1000), (1 << 26) + 44, "AVSV_MAX_MEGABYTES"),
    "x.aiff": (b"FORM\xff\xff\xff\xf0AIFFCOMM\0\0\0\x12\0\1\xff\xff\xff\xf0\0\x10\x40\x0c\xfa\0\0\0\0\0\0\0"
               b"SSND\xff\xff\xff\xc0\0\0\0\0\0\0\0\0", 1 << 32, "x.aiff"),
    "x.flac": (b"fLaC\x80\0\0\x22\x10\0\x10\0" + bytes(6) + struct.pack(">Q", 16000 << 44 | 15 << 36 | (1 << 36) - 1)
               + bytes(16), 90000, "x.flac"),
    "x.au": (b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFFF, 3, 16000, 1), 1 << 32, "AVSV_MAX_MEGABYTES"),
    "x.raw": (b"", 1 << 34, "x.raw"),
}  # fmt: skip


@pytest.mark.parametrize("name", AUDIO)
def test_audio(tmp_path, name):
    start, size, said = AUDIO[name]
    path = sparse(tmp_path / name, start, size)
    for kind in ("audio", "seconds"):
        found = look(kind, path)
        assert kind == "seconds" or said in found


def png(path, side):
    """A white picture, one bit a pixel."""
    Image.new("1", (side, side), 1).save(path)


def png_of_zeros(path, side):
    """16 bits a channel: 7 GB of pixels out of 7 MB of file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pack = zlib.compressobj(1)
    row = bytes(1 + 8 * side)
    body = b"".join(pack.compress(row) for _ in range(64)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def jpeg(path, side):
    """A small JPEG whose header says another size."""
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", side, side)
    path.write_bytes(data)


def bmp(path, side):
    sparse(
        path,
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0),
        3 * side * side,
    )


@pytest.mark.parametrize("make", [png, png_of_zeros, jpeg, bmp])
def test_pictures(tmp_path, make):
    folder = tmp_path / "clip"
    folder.mkdir()
    make(folder / f"1.{make.__name__[:4].rstrip('_')}", SIDE)
    assert "refused" in look("video", folder)


@pytest.mark.parametrize("name", ["mjpeg.avi", "mpeg4.mkv"])
def test_videos_of_large_pictures(tmp_path, name):
    path = tmp_path / name
    if name == "mjpeg.avi":
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", path
        )
        data = path.read_bytes()
        path.write_bytes(data.replace(struct.pack(">HH", 48, 64), struct.pack(">HH", SIDE, SIDE)))
    else:
        ffmpeg("-f", "lavfi", "-i", "color=size=8190x8190:rate=1:duration=2", "-c:v", "mpeg4", path)
    found = look("video", path)
    assert ("refused" in found) == (name == "mjpeg.avi")


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A video of a million frames, made of a thousand copies of one of a thousand."""
    folder = tmp_path_factory.mktemp("million")
    ffmpeg(
        "-f", "lavfi", "-i", "color=size=16x16:rate=25:duration=40", "-c:v", "libx264", "-bf", "0", folder / "1.h264"
    )
    part = (folder / "1.h264").read_bytes()
    with (folder / "million.h264").open("wb") as file:
        for _ in range(1000):
            file.write(part)
    ffmpeg("-r", "25", "-i", folder / "million.h264", "-c", "copy", folder / "million.mkv")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["million.h264", "million.mkv"])
def test_a_million_frames(million, name):
    assert look("seconds", million / name).split()[1].startswith("40000")
    assert "AVSV_MAX_MEGABYTES" in look("video", million / name)
    assert int(look("frames", million / name).split()[1]) == 1_000_000


def test_a_picture_that_is_shown_for_years(tmp_path):
    """Two frames, ten years apart by their time stamps."""
    path = tmp_path / "years.mkv"
    source = ["-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=0.08"]
    ffmpeg(
        *source, "-vf", "setpts=N*315360000/TB", "-vsync", "passthrough", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", path
    )
    assert "AVSV_MAX_MEGABYTES" in look("video", path)


def _ark(name: bytes, *numbers: int) -> bytes:
    sizes = b"".join(b"\4" + struct.pack("<i", number) for number in numbers)
    return b"k \0B" + name + b" " + sizes


@pytest.mark.parametrize("rows", [2**31 - 1, -(2**31)])
@pytest.mark.parametrize("columns", [1, 2**31 - 1])
@pytest.mark.parametrize("name", [b"FM", b"DM", b"CM", b"CM2", b"CM3"])
def test_ark_headers(tmp_path, name, rows, columns):
    path = tmp_path / "x.ark"
    start = _ark(name, rows, columns)
    if name.startswith(b"C"):
        start = b"k \0B" + name + b" " + struct.pack("<ffii", 0.0, 1.0, rows, columns)
    sparse(path, start, 1 << 20)
    assert "refused" in look("matrix", f"{path}:2")


@pytest.mark.parametrize("size", [2**31 - 1, -1, 2**30])
def test_vector_headers(tmp_path, size):
    sparse(tmp_path / "x.ark", _ark(b"FV", size), 1 << 20)
    (tmp_path / "x.scp").write_text(f"k {tmp_path}/x.ark:2\n")
    assert "x.ark:2: " in look("vector", tmp_path / "x.scp")


def test_the_measurement_of_memory(tmp_path):
    """Of what may be read, a recording just below the limit takes memory that is seen."""
    path = tmp_path / "x.wav"
    path.write_bytes(wav_bytes(np.ones(50_000_000, np.int16), 16000))
    assert look("audio", path) == "read 50000000"
