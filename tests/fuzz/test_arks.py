"""Arks and model files, whole and damaged: read as kaldiio reads them, or refused in one line, in little memory."""

import os
import random
import struct
import zipfile

import kaldiio
import numpy as np
import pytest
import torch
from memory import limited_memory
from paths import ROOT
from synthetic import FACES, FBANK, config

from avsv.analysis.rows import Cost
from avsv.errors import DataError
from avsv.io.ark import matrix_shape, read_rows, read_vectors
from avsv.io.lists import read_list, read_scores, read_trials
from avsv.io.torch_file import load_file
from avsv.model.saved import TrainedEmbedder, TrainedSystem
from avsv.model.trainable import TrainableSystem
from avsv.results.frames import read_frame, to_csv
from avsv.results.published import read_published

METHODS = {"plain": None, **{f"method{number}": number for number in range(1, 8)}}


def matrix(rng, method):
    """A matrix whose values a compression method can store."""
    values = rng.normal(size=(int(rng.integers(1, 60)), int(rng.integers(1, 20)))) * 10.0 ** rng.integers(-3, 3)
    if method == 4:
        values = np.rint(values * 100).clip(-32768, 32767)
    elif method == 6:
        values = rng.integers(0, 256, values.shape)
    elif method == 7:
        values = rng.random(values.shape)
    return values.astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_valid_matrices(tmp_path, method, dtype):
    """Every whole matrix, and windows of it, are what kaldiio reads."""
    rng = np.random.default_rng(len(method))
    number = METHODS[method]
    matrices = {f"id{n}": matrix(rng, number).astype(dtype) for n in range(12)}
    options = {} if number is None else {"compression_method": number}
    kaldiio.save_ark(str(tmp_path / "m.ark"), matrices, scp=str(tmp_path / "m.scp"), **options)
    expected = kaldiio.load_scp(str(tmp_path / "m.scp"))
    for key, location in read_list(tmp_path / "m.scp").items():
        whole = np.asarray(expected[key], np.float64)
        found = read_rows(location)
        if number in (4, 6):
            # Whole numbers are stored as they are, and kaldiio rounds them once more.
            np.testing.assert_array_equal(found, matrices[key])
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=0.004 if number == 4 else 1e-6 * np.abs(whole).max())
        assert matrix_shape(location) == whole.shape
        start, stop = sorted(rng.integers(0, len(whole) + 1, 2).tolist())
        np.testing.assert_array_equal(read_rows(location, start, stop), found[start:stop])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_valid_vectors(tmp_path, dtype):
    rng = np.random.default_rng(3)
    vectors = {f"id{n}": rng.normal(size=7).astype(dtype) for n in range(20)}
    kaldiio.save_ark(str(tmp_path / "v.ark"), vectors, scp=str(tmp_path / "v.scp"))
    keys, found = read_vectors(tmp_path / "v.scp")
    assert keys == list(vectors)
    np.testing.assert_array_equal(found, np.array(list(vectors.values()), np.float32))


def refusal(read) -> str | None:
    """The one line of a refusal; None for success."""
    try:
        read()
    except DataError as error:
        assert len(str(error).splitlines()) == 1
        return str(error)
    return None


def _record(rng: random.Random, tmp_path) -> bytes:
    """A record of some kind, at offset 3 of an ark."""
    values = np.random.default_rng(rng.randrange(1000))
    path = tmp_path / "one.ark"
    number = rng.choice(list(METHODS.values()))
    content = matrix(values, number) if rng.random() < 0.8 else values.normal(size=9).astype("float32")
    options = {} if number is None or content.ndim == 1 else {"compression_method": number}
    kaldiio.save_ark(str(path), {"k1": content}, **options)
    return path.read_bytes()


HEADER_WORDS = [0, 1, -1, 2**31 - 1, -(2**31), 2**30, 65536, 255]


def _damage(data: bytearray, rng: random.Random) -> bytearray:
    kind = rng.randrange(7)
    if kind == 0:
        del data[rng.randrange(len(data)) :]
    elif kind == 1:
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(min(30, len(data)))] = rng.randrange(256)
    elif kind == 2:
        # A size of the header, wherever it is in this format.
        place = rng.choice([9, 14, 16, 17, 18, 20])
        data[place : place + 4] = struct.pack("<i", rng.choice(HEADER_WORDS))
    elif kind == 3:
        place = rng.choice([7, 8, 11, 12])
        data[place : place + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, -np.inf, 1e38, 0.0, -1.0]))
    elif kind == 4:
        data[3:9] = rng.choice(
            [b"\0BFM ", b"\0BDM ", b"\0BCM ", b"\0BCM2 ", b"\0BFV ", b"\0BXX ", b" [ 1 2", b"\x1f\x8b\x08"]
        )
    elif kind == 5:
        data[:] = rng.randbytes(rng.randint(0, 60))
    else:
        data[rng.randrange(len(data)) : 0] = rng.randbytes(rng.randint(1, 30))
    return data


def test_damaged_arks(tmp_path, inputs):
    refused = 0
    for rng in inputs.draw(1500):
        path = tmp_path / "x.ark"
        data = bytes(_damage(bytearray(_record(rng, tmp_path)), rng))
        path.write_bytes(data)
        offset = rng.choice([3, 3, 3, 3, 0, 4, len(data), 2**31, 2**62])
        location = f"{path}:{offset}"
        start = rng.choice([0, 0, 1])

        def read(location=location, start=start, data=data):
            found = read_rows(location, start)
            # A byte becomes at most four; nothing is made of bytes that are not there.
            assert found.nbytes <= 4 * len(data)
            assert matrix_shape(location)[1] == found.shape[1]

        message = refusal(read)
        assert message is None or str(path) in message
        refused += message is not None
        (tmp_path / "x.scp").write_text(f"k1 {location}\n")
        message = refusal(lambda: read_vectors(tmp_path / "x.scp"))
        assert message is None or str(path) in message
    assert 700 < refused / inputs.scale < 1500


@pytest.mark.parametrize(
    "location",
    ["x.ark:3[0:9]", "x.ark:3[:,0:4]", "x.ark:-3", "x.ark:" + "9" * 5000, "x.ark:99999999999999999999", "", ":", ":3",
     "|", "cat x.ark |", "x\0.ark:3", "x" * 5000, "/dev/zero:0", "/dev", "x.ark:3:3", "x.ark:\u0663"],
)  # fmt: skip
def test_odd_locations(tmp_path, monkeypatch, location):
    monkeypatch.chdir(tmp_path)
    kaldiio.save_ark("x.ark", {"k1": np.ones((4, 4), np.float32)})
    assert refusal(lambda: read_rows(location))


def _state(modalities):
    torch.manual_seed(0)
    settings = config(modalities)
    audio, video = (FBANK if "A" in modalities else None), (FACES if "V" in modalities else None)
    system = TrainableSystem(settings, 3)
    return TrainedSystem.of(system, settings, ["a", "b", "c"], audio, video)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saved systems: their content as torch.load gives it."""
    folder = tmp_path_factory.mktemp("models")
    contents = []
    for modalities in ("A", "V", "AV"):
        _state(modalities).save(folder / f"{modalities}.pt")
        contents.append(load_file(folder / f"{modalities}.pt"))
    return contents


ODD = [
    None, 0, -1, 1, 2**40, 1.5, float("nan"), float("inf"), "", "x", "../x", "resnet", [], [1], {}, {"a": 1}, True,
    torch.zeros(2), torch.zeros(0), torch.zeros(2, dtype=torch.complex64), torch.eye(3).to_sparse(), b"x",
    torch.zeros(1).expand(2**40), torch.zeros(3, dtype=torch.int64), (1, 2), "os:system", "builtins:exec",
]  # fmt: skip


def _other_shape(content: dict, rng: random.Random) -> None:
    """Replace, remove or add something at a random depth."""
    place = content
    if rng.random() < 0.4 and isinstance(place.get("config"), dict):
        place["config"] = place = dict(place["config"])
    while True:
        key = rng.choice(list(place))
        if isinstance(place[key], dict) and place[key] and rng.random() < 0.85:
            place[key] = dict(place[key])
            place = place[key]
            continue
        break
    kind = rng.random()
    if kind < 0.7:
        place[key] = rng.choice(ODD)
    elif kind < 0.85:
        del place[key]
    else:
        place[rng.choice(["x", "name", 1])] = rng.choice(ODD)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_models_of_another_shape(tmp_path, inputs, models):
    refused, path = 0, tmp_path / "final.pt"
    for rng in inputs.draw(600):
        content = dict(rng.choice(models))
        for _ in range(rng.randint(1, 2)):
            _other_shape(content, rng)
        torch.save(content, path)

        def read():
            TrainedEmbedder.load(tmp_path)
            TrainedSystem.load(path).class_weights()

        message = refusal(read)
        refused += message is not None
    assert refused > 300


def test_models_of_another_size_take_no_memory(tmp_path, models):
    """A network of settings that do not fit its weights is not allocated."""
    for section, option, value in (
        ("audio", "channels", 2**24),
        ("visual", "frame_dim", 2**28),
        ("fusion", "dim", 2**28),
    ):
        content = dict(models[2])
        content["config"] = {**content["config"], section: {**content["config"][section], option: value}}
        torch.save(content, tmp_path / "final.pt")
        with limited_memory(1 << 30):
            message = refusal(lambda: TrainedEmbedder.load(tmp_path))
        assert message.startswith(f"{tmp_path}/final.pt: ")


class _Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["top", "config", "embedder", "classes"])
@pytest.mark.parametrize("call", ["system", "exec", "open", "getattr"])
def test_hostile_models_run_nothing(tmp_path, models, place, call):
    mark = tmp_path / "ran"
    hostile = {
        "system": _Hostile(os.system, f"touch '{mark}'"), "exec": _Hostile(exec, f"open({str(mark)!r}, 'w')"),
        "open": _Hostile(open, str(mark), "w"), "getattr": _Hostile(getattr, str, "join"),
    }[call]  # fmt: skip
    content = hostile if place == "top" else {**models[0], place: {"x": hostile} if place != "classes" else [hostile]}
    torch.save(content, tmp_path / "final.pt")
    message = refusal(lambda: TrainedEmbedder.load(tmp_path))
    assert f"{tmp_path}/final.pt: not readable" in message
    assert not mark.exists()


def test_damaged_models(tmp_path, inputs, models):
    """Damage anywhere is found by the checksums; nothing compressed is unpacked."""
    torch.save(models[2], tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "final.pt"
    for number, rng in enumerate(inputs.draw(300)):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[rng.randrange(len(data)) :]
        elif number % 3 == 1:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            place = rng.randrange(len(data))
            data[place : place + rng.randint(1, 200)] = rng.randbytes(rng.randint(0, 200))
        path.write_bytes(data)
        message = refusal(lambda: TrainedEmbedder.load(tmp_path))
        # A changed bit may be one that nothing reads, as in a time stamp.
        assert message is not None or number % 3 == 1
        assert message is None or str(path) in message
    with zipfile.ZipFile(tmp_path / "whole.pt") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert "is damaged" in refusal(lambda: TrainedEmbedder.load(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x80\x04.", b"PK\x03\x04" + bytes(50), b"version https://git-lfs", b"\0" * 999]
)
def test_files_that_are_no_models(tmp_path, content):
    (tmp_path / "final.pt").write_bytes(content)
    assert str(tmp_path / "final.pt") in refusal(lambda: TrainedEmbedder.load(tmp_path))


@pytest.mark.parametrize("reader", [read_scores, read_trials])
def test_damaged_tables(tmp_path, inputs, reader):
    """Score files and trial lists."""
    value = "0.25" if reader is read_scores else "target"
    odd = ["", "nan", "inf", "1e400", "x", "0x1p3", "1_0", "9" * 5000, "\0", "\u2028", "a b", "\ufeff", "target", "1"]
    refused, path = 0, tmp_path / "table"
    for rng in inputs.draw(400):
        rows = [[f"a-{n}", f"b-{n}", value] for n in range(6)]
        kind, row = rng.randrange(6), rng.choice(rows)
        if kind == 0:
            row[rng.randrange(3)] = rng.choice(odd)
        elif kind == 1:
            row.append(rng.choice(odd))
        elif kind == 2:
            del row[rng.randrange(3)]
        data = bytearray("".join(" ".join(row) + "\n" for row in rows).encode())
        if kind == 3:
            del data[rng.randrange(len(data)) :]
        elif kind == 4:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif kind == 5:
            data = bytearray(rng.choice([b"", b"\n\n", bytes(data).decode().encode("utf-16"), rng.randbytes(99)]))
        path.write_bytes(data)
        message = refusal(lambda: reader(path))
        assert message is None or message.startswith(str(path))
        refused += message is not None
    assert refused > 150


def read_costs(path):
    return read_frame(path, Cost)


@pytest.mark.parametrize("reader", [read_published, read_costs])
def test_damaged_csv_files(tmp_path, inputs, reader):
    """The files of conf/*.csv, and tables that a run has written."""
    text = (ROOT / "conf/published.csv").read_text()
    if reader is read_costs:
        text = to_csv([Cost("audio", 1000 + n, 2**40, 0.25) for n in range(5)], Cost)
    odd = ["", "nan", "inf", "1e400", "x", "9" * 5000, "9" * 30, '"', '"a\nb"', "'", "\0", "\r", "\u2028", "a,b", "-1"]
    refused, path = 0, tmp_path / "table.csv"
    for rng in inputs.draw(300):
        rows = [line.split(",") for line in text.splitlines()]
        row = rng.choice(rows)
        kind = rng.randrange(6)
        if kind < 3:
            row[rng.randrange(len(row))] = rng.choice(odd)
        elif kind == 3:
            del row[rng.randrange(len(row))]
        data = bytearray("\n".join(",".join(row) for row in rows).encode())
        if kind == 4:
            del data[rng.randrange(len(data)) :]
        elif kind == 5:
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        message = refusal(lambda: reader(path))
        assert message is None or message.startswith(str(path))
        refused += message is not None
    assert refused > 60
