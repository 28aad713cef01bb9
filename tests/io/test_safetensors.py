"""Named arrays in files of the format safetensors, compared with the library of the format; damaged files."""

import json
import struct

import numpy as np
import pytest
import torch

from avsv.errors import DataError
from avsv.io.safetensors import read_tensors, write_tensors

ARRAYS = {
    "network.weight": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "steps": np.array(7),
    "mask": np.array([True, False, True]),
    "half": np.array([0.5, -2.0], np.float16),
    "empty": np.empty((0, 3)),
}


def test_what_is_written_is_read_and_may_be_changed(tmp_path):
    write_tensors(tmp_path / "x.safetensors", ARRAYS, {"name": "été"})
    arrays, metadata = read_tensors(tmp_path / "x.safetensors")
    assert metadata == {"name": "été"} and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
    arrays["mask"][0] = False
    again = tmp_path / "again.safetensors"
    write_tensors(again, dict(reversed(ARRAYS.items())), {"name": "été"})
    assert again.read_bytes() == (tmp_path / "x.safetensors").read_bytes()


def test_files_are_exchanged_with_the_library_in_both_directions(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    write_tensors(tmp_path / "ours", ARRAYS, {"a": "b"})
    theirs = library.load_file(tmp_path / "ours")
    library.save_file({name: np.ascontiguousarray(array) for name, array in ARRAYS.items()}, tmp_path / "theirs")
    ours = read_tensors(tmp_path / "theirs").arrays
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(ours[name], array)


def test_brain_floats_become_ordinary_ones(tmp_path):
    values = torch.tensor([[1.0, -2.5e30], [3.140625, float("inf")]]).bfloat16()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + values.view(torch.int16).numpy().tobytes())
    found = read_tensors(tmp_path / "x").arrays["x"]
    assert found.dtype == np.float32 and found.tolist() == values.float().tolist()


def test_a_hand_made_file(tmp_path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -3))
    assert read_tensors(tmp_path / "x").arrays["x"].tolist() == [1.5, -3.0]


def test_damaged_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(DataError, match=r"x.safetensors: no such file"):
        read_tensors(path)
    write_tensors(path, ARRAYS, {})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:count] for count in (0, 5, 8, 40, len(whole) - 1)]
    damaged += [struct.pack("<Q", 1 << 60) + whole[8:], whole[:8] + b"[" + whole[9:]]
    damaged += [whole.replace(b'"F16"', b'"X16"'), whole.replace(b"[3]", b"[9]")]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x.safetensors: not a complete safetensors file"):
            read_tensors(path)
    for _ in range(300):
        content = bytearray(whole)
        content[rng.integers(300)] = rng.integers(256)
        path.write_bytes(bytes(content))
        try:
            read_tensors(path)
        except DataError:
            continue
