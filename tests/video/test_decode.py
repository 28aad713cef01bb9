"""Decoding compared with the ffmpeg program and torch's resizing, and everything that can be wrong with a clip."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_media import ffmpeg, reference_frames, reference_resize, soft_video, tiled_picture, write_levels

from avsv.datadir.media import probe
from avsv.errors import DataError
from avsv.io.media import stream_kinds
from avsv.video.augment import normalize
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCropper
from avsv.video.decode import VideoSource, natural_key
from avsv.video.picture import PictureConverter, center_crop, whole_picture
from avsv.video.timing import select_frames


def crops(location: Path | str, **options) -> np.ndarray:
    """Crops as (T, C, H, W)."""
    config = FacesConfig(**{"height": 64, "width": 64, **options})
    return FaceCropper(config)(str(location)).reshape(-1, config.channels, config.height, config.width)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """1 s of 180x120 at 25 fps."""
    return soft_video(tmp_path_factory.mktemp("media") / "clip.mp4")


@pytest.mark.parametrize("side", [32, 64, 96, 200])
def test_gray_is_the_expanded_luma_resized_with_antialias(clip, side):
    luma = reference_frames(clip, "yuv420p", 180, 120)[:, :, 30:150]
    expected = ((reference_resize(luma, side, side) - 16) * 255 / 219).clip(0, 255)
    made = crops(clip, height=side, width=side)[:, 0]
    assert made.shape == expected.shape == (25, side, side)
    assert np.abs(made - expected)[:, 1:-1, 1:-1].max() < 1.2
    # At the border the filters differ: torch ignores the outside, ffmpeg repeats the edge.
    assert np.abs(made - expected).max() < 6.0


def test_sharp_pictures_are_antialiased(tmp_path):
    lines = np.zeros((128, 128, 3), np.uint8)
    lines[:, ::2] = 255
    folder = write_images(tmp_path / "lines", [lines])
    # Taking every fourth pixel would give all black or all white.
    assert np.abs(crops(folder, height=32, width=32)[..., 1:-1] - 127.5).max() < 2.0


def test_color_images_are_resized_per_channel(tmp_path):
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (3, 90, 60, 3), dtype=np.uint8)
    made = crops(write_images(tmp_path / "images", pictures), channels=3, height=40, width=40)
    expected = reference_resize(pictures[:, 15:75].transpose(0, 3, 1, 2).reshape(9, 60, 60), 40, 40)
    assert np.abs(made.reshape(9, 40, 40) - expected)[:, 1:-1, 1:-1].max() < 1.0


def test_gray_of_color_images_has_the_specified_weights(tmp_path):
    pictures = np.random.default_rng(2).integers(0, 256, (2, 50, 50, 3), dtype=np.uint8)
    made = crops(write_images(tmp_path / "images", pictures), height=50, width=50)[:, 0]
    assert np.abs(made - pictures @ np.array([0.299, 0.587, 0.114])).max() < 1.0


def test_normalized_red_black_and_white_as_specified(tmp_path):
    levels = {"black": -0.5, "white": 0.5, "red": 0.299 - 0.5}
    for color, expected in levels.items():
        video = tmp_path / f"{color}.mp4"
        ffmpeg("-f", "lavfi", "-i", f"color={color}:size=64x64:rate=25:duration=0.2", "-pix_fmt", "yuv420p", video)
        assert np.abs(normalize(crops(video)) - expected).max() < 1.6 / 255, color


@pytest.mark.parametrize(
    "options",
    [
        ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace", "bt709"],
        ["-pix_fmt", "yuvj420p"],
        ["-pix_fmt", "yuv444p"],
        ["-pix_fmt", "yuv420p10le"],
        ["-c:v", "libx264rgb", "-pix_fmt", "rgb24"],
    ],
    ids=["bt709", "full range", "444", "10 bit", "rgb"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_all_ways_to_store_color_give_the_same_picture(tmp_path, options, channels):
    video = soft_video(tmp_path / "clip.mp4", seconds=0.2, options=options)
    rgb = tmp_path / "rgb"
    rgb.mkdir()
    ffmpeg("-i", video, rgb / "%d.png")
    expected = crops(rgb, channels=channels).astype(int)
    # Chroma is stored at half the size, and levels in steps of 255/219. Wrong weights or ranges are off by 5 and more.
    assert np.abs(crops(video, channels=channels) - expected).mean() < 1.6


def test_the_crop_is_central_and_has_the_requested_shape():
    assert center_crop(128, 128)(360, 288) == (288, 288, 128, 128)
    assert center_crop(112, 96)(224, 224) == (224, 192, 112, 96)
    assert center_crop(64, 128)(101, 101) == (50, 101, 64, 128)
    assert whole_picture()(31, 17) == (31, 17, 31, 17)
    assert whole_picture(100)(50, 200) == (50, 200, 25, 100)


def test_a_shape_that_is_not_square(clip):
    luma = reference_frames(clip, "yuv420p", 180, 120)[:, :, 60:120]
    expected = ((reference_resize(luma, 80, 40) - 16) * 255 / 219).clip(0, 255)
    assert np.abs(crops(clip, height=80, width=40)[:, 0] - expected)[:, 1:-1, 1:-1].max() < 1.0


def test_phone_videos_are_turned_upright(tmp_path, clip):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-metadata:s:v", "rotate=90", turned)
    upright = reference_frames(turned, "rgb24", 120, 180)
    convert = PictureConverter(3, whole_picture())
    ours = np.stack([convert(frame) for frame, _ in VideoSource(str(turned)).frames(25)])
    assert ours.shape == upright.shape == (25, 180, 120, 3)
    assert np.abs(ours.astype(int) - upright).mean() < 2.5


@pytest.mark.parametrize("fps", [6, 25, 10.5, 50])
def test_frame_rates_choose_the_frames_of_the_formula(clip, fps):
    every = crops(clip)
    assert np.array_equal(crops(clip, fps=fps), every[select_frames(25, 25, fps)])


def test_two_seconds_have_50_frames_at_25_and_12_at_6(tmp_path):
    video = soft_video(tmp_path / "clip.mp4", size="64x64", seconds=2)
    assert len(crops(video, fps=25)) == 50
    assert len(crops(video, fps=6)) == 12


def test_rounded_timestamps_are_a_constant_rate(tmp_path):
    # Matroska stores milliseconds; the codec states 30000/1001 fps.
    video = soft_video(tmp_path / "clip.mkv", size="64x64", seconds=3, rate="30000/1001", options=["-r", "30000/1001"])
    every = crops(video, fps=30000 / 1001)
    assert len(every) == 90
    assert np.array_equal(crops(video, fps=25), every[select_frames(90, Fraction(30000, 1001), 25)])


def test_a_variable_rate_goes_by_timestamps(tmp_path):
    times = [0, 40, 80, 280, 300, 320, 700]  # milliseconds
    levels = [10, 20, 30, 40, 50, 60, 70]
    video = write_levels(tmp_path / "vfr.mkv", levels, times, Fraction(1, 1000))
    made = crops(video, fps=25)[:, 0, 5, 5].tolist()
    middles = [40 * j + 20 for j in range(len(made))]
    assert made == [levels[max(n for n, time in enumerate(times) if time <= middle)] for middle in middles]
    assert made[:8] == [10, 20, 30, 30, 30, 30, 30, 50]
    assert made[17:] == [70] * len(made[17:]) != []


def test_a_stream_without_timestamps_has_its_nominal_rate(tmp_path, clip):
    raw = tmp_path / "clip.h264"
    ffmpeg("-i", clip, "-c", "copy", "-bsf:v", "h264_mp4toannexb", raw)
    assert np.array_equal(crops(raw), crops(clip))


def test_what_an_edit_list_hides_is_neither_shown_nor_missed(tmp_path):
    video = soft_video(tmp_path / "clip.mp4", size="64x64", seconds=2, options=["-g", "100"])
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "1.4", "-i", video, "-c", "copy", cut)
    assert np.abs(crops(cut)[0].astype(int) - crops(video)[35]).max() <= 1
    assert 14 <= len(crops(cut)) <= 16


def write_images(folder: Path, pictures, names=None, codec: str = "png") -> Path:
    """Store (h, w, 3) pictures as numbered images."""
    folder.mkdir()
    suffix = {"mjpeg": "jpg"}.get(codec, codec)
    for number, picture in enumerate(pictures):
        name = names[number] if names else f"{number + 1}.{suffix}"
        with av.open(str(folder / name), "w", format="image2") as container:
            stream = container.add_stream(codec)
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            container.mux(stream.encode(None))
    return folder


def plain(level: int) -> np.ndarray:
    """A small gray picture."""
    return np.full((16, 16, 3), level, np.uint8)


def test_images_are_ordered_by_their_numbers(tmp_path):
    names = ["frame10.png", "frame9.png", "frame1.png", "frame11.png"]
    folder = write_images(tmp_path / "images", map(plain, (100, 90, 10, 110)), names)
    (folder / "notes.txt").write_text("not an image")
    assert crops(folder)[:, 0, 0, 0].tolist() == [10, 90, 100, 110]
    assert sorted(["a/10", "a/2", "b/1", "a/02b"], key=natural_key) == ["a/2", "a/02b", "a/10", "b/1"]


def test_the_rate_of_a_folder(tmp_path):
    folder = write_images(tmp_path / "images", map(plain, range(0, 240, 20)))
    every = np.arange(0, 240, 20)
    assert crops(folder, fps=25)[:, 0, 0, 0].tolist() == every.tolist()
    for text, rate in (("50\n", 50), ("30000/1001", Fraction(30000, 1001)), ("12.5", 12.5)):
        (folder / "fps").write_text(text)
        assert crops(folder, fps=25)[:, 0, 0, 0].tolist() == every[select_frames(12, rate, 25)].tolist()
    (folder / "fps").unlink()
    assert crops(folder, fps=25, source_fps=50)[:, 0, 0, 0].tolist() == every[select_frames(12, 50, 25)].tolist()


@pytest.mark.parametrize("codec", ["bmp", "png", "ppm", "tiff"])
def test_kinds_of_images(tmp_path, codec):
    picture = np.random.default_rng(3).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    if codec == "bmp":
        picture[...] = picture[..., :1]  # stored as blue-green-red; the encoder expects other pixels
        folder = tmp_path / "images"
        folder.mkdir()
        ffmpeg("-i", write_images(tmp_path / "png", [picture]) / "1.png", folder / "1.bmp")
    else:
        folder = write_images(tmp_path / "images", [picture], codec=codec)
    made = crops(folder, channels=3, height=48, width=48)[0]
    assert np.array_equal(made, picture.transpose(2, 0, 1))


def test_jpeg_images(tmp_path, clip):
    folder = tmp_path / "images"
    folder.mkdir()
    ffmpeg("-i", clip, "-q:v", "1", folder / "%d.jpg")
    assert np.abs(crops(folder).astype(int) - crops(clip)).mean() < 1.0


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a", "b"])
def test_pictures_are_recognized_by_suffix_or_content(tmp_path, name):
    path = tmp_path / name
    Image.new("RGB", (64, 64), "red").save(path, "PNG" if name == "b" else "JPEG")
    assert sum(count for _, count in VideoSource(str(path)).frames(25)) == 1
    assert probe("video.scp", str(path)) == 0.04
    assert stream_kinds(str(path)) == {"video"}


@pytest.mark.parametrize("kind", ["P2", "P3"])
def test_pictures_whose_numbers_are_text(tmp_path, kind):
    path = tmp_path / ("a.pgm" if kind == "P2" else "a.ppm")
    path.write_text(f"{kind}\n16 16\n255\n" + "100 " * (256 if kind == "P2" else 768))
    assert np.abs(crops(path, height=16, width=16).astype(int) - 100).max() <= 1


def test_pictures_of_other_formats_are_left_out_with_a_warning(tmp_path):
    folder = write_images(tmp_path / "images", [plain(10)])
    for name in ("2.heic", "3.gif", "4.avif", "5.AVIF", "notes.txt"):
        (folder / name).touch()
    with pytest.warns(UserWarning, match=r"images: 4 pictures are left out: 2.heic, 3.gif, 4.avif, ...: convert them"):
        assert len(crops(folder)) == 1


@pytest.mark.parametrize("text", ["1e99999999", "1/0", "0", "-25", "25 fps", "\u0665", "9" * 5000, "1e2"])
def test_what_is_no_rate_of_a_folder(tmp_path, text):
    folder = write_images(tmp_path / "images", [plain(10)])
    (folder / "fps").write_text(text)
    with pytest.raises(DataError, match=r"fps: .* is not a frame rate: write one number such as 25 or 30000/1001"):
        VideoSource(str(folder))


def test_a_stated_length_that_would_take_forever(tmp_path, clip):
    path = tmp_path / "a.mkv"
    ffmpeg("-i", clip, "-c", "copy", path)
    content = path.read_bytes()
    length = content.index(b"00:00:01.")
    path.write_bytes(content[:length] + b"00:00:1e9999999999"[:18] + content[length + 18 :])
    assert probe("video.scp", str(path)) == pytest.approx(1.0, abs=0.1)


def test_pipes_and_paths_with_blanks(tmp_path, clip):
    folder = tmp_path / "with blank"
    folder.mkdir()
    shutil.copy(clip, folder / "a clip.mp4")
    expected = crops(clip)
    assert np.array_equal(crops(folder / "a clip.mp4"), expected)
    assert np.array_equal(crops(f"cat '{folder}/a clip.mp4' |"), expected)
    assert np.array_equal(crops(f"ffmpeg -v error -i '{clip}' -c copy -f matroska - |"), expected)


def test_a_name_that_looks_like_a_protocol(tmp_path, clip, monkeypatch):
    shutil.copy(clip, tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(crops("12:30.mp4")) == 25


def test_a_damaged_packet_costs_only_its_frames(tmp_path):
    video = soft_video(tmp_path / "clip.avi", seconds=2, options=["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"])
    data = bytearray(video.read_bytes())
    starts = [n for n in range(len(data) - 3) if data[n : n + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 50
    data[starts[20] : starts[21] - 16] = bytes(starts[21] - 16 - starts[20])
    damaged = tmp_path / "damaged.avi"
    damaged.write_bytes(data)
    assert len(crops(damaged)) == 50
    assert np.array_equal(crops(damaged)[20], crops(video)[19])


def truncated(clip: Path, folder: Path) -> str:
    whole = folder / "whole.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-movflags", "+faststart", whole)
    return cut_short(whole, 0.6)


def cut_short(path: Path, share: float) -> str:
    data = path.read_bytes()
    short = path.with_name(f"short{path.suffix}")
    short.write_bytes(data[: int(share * len(data))])
    return str(short)


def made(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def sound(folder: Path) -> str:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.5", folder / "sound.mp4")
    return str(folder / "sound.mp4")


def cover(folder: Path) -> str:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32", "-frames:v", "1", folder / "cover.png")
    inputs = ["-f", "lavfi", "-i", "sine=duration=0.5", "-i", folder / "cover.png", "-map", "0", "-map", "1"]
    ffmpeg(*inputs, "-c:v", "png", "-disposition:v", "attached_pic", folder / "cover.mp3")
    return str(folder / "cover.mp3")


def no_frames(folder: Path) -> str:
    return str(write_levels(folder / "none.mkv", [], [], Fraction(1, 1000)))


def zeroed(folder: Path) -> str:
    data = soft_video(folder / "a.avi", options=["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]).read_bytes()
    start = data.index(b"\xff\xd8\xff")
    return made(folder / "zeroed.avi", data[:start] + bytes(len(data) - start))


def saved(picture: Image.Image, path: Path, **options) -> str:
    picture.save(path, **options)
    return str(path)


def animated(path: Path) -> str:
    first, *more = (Image.new("RGB", (32, 32), (level, 0, 0)) for level in (10, 90, 200))
    return saved(first, path, save_all=True, append_images=more)


def folder_of(folder: Path, name: str, content: bytes) -> str:
    (folder / "images").mkdir()
    made(folder / "images" / name, content)
    return str(folder / "images")


BAD = {
    "missing": (lambda clip, folder: str(folder / "none.mp4"), "none.mp4: no such file or folder"),
    "zero bytes": (lambda clip, folder: made(folder / "zero.mp4", b""), r"zero.mp4: the file is empty \(0 bytes\)"),
    "no video at all": (
        lambda clip, folder: made(folder / "text.mp4", b"this is no video\n" * 99),
        "text.mp4: not a media file: it is text",
    ),
    "end cut off": (truncated, r"short.mp4: truncated: 0\.\d\d s of video where the header promises 1.00 s"),
    "index cut off": (
        lambda clip, folder: made(folder / "a.mp4", clip.read_bytes()[:9000]),
        "a.mp4: unreadable, truncated or damaged video",
    ),
    "avi cut off": (
        lambda clip, folder: cut_short(soft_video(folder / "a.avi"), 0.5),
        "short.avi: truncated: .* the header promises 1.00 s",
    ),
    "mkv cut off": (
        lambda clip, folder: cut_short(soft_video(folder / "a.mkv"), 0.5),
        "short.mkv: truncated: .* the header promises 1.00 s",
    ),
    "sound only": (lambda clip, folder: sound(folder), "sound.mp4: no video stream"),
    "sound with a cover": (lambda clip, folder: cover(folder), "cover.mp3: no video stream"),
    "no frames": (lambda clip, folder: no_frames(folder), "none.mkv: it has no video frames"),
    "no good frame": (lambda clip, folder: zeroed(folder), "zeroed.avi: no video frame could be decoded"),
    "empty folder": (lambda clip, folder: str(folder), "the folder has no images"),
    "empty image": (lambda clip, folder: folder_of(folder, "1.png", b""), r"1.png: the image is empty \(0 bytes\)"),
    "false image": (
        lambda clip, folder: folder_of(folder, "1.png", b"text"),
        "1.png: not an image of a supported format",
    ),
    "broken image": (
        lambda clip, folder: folder_of(folder, "1.png", b"\x89PNG\r\n\x1a\n" + b"x" * 99),
        "1.png: unreadable, truncated or damaged image",
    ),
    "picture of tiles": (
        lambda clip, folder: str(tiled_picture(folder / "a.avif")),
        "a.avif: a picture of tiles: convert it to JPEG or PNG",
    ),
    "animated picture": (
        lambda clip, folder: animated(folder / "a.webp"),
        "a.webp: an animated picture: convert it to a video or to a folder of images",
    ),
    "large picture": (
        lambda clip, folder: saved(Image.new("1", (8200, 8200)), folder / "a.png"),
        "a.png: 8200 x 8200: a picture of more than 67108864 pixels",
    ),
    "JPEG inside TIFF": (
        lambda clip, folder: saved(Image.new("RGB", (64, 64), "red"), folder / "a.tif", compression="jpeg"),
        "a.tif: a JPEG picture inside a TIFF file: convert it to PNG",
    ),
    "format that is not opened": (
        lambda clip, folder: saved(Image.new("RGB", (64, 64)), folder / "a.jp2"),
        "a.jp2: this format is not opened",
    ),
    "failing pipe": (
        lambda clip, folder: f"cat {folder}/none |",
        "the command failed with status 1: cat: .*/none: No such file or directory",
    ),
    "unknown program": (lambda clip, folder: "no-such-program x |", "failed with status 127: .*not found"),
    "pipe that fails at its beginning": (
        lambda clip, folder: f"cat {folder}/none | cat - {clip} |",
        "the command failed with status 1: cat: .*/none: No such file or directory",
    ),
    "silent pipe": (lambda clip, folder: "true |", r"true \|: the command wrote nothing"),
    "no command": (lambda clip, folder: " |", "there is no command before the |"),
    "pipe of text": (lambda clip, folder: "echo text |", r"echo text \|: not a media file: it is text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_clips_say_what_is_wrong(case, clip, tmp_path):
    make, message = BAD[case]
    with pytest.raises(DataError, match=message):
        crops(make(clip, tmp_path))


def test_a_folder_with_a_wrong_rate(tmp_path):
    folder = write_images(tmp_path / "images", [plain(0)])
    for text in ("fast", "0", "-25", "1/0", ""):
        (folder / "fps").write_text(text)
        with pytest.raises(DataError, match=f"images/fps: '{text}' is not a frame rate: write one number"):
            crops(folder)
