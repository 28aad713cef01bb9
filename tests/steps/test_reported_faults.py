"""Recordings and lists of public reports about other toolkits, given to the steps: one bad file costs one utterance."""

from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from commands import run
from finished_run import make_run
from paths import ROOT
from video_media import ffmpeg, soft_video

from avsv.audio.wav import wav_bytes
from avsv.io.lists import read_list

SECONDS = 4.0


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A voice of four seconds that begins with silence, a video with it, and settings that accept any rate."""
    folder = tmp_path_factory.mktemp("media")
    time = np.arange(int(SECONDS * 44100)) / 44100
    voice = 0.3 * np.sin(2 * np.pi * 200 * time + 3 * np.sin(9 * time)) * (time > 1)
    (folder / "a.wav").write_bytes(wav_bytes(np.rint(voice * 32767).astype("<i2"), 44100))
    soft_video(folder / "silent.mp4", seconds=SECONDS)
    ffmpeg("-i", folder / "silent.mp4", "-i", folder / "a.wav", "-c:v", "copy", "-c:a", "aac", folder / "v.mp4")
    settings = (ROOT / "conf/fbank.yaml").read_text().splitlines()
    settings = [line for line in settings if not line.startswith(("resample:", "downmix:"))]
    (folder / "fbank.yaml").write_text("\n".join([*settings, "resample: true", "downmix: true", ""]))
    return folder


def make_data(folder: Path, name: str, *places: Path) -> Path:
    """A data directory with one speaker for each recording."""
    folder.mkdir()
    keys = [f"s{number:02}-a" for number in range(len(places))]
    (folder / "utt2spk").write_text("".join(f"{key} {key[:3]}\n" for key in keys))
    (folder / "spk2utt").write_text("".join(f"{key[:3]} {key}\n" for key in keys))
    (folder / name).write_text("".join(f"{key} {place}\n" for key, place in zip(keys, places, strict=True)))
    return folder


def not_utf8(media: Path, path: Path) -> None:
    ffmpeg("-i", media / "v.mp4", "-c:v", "mpeg4", "-c:a", "mp3", "-metadata", "title=Mxller", path)
    path.write_bytes(path.read_bytes().replace(b"Mxller", b"M\xfcller"))


def unknown_codec(media: Path, path: Path) -> None:
    path.write_bytes((media / "v.mp4").read_bytes().replace(b"avc1mp41", b"isomiso2").replace(b"avc1", b"zzzz"))


# A name, the list, what makes it, and whether it can be used.
FILES: list[tuple[str, str, Callable[[Path, Path], None], bool]] = [
    ("tag.avi", "video.scp", not_utf8, True),
    ("x.raw", "wav.scp", lambda media, path: ffmpeg("-i", media / "a.wav", "-f", "s16le", path), False),
    ("unknown.mp4", "video.scp", unknown_codec, False),
    ("empty.wav", "wav.scp", lambda _media, path: path.touch(), False),
    ("folder.wav", "wav.scp", lambda _media, path: path.mkdir(), False),
    ("page.mp4", "video.scp", lambda _media, path: path.write_text("<html>404</html>"), False),
    ("lfs.wav", "wav.scp", lambda _media, path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), False),
]


@pytest.mark.parametrize("listed", ["wav.scp", "video.scp"])
def test_one_bad_file_costs_one_utterance(media, tmp_path, listed):
    """It is counted and named, in every step that opens recordings, and the others are processed."""
    files = [(tmp_path / name, usable) for name, of, _, usable in FILES if of == listed]
    for name, of, make, _ in FILES:
        if of == listed:
            make(media, tmp_path / name)
    good = media / ("a.wav" if listed == "wav.scp" else "v.mp4")
    step = "make_fbank" if listed == "wav.scp" else "make_face_crops"
    made = {"make_fbank": "feats.scp", "make_face_crops": "faces.scp"}[step]
    config = ["--config", media / "fbank.yaml"] if step == "make_fbank" else []
    for command in (["steps/validate.sh"], [f"steps/{step}.sh", *config]):
        data = make_data(tmp_path / Path(command[0]).stem, listed, good, *(path for path, _ in files))
        done = run(*command, "--nj", 1, "--max-lost", "0.9", data)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        kept = read_list(data / (made if command[0] != "steps/validate.sh" else "utt2spk"))
        assert list(kept) == ["s00-a", *(f"s{n:02}-a" for n, (_, usable) in enumerate(files, 1) if usable)]
        written = [path for path in data.rglob("*") if path.name == "dropped.txt" or path.suffix == ".failed"]
        reasons = [line for path in written for line in path.read_text().splitlines()]
        for n, (path, usable) in enumerate(files, 1):
            assert any(line.startswith(f"s{n:02}-a") and path.name in line for line in reasons) == (not usable)


ENCODED = {
    "vbr.mp3": ["-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0"],
    "cbr.mp3": ["-c:a", "libmp3lame", "-b:a", "64k", "-write_xing", "0"],
    "raw.aac": ["-c:a", "aac"], "adts.aac": ["-ss", "1", "-c:a", "aac"], "x.mp2": ["-c:a", "mp2"], "x.ac3": [],
}  # fmt: skip


def test_lengths_that_headers_only_guess(media, tmp_path):
    for name, options in ENCODED.items():
        ffmpeg("-i", media / "a.wav", *options, tmp_path / name)
    data = make_data(tmp_path / "data", "wav.scp", *(tmp_path / name for name in ENCODED))
    done = run("steps/validate.sh", "--nj", 1, data)
    assert done.returncode == 0, done.stderr
    durations = read_list(data / "utt2dur")
    for n, (name, options) in enumerate(ENCODED.items()):
        seconds = SECONDS - 1 if "-ss" in options else SECONDS
        assert float(durations[f"s{n:02}-a"]) == pytest.approx(seconds, abs=0.1), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


def test_features_of_other_settings_are_not_embedded(media, finished, tmp_path):
    """Features of 8 kHz say so, and a network of 16 kHz refuses them."""
    data = make_data(tmp_path / "data", "wav.scp", media / "a.wav")
    text = (media / "fbank.yaml").read_text()
    (tmp_path / "fbank.yaml").write_text(text.replace("sample_rate: 16000", "sample_rate: 8000"))
    assert run("steps/make_fbank.sh", "--nj", 1, "--config", tmp_path / "fbank.yaml", data).returncode == 0
    done = run("steps/extract_embeddings.sh", "--nj", 1, "--modes", "A", finished.system, data)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "sample_rate" in done.stderr and "8000" in done.stderr and "16000" in done.stderr


@pytest.mark.parametrize("form", ["range", "text"])
def test_valid_forms_of_kaldi_are_embedded(finished, tmp_path, form):
    """A range over all rows, and a text ark, give the embeddings of the plain ark."""
    given = finished.data["eval"]
    expected = dict(kaldiio.load_scp(str(finished.system / "embeddings/eval.A.scp")))
    data = tmp_path / "eval"
    data.mkdir()
    for name in ("utt2spk", "wav.scp", "utt2num_frames"):
        (data / name).write_text((given / name).read_text())
    places = read_list(given / "feats.scp")
    if form == "range":
        frames = read_list(given / "utt2num_frames")
        lines = [f"{key} {place}[0:{int(frames[key]) - 1}]" for key, place in places.items()]
        (data / "feats.scp").write_text("\n".join(lines) + "\n")
    else:
        features = {key: kaldiio.load_mat(place) for key, place in places.items()}
        kaldiio.save_ark(str(data / "t.ark"), features, scp=str(data / "feats.scp"), text=True)
    system = tmp_path / "system"
    system.mkdir()
    for path in finished.system.iterdir():
        if path.is_file():
            (system / path.name).symlink_to(path)
    done = run("steps/extract_embeddings.sh", "--nj", 1, "--modes", "A", system, data)
    assert done.returncode == 0, done.stderr
    found = dict(kaldiio.load_scp(str(system / "embeddings/eval.A.scp")))
    assert found.keys() == expected.keys()
    for key, vector in expected.items():
        np.testing.assert_allclose(found[key], vector, atol=1e-4)


def test_a_byte_order_mark_is_named(media, tmp_path):
    """Not as two names that look the same; and the fix that is advised keeps the trials."""
    data = make_data(tmp_path / "data", "wav.scp", media / "a.wav", media / "a.wav")
    for name in ("utt2spk", "wav.scp"):
        (data / name).write_bytes(b"\xef\xbb\xbf" + (data / name).read_bytes())
    (data / "trials").mkdir()
    (data / "trials/t").write_text("s00-a s01-a nontarget\n")
    done = run("utils/validate_data_dir.sh", "--no-feats", data)
    assert done.returncode == 1 and "byte-order mark" in done.stderr
    assert run("utils/fix_data_dir.sh", data).returncode == 0
    assert run("utils/validate_data_dir.sh", "--no-feats", data).returncode == 0
    assert (data / "trials/t").read_text() == "s00-a s01-a nontarget\n"


def test_lines_may_begin_with_blanks(media, tmp_path):
    """As Kaldi reads them; the recording is that of the utterance."""
    data = make_data(tmp_path / "data", "wav.scp", media / "a.wav", media / "a.wav")
    text = (data / "wav.scp").read_text()
    (data / "wav.scp").write_text(f"  {text}")
    done = run("steps/validate.sh", "--nj", 1, data)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in (data / "utt2dur").read_text().splitlines()] == ["s00-a", "s01-a"]
