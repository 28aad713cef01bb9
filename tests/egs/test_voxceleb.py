"""The lists that egs/voxceleb makes, from small synthetic trees and, if available, the real meta files."""

import importlib
import shutil
from collections import Counter
from types import SimpleNamespace

import pytest
from commands import run
from paths import ROOT, SHARED

from avsv.datadir.validate import NUMBER
from avsv.errors import DataError
from avsv.io.lists import read_list, read_trials

RECIPE = ROOT / "egs" / "voxceleb"
TRIAL = "{} {}/aaaaaaaaaaa/00001.wav {}/{}/00001.wav\n"


@pytest.fixture(scope="module")
def local():
    """The modules in local/ of the recipe, which find each other as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPE / "local"))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("published", "selection")})


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def corpora(tmp_path):
    """VoxCeleb1 with four identities, VoxCeleb2 with twenty and five clips each; ids with dash and underscore."""
    vox1, vox2 = tmp_path / "vox 1", tmp_path / "vox2"
    vox1.mkdir()
    for number in (10001, 10002, 10003, 10004):
        for video in ("aaaaaaaaaaa", "-bbbbbbbbbb", "_cccccccccc"):
            touch(vox1 / "wav" / f"id{number}" / video / "00001.wav")
            touch(vox1 / "wav" / f"id{number}" / video / "00002.wav")
    for number in range(12, 32):
        for video, clip in zip(
            ("-dddddddddd", "_eeeeeeeeee", "fffffffffff", "fffffffffff", "--ggggggggg"), "12345", strict=True
        ):
            touch(vox2 / "dev" / "aac" / f"id000{number}" / video / f"0000{clip}.m4a")
            touch(vox2 / "dev" / "mp4" / f"id000{number}" / video / f"0000{clip}.mp4")
    lines = [TRIAL.format(1, f"id1000{n}", f"id1000{n}", "-bbbbbbbbbb") for n in (1, 2, 3, 4)]
    lines += [TRIAL.format(0, "id10001", f"id1000{n}", "_cccccccccc") for n in (2, 3, 4)]
    (vox1 / "veri_test2.txt").write_text("".join(lines))
    rows = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    rows += [f"id1000{n}\tPerson_No.{n}\t{'mf'[n % 2]}\tSri Lanka\ttest" for n in (1, 2, 3, 4)]
    (vox1 / "vox1_meta.csv").write_text("\n".join(rows) + "\n")
    rows = ["Name \tVoxCeleb2 ID \tVGGFace2 ID \tGender \tSet "]
    rows += [f"Somebody_{n} \tid000{n} \tn0000{n} \t{'mf'[n % 2]} \tdev " for n in range(12, 32)]
    (vox2 / "vox2_meta.csv").write_text("\n".join(rows) + "\n")
    return vox1, vox2


def prepare(corpora, data, *options, status=0):
    roots = ["--vox1-root", corpora[0], "--vox2-root", corpora[1]]
    done = run("local/prepare_data.sh", *roots, *options, data, cwd=RECIPE)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture
def musan(tmp_path):
    """Options with synthetic noises and rooms, so that no substitutes are made."""
    for name in ("music/fma/a.wav", "noise/free-sound/b.wav", "speech/librivox/c.wav", "speech/us-gov/d.wav"):
        touch(tmp_path / "musan" / name)
    for name in ("smallroom/Room001/Room001-00001.wav", "mediumroom/Room001/Room001-00001.wav"):
        touch(tmp_path / "rirs" / "RIRS_NOISES" / "simulated_rirs" / name)
    return ["--musan-root", tmp_path / "musan", "--rirs-root", tmp_path / "rirs"]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# The lists.


def test_lists_are_what_the_folders_hold(corpora, musan, tmp_path):
    data = tmp_path / "some data"
    (corpora[1] / "spk2age").write_text("".join(f"id000{n} {'?' if n == 13 else n + 0.5}\n" for n in range(12, 32)))
    prepare(corpora, data, *musan, "--dev-speakers", "4")
    train, dev = (read_list(data / name / "utt2spk") for name in ("train", "dev"))
    assert (len(train), len(dev)) == (80, 20)
    assert not set(train.values()) & set(dev.values())
    assert len(read_list(data / "dev" / "spk2gender")) == 4
    assert Counter(read_list(data / "dev" / "spk2gender").values()) == {"m": 2, "f": 2}
    key = next(key for key in train if "--ggggggggg-" in key)
    assert key == f"{train[key]}---ggggggggg-00005"
    assert read_list(data / "train" / "wav.scp")[key] == f"{corpora[1]}/dev/aac/{train[key]}/--ggggggggg/00005.m4a"
    assert read_list(data / "train" / "video.scp")[key] == f"{corpora[1]}/dev/mp4/{train[key]}/--ggggggggg/00005.mp4"
    assert read_list(data / "train" / "utt2session")[key] == f"{train[key]}---ggggggggg"
    ages = read_list(data / "train" / "spk2age") | read_list(data / "dev" / "spk2age")
    assert len(ages) == 19 and "id00013" not in ages and ages["id00012"] == "12.5"
    assert all(NUMBER.fullmatch(age) for age in ages.values())
    # The other 13 clips of VoxCeleb1 occur in no trial.
    assert len(read_list(data / "eval" / "utt2spk")) == 4 + 4 + 3
    assert not (data / "eval" / "video.scp").exists()
    trials = read_trials(data / "eval" / "trials" / "veri_test2")
    assert trials.enroll[0] == "id10001-aaaaaaaaaaa-00001" and trials.test[0] == "id10001--bbbbbbbbbb-00001"
    assert trials.is_target.tolist() == [True] * 4 + [False] * 3
    types = read_list(data / "musan" / "utt2type")
    assert Counter(types.values()) == {"speech": 2, "music": 1, "noise": 1}
    assert len(read_list(data / "rirs" / "wav.scp")) == 2
    for name in ("train", "dev", "eval"):
        done = run("utils/validate_data_dir.sh", "--no-feats", "--sample", "0", data / name, cwd=RECIPE)
        assert done.returncode == 0, done.stderr


def test_development_trials_are_across_videos_and_cover_every_identity(corpora, musan, tmp_path):
    prepare(corpora, tmp_path / "data", *musan, "--dev-speakers", "6")
    sessions = read_list(tmp_path / "data" / "dev" / "utt2session")
    speakers = read_list(tmp_path / "data" / "dev" / "utt2spk")
    trials = read_trials(tmp_path / "data" / "dev" / "trials" / "dev")
    for one, other, target in zip(*trials, strict=True):
        assert (speakers[one] == speakers[other]) == target
        assert sessions[one] != sessions[other]
    # Five clips, two of them of one video.
    assert trials.is_target.sum() == 6 * (10 - 1)
    assert (~trials.is_target).sum() == 3 * 6 * 9
    assert {speakers[key] for key in trials.enroll} == set(speakers.values())


def test_development_identities_do_not_depend_on_who_else_is_there(local):
    everybody = [f"id{n:05d}" for n in range(12, 400)]
    people = {identity: local.published.Identity(gender="mf"[number % 2]) for number, identity in enumerate(everybody)}
    chosen = local.selection.choose_dev(everybody, people, "auto", 0)
    assert len(chosen) == 8 and Counter(people[identity].gender for identity in chosen) == {"m": 4, "f": 4}
    assert local.selection.choose_dev(everybody[::-1], people, "auto", 0) == chosen
    assert local.selection.choose_dev(everybody, people, "auto", 1) != chosen
    most = local.selection.choose_dev(everybody, people, "40", 0)
    assert chosen <= most
    with pytest.raises(DataError, match="dev-speakers: 387 of 388"):
        local.selection.choose_dev(everybody, people, "387", 0)


def test_second_run_changes_nothing_and_a_new_clip_is_found(corpora, musan, tmp_path):
    data = tmp_path / "data"
    prepare(corpora, data, *musan)
    (data / "train" / "utt2dur").write_text("made by stage 1\n")
    before = (data / "train" / "wav.scp").stat().st_mtime_ns
    assert "up to date" in prepare(corpora, data, *musan)
    assert (data / "train" / "wav.scp").stat().st_mtime_ns == before
    identity = next(iter(read_list(data / "train" / "spk2utt")))
    touch(corpora[1] / "dev" / "aac" / identity / "hhhhhhhhhhh" / "00001.m4a")
    prepare(corpora, data, *musan)
    assert not (data / "train" / "utt2dur").exists()
    assert f"{identity}-hhhhhhhhhhh-00001" in read_list(data / "train" / "wav.scp")
    assert (
        data / "train" / "missing.txt"
    ).read_text() == f"{identity}-hhhhhhhhhhh-00001 video.scp: no such recording\n"


# Forms of the corpora.


def test_converted_audio_wins_and_foreign_files_are_ignored(corpora, musan, tmp_path):
    folder = corpora[1] / "dev" / "aac" / "id00012" / "fffffffffff"
    touch(folder / "00003.wav")
    touch(folder / ".DS_Store")
    touch(folder / "a b.m4a")
    touch(corpora[1] / "dev" / "aac" / "README")
    assert "3 files or folders do not belong to VoxCeleb" in prepare(corpora, tmp_path / "data", *musan)
    sources = {}
    for name in ("train", "dev"):
        sources |= read_list(tmp_path / "data" / name / "wav.scp")
    assert len(sources) == 100
    assert sources["id00012-fffffffffff-00003"] == f"{folder}/00003.wav"
    (corpora[1] / "dev" / "wav").mkdir()
    shutil.copytree(corpora[1] / "dev" / "mp4" / "id00013", corpora[1] / "dev" / "wav" / "id00013")
    for path in (corpora[1] / "dev" / "wav" / "id00013").glob("*/*.mp4"):
        path.rename(path.with_suffix(".wav"))
    prepare(corpora, tmp_path / "data", *musan)
    for name in ("train", "dev"):
        sources |= read_list(tmp_path / "data" / name / "wav.scp")
    assert len(sources) == 100
    assert sources["id00013-fffffffffff-00003"].endswith("/dev/wav/id00013/fffffffffff/00003.wav")


def test_video_as_tracks_and_as_images_of_a_clip(corpora, musan, tmp_path):
    for number in (1, 2, 3, 4):
        for video in ("aaaaaaaaaaa", "-bbbbbbbbbb", "_cccccccccc"):
            touch(corpora[0] / "mp4" / f"id1000{number}" / video / "00001.mp4")
            touch(corpora[0] / "faces" / f"id1000{number}" / video / "00001" / "0000025.jpg")
    key = "id10001--bbbbbbbbbb-00001"
    for options, wanted in (
        ([], "mp4/id10001/-bbbbbbbbbb/00001.mp4"),
        (["--vox1-video", "faces"], "faces/id10001/-bbbbbbbbbb/00001"),
    ):
        prepare(corpora, tmp_path / "data", *musan, *options)
        assert read_list(tmp_path / "data" / "eval" / "video.scp")[key] == f"{corpora[0]}/{wanted}"
    prepare(corpora, tmp_path / "data", *musan, "--vox1-video", "none")
    assert not (tmp_path / "data" / "eval" / "video.scp").exists()
    assert "no " in prepare(corpora, tmp_path / "data", *musan, "--vox1-video", "unzippedFaces", status=1)


def test_published_face_images_by_name_and_by_identity(corpora, musan, tmp_path):
    faces = corpora[0] / "unzippedFaces"
    for name in ("Person_No.1", "person_no2", "id10003", "id10004", "Nobody"):
        for video in ("aaaaaaaaaaa", "-bbbbbbbbbb", "_cccccccccc"):
            touch(faces / name / "1.6" / video / "0000025.jpg")
    log = prepare(corpora, tmp_path / "data", *musan)
    assert "1 folders are neither identities nor names in vox1_meta.csv, such as Nobody" in log
    found = read_list(tmp_path / "data" / "eval" / "video.scp")
    assert found["id10001--bbbbbbbbbb-00001"] == f"{faces}/Person_No.1/1.6/-bbbbbbbbbb"
    assert found["id10002-aaaaaaaaaaa-00001"] == f"{faces}/person_no2/1.6/aaaaaaaaaaa"
    assert len(found) == 11


def test_faces_configuration_fits_images_at_one_a_second():
    recipe, builtin = ((folder / "conf" / "faces.yaml").read_text() for folder in (RECIPE, ROOT))
    assert "\nsource_fps: 1 " in recipe
    differing = [
        (one, other) for one, other in zip(recipe.splitlines(), builtin.splitlines(), strict=True) if one != other
    ]
    assert len(differing) == 2  # the first line, and this key


def test_wav_folders_of_dev_and_test_apart(corpora, musan, tmp_path):
    (corpora[0] / "test").mkdir()
    (corpora[0] / "wav").rename(corpora[0] / "test" / "wav")
    (corpora[0] / "dev" / "wav").mkdir(parents=True)
    (corpora[0] / "test" / "wav" / "id10001").rename(corpora[0] / "dev" / "wav" / "id10001")
    prepare(corpora, tmp_path / "data", *musan)
    assert len(read_list(tmp_path / "data" / "eval" / "wav.scp")) == 11


def test_roots_are_needed_and_must_be_there(corpora, tmp_path):
    assert "--vox2-root DIR" in prepare((corpora[0], ""), tmp_path / "data", status=2)
    assert "no such folder" in prepare((corpora[0], tmp_path / "nowhere"), tmp_path / "data", status=1)
    assert "is --vox2-root the folder with dev/" in prepare((corpora[0], corpora[0]), tmp_path / "data", status=1)


def test_without_noises_substitutes_are_made_of_training_data_alone(tmp_path):
    chimera = SHARED / "data" / "chimera"
    if not chimera.is_dir():
        pytest.skip(f"no {chimera}: the shared test data are not here")
    data = tmp_path / "data"
    prepare((chimera / "vox1", chimera / "vox2"), data)
    assert len(read_list(data / "train" / "utt2spk")) == 122 * 12
    assert len(read_list(data / "dev" / "utt2spk")) == 8 * 12
    types = read_list(data / "musan" / "utt2type")
    assert Counter(types.values()) == {"noise": 42, "music": 20, "speech": 120}
    speakers = {key.split("-")[1] for key, kind in types.items() if kind == "speech"}
    assert speakers <= set(read_list(data / "train" / "spk2utt"))
    assert len(read_list(data / "rirs" / "wav.scp")) == 60
    assert len(read_trials(data / "eval" / "trials" / "veri_test2").enroll) == 1680
    assert len(read_list(data / "eval" / "video.scp")) == 240
    assert "?" not in (data / "train" / "spk2age").read_text()


# No identity is in both training and evaluation.


def test_training_leaves_out_who_is_evaluated_or_a_test_identity(corpora, musan, tmp_path):
    meta = corpora[1] / "vox2_meta.csv"
    edit(meta, "Somebody_12 \tid00012 ", "Pérson_No1 \tid00012 ")  # id10001 under another number
    edit(meta, "id00013 \tn000013 \tf \tdev", "id00013 \tn000013 \tf \ttest")
    shutil.copytree(corpora[1] / "dev" / "aac" / "id00014", corpora[1] / "dev" / "aac" / "id10002")
    log = prepare(corpora, tmp_path / "data", *musan)
    for reason, identity in (
        ("evaluated under another number", "id00012"),
        ("of the test set of VoxCeleb2", "id00013"),
        ("evaluated", "id10002"),
    ):
        assert f"left out of training, {reason}: 1 ({identity})" in log
    known = set(read_list(tmp_path / "data" / "train" / "spk2utt")) | set(
        read_list(tmp_path / "data" / "dev" / "spk2utt")
    )
    assert known == {f"id000{number}" for number in range(14, 32)}


# What is missing.


def test_missing_recordings_are_listed_counted_and_bounded(corpora, musan, tmp_path):
    videos = corpora[1] / "dev" / "mp4"
    shutil.rmtree(videos / "id00020" / "--ggggggggg")
    log = prepare(corpora, tmp_path / "data", *musan)
    lines = [line for name in ("train", "dev") for line in _lines(tmp_path / "data" / name / "missing.txt")]
    assert lines == ["id00020---ggggggggg-00005 video.scp: no such recording"]
    assert "1 without video" in log
    for number in range(12, 32):
        shutil.rmtree(videos / f"id000{number}" / "fffffffffff", ignore_errors=True)
    (tmp_path / "data" / "train" / "feats.scp").touch()
    message = prepare(corpora, tmp_path / "data", *musan, status=1)
    assert "recordings have no video, more than a share of 0.05" in message
    assert (
        len(_lines(tmp_path / "data" / "train" / "missing.txt"))
        + len(_lines(tmp_path / "data" / "dev" / "missing.txt"))
        == 1
    )
    prepare(corpora, tmp_path / "data", *musan, "--max-missing", "0.5")
    shutil.rmtree(videos)
    assert "(no video)" in prepare(corpora, tmp_path / "data", *musan)
    assert len(read_trials(tmp_path / "data" / "dev" / "trials" / "dev").enroll) > 0


def test_trials_without_recordings_are_listed_counted_and_bounded(corpora, musan, tmp_path):
    shutil.rmtree(corpora[0] / "wav" / "id10004" / "_cccccccccc")
    message = prepare(corpora, tmp_path / "data", *musan, status=1)
    assert "1 of 7 trials lack a recording" in message
    prepare(corpora, tmp_path / "data", *musan, "--max-missing", "0.2")
    assert len(read_trials(tmp_path / "data" / "eval" / "trials" / "veri_test2").enroll) == 6
    assert _lines(tmp_path / "data" / "eval" / "missing.txt")[-1].startswith("trials/veri_test2: id10001-")
    # A list of another part of the corpus.
    lines = [TRIAL.format(1, f"id110{n}", f"id110{n}", "-bbbbbbbbbb") for n in range(10, 30)]
    (corpora[0] / "list_test_hard.txt").write_text("".join(lines))
    log = prepare(corpora, tmp_path / "data", *musan, "--max-missing", "0.2")
    assert "trials list_test_hard: left out, its part of VoxCeleb1 is missing" in log
    assert [path.name for path in (tmp_path / "data" / "eval" / "trials").iterdir()] == ["veri_test2"]


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []


# The published lists.


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_only_the_whole_corpus_goes_by_its_name(local):
    assert local.selection.corpus_name(["O", "O_cleaned", "E", "H"], 5994) == "voxceleb"
    assert local.selection.corpus_name(["O"], 5874) == "voxceleb (part)"
    # A list that is not the published one keeps the name of its file.
    assert local.selection.corpus_name(["O", "veri_test2"], 5994) == "voxceleb (part)"


def test_forms_of_trial_lists(local, tmp_path):
    path = write(
        tmp_path / "list",
        "1 id10001/-x/00001.wav id10001/_y/00002.wav\r\n0 wav/id10001/-x/00001.m4a vox1/wav/id10002/z/00001\n\n",
    )
    assert list(local.published.read_trials(path)) == [
        ("id10001/-x/00001", "id10001/_y/00002", True),
        ("id10001/-x/00001", "id10002/z/00001", False),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 id10001/x/00001.wav", "list:1: expected '1 ID/VIDEO/CLIP.wav"),
        ("2 id10001/x/00001.wav id10001/x/00002.wav", "list:1: expected"),
        ("1 id10001/x/00001.wav Eartha_Kitt/x/00002.wav", "'Eartha_Kitt/x/00002.wav' is not of the form"),
        ("1 id10001/x/00001.wav id10002/x/00002.wav", "labeled 1, which the two identities contradict"),
        ("0 id10001/x/00001.wav id10001/x/00002.wav", "labeled 0"),
    ],
)
def test_wrong_trials_name_file_and_line(local, tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        list(local.published.read_trials(write(tmp_path / "list", line + "\n")))


def test_forms_of_meta_files(local, tmp_path):
    text = "\ufeffVoxCeleb2 ID\tGender\tSet\r\nid00012\tf\tdev\r\n\r\n"
    identity = local.published.Identity("", "f", "dev")
    assert local.published.read_meta(write(tmp_path / "meta", text)) == {"id00012": identity}
    text = "Set \tVoxCeleb1 ID \nTest\tid10001\n"
    with pytest.raises(DataError, match="meta:2: set 'Test', expected dev or test"):
        local.published.read_meta(write(tmp_path / "meta", text))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Name\tGender"], "meta:1: no column"),
        (["VoxCeleb1 ID\tGender", "id10001"], "meta:2: 1 fields, the heading has 2"),
        (["VoxCeleb1 ID\tGender", "id1\tm"], "meta:2: 'id1' is not an identity"),
        (["VoxCeleb1 ID\tGender", "id10001\tm", "id10001\tm"], "meta:3: id10001 occurs twice"),
        (["VoxCeleb1 ID\tGender", "id10001\tx"], "meta:2: gender 'x'"),
    ],
)
def test_wrong_meta_files_name_file_and_line(local, tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        local.published.read_meta(write(tmp_path / "meta", "\n".join(rows)))


def test_ages_by_identity_video_and_clip(local, tmp_path):
    text = "id00012 30\nid00013 ?\nid00014/abc/00001.wav 41.5\nid00014-def 42\nid00015 nan\n\n"
    ages = local.published.read_ages(write(tmp_path / "utt2age", text))
    assert ages == {"id00012": "30", "id00014-abc-00001": "41.5", "id00014-def": "42"}
    with pytest.raises(DataError, match="utt2age:1: 3 fields"):
        local.published.read_ages(write(tmp_path / "utt2age", "id00012 30 years\n"))


@pytest.fixture(scope="module")
def real():
    folder = SHARED / "data" / "voxceleb_meta"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the published meta files are not here")
    return folder


def test_real_trials(local, real):
    report = local.published.Report()
    assert local.published.find_trial_lists([real], report) == {"O": real / "veri_test.txt"}
    trials = list(local.published.read_trials(real / "veri_test.txt"))
    assert len(trials) == 37720 and sum(target for *_, target in trials) == 18860
    sides = {side for one, other, _ in trials for side in (one, other)}
    assert len(sides) == 4715
    assert len({side[:7] for side in sides}) == 40
    assert any("/_" in side for side in sides)


def test_real_meta_files_and_who_is_in_both_corpora(local, real):
    meta1, meta2 = (local.published.read_meta(real / f"vox{number}_meta.csv") for number in (1, 2))
    assert Counter(person.subset for person in meta1.values()) == {"dev": 1211, "test": 40}
    assert Counter(person.gender for person in meta1.values()) == {"m": 690, "f": 561}
    assert Counter(person.subset for person in meta2.values()) == {"dev": 5994, "test": 120}
    assert Counter(person.gender for person in meta2.values()) == {"m": 3763, "f": 2351}
    assert meta2["id09271"].name == "Željko_Obradović"
    # VoxCeleb1-E and -H contain all identities of VoxCeleb1, VoxCeleb1-O only those of its test set.
    left_out, usable = local.selection.left_out_of_training(meta2, meta1, meta2, set(meta1))
    assert left_out["evaluated under another number"] == ["id02123"]
    assert len(left_out["of the test set of VoxCeleb2"]) == 120 and len(usable) == 5993
    test = {identity for identity, person in meta1.items() if person.subset == "test"}
    assert len(local.selection.left_out_of_training(meta2, meta1, meta2, test)[1]) == 5994
    assert len(local.selection.choose_dev(usable, meta2, "auto", 0)) == 120
