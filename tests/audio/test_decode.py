"""Decoding of every kind of source, windows, and messages about bad recordings."""

import re
import struct
import subprocess
import warnings
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
from paths import SHARED

from avsv.audio.decode import read_audio
from avsv.audio.wav import WavFile, float_to_int16, is_windowable, read_window, wav_bytes
from avsv.errors import DataError
from avsv.io.ark import ArkWriter
from avsv.io.lists import read_list

DATA = SHARED / "data"
RATE = 16000


@pytest.fixture(scope="module")
def codes():
    """Two seconds of a chirp with an echo, as 16-bit codes."""
    time = np.arange(2 * RATE) / RATE
    return float_to_int16((0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32))


@pytest.fixture
def wav(tmp_path, codes):
    path = tmp_path / "a clip.wav"
    path.write_bytes(wav_bytes(codes, RATE))
    return path


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def message_of(source, **options):
    with pytest.raises(DataError) as caught:
        read_audio(str(source), RATE, **options)
    return str(caught.value)


def test_what_we_write_others_read(wav, codes):
    rate, samples = scipy.io.wavfile.read(wav)
    assert rate == RATE and samples.dtype == np.int16 and np.array_equal(samples, codes)
    assert np.array_equal(read_audio(str(wav)), codes / np.float32(32768))


@pytest.mark.parametrize(
    ("form", "exact"), [("s16", True), ("s24", True), ("float", True), ("u8", False), ("ulaw", False)]
)
def test_wav_encodings(tmp_path, codes, form, exact):
    subtype = {"s16": "PCM_16", "s24": "PCM_24", "float": "FLOAT", "u8": "PCM_U8", "ulaw": "ULAW"}[form]
    soundfile.write(tmp_path / "x.wav", codes / np.float32(32768), RATE, subtype)
    ours = read_audio(str(tmp_path / "x.wav"))
    assert ours.dtype == np.float32 and np.abs(ours - codes / 32768).max() <= (0 if exact else 0.02)


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "m4a", "mp4", "mpg", "sph", "aiff"])
def test_file_formats(tmp_path, wav, codes, suffix):
    path = tmp_path / f"x.{suffix}"
    # MPEG-1 has no lower rates.
    rate = 48000 if suffix == "mpg" else RATE
    if suffix in ("mp4", "mpg"):
        ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=2:r=25", "-i", wav, "-ar", rate, path)
    elif suffix == "sph":
        subprocess.run(["sox", wav, path], check=True)
    else:
        ffmpeg("-i", wav, path)
    ours = read_audio(str(path), RATE, resample=suffix == "mpg")
    assert abs(len(ours) - len(codes)) <= 2400
    if suffix in ("flac", "sph", "aiff"):
        assert np.array_equal(ours, codes / np.float32(32768))
    # The same sound except for the delay of the codec: the best correlation over shifts is near 1.
    size = min(len(ours), len(codes))
    spectrum = np.fft.rfft(ours[:size], 2 * size) * np.conj(np.fft.rfft(codes[:size] / 32768, 2 * size))
    best = np.fft.irfft(spectrum).max() / np.linalg.norm(ours[:size]) / np.linalg.norm(codes[:size] / 32768)
    assert best > 0.95


@pytest.mark.parametrize(
    "command",
    ["sox {} -t wav -", "sox {} -t flac -", "cat {}", "ffmpeg -v error -i {} -f wav - | cat", "sox {} -b 24 -t wav -"],
)
def test_commands(wav, codes, command):
    source = command.format(f"'{wav}'") + " | "
    assert np.array_equal(read_audio(source), codes / np.float32(32768))


def test_a_wav_inside_an_ark(tmp_path, codes):
    with ArkWriter(tmp_path / "audio", "float") as writer:
        for number in (1, 2):
            writer.write_bytes(f"u{number}", wav_bytes(codes[number:], RATE))
    locations = read_list(tmp_path / "audio.scp")
    theirs = kaldiio.load_scp(str(tmp_path / "audio.scp"))
    for number in (1, 2):
        location = locations[f"u{number}"]
        rate, samples = theirs[f"u{number}"]
        assert rate == RATE and np.array_equal(samples, codes[number:])
        assert np.array_equal(read_audio(location), codes[number:] / np.float32(32768))
        assert WavFile(location).num_samples == len(codes) - number
        assert np.array_equal(read_window(location, 700, 900), read_audio(location)[700:900])
    assert message_of(locations["u1"] + "1") == f"{tmp_path}/audio.ark:31: no 16-bit wav file at this offset"


def test_windows(wav, codes):
    assert WavFile(str(wav)).num_samples == len(codes)
    assert np.array_equal(read_window(str(wav), 123, 4567), codes[123:4567] / np.float32(32768))
    assert np.array_equal(read_window(str(wav)), codes / np.float32(32768))
    assert len(read_window(str(wav), 5, 5)) == 0
    with pytest.raises(DataError, match="samples 0 to 40000 are not in a recording of 32000"):
        read_window(str(wav), 0, 40000)


def test_windows_find_the_samples_behind_other_chunks(tmp_path, codes):
    plain = wav_bytes(codes, RATE)
    extra = b"LIST" + struct.pack("<I", 301) + bytes(302) + b"junk" + struct.pack("<I", 0)
    (tmp_path / "x.wav").write_bytes(
        plain[:12] + extra + plain[12:36] + b"bext" + struct.pack("<I", 2) + b"ab" + plain[36:]
    )
    assert np.array_equal(read_window(str(tmp_path / "x.wav"), 10, 20), codes[10:20] / np.float32(32768))
    # What sox and FFmpeg write for 24-bit input and for several channels: the extensible form.
    soundfile.write(tmp_path / "y.wav", codes, RATE, "PCM_16", format="WAVEX")
    assert np.array_equal(read_window(str(tmp_path / "y.wav"), 10, 20), codes[10:20] / np.float32(32768))


def test_windows_are_refused_from_what_has_none(tmp_path, wav, codes):
    soundfile.write(tmp_path / "stereo.wav", np.stack([codes, codes], 1), RATE)
    soundfile.write(tmp_path / "slow.wav", codes, 8000)
    soundfile.write(tmp_path / "deep.wav", codes, RATE, "PCM_24")
    ffmpeg("-i", wav, tmp_path / "x.flac")
    for name, reason in (
        ("stereo.wav", "2 channels, expected 1"),
        ("slow.wav", "sample rate 8000, expected 16000"),
        ("deep.wav", "not 16-bit PCM"),
        ("x.flac", "no wav file"),
    ):
        assert not is_windowable(str(tmp_path / name), RATE)
        with pytest.raises(DataError) as caught:
            read_window(str(tmp_path / name), 0, 10)
        assert str(caught.value) == (
            f"{tmp_path}/{name}: {reason}: windows can be read from 16-bit mono wav only: convert it, as in"
            " 'sox IN -r 16000 -c 1 -b 16 OUT.wav'"
        )
    assert is_windowable(str(wav), RATE) and not is_windowable(str(wav), 8000)


def test_other_rates_and_channels_need_permission(tmp_path, codes):
    soundfile.write(tmp_path / "x.wav", np.stack([codes, codes // 2], 1), 44100)
    name = tmp_path / "x.wav"
    channels = "2 channels, expected 1: set 'downmix: true' in conf/fbank.yaml"
    rate = "sample rate 44100, expected 16000: set 'resample: true' in conf/fbank.yaml"
    assert message_of(name) == f"{name}: {channels}; {rate}"
    assert message_of(name, downmix=True) == f"{name}: {rate}"
    assert len(read_audio(str(name), 44100, downmix=True)) == len(codes)
    mean = (codes.astype(float) + codes // 2) / 2 / 32768
    assert np.allclose(read_audio(str(name), 44100, downmix=True), mean, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "x.wav", tone, rate, "FLOAT")
    ours = read_audio(str(tmp_path / "x.wav"), RATE, resample=True)
    assert len(ours) == RATE and ours.dtype == np.float32
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert np.abs(ours - expected)[200:-200].max() < 2e-3


def test_resampling_removes_what_would_alias(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.sin(2 * np.pi * 10000 * np.arange(48000) / 48000), 48000, "FLOAT")
    assert np.abs(read_audio(str(tmp_path / "x.wav"), RATE, resample=True))[200:-200].max() < 5e-3


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    other = path.with_name(f"cut{path.suffix}")
    other.write_bytes(content[: int(share * len(content))])
    return other


# Without its last packet, a lossy stream may look complete.
CUTS = [(suffix, share) for suffix in ("wav", "flac", "m4a") for share in (0.0005, 0.5, 0.99)]
CUTS += [(suffix, share) for suffix in ("mp3", "faststart.m4a") for share in (0.0005, 0.5)]


@pytest.mark.parametrize(("suffix", "share"), CUTS)
def test_truncated_recordings(tmp_path, wav, suffix, share):
    path = tmp_path / f"x.{suffix}"
    ffmpeg("-i", wav, *(["-movflags", "faststart"] if "fast" in suffix else []), path)
    reason = message_of(cut(path, share))
    assert reason.startswith(f"{tmp_path}/cut.{suffix.rpartition('.')[2]}: ")
    assert any(word in reason for word in ("truncated", "empty"))


def test_bad_recordings_are_named(tmp_path, wav, codes):
    empty, text, silent, nan = (tmp_path / name for name in ("empty.wav", "text.wav", "none.wav", "nan.wav"))
    empty.touch()
    text.write_text("this is not audio\n" * 20)
    silent.write_bytes(wav_bytes(codes[:0], RATE))
    soundfile.write(nan, np.array([0.0, np.nan], np.float32), RATE, "FLOAT")
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", tmp_path / "video.mp4")
    assert message_of(tmp_path / "nothing.wav") == f"{tmp_path}/nothing.wav: no such file"
    assert message_of(tmp_path) == f"{tmp_path}: not a file"
    assert message_of(empty) == f"{empty}: the file is empty"
    assert message_of(silent) == f"{silent}: no samples"
    assert message_of(nan) == f"{nan}: samples that are not finite numbers"
    assert message_of(text) == f"{text}: not a media file: it is text"
    assert message_of(tmp_path / "video.mp4") == f"{tmp_path}/video.mp4: no audio stream"


def test_a_format_that_is_not_opened_is_named_as_such(tmp_path, wav):
    ffmpeg("-i", wav, tmp_path / "x.g722")
    assert message_of(tmp_path / "x.g722").startswith(f"{tmp_path}/x.g722: this format is not opened, or the file is")


def test_channels_that_cancel_each_other(tmp_path, codes):
    soundfile.write(tmp_path / "x.wav", np.stack([codes, -codes], 1), RATE)
    reason = "its 2 channels cancel each other: take one, as in 'sox IN OUT remix 1'"
    assert message_of(tmp_path / "x.wav", downmix=True) == f"{tmp_path}/x.wav: {reason}"


@pytest.mark.parametrize(
    ("channels", "block", "bits"), [(1, 4, 16), (1, 0, 16), (3, 2, 16), (65535, 2, 16), (1, 2, 24)]
)
def test_wav_headers_that_contradict_themselves(tmp_path, codes, channels, block, bits):
    content = bytearray(wav_bytes(codes, RATE))
    content[22:24], content[32:36] = struct.pack("<H", channels), struct.pack("<HH", block, bits)
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    said = f"{path}: a wrong wav header: {block} bytes for {channels} channels of {bits} bits: convert it again"
    assert message_of(path, downmix=True) == said
    with pytest.raises(DataError, match="a wrong wav header"):
        read_window(str(path))


def test_samples_that_the_wav_header_does_not_count(tmp_path, wav, codes):
    content = bytearray(wav.read_bytes())
    content[40:44] = struct.pack("<I", len(codes))
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.warns(UserWarning, match=r"promises 32000 bytes of samples; 32000 after them are not read"):
        assert len(read_audio(str(tmp_path / "x.wav"))) == 16000


@pytest.mark.parametrize("name", ["x.mka", "x.mp4", "opus.webm"])
def test_gaps_are_no_truncation(tmp_path, name):
    """They are judged by their share of the time."""
    gaps = ["-f", "lavfi", "-i", "sine=sample_rate=16000:duration=4", "-af", "aselect='not(between(t,1,2))'"]
    ffmpeg(*gaps, *(["-c:a", "libopus"] if "opus" in name else ["-c:a", "aac"]), tmp_path / name)
    with pytest.warns(UserWarning, match=r"of audio are missing between its time stamps"):
        waveform = read_audio(str(tmp_path / name), resample=True)
    assert 2.5 < len(waveform) / RATE < 3.3


@pytest.mark.parametrize("suffix", ["m4a", "mp3", "aac", "mp2"])
def test_damaged_packets_cost_only_their_frames(tmp_path, wav, codes, suffix):
    path = tmp_path / f"x.{suffix}"
    ffmpeg("-i", wav, path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = np.random.default_rng(2).bytes(64)
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert 0.8 * len(codes) < len(read_audio(str(path))) < 1.1 * len(codes)
    assert re.search("packets of audio are damaged and left out", str(warned[0].message))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo 'first line' >&2; echo 'the reason' >&2; exit 3 |", "{}: the command failed with status 3: the reason"),
        ("false | cat |", "{}: the command failed with status 1: no message"),
        ("true |", "{}: the command wrote nothing"),
        ("echo hello |", "{} the output is neither wav nor flac"),
    ],
)
def test_bad_commands_are_named(command, message):
    assert message_of(command) == message.format(command)


def test_a_command_that_is_cut_short(wav):
    assert "truncated: the wav header promises 64000 bytes of samples, there are 956" in message_of(
        f"head -c 1000 '{wav}' |"
    )


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference data in {DATA}")
def test_real_clips():
    clip = sorted((DATA / "clips").glob("*.mpg"))[0]
    channels = "2 channels, expected 1: set 'downmix: true' in conf/fbank.yaml"
    rate = "sample rate 44100, expected 16000: set 'resample: true' in conf/fbank.yaml"
    assert message_of(clip) == f"{clip}: {channels}; {rate}"
    waveform = read_audio(str(clip), RATE, resample=True, downmix=True)
    assert 2.5 * RATE < len(waveform) < 3.5 * RATE
    recording = next((DATA / "chimera" / "vox1" / "wav").rglob("*.wav"))
    assert np.array_equal(read_audio(str(recording)), soundfile.read(recording, dtype="float32")[0])
