"""The built-in corpus: its files, that they are reproducible, and that they match their lists."""

import collections
import dataclasses
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import wave
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from commands import PythonPrograms, modified, run, wait_until
from paths import ROOT

from avsv.errors import DataError
from avsv.io.lists import read_list, read_trials
from local.builtin_corpus import canvas, faces, rooms, sounds
from local.builtin_corpus.face_model import Appearance, appearance_of, face_of
from local.builtin_corpus.film import Film
from local.builtin_corpus.lists import trials_of
from local.builtin_corpus.make import write_clip
from local.builtin_corpus.media import write_mp4
from local.builtin_corpus.plan import SETS, clips_of, identities, load_settings
from local.builtin_corpus.relief import Relief
from local.builtin_corpus.voices import Synthesizer, clip_sound, run_tool, session_of, voice_of
from local.builtin_corpus.worth import FACE_KINDS, VOICE_KINDS, Spoiled, spoil

SETTINGS = ROOT / "local" / "corpus.yaml"


def prepare(data, *options, **kwargs):
    return run("local/prepare_data.sh", "--preset", "tiny", *options, data, **kwargs)


def contents(data):
    """The md5 of every file of the result, by its path; the name of the folder is removed from lists."""
    files = [path for path in sorted(data.rglob("*")) if path.is_file() and "log" not in path.parts]
    return {
        str(path.relative_to(data)): hashlib.md5(path.read_bytes().replace(str(data).encode(), b"DATA")).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    data = tmp_path_factory.mktemp("a corpus") / "data"
    done = prepare(data, "--nj", "1")
    assert done.returncode == 0, done.stderr
    return data


@pytest.fixture(scope="module")
def tiny():
    return load_settings(SETTINGS, "tiny")


@pytest.fixture(scope="module")
def synthesizer():
    with Synthesizer(16000) as made:
        yield made


def decode(path):
    """Frames (T, H, W, 3), frame rate, codec names, and samples of a media file, by PyAV alone."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        rate, names = video.average_rate, [stream.codec_context.name for stream in container.streams]
        frames = np.stack([frame.to_ndarray(format="bgr24") for frame in container.decode(video)])
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.rate == 16000
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    return frames, rate, names, samples


# The whole.


def test_lists_are_the_same_on_every_machine(corpus):
    """Processors may differ in the last bit of a sample, but not in who says what, when and how well."""
    found = {}
    for name in ("train", "dev", "eval"):
        digest = hashlib.md5()
        for path in sorted((corpus / name).iterdir()):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes().replace(str(corpus).encode(), b"DATA"))
        found[name] = digest.hexdigest()
    assert found == {
        "train": "d9f23a269cbdd47c95ca5b9eebe9b0ae",
        "dev": "d086c3a50d52ea13f496e4f93fb41b55",
        "eval": "6eebbe51e2f4af03dd015c9ecf685d56",
    }


def test_killed_and_resumed_with_other_jobs_gives_the_same_bytes(corpus, tmp_path):
    data = tmp_path / "data"
    command = ["local/prepare_data.sh", "--preset", "tiny", "--nj", "2", str(data)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(lambda: len(list(data.glob("media/*/mp4/id*"))) >= 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in data.glob("media/*/mp4/id*")}
    assert 4 <= len(before) < 22
    assert not (data / "train" / "utt2spk").exists()
    done = prepare(data, "--nj", "2")
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == modified for path, modified in before.items())
    assert contents(data) == contents(corpus)


def test_second_run_does_nothing(corpus, tmp_path):
    before, times = contents(corpus), modified(corpus)
    programs = PythonPrograms(tmp_path)
    done = prepare(corpus, "--nj", "3", env=programs.environment)
    assert programs.started() == []
    assert done.returncode == 0
    assert "up to date" in done.stderr
    assert contents(corpus) == before
    assert modified(corpus) == times


def test_another_seed_in_the_same_folder_leaves_nothing_of_the_first(corpus, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    (data / "train" / "utt2dur").write_text("made by a later step\n")
    done = prepare(data, "--seed", "1", "--nj", "2")
    assert done.returncode == 0, done.stderr
    assert not (data / "train" / "utt2dur").exists()
    assert len(list((data / "media").iterdir())) == 1
    # Later steps compare lists, which must differ even if the keys are the same.
    for name in ("train/wav.scp", "train/video.scp", "musan/wav.scp", "rirs/wav.scp"):
        before, after = read_list(corpus / name), read_list(data / name)
        relative = [
            {path.removeprefix(str(folder)) for path in paths.values()}
            for folder, paths in ((corpus, before), (data, after))
        ]
        assert not relative[0] & relative[1]


def test_foreign_media_are_not_touched(tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "holiday.mp4").write_bytes(b"mine")
    done = prepare(tmp_path)
    assert done.returncode == 1
    assert "does not belong to the built-in corpus" in done.stderr
    assert (tmp_path / "media" / "holiday.mp4").read_bytes() == b"mine"


def test_wrong_command_lines(tmp_path):
    assert prepare(tmp_path, "--sede", "1").returncode == 2
    done = prepare(tmp_path / "x", "--preset", "huge")
    assert done.returncode == 1
    assert "no preset 'huge': choose one of mini, tiny" in done.stderr


@pytest.mark.parametrize("program", ["espeak-ng", "sox"])
def test_missing_tool_is_named(program, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for path in Path(folder).iterdir():
            if path.name != program and not (programs / path.name).exists():
                (programs / path.name).symlink_to(path)
    done = prepare(tmp_path / "data", env={**os.environ, "PATH": str(programs)})
    assert done.returncode == 1
    assert f"{program} is not installed" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "data").exists()


# Lists.


def test_lists_agree_with_each_other_and_with_the_media(corpus, tiny):
    seen = set()
    for subset in SETS:
        folder = corpus / subset
        utt2spk = read_list(folder / "utt2spk", fields=2)
        spk2utt = read_list(folder / "spk2utt")
        assert {utt: spk for spk, utts in spk2utt.items() for utt in utts.split()} == utt2spk
        assert list(utt2spk) == sorted(utt2spk)
        assert all(utt.startswith(spk + "-") for utt, spk in utt2spk.items())
        assert read_list(folder / "wav.scp") == read_list(folder / "video.scp")
        assert all(Path(path).is_file() for path in read_list(folder / "wav.scp").values())
        sessions = read_list(folder / "utt2session", fields=2)
        assert list(sessions) == list(utt2spk) == list(read_list(folder / "wav.scp"))
        assert all(utt.rsplit("-", 1)[0] == session for utt, session in sessions.items())
        assert set(collections.Counter(session.split("-")[0] for session in set(sessions.values())).values()) == {6}
        assert len(spk2utt) == tiny.sizes[subset]["identities"]
        genders = read_list(folder / "spk2gender", fields=2)
        assert abs(2 * list(genders.values()).count("f") - len(genders)) <= 1
        ages = read_list(folder / "spk2age", fields=2)
        assert list(ages) == list(genders) == list(spk2utt)
        assert all(18 <= int(age) <= 75 for age in ages.values())
        assert not seen & set(spk2utt)
        seen |= set(spk2utt)
    assert (corpus / "corpus").read_text() == "builtin\n"


@pytest.mark.parametrize("subset", ["dev", "eval"])
def test_trials(corpus, subset):
    utt2spk = read_list(corpus / subset / "utt2spk")
    sessions = read_list(corpus / subset / "utt2session")
    genders = read_list(corpus / subset / "spk2gender")
    trials = read_trials(corpus / subset / "trials" / subset)
    rows = list(zip(trials.enroll, trials.test, trials.is_target, strict=True))
    assert {frozenset(row[:2]) for row in rows}.__len__() == len(rows)
    for enroll, test, is_target in rows:
        assert (utt2spk[enroll] == utt2spk[test]) == is_target
        assert sessions[enroll] != sessions[test]
    # 6 sessions of one clip: all 15 pairs of each identity.
    assert collections.Counter(utt2spk[e] for e, _, t in rows if t) == dict.fromkeys(set(utt2spk.values()), 15)
    nontargets = [(utt2spk[e], utt2spk[t]) for e, t, is_target in rows if not is_target]
    pairs = collections.Counter(frozenset(pair) for pair in nontargets)
    same = {pair: n for pair, n in pairs.items() if len({genders[p] for p in pair}) == 1}
    cross = {pair: n for pair, n in pairs.items() if pair not in same}
    assert len(pairs) == len(genders) * (len(genders) - 1) // 2
    assert max(same.values()) - min(same.values()) <= 1
    assert max(cross.values()) - min(cross.values()) <= 1


def test_mini_meets_the_promised_sizes():
    mini = load_settings(SETTINGS, "mini")
    people = identities(mini, 0)
    for subset, least in {"train": 48, "dev": 8, "eval": 24}.items():
        own = [identity for identity in people if identity.subset == subset]
        assert len(own) >= least
        for identity in own:
            clips = clips_of(identity, mini)
            per_session = collections.Counter(clip.session for clip in clips)
            assert len(per_session) >= 6
            assert set(per_session.values()) <= {1, 2}
            assert all(2 <= clip.seconds <= 4 for clip in clips)
    trials = trials_of([c for p in people if p.subset == "eval" for c in clips_of(p, mini)], mini, 0)
    targets = sum(is_target for _, _, is_target in trials)
    assert 1500 <= targets <= 4000
    assert 10000 <= len(trials) - targets <= 20000


def test_identities_are_evenly_spread_and_independent(tiny):
    people = [p for p in identities(load_settings(SETTINGS, "mini"), 3) if p.subset == "train" and p.gender == "f"]
    for trait in ("age", "voice f0", "face width"):
        strata = sorted(int(p.uniform(trait) * len(people)) for p in people)
        assert strata == list(range(len(people)))
    face, voice = ([p.uniform(trait) for p in people] for trait in ("face width", "voice f0"))
    assert abs(np.corrcoef(face, voice)[0, 1]) < 0.5
    assert len({p.name for p in identities(tiny, 0)}) == 22


def test_another_seed_is_another_corpus(tiny, synthesizer, tmp_path):
    paths = []
    for seed in (0, 0, 1):
        clip = clips_of(identities(tiny, seed)[0], tiny)[0]
        paths.append(tmp_path / f"{len(paths)}.mp4")
        write_clip(paths[-1], clip, tiny, synthesizer)
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same
    assert first != other


# Media.


def test_media_files(corpus, tiny):
    for subset in SETS:
        wav = read_list(corpus / subset / "wav.scp")
        clips = {c.key: c for p in identities(tiny, 0) if p.subset == subset for c in clips_of(p, tiny)}
        assert list(wav) == sorted(clips)
        for key in list(wav)[::9]:
            frames, rate, codecs, samples = decode(wav[key])
            assert rate == 25
            assert codecs == ["h264", "aac"]
            assert frames.shape == (round(clips[key].seconds * 25), 96, 96, 3)
            # AAC has blocks of 1024 samples.
            assert 0 <= len(samples) - clips[key].seconds * 16000 < 1024
            assert 0.1 < np.abs(samples).max() <= 1.1
            assert np.sqrt(np.mean(samples**2)) > 0.01
            assert frames.std() > 15


def test_sound_is_where_the_pictures_are(tmp_path):
    frames = np.zeros((50, 96, 96, 3), np.uint8)
    sound = np.zeros(32000)
    frames[20:] = 255
    sound[20 * 640 :] = 0.5 * np.sin(np.arange(30 * 640) * 0.3)
    write_mp4(tmp_path / "x.mp4", frames, 25, sound, 16000, crf=20, audio_kbps=64)
    seen, _, _, heard = decode(tmp_path / "x.mp4")
    assert np.argmax(seen.mean(axis=(1, 2, 3)) > 128) == 20
    # The transform of AAC can ring before the onset, by less than a quarter of a frame at this level.
    assert abs(np.argmax(np.abs(heard) > 0.25) - 20 * 640) < 160


def lines_of_the_mouth(frames):
    """The strength of vertical variation (lips, teeth, gap, tongue) in the region of the mouth in each frame."""
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]).astype(float)
    return np.abs(np.diff(gray[:, 70:94, 40:56], axis=1)).mean(axis=(1, 2))


def test_mouth_follows_the_sound(corpus, tiny):
    correlations, shuffled = [], []
    wav = read_list(corpus / "train" / "wav.scp")
    for person in identities(tiny, 0)[:12]:
        for clip in clips_of(person, tiny):
            if appearance_of(person, clip.session, tiny).occlusion in ("scarf", "hand", "bar"):
                continue
            of_voice, of_face = spoil(clip, tiny)
            seen = (of_face.worth > 0.9) & (of_voice.strength(VOICE_KINDS.index("burst")) < 0.1)
            if seen.sum() < 20:
                continue
            frames, _, _, samples = decode(wav[clip.key])
            envelope = np.sqrt(np.mean(samples[: len(frames) * 640].reshape(-1, 640) ** 2, axis=1))
            mouth, turned = lines_of_the_mouth(frames), np.roll(envelope, len(envelope) // 2)
            correlations.append(np.corrcoef(envelope[seen], mouth[seen])[0, 1])
            shuffled.append(np.corrcoef(turned[seen], mouth[seen])[0, 1])
    assert np.mean(correlations) > 0.3
    assert np.mean(correlations) > np.mean(shuffled) + 0.3


def test_noise_and_room_folders(corpus):
    noises = read_list(corpus / "musan" / "wav.scp")
    kinds = read_list(corpus / "musan" / "utt2type", fields=2)
    assert list(noises) == list(kinds)
    assert collections.Counter(kinds.values()) == {"noise": 4, "music": 2, "speech": 4}
    for key, path in noises.items():
        parts = Path(path).relative_to(corpus / "media").parts[1:]
        assert parts[:2] == ("musan", kinds[key])
        assert parts[3] == f"{kinds[key]}-{parts[2]}-{key[-4:]}.wav"
    responses = read_list(corpus / "rirs" / "wav.scp")
    folders = {Path(path).relative_to(corpus / "media").parts[1:4] for path in responses.values()}
    assert folders == {("RIRS_NOISES", "simulated_rirs", room) for room in ("smallroom", "mediumroom")}
    for path in itertools.chain(noises.values(), responses.values()):
        with wave.open(path) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert 8000 < np.abs(samples).max() < 32767


# Rooms and sounds compared with closed forms.


@pytest.mark.parametrize("absorption", [0.2, 0.5])
def test_room_response_has_the_direct_sound_and_eyring_decay(absorption):
    size, source, ear = np.array([6.0, 5.0, 3.0]), np.array([1.0, 1.2, 1.5]), np.array([4.0, 3.5, 1.2])
    response = rooms.room_response(size, absorption, source, ear, 16000, np.random.default_rng(0)).astype(float)
    distance = np.linalg.norm(source - ear)
    assert np.flatnonzero(response)[0] == round(distance / 343 * 16000)
    assert response[np.flatnonzero(response)[0]] == pytest.approx(1 / distance)
    # Eyring: RT60 = 24 ln 10 V / (c * -S ln(1 - a)).
    expected = 24 * np.log(10) / 343 * 90 / (-(2 * (30 + 15 + 18)) * np.log(1 - absorption))
    decay = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2))
    start, end = np.argmax(decay < -10), np.argmax(decay < -30)
    assert 3 * (end - start) / 16000 == pytest.approx(expected, rel=0.15)


def test_early_reflections_are_the_mirror_images():
    size, source, ear = np.array([5.0, 4.0, 3.0]), np.array([1.0, 2.0, 1.5]), np.array([3.0, 2.5, 1.0])
    response = rooms.room_response(size, 0.4, source, ear, 16000, np.random.default_rng(0))
    for axis in range(3):
        for wall in (0.0, size[axis]):
            image = source.copy()
            image[axis] = 2 * wall - source[axis]
            distance = np.linalg.norm(image - ear)
            if distance / 343 < np.linalg.norm(source - ear) / 343 + rooms.MIXING_TIME:
                at = round(distance / 343 * 16000)
                assert response[at] >= np.float32(np.sqrt(0.6) / distance) * 0.999


@pytest.mark.parametrize("kind", sounds.NOISES)
def test_noises_are_finite_unit_and_differ(kind):
    one, other = (sounds.noise(kind, 16000, 16000, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.sqrt(np.mean(one**2)) == pytest.approx(1, abs=1e-3)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_mix_has_the_requested_ratio():
    rng = np.random.default_rng(0)
    speech, other = rng.standard_normal(16000), 7 * rng.standard_normal(16000)
    added = sounds.mix(speech, other, 5.0) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(5.0, abs=1e-6)


# Voices and faces.


def fundamental(sound):
    """The median fundamental frequency of the louder frames, by the peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::256]
    frames = frames[np.std(frames, axis=1) > 0.5 * np.std(sound)]
    found = []
    for frame in frames:
        correlation = np.correlate(frame, frame, "full")[1023:]
        peak = correlation[40:230].max()
        # The first peak that is nearly the highest, since multiples of the period are equally high.
        if peak > 0.4 * correlation[0]:
            near = 40 + np.argmax(correlation[40:230] > 0.85 * peak)
            found.append(16000 / (near + np.argmax(correlation[near : near + 12])))
    return np.median(found)


def test_voices_have_their_own_pitch(tiny, synthesizer):
    wanted, heard = [], []
    for person in identities(tiny, 0)[:12]:
        session = dataclasses.replace(session_of(person, "a", tiny), channel=("gain", "0"))
        voice = dataclasses.replace(voice_of(person, 1.0), breath=0.0, roughness=0, flutter=0)
        text = "My neighbour was asking for a very long yellow boat near the river in the morning."
        wanted.append(np.log(voice.f0 * session.f0))
        heard.append(np.log(fundamental(synthesizer.speak(text, voice, session))))
    assert np.corrcoef(wanted, heard)[0, 1] > 0.9


def test_clip_sound_has_the_length_and_no_clipping(tiny, synthesizer):
    for clip in clips_of(identities(tiny, 0)[2], tiny)[:3]:
        sound, mouth = clip_sound(clip, spoil(clip, tiny)[0], tiny, synthesizer)
        assert len(sound) == round(clip.seconds * 16000)
        assert len(mouth) == round(clip.seconds * 25)
        assert np.abs(sound).max() < 0.9
        assert mouth.min() >= 0
        assert mouth.max() == 1


def test_failing_tool_is_quoted(tiny, synthesizer):
    person = identities(tiny, 0)[0]
    session = dataclasses.replace(session_of(person, "a", tiny), channel=("highpass", "much"))
    with pytest.raises(DataError, match=r"^sox failed: sox FAIL highpass: usage: \[-1\|-2\] frequency .*$"):
        synthesizer.speak("Hello.", voice_of(person, 1.0), session)
    with pytest.raises(DataError, match=r"^espeak-ng failed with status 1: Error: .*voice does not exist"):
        run_tool(["espeak-ng", "-v", "nowhere", "Hello."], "/")


def plain(look: Appearance, **changes):
    return Appearance(**{**vars(look), "occlusion": "", "hat": "", "glasses": "", "noise": 0.0, "blur": 0.0, **changes})


@pytest.fixture(scope="module")
def portrait(tiny):
    person = identities(tiny, 0)[0]
    return face_of(person, 1.0), plain(appearance_of(person, "a", tiny), yaw=0.0, pitch=0.0, roll=0.0)


def unspoiled(frames):
    return Spoiled(np.ones(frames), np.zeros(frames, int))


def test_rendered_mouth_opens(portrait, tiny):
    face, look = portrait
    opening = np.tile([0.0, 0.25, 0.5, 1.0, 0.5], 6)
    frames = faces.render(face, look, opening, unspoiled(len(opening)), tiny, "x")
    assert np.corrcoef(lines_of_the_mouth(frames), opening)[0, 1] > 0.7


def test_eyes_blink():
    opening = faces.eye_opening(100, np.random.default_rng(0))
    assert opening.min() == 0
    assert opening.max() == 1
    assert np.mean(opening < 0.5) < 0.2


def test_background_belongs_to_the_session_alone(portrait, tiny):
    """Two identities in sessions of the same seed and name have the same background; other sessions differ."""
    face, look = portrait
    corners = []
    for name in ("a", "a", "b"):
        frames = faces.render(face, plain(look, name=name), np.zeros(2), unspoiled(2), tiny, "x")
        corners.append(frames[0, :12, :12].astype(float))
    assert np.array_equal(corners[0], corners[1])
    assert np.abs(corners[0] - corners[2]).mean() > 5


def test_turning_moves_the_nose_more_than_the_ears(portrait):
    """Parallax: points nearer to the viewer move further."""
    face, look = portrait
    relief = Relief(face, look)
    rng = np.random.default_rng(0)
    flat = np.zeros((canvas.CANVAS, canvas.CANVAS, 4), np.uint8)
    moved = {}
    for part, x in {"nose": 0.0, "cheek": 0.55}.items():
        picture = flat.copy()
        canvas.ellipse(picture, (x, face.eye_y + face.nose_length - 0.05), (0.06, 0.06), 0, (255.0, 255.0, 255.0))
        centers = []
        for yaw in (0.0, 0.2):
            film = Film(plain(look, yaw=yaw), 96, rng)
            film.background = np.zeros_like(film.background)
            frame = film.shoot(picture, relief, np.zeros(5), 0.0, 0.0)[..., 0].astype(float)
            centers.append((frame.sum(axis=0) * np.arange(96)).sum() / frame.sum())
        moved[part] = centers[1] - centers[0]
    assert moved["nose"] > moved["cheek"] + 1


# Worth of moments.


def with_correlation(settings, correlation):
    return dataclasses.replace(settings, worth={**settings.worth, "correlation": correlation})


def test_worth_is_of_all_values_and_correlates_as_stated():
    mini = load_settings(SETTINGS, "mini")
    clips = [clip for person in identities(mini, 0)[:88] for clip in clips_of(person, mini)]
    low, high = mini.worth["spoiled"]
    found = {}
    for correlation in (0.0, 0.5, 1.0):
        voice, face = zip(*(spoil(clip, with_correlation(mini, correlation)) for clip in clips), strict=True)
        for modality, kinds in ((voice, VOICE_KINDS), (face, FACE_KINDS)):
            shares = np.array([np.mean(one.worth < 0.5) for one in modality])
            assert low - 0.02 <= shares.min() and shares.max() <= high + 0.02
            assert np.mean(shares) == pytest.approx((low + high) / 2, abs=0.03)
            worth = np.concatenate([one.worth for one in modality])
            assert worth.min() == 0 and worth.max() == 1
            assert set(np.concatenate([one.kinds for one in modality])) == set(range(len(kinds)))
        found[correlation] = np.corrcoef(*(np.concatenate([one.worth for one in side]) for side in (voice, face)))[0, 1]
    assert found[0.0] == pytest.approx(0, abs=0.04)
    assert 0.3 < found[0.5] < 0.6
    assert found[1.0] == pytest.approx(1)


def test_worth_lists_are_what_was_spoiled(corpus, tiny):
    for name, number in (("audio", 0), ("video", 1)):
        listed = read_list(corpus / "eval" / f"utt2{name}_worth", fields=2)
        clips = [c for p in identities(tiny, 0) if p.subset == "eval" for c in clips_of(p, tiny)]
        assert list(listed) == [clip.key for clip in clips]
        for clip in clips[::5]:
            worth = spoil(clip, tiny)[number].worth
            assert len(worth) == round(clip.seconds * tiny.media["fps"])
            np.testing.assert_allclose([float(x) for x in listed[clip.key].split(",")], worth, atol=0.005)


def test_spoiled_voice(tiny, synthesizer):
    """Silence leaves nothing of the voice, and a burst drowns it, where they act and nowhere else."""
    clip = clips_of(identities(tiny, 0)[0], tiny)[0]
    quiet = dataclasses.replace(tiny, voice={**tiny.voice, "snr_db": [60, 60], "reverberant": 0.0})
    frames = round(clip.seconds * 25)
    worth = np.ones(frames)
    worth[10:30] = 0
    sounds_of = {}
    for kind in (None, *VOICE_KINDS):
        spoiled = unspoiled(frames) if kind is None else Spoiled(worth, np.full(frames, VOICE_KINDS.index(kind)))
        sound, _ = clip_sound(clip, spoiled, quiet, synthesizer)
        sounds_of[kind] = sound / np.sqrt(np.mean(sound[: 9 * 640] ** 2))
    level = {kind: np.mean(sound[11 * 640 : 29 * 640] ** 2) for kind, sound in sounds_of.items()}
    assert 10 * np.log10(level["silent"] / level[None]) == pytest.approx(tiny.worth["silence_db"], abs=6)
    assert 10 * np.log10(level["burst"] / level[None]) == pytest.approx(-tiny.worth["burst_db"], abs=6)
    for kind in VOICE_KINDS:
        assert np.corrcoef(sounds_of[kind][31 * 640 :], sounds_of[None][31 * 640 :])[0, 1] > 0.99


def test_spoiled_face(portrait, tiny):
    """Where a face is spoiled it differs from what can be seen otherwise, and nowhere else."""
    face, look = portrait
    worth = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    clear = faces.render(face, look, np.zeros(5), unspoiled(5), tiny, "x").astype(float)
    for kind in range(len(FACE_KINDS)):
        frames = faces.render(face, look, np.zeros(5), Spoiled(worth, np.full(5, kind)), tiny, "x").astype(float)
        changed = np.abs(frames - clear).mean(axis=(1, 2, 3))
        assert (changed[worth == 1] == 0).all()
        assert (changed[worth == 0] > 10).all(), FACE_KINDS[kind]


def test_settings_are_checked(tmp_path):
    path = tmp_path / "corpus.yaml"
    path.write_text(SETTINGS.read_text().replace("  yaw:", "  jaw:"))
    with pytest.raises(DataError, match="section face: unknown settings: jaw; missing settings: yaw"):
        load_settings(path, "mini")
    path.write_text(SETTINGS.read_text() + "more: {a: 1}\n")
    with pytest.raises(DataError, match="section more: unknown settings: a"):
        load_settings(path, "mini")
