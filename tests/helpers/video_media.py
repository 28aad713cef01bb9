"""Small media for video tests, made with ffmpeg and PyAV, and independent ways of reading them."""

import io
import struct
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

SOFT = "gradients=size={size}:rate={rate}:c0=red:c1=lime:c2=blue:c3=white:n=4:speed=0.05:seed=3:duration={seconds}"


def ffmpeg(*words: object) -> None:
    """Run ffmpeg quietly, overwriting."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def soft_video(
    path: Path, size: str = "180x120", seconds: float = 1, rate: float = 25, options: Sequence[str] = ()
) -> Path:
    """A video of smooth moving colors; high quality unless ``options`` say otherwise."""
    source = SOFT.format(size=size, rate=rate, seconds=seconds)
    pixels = ["-pix_fmt", "yuv420p"] if "-pix_fmt" not in options else []
    quality = ["-crf", "10"] if path.suffix in (".mp4", ".mkv") else []
    ffmpeg("-f", "lavfi", "-i", source, *quality, *pixels, *options, path)
    return path


def reference_frames(path: Path, pixels: str, width: int, height: int) -> np.ndarray:
    """All frames decoded by the ffmpeg program: (T, height, width) of the first plane, or (T, height, width, 3)."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-f", "rawvideo", "-pix_fmt", pixels, "-"]
    raw = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    if pixels == "rgb24":
        return raw.reshape(-1, height, width, 3)
    return raw.reshape(-1, width * height * 3 // 2)[:, : width * height].reshape(-1, height, width)


def reference_resize(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resizing with antialiasing in torch: (N, h, w) to float (N, height, width)."""
    tensor = torch.from_numpy(planes.astype(np.float32))[:, None]
    return torch.nn.functional.interpolate(tensor, (height, width), mode="bilinear", antialias=True)[:, 0].numpy()


def write_levels(path: Path, levels: Sequence[int], times: Sequence[int], base: Fraction, codec: str = "ffv1") -> Path:
    """A lossless video of plain gray frames with the given gray levels, shown from the given times on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "gray"
        stream.time_base = stream.codec_context.time_base = base
        container.start_encoding()
        for level, time in zip(levels, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), level, np.uint8), format="gray")
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _box(kind: bytes, content: bytes, version: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(version + content)) + kind + version + content


def tiled_picture(path: Path) -> Path:
    """An AVIF picture of 2 x 2 tiles, as phones write pictures in HEIC."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "AVIF")
    tile = buffer.getvalue()

    def found(kind: bytes) -> bytes:
        place = tile.index(kind) - 4
        return tile[place : place + int.from_bytes(tile[place : place + 4], "big")]

    full = bytes(4)
    infos = [struct.pack(">HH4sx", n, 0, kind) for n, kind in enumerate([b"grid", *[b"av01"] * 4], 1)]
    items = struct.pack(">H", 5) + b"".join(_box(b"infe", info, b"\2\0\0\0") for info in infos)
    sizes = [_box(b"ispe", struct.pack(">II", side, side), full) for side in (128, 64)]
    owned = struct.pack(">IHBB", 5, 1, 1, 1) + b"".join(struct.pack(">HBBB", n, 2, 2, 0x83) for n in range(2, 6))
    properties = _box(b"ipco", b"".join(sizes) + found(b"av1C")) + _box(b"ipma", owned, full)
    parts = [struct.pack(">BBBBHH", 0, 0, 1, 1, 128, 128), *[found(b"mdat")[8:]] * 4]
    start = _box(b"ftyp", b"avif" + full + b"avifmif1miafMA1B")

    def meta(place: int) -> bytes:
        places = b""
        for n, part in enumerate(parts, 1):
            places += struct.pack(">HHHII", n, 0, 1, place, len(part))
            place += len(part)
        boxes = [
            _box(b"hdlr", full + b"pict" + bytes(13), full),
            _box(b"pitm", struct.pack(">H", 1), full),
            _box(b"iloc", b"\x44\0" + struct.pack(">H", 5) + places, full),
            _box(b"iinf", items, full),
            _box(b"iref", _box(b"dimg", struct.pack(">6H", 1, 4, 2, 3, 4, 5)), full),
            _box(b"iprp", properties),
        ]
        return _box(b"meta", b"".join(boxes), full)

    path.write_bytes(start + meta(len(start) + len(meta(0)) + 8) + _box(b"mdat", b"".join(parts)))
    return path
