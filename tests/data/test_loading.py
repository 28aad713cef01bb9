"""Loader processes with little shared memory, and without themselves."""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from paths import ROOT
from synthetic import FACES, FBANK, make_data_dir

from avsv.config.sections import EmbedConfig
from avsv.data.clips import WholeUtterances
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches

# Prints what the batches of a data directory are, loaded by two processes.
PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = ["tests/helpers"]
from tests.data.test_loading import clips_of, digest
from avsv.data.loading import load_batches
clips = clips_of(Path(sys.argv[1]))
print(digest(load_batches(clips, range(len(clips)), 2, False)))
"""
PIPES = "loader processes send batches through pipes"


def clips_of(folder) -> WholeUtterances:
    table = read_utterances(folder)
    config = EmbedConfig(batch_size=4, video_frames=None)
    return WholeUtterances(table, np.zeros(len(table)), config, Inputs(FBANK, FACES))


def digest(batches) -> list:
    """What can be compared of batches."""
    return [
        (batch.keys, *(float(x.double().sum()) for x in (batch.audio, batch.video, batch.audio_mask)))
        for batch in batches
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data_dir(tmp_path_factory.mktemp("data") / "train", 4, 4)


def test_batches_that_do_not_fit_are_sent(data, monkeypatch):
    """Without shared memory the batches are the same; one warning says why they come slowly."""
    clips = clips_of(data)
    expected = list(load_batches(clips, range(len(clips)), 0, False))

    def refuse(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: Success (0)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    with pytest.warns(UserWarning, match=PIPES) as warned:
        found = list(load_batches(clips, range(len(clips)), 2, False))
    assert len(warned) == 1
    assert len(found) == len(expected) > 2
    for one, other in zip(expected, found, strict=True):
        assert one.keys == other.keys and other.age is None
        for name in ("label", "audio", "audio_mask", "video", "video_mask"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def _can_mount() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="mounting a small /dev/shm takes root")
@pytest.mark.parametrize(
    ("size", "warning"), [("40k", "batches are loaded without loader processes"), ("200k", PIPES), ("64m", None)]
)
def test_a_small_dev_shm(data, size, warning):
    script = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec '{sys.executable}' -c \"$PROGRAM\" '{data}'"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
        env={"PROGRAM": PROGRAM, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    clips = clips_of(data)
    assert done.stdout.strip() == str(digest(load_batches(clips, range(len(clips)), 0, False)))
    assert "Traceback" not in done.stderr
    assert done.stderr.count("UserWarning") == (warning is not None)
    assert warning is None or warning in done.stderr


def test_a_loader_process_that_is_killed_ends_with_a_message(data, tmp_path):
    program = """
import os, signal, sys
sys.path[:0] = ["tests/helpers"]
from tests.data.test_loading import clips_of
from avsv.bin.command import run_command
from avsv.data.loading import load_batches

def main():
    clips = clips_of(sys.argv[1])
    clips.batch = lambda item: os.kill(os.getpid(), signal.SIGKILL)
    list(load_batches(clips, range(4), 2, False))

run_command(main)
"""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(data)], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "error: DataLoader worker (pid" in done.stderr and "lower --num-workers" in done.stderr
    assert time.monotonic() - begun < 100
