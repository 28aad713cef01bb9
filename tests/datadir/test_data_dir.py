"""The data-directory tools compared with sort, awk and plain dictionaries; Kaldi's semantics; bad lists."""

import codecs
import os
import re
import shutil
import struct
import subprocess
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from commands import run
from paths import ROOT

from avsv.audio.decode import read_audio
from avsv.audio.wav import wav_bytes
from avsv.datadir.media import probe
from avsv.datadir.split import part_sizes, whole_speaker_sizes
from avsv.errors import DataError

LISTS = ("utt2spk", "wav.scp", "video.scp", "utt2dur", "utt2session", "feats.scp", "spk2age", "trials/all")
SPEAKERS = {"id1": 5, "id10": 1, "id2": 4, "id3": 2}


def tool(name, *arguments, stdin=None, cwd=ROOT):
    return run(ROOT / "utils" / name, *arguments, cwd=cwd, input=stdin)


def good(name, *arguments, **options):
    done = tool(name, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done


def write_wav(path, seconds=0.5, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(b"\1\2" * round(seconds * rate))


def read(path):
    return dict(line.split(None, 1) for line in path.read_text().splitlines())


def lines(path):
    return path.read_text().splitlines()


def snapshot(folder):
    """Content and modification time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def is_sorted(path):
    """Whether the command sort considers it sorted."""
    return run("sort", "-c", "-u", "-k", "1,1", path, env={**os.environ, "LC_ALL": "C"}).returncode == 0


@pytest.fixture
def data(tmp_path):
    """A data directory, in a path with a blank: id1-b-01 has no audio, id2-a-01 no video."""
    folder = tmp_path / "da ta" / "train"
    folder.mkdir(parents=True)
    utt2spk = {f"{s}-{'abc'[n % 3]}-{n:02d}": s for s, count in SPEAKERS.items() for n in range(count)}
    utt2spk = dict(sorted(utt2spk.items()))
    media = tmp_path / "media files"
    for utterance in utt2spk:
        write_wav(media / f"{utterance}.wav")
    with_audio = [u for u in utt2spk if u != "id1-b-01"]
    with_video = [u for u in utt2spk if u != "id2-a-00"]
    rows = {
        "utt2spk": utt2spk,
        "wav.scp": {u: f"{media}/{u}.wav" for u in with_audio},
        "video.scp": {u: f"{media}/{u}.mp4" for u in with_video},
        "utt2dur": dict.fromkeys(utt2spk, "0.5"),
        "utt2session": {u: u.rpartition("-")[0] for u in utt2spk},
        "feats.scp": {u: f"ark file.ark:{n}" for n, u in enumerate(with_audio)},
        "utt2num_frames": dict.fromkeys(with_audio, "48"),
        "faces.scp": {u: f"faces.ark:{n}" for n, u in enumerate(with_video)},
        "utt2num_faces": dict.fromkeys(with_video, "12"),
        "spk2gender": {"id1": "m", "id10": "f", "id2": "f", "id3": "m"},
        "spk2age": {"id1": "31", "id3": "54.5"},
    }
    for name, mapping in rows.items():
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in mapping.items()))
    spk2utt = "".join(f"{s} {' '.join(u for u in utt2spk if utt2spk[u] == s)}\n" for s in sorted(SPEAKERS))
    (folder / "spk2utt").write_text(spk2utt)
    (folder / "faces.conf").write_text("channels: 1\n")
    (folder / "trials").mkdir()
    (folder / "trials" / "all").write_text("id1-a-00 id1-b-01 target\nid1-a-00 id3-a-00 nontarget\n")
    return folder


# --------------------------------------------------------------------------------------------------------- mapping


def test_spk2utt_and_back(data):
    back = good("spk2utt_to_utt2spk.sh", data / "spk2utt").stdout
    assert sorted(back.splitlines()) == lines(data / "utt2spk")
    there = good("utt2spk_to_spk2utt.sh", stdin=back).stdout
    assert there == (data / "spk2utt").read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("utt2spk_to_spk2utt.sh", "a b\na\n", "/dev/stdin:2: 1 fields, expected UTTERANCE SPEAKER"),
        ("spk2utt_to_utt2spk.sh", "a\n", "/dev/stdin:1: 1 fields, expected SPEAKER UTTERANCE ..."),
    ],
)
def test_mapping_of_bad_lists(name, text, message):
    done = tool(name, stdin=text)
    assert done.returncode == 1
    assert done.stderr.strip() == f"{name[:-3]}: error: {message}"


def test_filter_scp(data, tmp_path):
    (tmp_path / "ids").write_text("id1-a-00 x\nid3-b-01\nnot-there\n")
    kept = good("filter_scp.sh", tmp_path / "ids", data / "wav.scp").stdout.splitlines()
    others = good("filter_scp.sh", "--exclude", tmp_path / "ids", stdin=(data / "wav.scp").read_text()).stdout
    assert [line.split()[0] for line in kept] == ["id1-a-00", "id3-b-01"]
    assert sorted(kept + others.splitlines()) == lines(data / "wav.scp")
    (tmp_path / "ids").write_text("id3\n")
    by_speaker = good("filter_scp.sh", "-f", 2, tmp_path / "ids", data / "utt2spk").stdout.split()
    assert by_speaker == ["id3-a-00", "id3", "id3-b-01", "id3"]


# -------------------------------------------------------------------------------------------------------- splitting


def concatenated(folder, parts, name):
    return [line for part in range(1, parts + 1) for line in lines(folder / str(part) / name)]


@pytest.mark.parametrize(("options", "suffix", "parts"), [([], "", 3), (["--per-utt"], "utt", 5), ([], "", 4)])
def test_split(data, options, suffix, parts):
    good("split_data.sh", *options, data, parts)
    folder = data / f"split{parts}{suffix}"
    names = ["utt2spk", "wav.scp", "video.scp", "utt2dur", "utt2session", "feats.scp", "faces.scp", "utt2num_faces"]
    for name in names:
        assert concatenated(folder, parts, name) == lines(data / name), name
    for part in range(1, parts + 1):
        utt2spk = read(folder / str(part) / "utt2spk")
        assert utt2spk
        expected = subprocess.run(
            ["awk", "{u[$2] = u[$2] \" \" $1} END {for (s in u) print s u[s]}", folder / str(part) / "utt2spk"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert lines(folder / str(part) / "spk2utt") == sorted(expected.stdout.splitlines())
        assert set(read(folder / str(part) / "spk2gender")) == set(utt2spk.values())
        assert set(read(folder / str(part) / "spk2age")) == set(utt2spk.values()) & {"id1", "id3"}
    if not options:
        speakers = Counter(s for part in range(1, parts + 1) for s in set(read(folder / f"{part}/utt2spk").values()))
        assert set(speakers.values()) == {1}, "speakers are whole"


def test_parts_per_utterance_are_kaldis(data):
    """Consecutive, and the first ones are longer."""
    good("split_data.sh", "--per-utt", data, 5)
    assert [len(lines(data / f"split5utt/{part}/utt2spk")) for part in range(1, 6)] == [3, 3, 2, 2, 2]


def test_split_is_not_done_again(data):
    good("split_data.sh", data, 2)
    part = data / "split2/1/utt2spk"
    before = part.stat().st_mtime_ns
    good("split_data.sh", data, 2)
    assert part.stat().st_mtime_ns == before
    shutil.copy(data / "utt2dur", data / "utt2age")
    good("split_data.sh", data, 2)
    assert concatenated(data / "split2", 2, "utt2age") == lines(data / "utt2dur")
    (data / "split2/2/wav.scp").unlink()
    good("split_data.sh", data, 2)
    assert concatenated(data / "split2", 2, "wav.scp") == lines(data / "wav.scp"), "a part that is gone is made again"
    (data / "utt2age").unlink()
    good("split_data.sh", data, 2)
    assert not (data / "split2/1/utt2age").exists(), "a list that is gone is gone from the parts"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([5], "4 speakers cannot be split into 5 parts: use fewer jobs (--nj), or --per-utt"),
        (["--per-utt", 13], "12 utterances cannot be split into 13 parts: use fewer jobs (--nj)"),
    ],
)
def test_too_many_parts(data, options, message):
    done = tool("split_data.sh", *options[:-1], data, options[-1])
    assert done.returncode == 1
    assert done.stderr.strip() == f"split_data: error: {data}: {message}"


@pytest.mark.parametrize("seed", range(5))
def test_sizes_of_parts(seed):
    import random

    draw = random.Random(seed)
    counts = [draw.choice([1, 2, 3, 50]) for _ in range(draw.randint(1, 40))]
    for parts in range(1, len(counts) + 1):
        sizes = whole_speaker_sizes(counts, parts)
        assert len(sizes) == parts
        assert min(sizes) >= 1
        assert sum(sizes) == len(counts)
        assert sum(part_sizes(sum(counts), parts)) == sum(counts)


def test_split_of_unsorted_lists(data):
    rows = lines(data / "wav.scp")
    (data / "wav.scp").write_text("\n".join([rows[1], rows[0], *rows[2:]]) + "\n")
    done = tool("split_data.sh", data, 2)
    assert done.returncode == 1
    assert "wav.scp:2: not sorted: 'id1-a-00' follows 'id1-a-03': run utils/fix_data_dir.sh" in done.stderr
    assert not (data / "split2/.done").exists()


# -------------------------------------------------------------------------------------------------------- combining


def test_combine_what_was_split(data, tmp_path):
    good("split_data.sh", data, 3)
    good("combine_data.sh", tmp_path / "all", *(data / f"split3/{part}" for part in (3, 1, 2)))
    for path in (path for path in data.iterdir() if path.is_file() and path.name[0] not in ".f"):
        assert (tmp_path / "all" / path.name).read_text() == path.read_text(), path.name


def test_combine_sorts_like_sort(data, tmp_path):
    good("copy_data_dir.sh", "--spk-prefix=id1!", "--utt-prefix=id1!", data, tmp_path / "other")
    good("combine_data.sh", tmp_path / "both", tmp_path / "other", data)
    for name in ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "spk2age", "utt2uniq"):
        assert is_sorted(tmp_path / "both" / name), name
    assert len(lines(tmp_path / "both/utt2spk")) == 24
    assert read(tmp_path / "both/utt2uniq")["id1!id3-a-00"] == "id3-a-00"
    assert read(tmp_path / "both/utt2uniq")["id3-a-00"] == "id3-a-00"


def test_combine_where_lists_differ(data, tmp_path):
    good("copy_data_dir.sh", "--spk-prefix=x-", "--utt-prefix=x-", data, tmp_path / "x")
    for name in ("utt2session", "video.scp", "faces.scp", "utt2num_faces", "faces.conf"):
        (tmp_path / "x" / name).unlink()
    done = good("combine_data.sh", tmp_path / "both", data, tmp_path / "x")
    assert f"{tmp_path}/both: no utt2session: not all sources have it" in done.stderr
    assert not (tmp_path / "both/utt2session").exists()
    assert lines(tmp_path / "both/video.scp") == lines(data / "video.scp")
    (tmp_path / "x/faces.conf").write_text("channels: 3\n")
    done = tool("combine_data.sh", tmp_path / "both", data, tmp_path / "x")
    assert "differ: only face crops of the same form can be combined" in done.stderr


def test_equal_lines_in_other_forms_are_equal(data, tmp_path):
    """Ends of lines of another system, tabs, and blanks at the end."""
    shutil.copytree(data, tmp_path / "same")
    for name in ("wav.scp", "utt2session"):
        path = tmp_path / "same" / name
        path.write_text("".join(f"{line.replace(' ', chr(9), 1)} \r\n" for line in path.read_text().splitlines()))
    good("combine_data.sh", tmp_path / "both", data, tmp_path / "same")
    assert read(tmp_path / "both/wav.scp") == read(data / "wav.scp")


@pytest.mark.parametrize("name", ["combine", "copy", "subset"])
def test_what_is_refused_leaves_the_target_as_it_was(data, tmp_path, name):
    shutil.copytree(data, tmp_path / "target")
    shutil.copytree(data, tmp_path / "bad")
    before, before_all = snapshot(tmp_path / "target"), {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "bad/wav.scp").read_text()
    (tmp_path / "bad/wav.scp").write_text(
        text.replace("id1-a-00 ", "id1-a-00 another/") if name == "combine" else f"{text}\n"
    )
    words = {
        "combine": ["combine_data.sh", tmp_path / "target", data, tmp_path / "bad"],
        "copy": ["copy_data_dir.sh", tmp_path / "bad", tmp_path / "target"],
        "subset": ["subset_data_dir.sh", "--first", tmp_path / "bad", 1, tmp_path / "target"],
    }[name]
    done = tool(*words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert snapshot(tmp_path / "target") == before
    assert {path.name for path in tmp_path.iterdir()} == before_all


def test_names_that_validation_refuses_are_not_made(data, tmp_path):
    for prefix, message in (
        ("../", "has . or .. between slashes"),
        ("b c-", "has a blank"),
        ("/x-", "begins with a slash"),
    ):
        done = tool("copy_data_dir.sh", f"--spk-prefix={prefix}", f"--utt-prefix={prefix}", data, tmp_path / "copy")
        assert done.returncode == 1 and f"{message}: rename it" in done.stderr
        assert not (tmp_path / "copy").exists()


def test_what_editors_keep_is_no_list(data, tmp_path):
    for name in ("utt2spk.bak", "utt2dur~", "spk2gender.orig", "trials/all~", "trials/all.bak"):
        (data / name).write_text("x\n")
    before = snapshot(data)
    assert "kept all 12 utterances" in good("fix_data_dir.sh", data).stderr
    assert snapshot(data) == before


def test_a_file_in_place_of_the_folder_of_trials(data, tmp_path):
    shutil.rmtree(data / "trials")
    (data / "trials").write_text("id1-a-00 id1-b-01 target\n")
    for words in (["validate_data_dir.sh", "--no-feats", data], ["copy_data_dir.sh", data, tmp_path / "copy"]):
        done = tool(*words)
        assert done.returncode == 1 and f"move it to {data}/trials/NAME" in done.stderr


def test_combine_conflict(data, tmp_path):
    shutil.copytree(data, tmp_path / "same")
    good("combine_data.sh", tmp_path / "both", data, tmp_path / "same")
    assert lines(tmp_path / "both/utt2spk") == lines(data / "utt2spk"), "equal lines are written once"
    (tmp_path / "same/spk2age").write_text("id1 32\n")
    done = tool("combine_data.sh", tmp_path / "both", data, tmp_path / "same")
    assert done.returncode == 1
    assert "spk2age: 'id1' is 'id1 31' in one source and 'id1 32' in another" in done.stderr
    done = tool("combine_data.sh", data, data, tmp_path / "same")
    assert f"{data}: source and destination are the same" in done.stderr
    assert len(lines(data / "utt2spk")) == 12


# ------------------------------------------------------------------------------------------------ subsets and copies


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--first", 3], ["id1-a-00", "id1-a-03", "id1-b-01"]),
        (["--last", 2], ["id3-a-00", "id3-b-01"]),
        (["--per-spk", 1], ["id1-a-00", "id10-a-00", "id2-a-00", "id3-a-00"]),
        (["--shortest", 1], ["id2-b-01"]),
        ([4], ["id1-a-00", "id1-b-04", "id2-a-00", "id2-c-02"]),
    ],
)
def test_subset(data, tmp_path, options, expected):
    (data / "utt2dur").write_text((data / "utt2dur").read_text().replace("id2-b-01 0.5", "id2-b-01 0.25"))
    good("subset_data_dir.sh", *options[:-1], data, options[-1], tmp_path / "sub")
    assert list(read(tmp_path / "sub/utt2spk")) == expected
    wav, full = read(tmp_path / "sub/wav.scp"), read(data / "wav.scp")
    assert wav == {key: full[key] for key in expected if key in full}
    assert sum(len(line.split()) - 1 for line in lines(tmp_path / "sub/spk2utt")) == len(expected)
    assert good("validate_data_dir.sh", "--sample", 0, tmp_path / "sub").stdout.startswith("Successfully validated")


def test_the_shortest_need_all_durations(data, tmp_path):
    (data / "utt2dur").write_text((data / "utt2dur").read_text().replace("id3-b-01 0.5\n", ""))
    done = tool("subset_data_dir.sh", "--shortest", data, 2, tmp_path / "sub")
    assert done.returncode == 1
    assert f"utt2dur: 'id3-b-01' of utt2spk is missing: run utils/get_utt2dur.sh {data}" in done.stderr


def test_subset_by_speakers(data, tmp_path):
    good("subset_data_dir.sh", "--speakers", data, 6, tmp_path / "sub")
    kept = read(tmp_path / "sub/utt2spk")
    assert len(kept) >= 6
    for speaker in set(kept.values()):
        assert list(kept.values()).count(speaker) == SPEAKERS[speaker]
    (tmp_path / "list").write_text("id3\nid10\nid99\n")
    done = good("subset_data_dir.sh", "--spk-list", tmp_path / "list", data, tmp_path / "sub")
    assert set(read(tmp_path / "sub/utt2spk").values()) == {"id3", "id10"}
    assert "1 of 3 are not in" in done.stderr
    assert "for example 'id99'" in done.stderr


def test_subset_keeps_trials_between_its_utterances(data, tmp_path):
    (tmp_path / "list").write_text("id1-a-00\nid3-a-00\n")
    good("subset_data_dir.sh", "--utt-list", tmp_path / "list", data, tmp_path / "sub")
    assert lines(tmp_path / "sub/trials/all") == ["id1-a-00 id3-a-00 nontarget"]
    (tmp_path / "list").write_text("id3-a-00\n")
    done = good("subset_data_dir.sh", "--utt-list", tmp_path / "list", data, tmp_path / "sub")
    assert not (tmp_path / "sub/trials/all").exists(), "not even that of an earlier subset"
    assert "no trials/all" in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--first", "DATA", 99, "OUT"], 1, "99 utterances requested, but there are 12"),
        (["DATA", "OUT"], 2, "give a <count>, unless there is --utt-list or --spk-list"),
        (["DATA", "few", "OUT"], 2, "'few' is not a whole number of at least 1"),
        (["--utt-list", "none", "DATA", "OUT"], 1, "none: no such file"),
        (["--worst", "DATA", 3, "OUT"], 2, "usage: utils/subset_data_dir.sh"),
        (["nowhere", 3, "OUT"], 1, "nowhere: no such data directory"),
    ],
)
def test_subset_mistakes(data, tmp_path, options, status, message):
    options = [{"DATA": data, "OUT": tmp_path / "out"}.get(option, option) for option in options]
    done = tool("subset_data_dir.sh", *options)
    assert done.returncode == status
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_copy_with_prefixes(data, tmp_path):
    good("copy_data_dir.sh", "--spk-prefix=n-", "--utt-prefix=n-", "--utt-suffix=-x", data, tmp_path / "copy")
    old, new = read(data / "utt2spk"), read(tmp_path / "copy/utt2spk")
    assert new == {f"n-{key}-x": f"n-{value}" for key, value in old.items()}
    assert read(tmp_path / "copy/wav.scp") == {f"n-{k}-x": v for k, v in read(data / "wav.scp").items()}
    assert read(tmp_path / "copy/spk2gender") == {f"n-{k}": v for k, v in read(data / "spk2gender").items()}
    assert lines(tmp_path / "copy/trials/all")[0] == "n-id1-a-00-x n-id1-b-01-x target"
    assert read(tmp_path / "copy/utt2uniq")["n-id3-a-00-x"] == "id3-a-00"
    assert (tmp_path / "copy/faces.conf").read_text() == "channels: 1\n"
    good("validate_data_dir.sh", "--sample", 0, tmp_path / "copy")


def test_copy_keeps_order_when_names_grow(data, tmp_path):
    """id1 ... id10: a suffix can change who comes first."""
    for path in [*data.glob("*2*"), *data.glob("*.scp")]:
        path.write_text(path.read_text().replace("id10-a-00", "id10"))
    good("copy_data_dir.sh", "--utt-suffix=.b", "--spk-suffix=", data, tmp_path / "copy")
    assert is_sorted(tmp_path / "copy/utt2spk")
    assert is_sorted(tmp_path / "copy/wav.scp")


def test_copy_mistakes(data, tmp_path):
    done = tool("copy_data_dir.sh", "--spk-prefix=n-", data, tmp_path / "copy")
    assert done.returncode == 1
    assert "utterance 'id1-a-00' would not begin with its speaker 'n-id1'" in done.stderr
    assert tool("copy_data_dir.sh", data, data).returncode == 1
    assert len(lines(data / "utt2spk")) == 12


# ------------------------------------------------------------------------------------------------------------ speed


def test_speed_perturbation(data, tmp_path):
    rows = lines(data / "wav.scp")
    path = Path(rows[1].split(None, 1)[1])
    rows[1] = f"{rows[1].split()[0]} cat '{path}' |"
    flac = tmp_path / "media files/a b.flac"
    subprocess.run(["sox", str(path), str(flac)], check=True)
    rows[2] = f"{rows[2].split()[0]} {flac}"
    video = tmp_path / "media files/a b.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-c:a", "aac", str(video)], check=True)
    rows[3] = f"{rows[3].split()[0]} {video}"
    (data / "wav.scp").write_text("\n".join(rows) + "\n")

    worth = "".join(f"{key} 0,0.5,1\n" for key in read(data / "utt2spk"))
    (data / "utt2audio_worth").write_text(worth)

    done = good("perturb_data_dir_speed.sh", "0.9", data, tmp_path / "slow")
    assert not (tmp_path / "slow/utt2audio_worth").exists()
    assert (
        "omitted because they do not apply to the new speed: feats.scp utt2num_frames utt2audio_worth video.scp"
        in done.stderr
    )
    assert not (tmp_path / "slow/video.scp").exists()
    assert not (tmp_path / "slow/feats.scp").exists()
    assert not (tmp_path / "slow/faces.conf").exists()
    locations = read(tmp_path / "slow/wav.scp")
    assert len(locations) == 11
    for number, location in enumerate(list(locations.values())[:5]):
        slow = read_audio(location)
        tolerance = 0.1 if number == 3 else 0.003  # AAC pads
        assert len(slow) / 16000 == pytest.approx(0.5 / 0.9, abs=tolerance), location
    assert set(read(tmp_path / "slow/utt2spk").values()) == {f"sp0.9-{speaker}" for speaker in SPEAKERS}
    assert read(tmp_path / "slow/utt2dur")["sp0.9-id2-a-00"] == f"{0.5 / 0.9:.6g}"
    good("validate_data_dir.sh", "--no-feats", tmp_path / "slow")

    good("perturb_data_dir_speed.sh", "1.1", tmp_path / "slow", tmp_path / "twice")
    twice = next(iter(read(tmp_path / "twice/wav.scp").values()))
    assert len(read_audio(twice)) / 16000 == pytest.approx(0.5 / 0.9 / 1.1, abs=0.003)


def test_speed_changes_the_pitch(tmp_path):
    """A tone of 400 Hz at speed 1.1 is one of 440 Hz."""
    import numpy as np

    from avsv.datadir.speed import at_speed

    subprocess.run(
        ["sox", "-n", "-r", "16000", "-b", "16", str(tmp_path / "t.wav"), "synth", "1", "sine", "400"], check=True
    )
    fast = read_audio(at_speed(str(tmp_path / "t.wav"), "1.1"))
    peak = np.abs(np.fft.rfft(fast)).argmax() * 16000 / len(fast)
    assert peak == pytest.approx(440, abs=2)


def test_speed_with_video(data, tmp_path):
    good("perturb_data_dir_speed.sh", "--keep-video", "1.1", data, tmp_path / "fast")
    wav, video = read(tmp_path / "fast/wav.scp"), read(tmp_path / "fast/video.scp")
    assert set(video) == {f"sp1.1-{key}" for key in read(data / "video.scp") if f"sp1.1-{key}" in wav}
    assert (tmp_path / "fast/faces.conf").exists()


@pytest.mark.parametrize("factor", ["zero", "0", "-1", "nan", "inf"])
def test_speed_mistakes(data, tmp_path, factor):
    done = tool("perturb_data_dir_speed.sh", "--", factor, data, tmp_path / "out")
    assert done.returncode == 1
    assert f"speed factor '{factor}': expected a positive number such as 0.9" in done.stderr


def test_a_list_of_other_utterances_is_named(data, tmp_path):
    (data / "wav.scp").write_text("other-1 a.wav\n")
    done = tool("perturb_data_dir_speed.sh", "0.9", data, tmp_path / "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{data}: no utterance is left to copy" in done.stderr


# ----------------------------------------------------------------------------------------------------------- fixing


def test_fix_leaves_a_good_directory_alone(data):
    before = snapshot(data)
    assert "kept all 12 utterances" in good("fix_data_dir.sh", data).stderr
    assert snapshot(data) == before


def test_fix_sorts_and_corrects_the_form(data):
    good_lists = {name: (data / name).read_text() for name in ("utt2spk", "wav.scp", "spk2utt", "spk2gender")}
    rows = lines(data / "wav.scp")
    broken = "\n".join([*rows[5:], "", rows[0].replace(" ", "\t", 1) + "  ", *rows[:5]])
    (data / "wav.scp").write_text(broken)
    (data / "utt2spk").write_text("\r\n".join(reversed(lines(data / "utt2spk"))) + "\r\n")
    (data / "spk2gender").write_text("id3 m\nid2 f\nid10 f\nid1 m\nid9 f\n")
    (data / "spk2utt").unlink()
    good("fix_data_dir.sh", data)
    assert good_lists == {name: (data / name).read_text() for name in good_lists}
    assert (data / ".backup/wav.scp").read_text() == broken
    good("validate_data_dir.sh", "--sample", 0, data)


@pytest.mark.parametrize("marked", [("utt2spk",), ("wav.scp", "video.scp"), ("spk2age",), ("trials/all",), LISTS])
def test_byte_order_marks_are_named_and_fixed(data, marked):
    """A key after a mark looks like the key without it: neither utterances nor trials must be removed because of it."""
    before = {name: (data / name).read_bytes() for name in LISTS}
    for name in marked:
        (data / name).write_bytes(codecs.BOM_UTF8 + before[name])
    done = tool("validate_data_dir.sh", "--sample", 0, data)
    assert done.returncode == 1
    for name in marked[:1]:
        assert f"{data}/{name}: starts with a UTF-8 byte-order mark" in done.stderr
    done = good("fix_data_dir.sh", data)
    assert all(f"{data}/{name}: byte-order mark removed" in done.stderr for name in marked)
    assert "kept all 12 utterances" in done.stderr and "trials removed" not in done.stderr
    assert before == {name: (data / name).read_bytes() for name in LISTS}
    good("validate_data_dir.sh", "--sample", 0, data)


def test_fix_keeps_what_is_complete(data):
    """Kaldi's rule for lists that must be complete; a missing modality does not remove an utterance."""
    (data / "utt2dur").write_text((data / "utt2dur").read_text().replace("id1-a-03 0.5", "id1-a-03 0"))
    (data / "utt2session").write_text((data / "utt2session").read_text().replace("id3-b-01 id3-b\n", ""))
    wav = [line for line in lines(data / "wav.scp") if not line.startswith("id10-")]
    (data / "wav.scp").write_text("\n".join(wav) + "\n")
    video = [line for line in lines(data / "video.scp") if not line.startswith(("id10-", "id1-b-01"))]
    (data / "video.scp").write_text("\n".join(video) + "\n")
    done = good("fix_data_dir.sh", data)
    assert "kept 8 utterances out of 12" in done.stderr
    assert "trials/all: 1 of 2 trials removed" in done.stderr
    gone = {"id1-a-03", "id3-b-01", "id10-a-00", "id1-b-01"}
    assert set(read(data / "utt2spk")) == set(read(data / "utt2session")) - gone
    assert "id2-a-00" in read(data / "utt2spk")
    assert set(read(data / "spk2gender")) == {"id1", "id2", "id3"}
    assert lines(data / "trials/all") == ["id1-a-00 id3-a-00 nontarget"]
    good("validate_data_dir.sh", "--sample", 0, data)
    assert len(lines(data / ".backup/utt2spk")) == 12


def test_fix_removes_lists_with_nothing_left(data):
    (data / "utt2age").write_text("id9-a-00 30\n")
    done = good("fix_data_dir.sh", data)
    assert f"{data}/utt2age: removed: no line is left" in done.stderr
    assert not (data / "utt2age").exists()


def test_fix_reports_what_it_cannot_keep(data):
    with (data / "utt2spk").open("a") as stream:
        stream.write("id4-a id4 more\nid3-a-00 id4\n")
    done = good("fix_data_dir.sh", data)
    assert "utt2spk: 2 lines removed: line 13, 'id4-a id4 more', has the wrong number of fields; " in done.stderr
    assert "line 14: 'id3-a-00' occurred before with another value" in done.stderr


def test_fix_removes_what_is_not_counted(data):
    """Features without a number of frames cannot be used; the step that makes them must run again."""
    keys = list(read(data / "feats.scp"))
    counts = dict.fromkeys(keys, 50) | {keys[0]: 0, keys[1]: "9" * 5000}
    (data / "utt2num_frames").write_text("".join(f"{key} {counts[key]}\n" for key in keys))
    for marker in (".fbank.done", ".faces.done"):
        (data / marker).write_text("0\n")
    done = good("fix_data_dir.sh", data)
    assert f"{data}/feats.scp: 2 lines removed that utt2num_frames does not count" in done.stderr
    assert list(read(data / "feats.scp")) == list(read(data / "utt2num_frames")) == keys[2:]
    assert not (data / ".fbank.done").exists() and (data / ".faces.done").exists()
    assert "kept all 12 utterances" in done.stderr


def test_fix_removes_wrong_labels_and_trials(data):
    (data / "spk2gender").write_text("id1 male\nid10 f\nid2 m f\n")
    (data / "trials/all").write_text(
        "id1-a-00 id3-a-00 target\n\nid1-a-00 id3-a-00 nontarget\nid1-a-00 id9 target\nid1-a-00 id3-a-00\n"
    )
    done = good("fix_data_dir.sh", data)
    assert lines(data / "spk2gender") == ["id10 f"]
    assert lines(data / "trials/all") == ["id1-a-00 id3-a-00 nontarget"]
    for count, reason in (("1 of 4", "their labels contradict utt2spk"), ("1 of 4", "their utterances are not there"),
                          ("1 of 4", "not ENROLL TEST target|nontarget")):  # fmt: skip
        assert f"trials/all: {count} trials removed: {reason}" in done.stderr
    good("validate_data_dir.sh", "--sample", 0, data)


@pytest.mark.parametrize("form", ["{0} {1} {2}", "{2} {0} {1}"], ids=["WeSpeaker", "VoxCeleb"])
def test_fix_converts_labels_1_and_0(data, form, tmp_path):
    rows = [("id1-a-00", "id1-b-01", 1), ("id1-a-00", "id3-a-00", 0)]
    wanted = (data / "trials/all").read_text()
    (data / "trials/all").write_text("".join(f"{form.format(*row)}\n" for row in rows))
    done = tool("copy_data_dir.sh", data, tmp_path / "copy")
    assert done.returncode == 1 and "trials/all:1: labels are target and nontarget: run utils/fix_data" in done.stderr
    assert "labels 1 and 0 of 2 trials written as target and nontarget" in good("fix_data_dir.sh", data).stderr
    assert (data / "trials/all").read_text() == wanted


@pytest.mark.parametrize(("text", "reason"), [
    ("id1-a-00 id3-a-00 maybe\n", "not ENROLL TEST target|nontarget"),
    ("one two target\none three nontarget\n", "their utterances are not there"),
])  # fmt: skip
def test_fix_never_removes_a_whole_trial_list(data, text, reason):
    (data / "trials/mine").write_text(text)
    done = tool("fix_data_dir.sh", data)
    assert done.returncode == 1
    count = len(text.splitlines())
    assert f"trials/mine: left as it is: none of its {count} trials can be kept: {reason}" in done.stderr
    assert (data / "trials/mine").read_text() == text


SEGMENTS = {
    "utils/fix_data_dir.sh": [],
    "utils/validate_data_dir.sh": [],
    "utils/split_data.sh": [2],
    "utils/copy_data_dir.sh": ["OUT"],
    "utils/subset_data_dir.sh": [1, "OUT"],
    "utils/perturb_data_dir_speed.sh": ["OUT"],
    "utils/combine_data.sh": ["DATA"],
    "utils/get_utt2dur.sh": [],
    "steps/make_fbank.sh": [],
    "steps/make_face_crops.sh": [],
    "steps/measure_quality.sh": [],
}


@pytest.mark.parametrize("command", SEGMENTS)
def test_segments_are_refused(data, tmp_path, command):
    """Utterances that are parts of recordings would be taken for the whole recordings."""
    (data / "segments").write_text("id1-a-00 x 0 1\n")
    before = snapshot(data)
    words = [data, *({"OUT": tmp_path / "out", "DATA": data}.get(word, word) for word in SEGMENTS[command])]
    first = {"utils/perturb_data_dir_speed.sh": ["0.9"], "utils/combine_data.sh": [tmp_path / "out"]}
    done = run(command, *first.get(command, []), *words)
    assert done.returncode == 1
    said = done.stderr.splitlines()[0].partition(": error: ")[2]
    assert said == f"{data}/segments: not supported: cut the recordings into utterances"
    assert snapshot(data) == before and not (tmp_path / "out").exists()


def test_files_that_are_not_copied_are_named(data, tmp_path):
    for name in ("text", "cmvn.scp", "reco2dur", "dropped.txt", "text.bak"):
        (data / name).write_text("id1-a-00 x\n")
    said = "not copied, because no step reads them: cmvn.scp reco2dur text"
    for words in (
        ["copy_data_dir.sh", data, tmp_path / "copy"],
        ["subset_data_dir.sh", data, 3, tmp_path / "subset"],
        ["combine_data.sh", tmp_path / "both", data, tmp_path / "copy"],
    ):
        assert said in good(*words).stderr


def test_lists_of_an_existing_target_are_kept(data, tmp_path):
    """Copying into a data directory does not delete what was there."""
    target = tmp_path / "target"
    good("subset_data_dir.sh", "--first", data, 3, target)
    (target / "trials").mkdir(exist_ok=True)
    (target / "trials/mine").write_text("id1-a-00 id1-b-01 target\n")
    (target / "utt2mood").write_text("id1-a-00 good\n")
    before = (target / "utt2spk").read_text()
    done = good("copy_data_dir.sh", data, target)
    assert f"{target}: its old lists are in {target}/.backup" in done.stderr
    assert (target / ".backup/utt2spk").read_text() == before
    assert (target / ".backup/trials/mine").exists() and (target / ".backup/utt2mood").exists()
    assert not (target / "trials/mine").exists() and not (target / "utt2mood").exists()
    assert "old lists" not in good("copy_data_dir.sh", data, target).stderr
    assert (target / ".backup/utt2spk").read_text() == before


def test_fix_models_and_lists_without_labels(data):
    """A model keeps the utterances that are there; one without any goes, and so do its trials."""
    (data / "enroll").write_text("m id1-a-00 id1-b-01 id9\nid1-a-00 id1-b-01\nempty id9\nwhole id3-a-00 id3-b-01\n")
    (data / "trials/all").write_text("m id1-a-00 target\nwhole id1-a-00 nontarget\nempty id1-a-00 nontarget\n")
    (data / "trials/blind").write_text("m id3-a-00\nempty id1-a-00\nid1-b-01 id3-a-00\n")
    done = good("fix_data_dir.sh", data)
    assert lines(data / "enroll") == ["m id1-a-00 id1-b-01", "whole id3-a-00 id3-b-01"]
    assert lines(data / "trials/all") == ["m id1-a-00 target", "whole id1-a-00 nontarget"]
    assert lines(data / "trials/blind") == ["m id3-a-00", "id1-b-01 id3-a-00"]
    assert "enroll: 2 models removed that have no utterance left or the name of an utterance, 1 models" in done.stderr
    good("validate_data_dir.sh", "--sample", 0, data)
    before = snapshot(data)
    good("fix_data_dir.sh", data)
    assert snapshot(data) == before


def test_copies_keep_models(data, tmp_path):
    (data / "enroll").write_text("m id1-a-00 id1-b-01\nn id3-a-00 id3-b-01\n")
    (data / "trials/blind").write_text("m id3-a-00\nn id3-a-00\n")
    good("copy_data_dir.sh", "--utt-suffix=-x", data, tmp_path / "copy")
    assert lines(tmp_path / "copy/enroll") == ["m id1-a-00-x id1-b-01-x", "n id3-a-00-x id3-b-01-x"]
    assert lines(tmp_path / "copy/trials/blind") == ["m id3-a-00-x", "n id3-a-00-x"]
    good("validate_data_dir.sh", "--sample", 0, tmp_path / "copy")
    (tmp_path / "list").write_text("id1-b-01\nid3-a-00\n")
    done = good("subset_data_dir.sh", "--utt-list", tmp_path / "list", data, tmp_path / "copy")
    assert lines(tmp_path / "copy/enroll") == ["m id1-b-01", "n id3-a-00"]
    assert "2 of 2 models have fewer utterances than in" in done.stderr
    (tmp_path / "list").write_text("id1-c-02\n")
    good("subset_data_dir.sh", "--utt-list", tmp_path / "list", data, tmp_path / "copy")
    assert not (tmp_path / "copy/enroll").exists()


def test_fix_reports_what_it_cannot_fix(data):
    text = (data / "utt2spk").read_text().replace("id3-b-01 id3", "id3-b-01 other")
    (data / "utt2spk").write_text(text)
    done = tool("fix_data_dir.sh", data)
    assert done.returncode == 1
    assert "'id3-b-01' does not begin with its speaker 'other'" in done.stderr
    assert "1 problem remains that must be fixed by hand" in done.stderr.splitlines()[-1]
    assert (data / "utt2spk").read_text() == text


def test_fix_with_nothing_left(data):
    (data / "utt2dur").write_text("".join(f"{key} 0\n" for key in reversed(read(data / "utt2spk"))))
    before = snapshot(data)
    done = tool("fix_data_dir.sh", data)
    assert done.returncode == 1
    assert "none of 12 utterances is in all required lists" in done.stderr
    assert snapshot(data) == before


# ------------------------------------------------------------------------------------------------------------ media


@pytest.mark.parametrize("name", ["a.aiff", "a.aifc", "a.au", "a.caf", "a.w64", "rf64.wav"])
def test_files_that_end_before_their_stated_size(tmp_path, name):
    sound, path = tmp_path / "a.wav", tmp_path / name
    subprocess.run(["sox", "-n", "-r", "16000", "-b", "16", str(sound), "synth", "2.5", "sine", "300-3000"], check=True)
    options = ["-rf64", "always"] if name.startswith("rf64") else ["-c:a", "pcm_s16be"] if "aif" in name else []
    form = ["-f", "aiff"] if "aif" in name else []
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(sound), *options, *form, str(path)], check=True)
    assert probe("wav.scp", str(path)) == pytest.approx(2.5, abs=0.01)
    assert len(read_audio(str(path), 16000)) == pytest.approx(40_000, abs=100)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    for read in (lambda: probe("wav.scp", str(path)), lambda: read_audio(str(path), 16000)):
        with pytest.raises(DataError, match=rf"{name}: truncated: the header promises {len(content)} bytes"):
            read()


def test_lengths_of_realaudio_are_those_of_its_packets(tmp_path):
    """All its packets may have the same time stamp."""
    path = tmp_path / "a.rm"
    sound = ["-f", "lavfi", "-i", "sine=duration=3:sample_rate=8000", "-c:a", "real_144"]
    subprocess.run(["ffmpeg", "-v", "error", *sound, str(path)], check=True)
    assert probe("wav.scp", str(path)) == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("rate", [0, 1, 4_000_000_000])
def test_the_same_rates_are_refused_as_in_reading(tmp_path, rate):
    path = tmp_path / "a.wav"
    content = bytearray(wav_bytes(np.arange(1000), 16000))
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    for read in (lambda: probe("wav.scp", str(path)), lambda: read_audio(str(path), 16000, resample=True)):
        with pytest.raises(DataError, match=rf"a.wav: sample rate {rate}: not one between 1000 and 768000 Hz"):
            read()


def test_unusual_recordings_are_read_completely(tmp_path):
    """By the list's tool and by the decoder, whatever their headers say or leave out."""
    sound = tmp_path / "a.wav"
    subprocess.run(["sox", "-n", "-r", "16000", "-b", "16", str(sound), "synth", "2.5", "sine", "300-3000"], check=True)

    def encode(name, *options):
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(sound), *options, str(tmp_path / name)], check=True)
        return tmp_path / name

    content = sound.read_bytes()
    samples = content[content.index(b"data") + 8 :]

    def header(bits, length):
        form = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, bits)
        start = b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt " + form
        return start + b"data" + struct.pack("<I", length) + samples

    (tmp_path / "odd_bits.wav").write_bytes(header(12, len(samples)))
    (tmp_path / "killed_recorder.wav").write_bytes(header(16, 0))
    encode("mp3.wav", "-ar", "44100", "-c:a", "libmp3lame", "-q:a", "5")
    with (tmp_path / "pipe.flac").open("wb") as file:
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(sound), "-f", "flac", "-"], stdout=file, check=True)
    subprocess.run(["sox", str(sound), "-e", "gsm-full-rate", "-r", "8000", str(tmp_path / "gsm.wav")], check=True)
    tag = encode("comma.mka", "-c:a", "libvorbis")
    tag.write_bytes(re.sub(rb"(00:00:0\d)\.", rb"\1,", tag.read_bytes()))
    xing = bytearray(encode("no_count.mp3", "-ar", "44100", "-q:a", "5").read_bytes())
    place = xing.index(b"Xing")
    xing[place + 4 : place + 8] = bytes(4)
    (tmp_path / "no_count.mp3").write_bytes(xing)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=2", "-itsoffset", "1", "-i", str(sound)]
    late = [*picture, "-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "flac", str(tmp_path / "late.mkv")]
    subprocess.run(["ffmpeg", "-v", "error", *late], check=True)
    names = [
        "odd_bits.wav",
        "killed_recorder.wav",
        "mp3.wav",
        "pipe.flac",
        "gsm.wav",
        "comma.mka",
        "no_count.mp3",
        "late.mkv",
    ]
    for location in [*(str(tmp_path / name) for name in names), f"ffmpeg -v error -i '{sound}' -f flac - |"]:
        assert probe("wav.scp", location) == pytest.approx(2.5, abs=0.09), location
        if "odd_bits" not in location:
            decoded = read_audio(location, 16000, resample=True, downmix=True)
            assert len(decoded) / 16000 == pytest.approx(2.5, abs=0.09), location
    with pytest.raises(DataError, match=r"a.wav:99999999: no wav file begins at this offset"):
        probe("wav.scp", f"{sound}:99999999")


def test_durations_from_headers(tmp_path):
    write_wav(tmp_path / "a b.wav", 1.25, 8000)
    assert probe("wav.scp", str(tmp_path / "a b.wav")) == 1.25
    assert probe("wav.scp", f"sox '{tmp_path}/a b.wav' -t wav - |") == pytest.approx(1.25, abs=1e-3)
    subprocess.run(["sox", str(tmp_path / "a b.wav"), str(tmp_path / "a.flac")], check=True)
    assert probe("wav.scp", str(tmp_path / "a.flac")) == 1.25


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Two seconds of moving picture and tone, as an mp4 whose index comes first."""
    path = tmp_path_factory.mktemp("clip") / "c l.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=128x96:rate=25:duration=2", "-f", "lavfi"]
    command += ["-i", "sine=440:duration=2", "-c:v", "libx264", "-c:a", "aac", "-movflags", "+faststart", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "webm", "mpg", "h264"])
def test_durations_of_video(clip, tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    codec = {"webm": ["-c:v", "libvpx"], "mpg": ["-c:v", "mpeg1video"]}.get(suffix, ["-c:v", "copy"])
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), "-an", *codec, str(path)], check=True)
    assert probe("video.scp", str(path)) == pytest.approx(2.0, abs=0.05)
    assert probe("video.scp", f"cat '{path}' |") == pytest.approx(2.0, abs=0.05)


def test_duration_of_a_folder_of_frames(clip, tmp_path):
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), str(tmp_path / "%d.png")], check=True)
    assert probe("video.scp", str(tmp_path)) == 2.0
    assert probe("video.scp", str(tmp_path), 1.0) == 50.0
    (tmp_path / "fps").write_text("50\n")
    assert probe("video.scp", str(tmp_path), 1.0) == 1.0


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "ppm"])
def test_a_picture_is_one_frame(clip, tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), "-frames:v", "1", str(path)], check=True)
    assert probe("video.scp", str(path)) == 1 / 25
    assert probe("video.scp", str(path), 2.0) == 0.5


def test_a_path_that_the_system_refuses_is_a_recording_that_cannot_be_used(tmp_path):
    for name in ("wav.scp", "video.scp"):
        with pytest.raises(DataError, match="File name too long"):
            probe(name, "cat " + "x" * 300)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a", "mkv", "webm"])
@pytest.mark.parametrize("share", [0.6, 0.02])
def test_truncated_audio_is_found(clip, tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), "-vn", str(path)], check=True)
    assert probe("wav.scp", str(path)) == pytest.approx(2.0, abs=0.1)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"truncated|unreadable|no audio frame"):
        probe("wav.scp", str(path))


@pytest.mark.parametrize("share", [0.95, 0.6, 0.02])
def test_truncated_video_is_found(clip, tmp_path, share):
    content = clip.read_bytes()
    (tmp_path / "v.mp4").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"truncated|unreadable"):
        probe("video.scp", str(tmp_path / "v.mp4"))


def test_files_that_are_not_media(clip, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp4").write_text("not a film\n" * 50)
    (tmp_path / "folder").mkdir()
    write_wav(tmp_path / "none.wav", 0)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(clip), "-an", "-c", "copy", str(tmp_path / "mute.mp4")], check=True
    )
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(clip), "-vn", "-c", "copy", str(tmp_path / "dark.mp4")], check=True
    )
    for name, location, message in (
        ("wav.scp", "empty.wav", "the file is empty (0 bytes)"),
        ("wav.scp", "none.wav", "no samples"),
        ("wav.scp", "nowhere.wav", "no such file"),
        ("wav.scp", "text.mp4", "not a media file: it is text"),
        ("wav.scp", "mute.mp4", "no audio stream"),
        ("wav.scp", "false |", "status 1"),
        ("video.scp", "dark.mp4", "no video stream"),
        ("video.scp", "text.mp4", "not a media file: it is text"),
        ("video.scp", "folder", "no images"),
        ("video.scp", "nowhere.mp4", "no such file"),
        ("video.scp", "false |", "status 1"),
    ):
        with pytest.raises(DataError) as error:
            probe(name, location if location.endswith("|") else str(tmp_path / location))
        assert message in str(error.value)
