"""Validation: what it accepts, the message for every kind of mistake, and the step that removes recordings."""

import os
import random
import shutil
import signal
import subprocess
import time
import unicodedata
import wave

import pytest
from commands import run
from paths import ROOT

from avsv.datadir.validate import Validator

SPEAKERS = [f"s{n:02d}" for n in range(5)]
UTTERANCES = [f"{speaker}-{n}" for speaker in SPEAKERS for n in range(4)]


def validate(*arguments):
    return run("utils/validate_data_dir.sh", *arguments)


def write_wav(path, samples=8000, rate=16000):
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(b"\1\2" * samples)


def read(path):
    return dict(line.split(None, 1) for line in path.read_text().splitlines())


def write(path, mapping):
    path.write_text("".join(f"{key} {value}\n" for key, value in mapping.items()))


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Half a second of sound for each utterance, and a clip of a second."""
    folder = tmp_path_factory.mktemp("me dia")
    for utterance in UTTERANCES:
        write_wav(folder / f"{utterance}.wav")
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=1", folder / "v.mp4"]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def data(media, tmp_path):
    """A good data directory with all lists; s00-1 has no audio and s00-2 no video."""
    folder = tmp_path / "d JOB d"
    (folder / "trials").mkdir(parents=True)
    audio = [u for u in UTTERANCES if u != "s00-1"]
    video = [u for u in UTTERANCES if u != "s00-2"]
    write(folder / "utt2spk", {u: u[:3] for u in UTTERANCES})
    write(folder / "spk2utt", {s: " ".join(u for u in UTTERANCES if u[:3] == s) for s in SPEAKERS})
    write(folder / "wav.scp", {u: f"{media}/{u}.wav" for u in audio})
    write(folder / "video.scp", dict.fromkeys(video, f"{media}/v.mp4"))
    write(folder / "utt2dur", dict.fromkeys(UTTERANCES, 0.5))
    write(folder / "utt2session", {u: u for u in UTTERANCES})
    write(folder / "feats.scp", dict.fromkeys(audio[1:], "f.ark:12"))
    write(folder / "utt2num_frames", dict.fromkeys(audio[1:], 48))
    write(folder / "audio.scp", {u: f"{media}/{u}.wav" for u in audio[1:]})
    write(folder / "faces.scp", dict.fromkeys(video, "v.ark:12"))
    write(folder / "utt2num_faces", dict.fromkeys(video, 25))
    write(folder / "spk2gender", dict.fromkeys(SPEAKERS[1:], "f"))
    write(folder / "utt2age", dict.fromkeys(UTTERANCES[3:], 33.5))
    write(folder / "utt2audio_worth", dict.fromkeys(UTTERANCES, "0,0.5,1"))
    (folder / "trials/t").write_text("s00-1 s00-2 target\ns00-1 s01-2 nontarget\n")
    return folder


@pytest.mark.parametrize(
    "options", [[], ["--no-feats"], ["--no-video"], ["--no-wav"], ["--no-audio", "--no-feats", "--no-text"]]
)
def test_good_directory(data, options):
    done = validate(*options, data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Successfully validated data-directory {data}\n"


def edit(name, change):
    """A change of a list: a function of its lines."""

    def apply(folder):
        path = folder / name
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))

    return apply


def replace(name, old, new):
    def apply(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


def remove(name):
    return lambda folder: (folder / name).unlink()


MISTAKES = {
    "fields": (replace("utt2spk", "s00-1 s00", "s00-1 s00 x"), "utt2spk:2: 3 fields, expected 2"),
    "no value": (replace("utt2session", "s00-1 s00-1", "s00-1"), "utt2session:2: 1 field, expected a key and a value"),
    "blank line": (edit("video.scp", lambda rows: [rows[0], "", *rows[1:]]), "video.scp:2: 0 fields, expected"),
    "twice": (edit("wav.scp", lambda rows: [rows[0], *rows]), "wav.scp:2: 's00-0' occurs twice: run utils/fix_data"),
    "unsorted": (
        edit("utt2dur", lambda rows: rows[::-1]),
        "utt2dur:2: not sorted: 's04-2' follows 's04-3': run utils/",
    ),
    "empty": (lambda folder: (folder / "wav.scp").write_text(""), "wav.scp: the list is empty"),
    "newline": (
        lambda folder: (folder / "utt2dur").write_text((folder / "utt2dur").read_text()[:-1]),
        "utt2dur:20: the last line does not end in a newline",
    ),
    "prefix": (
        replace("utt2spk", "s01-2 s01", "s01-2 s00"),
        "utt2spk:7: 's01-2' does not begin with its speaker",
    ),
    "no spk2utt": (remove("spk2utt"), "spk2utt: no such file"),
    "spk2utt": (
        replace("spk2utt", "s01-1 s01-2", "s01-2"),
        "spk2utt:2: the utterances of 's01' are not those of utt2spk",
    ),
    "spk2utt less": (edit("spk2utt", lambda rows: rows[1:]), "spk2utt: speaker 's00' of utt2spk is missing"),
    "spk2utt more": (edit("spk2utt", lambda rows: [*rows, "s9 s9-1"]), "spk2utt:6: 's9' is not a speaker of utt2spk"),
    "unknown": (edit("wav.scp", lambda rows: [*rows, "s9-1 x.wav"]), "wav.scp:20: 's9-1' is not in utt2spk"),
    "missing": (edit("utt2session", lambda rows: rows[1:]), "utt2session: 's00-0' of utt2spk is missing"),
    "no media": (edit("video.scp", lambda rows: rows[:1] + rows[2:]), "'s00-1' has neither audio (wav.scp) nor video"),
    "no media lists": (
        lambda folder: (remove("wav.scp")(folder), remove("video.scp")(folder)),
        "neither wav.scp nor video",
    ),
    "duration": (
        replace("utt2dur", "s00-1 0.5", "s00-1 0"),
        "utt2dur:2: s00-1: '0' is not a positive number of seconds",
    ),
    "frames": (replace("utt2num_frames", "48", "4.8"), "s00-2: '4.8' is not a positive whole number"),
    "frames more": (
        edit("utt2num_frames", lambda rows: ["s00-0 3", *rows]),
        "utt2num_frames: 's00-0' is not in feats",
    ),
    "frames less": (edit("utt2num_faces", lambda rows: rows[1:]), "utt2num_faces: 's00-0' of faces.scp is missing"),
    "feats more": (edit("feats.scp", lambda rows: ["s00-1 f:1", *rows]), "feats.scp: 's00-1' is not in wav.scp"),
    "no feats": (remove("feats.scp"), "feats.scp: no such file (use --no-feats if this is intended)"),
    "no faces": (remove("faces.scp"), "faces.scp: no such file (use --no-feats if this is intended)"),
    "gender": (replace("spk2gender", "s01 f", "s01 w"), "spk2gender:1: s01: 'w' is neither m nor f"),
    "gender of": (replace("spk2gender", "s04 f", "s4 f"), "spk2gender:4: 's4' is not in the speakers of utt2spk"),
    "age": (replace("utt2age", "33.5", "?"), "utt2age:1: s00-3: '?' is not an age in years: omit the line"),
    "digits of an age": (replace("utt2age", "33.5", "\u0663\u0663"), "'\u0663\u0663' is not an age in years"),
    "digits of a duration": (replace("utt2dur", "0.5", "\u0665"), "'\u0665' is not a positive number of seconds"),
    "digits of frames": (replace("utt2num_frames", "48", "\u0664"), "'\u0664' is not a positive whole number"),
    "worth": (
        replace("utt2audio_worth", "0.5", "1.5"),
        "utt2audio_worth:1: s00-0: '1.5' is not a number from 0 to 1: separate such numbers by commas",
    ),
    "home": (replace("wav.scp", " /", " ~/"), "write the full path of the home folder, ~ is not expanded"),
    "trial": (replace("trials/t", "s01-2", "s01-9"), "trials/t:2: 's01-9' is not in utt2spk"),
    "trial label": (
        replace("trials/t", "nontarget", "impostor"),
        "trials/t:2: 's00-1 s01-2 impostor' is not ENROLL",
    ),
    "trial speakers": (
        replace("trials/t", "nontarget", "target"),
        "trials/t:2: labeled target, but the speakers are s00 and s01",
    ),
    "trial of no model": (
        lambda folder: (folder / "trials/t").write_text("s00-1 m\n"),
        "trials/t:1: 'm' is not in utt2spk or enroll",
    ),
    "trial form": (
        lambda folder: (folder / "trials/t").write_text("s00-1 s00-2\ns00-1\n"),
        "trials/t:2: 's00-1' is not ENROLL TEST",
    ),
    "model": (
        lambda folder: (folder / "enroll").write_text("m s00-1 s9-1\n"),
        "enroll:1: the model 'm': 's9-1' is not in utt2spk",
    ),
    "models unsorted": (
        lambda folder: (folder / "enroll").write_text("n s00-1\nm s00-1\n"),
        "enroll:2: not sorted: 'm' follows 'n'",
    ),
    "model speakers": (
        lambda folder: (
            (folder / "enroll").write_text("m s00-1 s01-2\n"),
            (folder / "trials/t").write_text("s00-0 m nontarget\n"),
        ),
        "trials/t:1: the model 'm' has utterances of several speakers, so it can have no label",
    ),
    "no trials": (lambda folder: (folder / "trials/t").write_text(""), "trials/t: the list is empty"),
    "trial labels of VoxCeleb": (
        lambda folder: (folder / "trials/t").write_text("1 s00-1 s00-2\n0 s00-1 s01-2\n"),
        "trials/t:1: '1 s00-1 s00-2' is not ENROLL TEST target|nontarget: run utils/fix_data_dir.sh",
    ),
    "not UTF-8": (
        lambda folder: (folder / "utt2age").write_bytes(b"s00-3 33\ns01-\xe9 33\n"),
        "utt2age:2: not a text file (UTF-8): save it as UTF-8",
    ),
    "not text": (lambda folder: (folder / "utt2age").write_bytes(b"\xff\xfe\n"), "utt2age: not a text file (UTF-8)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(data, name):
    make, message = MISTAKES[name]
    make(data)
    problems = Validator(data, audio=True, video=True, features=True, speaker_order=True, sample=0).run()
    assert any(line.startswith(str(data)) and message in line for line in problems.lines()), problems.lines()
    assert len(problems) >= 1


def test_an_unreadable_list_is_the_only_problem(data):
    (data / "wav.scp").write_bytes((data / "wav.scp").read_bytes().replace(b"s00-2.wav", b"s\xe9.wav"))
    remove("video.scp")(data)
    problems = Validator(data, audio=True, video=True, features=False, speaker_order=True, sample=0).run()
    assert problems.lines() == [f"{data}/wav.scp:2: not a text file (UTF-8): save it as UTF-8"]


@pytest.mark.parametrize("name", ["wav.scp", "spk2gender", "trials/t", "enroll"])
def test_names_that_look_alike_are_not_called_missing(data, name):
    """macOS stores é as e and an accent (NFD), keyboards type one character (NFC)."""
    (data / "enroll").write_text("m s01-1 s01-2\n")
    for path in [*data.glob("*.scp"), *data.glob("*2*"), data / "enroll", data / "trials/t"]:
        form = "NFD" if path == data / name else "NFC"
        path.write_text(path.read_text().replace("s01", unicodedata.normalize(form, "s\u00e901")))
    said = "is written with other Unicode characters (NFC and NFD) in"
    done = validate("--sample", 0, data)
    assert done.returncode == 1 and said in done.stderr and "is not in" not in done.stderr
    before = (data / name).read_text()
    done = run("utils/fix_data_dir.sh", data)
    assert done.returncode == 1 and f"{data}/{name}" in done.stderr and said in done.stderr.splitlines()[-1]
    assert (data / name).read_text() == before and not (data / ".backup").exists()


def test_models_and_lists_without_labels(data):
    (data / "enroll").write_text("both s00-1 s01-2\nm s00-1 s00-2\n")
    (data / "trials/t").write_text("m s00-0 target\nm s01-2 nontarget\n")
    (data / "trials/blind").write_text("m s00-0\nboth s01-2\ns00-1 m\n")
    problems = Validator(data, audio=True, video=True, features=True, speaker_order=True, sample=0).run()
    assert problems.lines() == []


def test_problems_are_reported_together_and_counted(data):
    edit("utt2dur", lambda rows: [row.replace("0.5", "-1") for row in rows])(data)
    replace("spk2gender", "f", "x")(data)
    done = validate(data)
    assert done.stderr.splitlines()[:4] == [
        *(f"{data}/utt2dur:{n}: {UTTERANCES[n - 1]}: '-1' is not a positive number of seconds" for n in (1, 2, 3)),
        "... and 17 more like this",
    ]
    assert done.stderr.splitlines()[-1] == f"validate_data_dir: error: {data}: 21 problems found"


@pytest.mark.parametrize(("name", "arguments", "message"), [
    ("nowhere", ["nowhere"], "nowhere: no such data directory"),
    ("utils", ["utils"], "utils: not a data directory: it has no utt2spk"),
])  # fmt: skip
def test_no_data_directory(name, arguments, message):
    done = validate(*arguments)
    assert (done.returncode, done.stderr) == (1, f"validate_data_dir: error: {message}\n")


def test_usage():
    done = validate("--no-such")
    assert done.returncode == 2
    assert "usage: utils/validate_data_dir.sh" in done.stderr
    assert validate("--help").returncode == 0


def test_speaker_order(data):
    """Names that do not begin with that of the speaker are allowed on request."""
    edit("utt2spk", lambda rows: [row.replace(" s00", " z") for row in rows])(data)
    edit("spk2utt", lambda rows: [*rows[1:], rows[0].replace("s00 ", "z ", 1)])(data)
    (data / "trials/t").unlink()
    assert validate("--sample", 0, data).returncode == 1
    assert validate("--sample", 0, "--no-spk-sort", data).returncode == 0


def test_media_are_sampled(data, media, tmp_path):
    """A broken file is found if it is in the sample, and reported with its utterance."""
    (tmp_path / "bad.wav").write_bytes((media / "s00-0.wav").read_bytes()[:1000])
    (tmp_path / "empty.mp4").touch()
    wav, video = read(data / "wav.scp"), read(data / "video.scp")
    wav["s01-1"], video["s01-2"] = tmp_path / "bad.wav", tmp_path / "empty.mp4"
    write(data / "wav.scp", wav)
    write(data / "video.scp", video)
    done = validate(data)
    assert done.returncode == 1
    first, second, last = done.stderr.splitlines()
    assert first.startswith(f"{data}/wav.scp:5: s01-1: {tmp_path}/bad.wav: truncated")
    assert second == f"{data}/video.scp:6: s01-2: {tmp_path}/empty.mp4: the file is empty (0 bytes)"
    assert last.endswith("2 problems found")
    assert validate("--sample", 2, data).returncode == 0, "the first, the middle and the last are good"
    assert "bad.wav" not in validate("--no-audio", data).stderr
    assert "empty.mp4" not in validate("--no-video", data).stderr


def test_large_lists(tmp_path):
    """A hundred thousand utterances, in a process limited to 300 MiB."""
    names = [f"id{s:04d}-{u:03d}" for s in range(1000) for u in range(100)]
    write(tmp_path / "utt2spk", {name: name[:6] for name in names})
    write(tmp_path / "spk2utt", {f"id{s:04d}": " ".join(names[100 * s : 100 * s + 100]) for s in range(1000)})
    for name in ("wav.scp", "video.scp", "utt2session", "feats.scp", "faces.scp", "audio.scp"):
        write(tmp_path / name, {key: f"/a/rather/long/path/of/a/corpus/{key}" for key in names})
    write(tmp_path / "utt2dur", dict.fromkeys(names, "4.25"))
    limited = 'ulimit -v 600000; exec "$@"'
    for tool in (["validate_data_dir.sh", "--sample", "0"], ["fix_data_dir.sh"]):
        command = ["bash", "-c", limited, "x", str(ROOT / "utils" / tool[0]), *tool[1:], str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    command = ["bash", "-c", limited, "x", str(ROOT / "utils/split_data.sh"), str(tmp_path), "8"]
    assert subprocess.run(command, check=False).returncode == 0
    assert sum(len((tmp_path / f"split8/{n}/wav.scp").read_text().splitlines()) for n in range(1, 9)) == len(names)


# ------------------------------------------------------------------------------------------------- utt2dur, the step


def test_get_utt2dur(data, media, tmp_path):
    (data / "utt2dur").unlink()
    wav = read(data / "wav.scp")
    write_wav(tmp_path / "long.wav", 20000, 8000)
    wav["s01-1"] = f"cat '{tmp_path}/long.wav' |"
    write(data / "wav.scp", wav)
    done = run("utils/get_utt2dur.sh", "--nj", 2, data)
    assert done.returncode == 0, done.stderr
    durations = {key: float(value) for key, value in read(data / "utt2dur").items()}
    assert list(durations) == UTTERANCES
    assert durations == {u: pytest.approx(2.5 if u == "s01-1" else 1.0 if u == "s00-1" else 0.5) for u in UTTERANCES}


def break_media(data, media, folder):
    """Put a broken recording of every kind into the lists; return the lines to be removed, by list."""
    wav, video = read(data / "wav.scp"), read(data / "video.scp")
    clip = (media / "v.mp4").read_bytes()
    (folder / "half.mp4").write_bytes(clip[: len(clip) // 2])
    (folder / "half.wav").write_bytes((media / "s00-0.wav").read_bytes()[:9000])
    (folder / "junk.mp4").write_text("junk\n" * 99)
    (folder / "empty.mp4").touch()
    write_wav(folder / "none.wav", 0)
    write_wav(folder / "short.wav", 1000)
    wav.update({"s01-0": folder / "half.wav", "s01-1": folder / "none.wav", "s01-2": folder / "short.wav"})
    wav.update({"s02-0": "cat nowhere |", "s02-1": media / "v.mp4"})
    video.update({"s03-0": folder / "half.mp4", "s03-1": folder / "junk.mp4", "s03-2": folder / "empty.mp4"})
    video.update({"s01-0": folder / "nowhere.mp4", "s04-0": "false |"})
    write(data / "wav.scp", wav)
    write(data / "video.scp", video)
    return {
        "wav.scp": {"s01-0", "s01-1", "s01-2", "s02-0", "s02-1"},
        "video.scp": {"s01-0", "s03-0", "s03-1", "s03-2", "s04-0"},
    }


def step(*arguments, env=None):
    return run("steps/validate.sh", "--cmd", "run.py --max-jobs-run 2", *arguments, env=env)


def test_step_takes_out_what_cannot_be_used(data, media, tmp_path):
    bad = break_media(data, media, tmp_path)
    (data / "trials/t").write_text("s01-0 s01-1 target\ns00-1 s01-2 nontarget\n")
    before = {name: read(data / name) for name in ("wav.scp", "video.scp", "utt2spk")}
    done = step("--nj", 3, "--max-lost", 0.3, data)
    assert done.returncode == 0, done.stderr

    assert set(before["wav.scp"]) - set(read(data / "wav.scp")) == bad["wav.scp"]
    assert set(before["video.scp"]) - set(read(data / "video.scp")) == bad["video.scp"]
    assert set(before["utt2spk"]) - set(read(data / "utt2spk")) == {"s01-0"}, "all others have one modality left"
    assert (data / "trials/t").read_text() == "s00-1 s01-2 nontarget\n"
    durations = {key: float(value) for key, value in read(data / "utt2dur").items()}
    assert durations == {u: 1.0 if u in bad["wav.scp"] or u == "s00-1" else 0.5 for u in UTTERANCES if u != "s01-0"}
    reasons = [line.split(" ", 2) for line in (data / "dropped.txt").read_text().splitlines()]
    assert {(utterance, name.rstrip(":")) for utterance, name, _ in reasons} == {
        (utterance, name) for name in bad for utterance in bad[name]
    }
    text = {(utterance, name): reason for utterance, name, reason in reasons}
    assert "truncated" in text["s01-0", "wav.scp:"]
    assert "no samples" in text["s01-1", "wav.scp:"]
    assert text["s01-2", "wav.scp:"] == "0.06 s: shorter than 0.1 s"
    assert "no audio stream" in text["s02-1", "wav.scp:"]
    assert "the file is empty" in text["s03-2", "video.scp:"]
    assert "10 recordings taken out, see" in done.stderr
    assert read(data / ".backup/wav.scp") == before["wav.scp"]

    again = step("--nj", 1, "--max-lost", 0.3, data)
    assert again.stderr.splitlines()[-1].endswith(f"validate.sh: {data}: already validated")


def test_step_counts_what_was_lost_before(data, media, tmp_path):
    break_media(data, media, tmp_path)
    assert step("--max-lost", 0.3, data).returncode == 0
    (data / ".validate.done").unlink()
    done = step("--max-lost", 0.2, data)
    assert done.returncode == 1
    assert "wav.scp: 5 of 19 cannot be used, more than a share of 0.2: s01-0 " in done.stderr
    assert len((data / "dropped.txt").read_text().splitlines()) == 10


def test_step_refuses_to_lose_too_much(data, media, tmp_path):
    break_media(data, media, tmp_path)
    before = {path: path.read_bytes() for path in data.glob("*2*")} | {p: p.read_bytes() for p in data.glob("*.scp")}
    done = step(data)
    assert done.returncode == 1
    assert "cannot be used, more than a share of 0.05" in done.stderr
    assert before == {path: path.read_bytes() for path in before}
    assert not (data / ".validate.done").exists()


def test_step_result_does_not_depend_on_the_jobs(data, media, tmp_path):
    break_media(data, media, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    assert step("--nj", 1, "--max-lost", 0.5, data).returncode == 0
    assert step("--nj", 7, "--max-lost", 0.5, other).returncode == 0
    for path in [*data.glob("*2*"), *data.glob("*.scp"), data / "dropped.txt", data / "trials/t"]:
        assert path.read_bytes() == (other / path.name if path.parent == data else other / "trials/t").read_bytes()


def test_step_says_what_is_wrong_with_lists_first(data):
    edit("utt2dur", lambda rows: rows[::-1])(data)
    done = step(data)
    assert done.returncode == 1
    assert "not sorted" in done.stderr
    assert not (data / "log").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: "),
        (["--min-dur", "1", "x"], "unknown option --min-dur: the options are --cmd --max-lost --min-duration"),
        (["--nj"], "option --nj needs a value"),
    ],
)
def test_step_usage(arguments, message):
    done = run("steps/validate.sh", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_step_can_be_killed_at_any_moment(data, media, tmp_path):
    """Killed again and again, then run to the end: the lists are those of an undisturbed run."""
    break_media(data, media, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    assert step("--max-lost", 0.5, other).returncode == 0
    draw = random.Random(1)
    command = [str(ROOT / "steps/validate.sh"), "--cmd", "run.py", "--max-lost", "0.5", str(data)]
    for _ in range(6):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(draw.uniform(0.1, 2.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert step("--max-lost", 0.5, data).returncode == 0
    for path in [*data.glob("*2*"), *data.glob("*.scp"), data / "dropped.txt"]:
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    assert not list(data.glob(".*.tmp.*"))
