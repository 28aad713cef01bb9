"""Arks: exchange with kaldiio in both directions; windows read only their own bytes; damage is reported."""

import gzip
import os
import resource
import shutil
import sys
import threading
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from commands import run

from avsv.errors import DataError
from avsv.io import files
from avsv.io.ark import ArkWriter, matrix_shape, read_rows, read_vectors, write_vectors
from avsv.io.lists import read_list


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write(prefix, kind, matrices):
    with ArkWriter(prefix, kind) as writer:
        for key, matrix in matrices.items():
            writer.write(key, matrix)
    return read_list(f"{prefix}.scp")


def test_kaldiio_reads_what_we_write(tmp_path, rng):
    features = {f"u{n}": rng.normal(5, 3, (30 + n, 80)).astype(np.float32) for n in range(3)}
    faces = {f"u{n}": rng.integers(0, 256, (5 + n, 64), dtype=np.uint8) for n in range(3)}
    # With extremes, so that the whole range is used.
    faces["u0"][0, :2] = 0, 255
    folder = tmp_path / "some arks"
    folder.mkdir()
    for kind, matrices in (("float", features), ("fbank", features), ("pixels", faces)):
        locations = write(folder / kind, kind, matrices)
        back = kaldiio.load_scp(str(folder / f"{kind}.scp"))
        assert list(back) == list(matrices)
        for key, matrix in matrices.items():
            tolerance = np.ptp(matrix) / 65535 * 0.5 + 2e-6 if kind == "fbank" else 0
            assert np.abs(back[key] - matrix.astype(np.float32)).max() <= tolerance
            ours = read_rows(locations[key])
            assert ours.dtype == (np.uint8 if kind == "pixels" else np.float32)
            assert np.abs(ours.astype(np.float64) - back[key]).max() <= (2e-6 if kind == "fbank" else 0)
            assert matrix_shape(locations[key]) == matrix.shape
        assert [key for key, _ in kaldiio.load_ark(str(folder / f"{kind}.ark"))] == list(matrices)


@pytest.mark.parametrize("method", [None, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_we_read_what_kaldiio_writes(tmp_path, rng, method, dtype):
    low, high = {6: (0, 255), 7: (0, 1), 4: (-3e4, 3e4)}.get(method, (-7, 9))
    matrix = rng.uniform(low, high, (40, 13)).astype(dtype)
    ark, scp = str(tmp_path / "a.ark"), str(tmp_path / "a.scp")
    kaldiio.save_ark(ark, {"first": matrix[:9], "second": matrix}, scp=scp, compression_method=method)
    locations, reference = read_list(scp), kaldiio.load_scp(scp)
    whole = read_rows(locations["second"])
    assert np.allclose(whole, reference["second"], rtol=1e-6, atol=1e-6 * max(abs(low), abs(high)))
    assert np.array_equal(read_rows(locations["second"], 10, 25), whole[10:25])
    assert whole.dtype == (np.uint8 if method == 6 else np.float32)
    assert matrix_shape(locations["first"]) == (9, 13)


def test_every_window_is_that_part_of_the_whole(tmp_path, rng):
    faces = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    location = write(tmp_path / "faces", "pixels", {"u": faces})["u"]
    for start in range(7):
        for stop in range(start, 7):
            assert np.array_equal(read_rows(location, start, stop), faces[start:stop])


def test_constant_and_extreme_matrices(tmp_path):
    matrices = {"silent": np.full((3, 2), -15.94, np.float32), "wide": np.array([[-1e30, 1e30]], np.float32)}
    locations = write(tmp_path / "a", "fbank", matrices)
    assert np.allclose(read_rows(locations["silent"]), -15.94, atol=1e-4)
    assert np.allclose(read_rows(locations["wide"]), [[-1e30, 1e30]], rtol=1e-5)


def test_windows_read_their_own_bytes_only(tmp_path, rng):
    fbank = write(tmp_path / "fbank", "fbank", {"u": rng.normal(size=(2000, 80))})["u"]
    faces = write(tmp_path / "faces", "pixels", {"u": rng.integers(0, 256, (80, 128 * 128), dtype=np.uint8)})["u"]

    def bytes_read():
        return int(Path("/proc/self/io").read_text().split()[1])

    for location, rows, size in ((fbank, 200, 200 * 160), (faces, 50, 50 * 128 * 128)):
        own = -bytes_read() + bytes_read()
        before = bytes_read()
        for start in range(20):
            read_rows(location, start, start + rows)
        assert bytes_read() - before - own <= 1.2 * 20 * size


def test_a_replaced_ark_is_read_again(tmp_path):
    for value in (1, 2):
        location = write(tmp_path / "a", "pixels", {"u": np.full((2, 2), value, np.uint8)})["u"]
        assert read_rows(location).max() == value


def test_many_files_threads_and_forks(tmp_path, rng):
    count = files.MAX_OPEN + 10
    faces = rng.integers(0, 256, (count, 8, 4), dtype=np.uint8)
    locations = [write(tmp_path / f"a{n}", "pixels", {"u": faces[n]})["u"] for n in range(count)]
    wrong = []

    def check(seed):
        for n in np.random.default_rng(seed).integers(0, count, 500):
            if not np.array_equal(read_rows(locations[n]), faces[n]):
                wrong.append(n)

    check(0)
    assert len(os.listdir("/proc/self/fd")) < files.MAX_OPEN + 50  # noqa: PTH208
    threads = [threading.Thread(target=check, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    child = os.fork()
    if child == 0:
        check(9)
        os._exit(len(wrong))
    check(10)
    assert os.waitpid(child, 0)[1] == 0 and not wrong


def test_an_ark_cut_short_is_named_wherever_it_is_cut(tmp_path, rng):
    matrix = rng.normal(size=(10, 4)).astype(np.float32)
    for kind, values in (("float", matrix), ("fbank", matrix), ("pixels", matrix.astype(np.uint8))):
        location = write(tmp_path / kind, kind, {"u": values})["u"]
        path = tmp_path / f"{kind}.ark"
        whole = path.read_bytes()
        for size in range(2, len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(
                DataError, match=f"^{path}:2: the ark is truncated: .* has {size} bytes: write it again"
            ):
                read_rows(location)
        # Rows before the cut can be read.
        path.write_bytes(whole)
        rows = read_rows(location, 0, 9)
        path.write_bytes(whole[:-1])
        assert np.array_equal(read_rows(location, 0, 9), rows)
    kaldiio.save_ark(str(tmp_path / "cm.ark"), {"u": matrix}, compression_method=2)
    whole = (tmp_path / "cm.ark").read_bytes()
    (tmp_path / "cm.ark").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"cm.ark:2: the ark is truncated: the record ends at byte {len(whole)},"):
        read_rows(f"{tmp_path}/cm.ark:2")


@pytest.mark.parametrize(
    ("location", "rows", "message"),
    [
        ("none.ark:2", (0, 1), "none.ark: no such file"),
        ("a.ark:3", (0, 1), "a.ark:3: no Kaldi matrix at this offset: the list and the ark do not belong together"),
        (
            "a.ark:9999",
            (0, 1),
            "a.ark:9999: the ark is truncated: the record ends at byte 10023, the file has 36 bytes",
        ),
        ("a.ark:2", (0, 5), "a.ark:2: rows 0 to 5 are not in a matrix of 4 rows"),
        ("a.ark:2", (3, 2), "a.ark:2: rows 3 to 2 are not in a matrix of 4 rows"),
        ("a.ark:2", (-1, 2), "a.ark:2: rows -1 to 2 are not in a matrix of 4 rows"),
        ("v.ark:2", (0, 1), "v.ark:2: a Kaldi object of type 'FV', expected a matrix"),
        (".", (0, 1), ".: not a file"),
    ],
)
def test_bad_locations_are_named(tmp_path, monkeypatch, location, rows, message):
    monkeypatch.chdir(tmp_path)
    write("a", "pixels", {"u": np.zeros((4, 3), np.uint8)})
    write_vectors("v", ["u"], np.zeros((1, 8)))
    with pytest.raises(DataError) as caught:
        read_rows(location, *rows)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("kind", "key", "matrix", "message"),
    [
        ("float", "u", np.array([[np.nan]]), "'u' has values that are not finite numbers"),
        ("fbank", "u", np.array([[np.inf]]), "'u' has values that are not finite numbers"),
        ("fbank", "u", np.zeros((0, 80)), r"'u': a matrix of shape \(0, 80\): expected rows and columns"),
        ("float", "u", np.zeros(3), r"'u': a matrix of shape \(3,\): expected rows and columns"),
        ("pixels", "u", np.zeros((1, 1)), "'u': float64 values: pixels are unsigned bytes"),
        ("float", "a", np.zeros((1, 1)), "'a' is written twice"),
        ("float", "a b", np.zeros((1, 1)), "'a b' is not a key: a key must not contain blanks"),
    ],
)
def test_bad_matrices_are_refused_and_nothing_is_left(tmp_path, kind, key, matrix, message):
    with pytest.raises(DataError, match=message), ArkWriter(tmp_path / "x", kind) as writer:
        writer.write("a", np.zeros((1, 1), np.uint8 if kind == "pixels" else np.float32))
        writer.write(key, matrix)
    assert list(tmp_path.iterdir()) == []


def test_nothing_appears_before_close(tmp_path):
    writer = ArkWriter(tmp_path / "x", "float")
    writer.write("a", np.zeros((1, 1)))
    assert [path.name for path in tmp_path.iterdir()] == [f".x.ark.tmp.{os.getpid()}"]
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.ark", "x.scp"]


def test_vectors_round_trip_and_agree_with_kaldiio(tmp_path, rng):
    keys = [f"id{n}-{'x' * (n % 7)}" for n in range(100)]
    matrix = rng.normal(size=(100, 17)).astype(np.float32)
    write_vectors(tmp_path / "v", keys, matrix)
    back_keys, back = read_vectors(tmp_path / "v.scp")
    assert back_keys == keys and np.array_equal(back, matrix) and back.dtype == np.float32
    theirs = kaldiio.load_scp(str(tmp_path / "v.scp"))
    assert all(np.array_equal(theirs[key], row) for key, row in zip(keys, matrix, strict=True))
    # Several arks, in another order, single and double precision.
    other = {f"z{n}": rng.normal(size=17) for n in range(5)}
    kaldiio.save_ark(str(tmp_path / "w.ark"), other, scp=str(tmp_path / "w.scp"))
    lines = [*(tmp_path / "w.scp").read_text().splitlines(), *(tmp_path / "v.scp").read_text().splitlines()]
    order = rng.permutation(len(lines))
    (tmp_path / "all.scp").write_text("\n".join(lines[n] for n in order))
    mixed_keys, mixed = read_vectors(tmp_path / "all.scp")
    everything = np.concatenate([np.stack(list(other.values())).astype(np.float32), matrix])
    assert mixed_keys == [[*other, *keys][n] for n in order]
    assert np.array_equal(mixed, everything[order])


def test_bad_vectors_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_vectors("v", ["a", "b"], np.zeros((2, 8)))
    write_vectors("w", ["c"], np.zeros((1, 9)))
    write("m", "float", {"d": np.zeros((2, 2))})

    def message(*lines):
        Path("x.scp").write_text("\n".join(lines))
        with pytest.raises(DataError) as caught:
            read_vectors("x.scp")
        return str(caught.value)

    assert message("a v.ark:2", "c w.ark:2") == "w.ark:2: 'c' has 9 values, earlier vectors 8"
    assert message("a v.ark:3") == "v.ark:3: 'a': no Kaldi vector at this offset"
    assert message("d m.ark:2") == "m.ark:2: 'd': no Kaldi vector at this offset"
    assert message("a none.ark:2") == "none.ark: no such file"
    assert message("a v.ark:2", "a v.ark:2") == "x.scp:2: 'a' occurs twice"
    Path("v.ark").write_bytes(Path("v.ark").read_bytes()[:-1])
    assert message("a v.ark:2", "b v.ark:46").startswith("v.ark:46: the ark is truncated: the record ends at byte 88,")
    Path("v.ark").write_bytes(b"")
    assert message("a v.ark:2").startswith("v.ark:2: the ark is truncated")
    with pytest.raises(DataError, match=r"w\.ark: 'b' has values that are not finite numbers"):
        write_vectors("w", ["a", "b"], np.array([[0.0], [np.nan]]))


@pytest.mark.parametrize("form", ["float32", "float64", "compressed", "text"])
@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_ranges_and_text_arks_are_read_as_kaldiio_reads_them(tmp_path, rng, kind, form):
    """Rows and columns of a range are those from its first number to its last; a window is counted in the range."""
    if form == "compressed" and kind == "vector":
        pytest.skip("Kaldi compresses matrices only")
    options = {"compressed": {"compression_method": 2}, "text": {"text": True}}.get(form, {})
    dtype = np.float64 if form == "float64" else np.float32
    shape = (9, 7) if kind == "matrix" else (9,)
    objects = {f"u{n}": rng.normal(size=shape).astype(dtype) for n in range(3)}
    kaldiio.save_ark(str(tmp_path / "x.ark"), objects, scp=str(tmp_path / "x.scp"), **options)
    for _ in range(40):
        spans = []
        for size in shape:
            first, last = sorted(rng.integers(0, size, 2).tolist())
            spans.append(rng.choice([f"{first}:{last}", ":"]))
        given = ["", *(f"[{','.join(spans[:count])}]" for count in range(1, len(shape) + 1))]
        key, part = rng.choice(list(objects)), rng.choice(given)
        location = f"{read_list(tmp_path / 'x.scp')[key]}{part}"
        expected = np.asarray(kaldiio.load_mat(location))
        if kind == "matrix":
            found = read_rows(location)
            assert matrix_shape(location) == expected.shape
            first, last = sorted(rng.integers(0, len(expected) + 1, 2).tolist())
            assert np.array_equal(read_rows(location, first, last), found[first:last])
        else:
            (tmp_path / "one.scp").write_text(f"a {location}\nb {location}\n")
            found, other = read_vectors(tmp_path / "one.scp")[1]
            assert np.array_equal(found, other)
        assert found.dtype == np.float32
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_range_may_exceed_its_matrix_by_three_rows(tmp_path, rng):
    """As in Kaldi: the segments of a recording are rounded to frames."""
    matrix = rng.normal(size=(9, 7)).astype(np.float32)
    location = write(tmp_path / "a", "float", {"u": matrix})["u"]
    assert np.array_equal(read_rows(f"{location}[4:11]"), matrix[4:])
    for part in ("[4:12]", "[9:10]", "[5:4]", "[:,0:7]", "[1:2,3:9]"):
        with pytest.raises(DataError, match=r"the range is not in an object of 9 rows and 7 columns"):
            read_rows(location + part)
    for part in ("[1]", "[]", "[1:2:3]", "[1:]", "[,]", "[:2]", "[0:1,]", "[" + "9" * 40 + ":1]"):
        with pytest.raises(DataError, match=r"no range of Kaldi: write it as \[0:99\]"):
            read_rows(location + part)


@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_other_forms_of_kaldi_are_named(tmp_path, monkeypatch, rng, kind):
    """Commands and gzip-compressed arks are valid in Kaldi, so they are not reported as damaged."""
    monkeypatch.chdir(tmp_path)
    shape = (5, 4) if kind == "matrix" else (4,)
    kaldiio.save_ark("x.ark", {"u": rng.normal(size=shape).astype(np.float32)})
    Path("x.ark.gz").write_bytes(gzip.compress(Path("x.ark").read_bytes()))

    def refusal(where):
        Path("x.scp").write_text(f"u {where}\n")
        with pytest.raises(DataError) as caught:
            read_rows(where) if kind == "matrix" else read_vectors("x.scp")
        return str(caught.value)

    for location in ("x.ark.gz", "x.ark.gz:2", "x.ark.gz:7[0:1]"):
        assert "an ark compressed by gzip" in refusal(location)
    for command in ("copy-feats ark:a ark:- |", "gunzip -c x.ark.gz |"):
        assert refusal(command).startswith(f"{command}: the output of a command is not supported here: write binary")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" [ 1 2", "no ']' follows"), (" [\n 1 2\n 3 ]\n", "not of equal length"), (" [ ]", "are none"),
        (" [\n ]\n", "are none"), (" [\n 1 x ]", "not a number"), (" [ 1 2 ]", "a vector in a text ark"),
    ],
)  # fmt: skip
def test_damaged_text_arks(tmp_path, text, said):
    (tmp_path / "x.ark").write_text(f"u {text}")
    with pytest.raises(DataError, match=said) as caught:
        read_rows(f"{tmp_path}/x.ark:2")
    assert str(caught.value).startswith(f"{tmp_path}/x.ark:2: ")


def test_a_file_named_like_a_range_is_read(tmp_path):
    write(tmp_path / "a", "float", {"u": np.ones((3, 2), np.float32)})
    (tmp_path / "clip[0:9]").write_bytes((tmp_path / "a.ark").read_bytes()[2:])
    assert read_rows(f"{tmp_path}/clip[0:9]").shape == (3, 2)


FILL = """
import sys, numpy as np
from avsv.bin.command import run_command
from avsv.io.ark import ArkWriter
from avsv.io.lists import write_list
def main():
    if sys.argv[2] == "list":
        write_list(sys.argv[1] + "/big", {f"key{n}": "x" * 50 for n in range(20000)})
    with ArkWriter(sys.argv[1] + "/big", "float") as writer:
        for n in range(100):
            writer.write(f"u{n}", np.ones((100, 80)))
run_command(main)
"""


@pytest.mark.parametrize("what", ["ark", "list"])
def test_no_space_left_is_one_line_and_nothing_half_written(tmp_path, what):
    folder = tmp_path / "full"
    folder.mkdir()
    script = tmp_path / "fill.py"
    script.write_text(FILL)
    mount = shutil.which("unshare") and ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=512k t "$1" || exit 77']
    if not mount or run(*mount, "sh", folder).returncode != 0:
        pytest.skip("this machine lets no user mount a small file system")
    mount[-1] += '; shift; python "$@"; status=$?; ls -A "$2"; exit $status'
    done = run(*mount, "sh", folder, script, folder, what)
    assert done.returncode == 1
    name = folder / ("big.ark" if what == "ark" else "big")
    assert (
        done.stderr == f"fill: error: no space left on the device while writing {name}: free some space and run again\n"
    )
    assert done.stdout == ""


def test_a_limit_on_the_size_of_files_leaves_nothing_half_written(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = run(sys.executable, "-c", FILL, tmp_path, "ark", preexec_fn=limit)
    assert done.returncode == 1
    assert f"{tmp_path}/big.ark" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
