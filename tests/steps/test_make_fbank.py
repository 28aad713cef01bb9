"""The filterbank step: features do not depend on jobs, failures are listed and limited, and it can be killed."""

import contextlib
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from commands import run
from paths import ROOT
from torchaudio.compliance import kaldi

from avsv.audio.config import FbankConfig
from avsv.audio.fbank import Fbank
from avsv.audio.recording import read_codes
from avsv.audio.wav import float_to_int16, read_window, wav_bytes
from avsv.bin.make_fbank import make_fbank
from avsv.errors import DataError
from avsv.io.ark import ArkWriter, read_rows
from avsv.io.lists import read_list, write_list

RATE = 16000


def step(*arguments, **environment) -> subprocess.CompletedProcess:
    return run("steps/make_fbank.sh", *arguments, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Six recordings: wav from which windows can be read, AAC, and the output of a command."""
    folder = tmp_path_factory.mktemp("some recordings")
    rng = np.random.default_rng(0)
    sources = {}
    for number in range(6):
        seconds = 1.0 + 0.37 * number
        time_ = np.arange(int(seconds * RATE)) / RATE
        waveform = 0.2 * np.sin(2 * np.pi * 150 * (number + 1) * time_) + 0.02 * rng.standard_normal(len(time_))
        path = folder / f"clip{number}.wav"
        path.write_bytes(wav_bytes(float_to_int16(waveform.astype(np.float32)), RATE))
        key = f"id{number // 2}-{number}"
        sources[key] = str(path)
        if number in (2, 3):
            sources[key] = str(path.with_suffix(".m4a"))
            subprocess.run(["ffmpeg", "-v", "error", "-i", path, sources[key]], check=True)
        if number == 5:
            sources[key] = f"sox '{path}' -t wav - |"
    return sources


def data_directory(folder: Path, sources: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    write_list(folder / "wav.scp", sources)
    return folder


def contents(data: Path) -> dict[str, tuple[bytes, bytes]]:
    """The output: features and samples of every utterance, wherever they are stored."""
    features, audio = read_list(data / "feats.scp"), read_list(data / "audio.scp")
    assert list(features) == sorted(features) == list(audio)
    lengths = read_list(data / "utt2num_frames")
    made = {}
    for key in features:
        rows = read_rows(features[key])
        assert int(lengths[key]) == len(rows)
        made[key] = rows.tobytes(), read_window(audio[key]).tobytes()
    return made


def temporary_files(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.tmp.*"))


def test_the_step(tmp_path, recordings):
    one, two = (data_directory(tmp_path / "a JOB b" / name, recordings) for name in ("one", "two"))
    done = step("--nj", 1, one)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"{one}: features for 6 of 6 utterances\n")
    again = step("--nj", 3, one)
    assert again.returncode == 0 and again.stderr.endswith(f"{one}: features are up to date\n")
    # Neither the number of jobs nor that of threads changes a bit.
    done = step("--nj", 2, two, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert contents(one) == contents(two)
    assert (one / "utt2num_frames").read_bytes() == (two / "utt2num_frames").read_bytes()
    assert not temporary_files(tmp_path)

    # Kaldi's tools read the lists; features of the stored samples are the stored features up to the compression.
    features, audio = kaldiio.load_scp(str(two / "feats.scp")), kaldiio.load_scp(str(two / "audio.scp"))
    for key in recordings:
        rate, samples = audio[key]
        assert rate == RATE and samples.dtype == np.int16
        waveform = torch.from_numpy(samples.astype(np.float32))
        expected = kaldi.fbank(waveform[None], num_mel_bins=80, window_type="hamming").numpy()
        step_size = np.ptp(expected) / 65535
        assert features[key].shape == expected.shape
        assert np.abs(features[key] - expected).mean() < step_size
        exact = Fbank()(waveform / 32768).numpy()
        assert np.abs(features[key] - exact).max() <= 0.5 * step_size + 1e-5
    # A wav file of the right form is not copied.
    locations = read_list(two / "audio.scp")
    assert locations["id0-0"] == recordings["id0-0"]
    assert locations["id1-2"].startswith(f"{two}/arks/audio_two.1.ark:")

    # Another configuration, fewer jobs and no audio: everything is made again, and nothing is left over.
    (tmp_path / "narrow.yaml").write_text("num_mel_bins: 24\n")
    done = step("--nj", 1, "--config", tmp_path / "narrow.yaml", "--write-audio", "false", two)
    assert done.returncode == 0, done.stderr
    assert read_rows(read_list(two / "feats.scp")["id0-0"]).shape[1] == 24
    assert not (two / "audio.scp").exists() and not list((two / "arks").glob("*.2.*"))
    again = step("--nj", 1, "--config", tmp_path / "narrow.yaml", "--write-audio", "false", two)
    assert again.stderr.endswith(f"{two}: features are up to date\n")


def test_the_last_line_may_have_no_end(tmp_path, recordings):
    data = data_directory(tmp_path / "data", recordings)
    text = (data / "wav.scp").read_text()
    (data / "wav.scp").write_text(text.rstrip("\n"))
    done = step("--nj", 2, data)
    assert done.returncode == 0 and done.stderr.endswith(f"{data}: features for 6 of 6 utterances\n")
    assert len(read_list(data / "feats.scp")) == 6


def bad_recordings(folder: Path) -> dict[str, str]:
    """Recordings that give no features."""
    folder.mkdir(exist_ok=True)
    clip = wav_bytes(np.ones(RATE, np.int16), RATE)
    for name, content in (
        ("text.wav", b"this is no audio at all, only text"),
        ("cut.wav", clip[:1000]),
        ("none.wav", wav_bytes(np.zeros(0, np.int16), RATE)),
        ("short.wav", wav_bytes(np.ones(399, np.int16), RATE)),
        ("rate.wav", wav_bytes(np.ones(RATE, np.int16), 8000)),
    ):
        (folder / name).write_bytes(content)
    stereo = folder / "stereo.wav"
    subprocess.run(["sox", "-n", "-r", str(RATE), "-c", "2", "-b", "16", stereo, "trim", "0", "1"], check=True)
    return {path.stem: str(path) for path in sorted(folder.iterdir())} | {"gone": str(folder / "gone.wav")}


def test_failures_are_listed_with_their_reasons(tmp_path, recordings):
    bad = bad_recordings(tmp_path / "bad")
    with ArkWriter(tmp_path / "f", "fbank") as features, ArkWriter(tmp_path / "a", "float") as audio:
        lengths, failed = make_fbank({**bad, **recordings}, FbankConfig(), features, audio, tmp_path / "progress")
    assert (tmp_path / "progress").read_text() == "13 13\n"
    assert (
        list(lengths) == list(recordings) == list(read_list(tmp_path / "f.scp")) == list(read_list(tmp_path / "a.scp"))
    )
    expected = {
        "text": "not a media file: it is text",
        "cut": "truncated: the wav header promises 32000 bytes of samples, there are 956",
        "none": "no samples",
        "short": "399 samples: shorter than one frame (400)",
        "rate": "sample rate 8000, expected 16000: set 'resample: true' in conf/fbank.yaml",
        "stereo": "2 channels, expected 1: set 'downmix: true' in conf/fbank.yaml",
        "gone": "no such file",
    }
    assert failed.keys() == expected.keys()
    for key, reason in expected.items():
        assert failed[key].startswith(f"{bad[key]}: {reason}")


def test_too_many_failures_fail_the_step_and_mended_files_are_tried_again(tmp_path, recordings):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"nothing")
    data = data_directory(tmp_path / "data", {**recordings, "id9-broken": str(broken)})
    failed = step("--nj", 1, data)
    assert failed.returncode == 1
    reason = f"id9-broken {broken}: not a media file: it is text"
    assert f"  {reason}\n" in failed.stderr
    assert failed.stderr.endswith(
        f"make_fbank.sh: error: 1 of 7 lost, at most a share of 0.05 may be: see {data}/log/make_fbank.failed\n"
    )
    assert (data / "log" / "make_fbank.failed").read_text() == f"{reason}\n"
    assert not (data / "feats.scp").exists() and not (data / ".fbank.done").exists()
    allowed = step("--nj", 1, "--max-lost", 0.2, data)
    assert allowed.returncode == 0, allowed.stderr
    assert "1 of 7 lost" in allowed.stderr
    assert allowed.stderr.endswith(f"{data}: features for 6 of 7 utterances\n")
    assert list(read_list(data / "feats.scp")) == list(recordings)
    (data / ".fbank.done").unlink()
    broken.write_bytes(Path(recordings["id0-0"]).read_bytes())
    assert step("--nj", 1, data).returncode == 0
    assert list(read_list(data / "feats.scp")) == [*recordings, "id9-broken"]


def test_it_resumes_when_killed(tmp_path, recordings):
    many = {f"{key}-{copy}": source for key, source in recordings.items() for copy in range(10)}
    undisturbed, killed = (data_directory(tmp_path / name, many) for name in ("undisturbed", "killed"))
    with ArkWriter(undisturbed / "feats", "fbank") as features, ArkWriter(undisturbed / "audio", "float") as audio:
        lengths, failed = make_fbank(many, FbankConfig(), features, audio, None)
    write_list(undisturbed / "utt2num_frames", lengths)
    assert not failed
    # During a job, when the first job is done, when the first list exists.
    for moment in ("arks/.fbank_killed.*.ark.tmp.*", "log/.make_fbank.*.done", "feats.scp"):
        process = subprocess.Popen(
            ["steps/make_fbank.sh", "--nj", "2", str(killed)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not list(killed.glob(moment)) and process.poll() is None:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = step("--nj", 2, killed)
    assert done.returncode == 0, done.stderr
    assert contents(killed) == contents(undisturbed)
    assert not temporary_files(killed)


def test_both_settings_that_audio_needs_are_named(tmp_path):
    """Stereo audio at another rate is not refused for one reason at a time."""
    samples = np.random.default_rng(0).integers(-9000, 9000, 2 * 44100).astype(np.int16)
    header = b"RIFF" + (36 + samples.nbytes).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = struct.pack("<HHIIHH", 1, 2, 44100, 4 * 44100, 4, 16)
    (tmp_path / "a.wav").write_bytes(header + form + b"data" + samples.nbytes.to_bytes(4, "little") + samples.tobytes())
    with ArkWriter(tmp_path / "f", "fbank") as features:
        counts, failed = make_fbank({"a": str(tmp_path / "a.wav")}, FbankConfig(), features, None, None)
    assert not counts
    assert "set 'downmix: true' in" in failed["a"] and "; " in failed["a"] and "set 'resample: true' in" in failed["a"]


def test_mistakes_are_one_line(tmp_path, recordings):
    data = data_directory(tmp_path / "data", recordings)

    def last_line(*arguments, status=1):
        done = step(*arguments)
        assert done.returncode == status
        return done.stderr.splitlines()[-1]

    assert last_line(tmp_path / "none") == f"make_fbank.sh: error: {tmp_path}/none: no such data directory"
    assert last_line("--config", "none.yaml", data) == "make_fbank.sh: error: no such file: none.yaml"
    assert "unknown option --njobs" in last_line("--njobs", 3, data, status=2)
    assert step().returncode == 2 and "Usage: steps/make_fbank.sh" in step().stderr
    assert "--max-lost <lost>" in step("--help").stdout
    (data / "wav.scp").write_text("b x.wav\na y.wav\n")
    message = (
        f"make_fbank.sh: error: {data}/wav.scp is not sorted, or has a key twice: run utils/fix_data_dir.sh {data}"
    )
    assert last_line(data) == message
    (data / "wav.scp").write_text("a x.wav\na y.wav\n")
    assert last_line(data) == message
    (data / "wav.scp").write_text("")
    assert last_line(data) == f"make_fbank.sh: error: {data}/wav.scp is empty"
    (data / "wav.scp").write_text("a\n")
    done = step(data)
    assert done.returncode == 1
    assert f"make_fbank: error: {data}/log/make_fbank.1.scp:1: 1 field, expected a key and a value" in done.stderr
    assert not (data / "feats.scp").exists() and not temporary_files(data)


def test_codes_are_what_the_file_holds(recordings):
    assert np.array_equal(
        read_codes(recordings["id0-0"], FbankConfig()) / np.float32(32768), read_window(recordings["id0-0"])
    )
    with pytest.raises(DataError, match=r"shorter than one frame \(160000\)"):
        read_codes(recordings["id0-0"], FbankConfig(frame_length=10000.0))
