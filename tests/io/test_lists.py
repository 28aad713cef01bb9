"""Lists, trials and scores: they are read as written, and bad lines are reported."""

import codecs
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run

from avsv.errors import DataError
from avsv.io.atomic import atomic_path, write_text
from avsv.io.lists import read_list, read_scores, read_trials, write_list, write_scores


@pytest.fixture
def table(tmp_path):
    def make(text: str | bytes) -> Path:
        path = tmp_path / "list"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return make


def test_a_list_keeps_blanks_in_values_and_the_order_of_the_file(table):
    path = table("b  sox a.sph -t wav - |\na some folder/a.wav \n")
    assert list(read_list(path).items()) == [("b", "sox a.sph -t wav - |"), ("a", "some folder/a.wav")]


def test_write_list_sorts_like_sort_in_the_c_locale(tmp_path):
    keys = ["id2", "id10", "Id1", "id1-a", "id1_a", "id1", "été", "zz", "\U0001f600", "ｚ"]
    write_list(tmp_path / "list", dict.fromkeys(keys, 1))
    ours = (tmp_path / "list").read_bytes()
    assert ours == subprocess.run(["sort"], input=ours, stdout=subprocess.PIPE, env={"LC_ALL": "C"}, check=True).stdout


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", None, ": the list is empty"),
        ("\n \n", None, ": the list is empty"),
        ("a 1\nb 2\na 3\n", None, ":3: 'a' occurs twice"),
        ("a 1\nb\n", None, ":2: 1 field, expected a key and a value"),
        ("a 1\n\nb 2\n", None, ":2: 0 fields, expected a key and a value"),
        ("a 1\nb 2 3\n", 2, ":2: 3 fields, expected 2"),
        ("a 1 2\nb 2\n", 3, ":2: 2 fields, expected 3"),
        (b"a \xff\xfe\n", None, ":1: not a text file (UTF-8): save it as UTF-8"),
    ],
)
def test_bad_lists_are_named(table, text, fields, message):
    path = table(text)
    with pytest.raises(DataError) as caught:
        read_list(path, fields)
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
@pytest.mark.parametrize("read", [read_list, read_trials, read_scores])
def test_byte_order_marks_are_named(tmp_path, mark, read):
    text = {read_list: "a-1 x", read_trials: "a-1 a-2 target", read_scores: "a-1 a-2 0.5"}[read]
    (tmp_path / "list").write_bytes(mark + f"{text}\n".encode())
    with pytest.raises(DataError, match=rf"^{tmp_path}/list: .*starts with a .*byte-order mark"):
        read(tmp_path / "list")


def test_missing_lists_are_named(tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path}/none: no such file$"):
        read_list(tmp_path / "none")
    with pytest.raises(DataError, match=f"^{tmp_path}: is a folder, not a file$"):
        read_list(tmp_path)


def test_trials_as_written(table):
    trials = read_trials(table("a b target\nc d nontarget\na d nontarget"))
    assert trials.enroll.tolist() == ["a", "c", "a"]
    assert trials.test.tolist() == ["b", "d", "d"]
    assert trials.is_target.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b target\na b\n", ":2: 2 fields, expected 3: ENROLL TEST target|nontarget"),
        ("a b target\na b\nc d e target\n", ":2: 2 fields, expected 3: ENROLL TEST target|nontarget"),
        (
            "a b target\n1 a b\n",
            ":2: label 'b', expected target or nontarget: utils/fix_data_dir.sh converts labels 1 and 0",
        ),
        ("", ": the list is empty"),
    ],
)
def test_bad_trials_are_named(table, text, message):
    path = table(text)
    with pytest.raises(DataError) as caught:
        read_trials(path)
    assert str(caught.value) == f"{path}{message}"


def test_scores_round_trip_every_float32(tmp_path):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32)
    scores = bits[np.isfinite(bits)]
    enroll = np.array([f"e{n}" for n in range(len(scores))])
    write_scores(tmp_path / "scores", enroll, enroll[::-1], scores)
    back = read_scores(tmp_path / "scores")
    assert np.array_equal(back.score.view(np.uint32), scores.view(np.uint32))
    assert back.score.dtype == np.float32
    assert np.array_equal(back.enroll, enroll) and np.array_equal(back.test, enroll[::-1])


@pytest.mark.parametrize("word", ["abc", "nan", "inf", "1e99"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_scores_are_named(table, word):
    path = table(f"a b 1\na c {word}\n")
    with pytest.raises(DataError) as caught:
        read_scores(path)
    assert str(caught.value) == f"{path}:2: score '{word}' is not a finite number"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    write_text(tmp_path / "list", "old\n")
    with pytest.raises(FileNotFoundError) as failed:
        write_text(tmp_path / "nothing/list", "a")
    assert (failed.value.filename, failed.value.filename2) == (str(tmp_path / "nothing/list"), None)
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "list") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
    assert (tmp_path / "list").read_text() == "old\n"


def test_lists_and_arks_do_not_import_torch():
    code = "import sys, avsv.io.ark, avsv.io.lists, avsv.audio.wav, avsv.audio.config; sys.exit('torch' in sys.modules)"
    assert run(sys.executable, "-c", code).returncode == 0
