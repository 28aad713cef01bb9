"""Names of recordings that people hand over."""

import os

import numpy as np
import pytest

from avsv.data.clips import Clip
from avsv.errors import DataError
from avsv.verification.recording import Faces, Recording


def test_a_file_that_is_called_like_a_command_is_not_run(tmp_path, monkeypatch):
    """Elsewhere a name that ends in | is a command; here it can only be a file of somebody else."""
    monkeypatch.chdir(tmp_path)
    for name in ("touch x |", "touch x |  ", "$(touch x).wav|"):
        (tmp_path / name).write_bytes(b"RIFF")
        with pytest.raises(DataError, match="stands for a command: rename the file"):
            Recording.of(name)
    assert not (tmp_path / "x").exists()


def test_what_is_no_recording(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    latin = os.fsencode(tmp_path) + b"/lat\xfc.wav"
    with open(latin, "wb") as file:  # noqa: PTH123 -- pathlib takes no bytes
        file.write(b"RIFF")
    for source, message in (
        ("", "the name of a recording is empty"),
        (tmp_path / "pipe.wav", "pipe.wav: is a pipe or a device, which is not read: write its content to a file"),
        (os.fsdecode(latin), r"lat\\xfc.wav: the name is not UTF-8: rename the file"),
        (np.zeros(16000), "ndarray: expected a path or a Recording; 'embed' takes arrays by keyword"),
        (None, "NoneType: expected a path or a Recording"),
    ):
        with pytest.raises(DataError, match=message):
            Recording.of(source)


@pytest.mark.parametrize(("count", "received", "distinct"), [(1, 4, [0]), (3, 5, [0, 2, 3]), (3, 3, [0, 1, 2])])
def test_copies_of_a_face_crop_count_once(count, received, distinct):
    crops = np.arange(received, dtype=np.uint8).reshape(-1, 1, 1, 1)
    assert Faces(Clip(), crops, count, 1.0, None).distinct.ravel().tolist() == distinct
