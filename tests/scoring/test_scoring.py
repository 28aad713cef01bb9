"""Cosine scores, normalization, ensembles and calibration compared with the specification and brute force."""

import numpy as np
import pytest

from avsv.errors import DataError
from avsv.io.ark import write_vectors
from avsv.io.lists import Scores, Trials, write_list, write_scores
from avsv.scoring.calibration import LinearCalibration, fit_calibration, fit_logistic
from avsv.scoring.calibrator import QualityReader, calibrate_system
from avsv.scoring.cosine import cosine_scores
from avsv.scoring.ensemble import (
    Ensemble,
    Fusion,
    Member,
    combine_scores,
    common_trials,
    fit_fusion,
    read_ensembles,
    widest_mode,
)
from avsv.scoring.members import Embeddings, Members
from avsv.scoring.metrics import actual_dcf, cllr, min_cllr, min_dcf
from avsv.scoring.modes import MODES, assignments, available_modes, joint_mode, parse_mode
from avsv.scoring.norm import (
    Cohort,
    CohortStatistics,
    Normalizer,
    cohort_statistics,
    find_variant,
    s_norm,
    speaker_cohort,
)
from avsv.scoring.quality import quality_columns, read_measures
from avsv.scoring.scorer import cosine_scorer, labeled_sets, modes_of, read_trial_sets
from avsv.scoring.thresholds import find_thresholds, read_thresholds, thresholds_csv
from avsv.scoring.trials import (
    TrialSet,
    places_in,
    read_embedding_blocks,
    read_embeddings,
    read_trial_set,
    usable_trials,
)

# Specification K.1.
ENROLL, TEST = [1.0, 0.0], [0.6, 0.8]
COHORT = [[1, 0], [0, 1], [0.8, 0.6], [-1, 0], [0.6, -0.8]]


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embeddings(rows):
    matrix = unit(rows)
    return Embeddings(matrix, np.ones(len(matrix), dtype=bool))


def cohort(rows):
    return Cohort([f"s{n:04d}" for n in range(len(rows))], unit(rows))


def brute_force_norm(enroll, test, enroll_cohort, test_cohort, variant, top_n):
    """One trial, directly from the definition in double precision."""
    enroll, test, enroll_cohort, test_cohort = (
        np.asarray(x, dtype=np.float64) for x in (enroll, test, enroll_cohort, test_cohort)
    )
    of_enroll, of_test = enroll_cohort @ enroll, test_cohort @ test
    nearest_enroll, nearest_test = np.argsort(-of_enroll)[:top_n], np.argsort(-of_test)[:top_n]
    if variant == "s-norm":
        chosen = of_enroll, of_test
    elif variant == "as-norm1":
        chosen = of_enroll[nearest_enroll], of_test[nearest_test]
    else:
        chosen = of_enroll[nearest_test], of_test[nearest_enroll]
    return sum((enroll @ test - scores.mean()) / scores.std() for scores in chosen) / 2


@pytest.mark.parametrize(
    ("variant", "top_n", "expected"),
    [("as-norm1", 2, -3.25), ("as-norm2", 2, -0.25), ("s-norm", 2, 0.466706), ("as-norm1", 300, 0.466706)],
)
def test_norms_of_the_specification(variant, top_n, expected):
    normalizer = Normalizer({"A": embeddings([ENROLL, TEST])}, {"A": cohort(COHORT)}, variant, top_n)
    # The values follow from a standard deviation of 0.1 and single-precision inputs.
    both = normalizer.score("A", "A", np.array([0, 1]), np.array([1, 0]))
    np.testing.assert_allclose(both, expected, atol=2e-6)


@pytest.mark.parametrize("variant", ["as-norm1", "as-norm2", "s-norm"])
def test_norms_equal_brute_force_on_two_modalities(variant):
    rng = np.random.default_rng(0)
    sides = {"A": embeddings(rng.normal(size=(700, 24))), "V": embeddings(rng.normal(size=(700, 24)))}
    cohorts = {"A": cohort(rng.normal(size=(90, 24))), "V": cohort(rng.normal(size=(90, 24)))}
    rows = rng.integers(0, 700, (2, 3000))
    rows[0, :600] = 5  # one utterance with more trials than a block
    for enroll, test in (("A", "A"), ("A", "V"), ("V", "A")):
        scores = Normalizer(sides, cohorts, variant, top_n=20).score(enroll, test, *rows)
        for n in rng.integers(0, 3000, 150):
            expected = brute_force_norm(
                sides[enroll].matrix[rows[0, n]],
                sides[test].matrix[rows[1, n]],
                cohorts[enroll].means,
                cohorts[test].means,
                variant,
                20,
            )
            assert scores[n] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_cosines_equal_brute_force():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(50, 256)), rng.normal(size=(60, 256))
    rows = rng.integers(0, 50, 20_000), rng.integers(0, 60, 20_000)
    scores = cosine_scores(unit(first), unit(second), *rows)
    lengths = np.linalg.norm(first[rows[0]], axis=1) * np.linalg.norm(second[rows[1]], axis=1)
    np.testing.assert_allclose(scores, (first[rows[0]] * second[rows[1]]).sum(axis=1) / lengths, atol=1e-6)


def test_threads_and_surroundings_change_nothing():
    rng = np.random.default_rng(2)
    matrix, speakers = unit(rng.normal(size=(1000, 16))), unit(rng.normal(size=(40, 16)))
    one = cohort_statistics(matrix, speakers, 10, num_threads=1)
    four = cohort_statistics(matrix, speakers, 10, num_threads=4)
    np.testing.assert_array_equal(one.mean, four.mean)
    np.testing.assert_array_equal(one.std, four.std)
    alone = cohort_statistics(matrix[500:501], speakers, 10)
    np.testing.assert_allclose(alone.mean, one.mean[500:501], atol=1e-7)


def test_s_norm_forgets_affine_maps_of_all_scores():
    rng = np.random.default_rng(3)
    raw, of_cohort = rng.normal(size=8), rng.normal(size=(2, 8, 30))
    rows = np.arange(8)

    def normalize(scale, offset):
        sides = [
            CohortStatistics((scale * x + offset).mean(axis=1), (scale * x + offset).std(axis=1)) for x in of_cohort
        ]
        return s_norm(scale * raw + offset, *sides, rows, rows)

    np.testing.assert_allclose(normalize(7.0, -3.0), normalize(1.0, 0.0), atol=1e-10)


def test_norm_warns_of_what_has_no_spread():
    alike = {"A": cohort([[1, 0], [1, 0], [1, 0]])}
    normalizer = Normalizer({"A": embeddings([ENROLL, TEST])}, alike)
    with pytest.warns(UserWarning, match="in 2 of 2 trials an utterance has equal scores with all its cohort speakers"):
        scores = normalizer.score("A", "A", np.array([0, 1]), np.array([1, 0]))
    assert np.isfinite(scores).all() and scores[0] == scores[1]


def test_a_normalization_from_outside_the_package(tmp_path, monkeypatch):
    """Z-norm: the statistics of the enrollment side only."""
    (tmp_path / "my_norms.py").write_text(
        "from avsv.scoring.norm import Variant\n"
        "def normalize(normalizer, raw, enroll, test, enroll_rows, test_rows):\n"
        "    mean, std = normalizer.statistics(enroll)\n"
        "    return (raw - mean[enroll_rows]) / std[enroll_rows]\n"
        "z_norm = Variant(normalize, adaptive=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sides, cohorts = {"A": embeddings([ENROLL, TEST])}, {"A": cohort(COHORT)}
    rows = np.array([0]), np.array([1])
    of_cohort = cosine_scores(sides["A"].matrix, cohorts["A"].means, np.zeros(len(COHORT), int), np.arange(len(COHORT)))
    raw = cosine_scores(sides["A"].matrix, sides["A"].matrix, *rows)
    found = Normalizer(sides, cohorts, "my_norms:z_norm").score("A", "A", *rows)
    np.testing.assert_allclose(found, (raw - of_cohort.mean()) / of_cohort.std(), rtol=1e-5)
    for name, message in (
        ("as-norm3", "choose one of as-norm1, as-norm2, s-norm, or MODULE:NAME"),
        ("my_norms:x", "has no attribute 'x'"),
        ("no_norms:x", "No module named 'no_norms'"),
        ("my_norms:normalize", r"expected an avsv\.scoring\.norm\.Variant"),
    ):
        with pytest.raises(DataError, match=f"normalization {name}: .*{message}"):
            find_variant(name)


def test_as_norm2_refuses_different_speakers():
    different = {"A": cohort(COHORT), "V": Cohort(["x", "y"], unit([[1, 0], [0, 1]]))}
    normalizer = Normalizer({m: embeddings([ENROLL, TEST]) for m in "AV"}, different, "as-norm2")
    with pytest.raises(DataError, match=r"different speakers.*use as-norm1"):
        normalizer.score("A", "V", np.array([0]), np.array([1]))


@pytest.mark.parametrize("parts", [[12], [5, 6, 1], [1] * 12])
def test_cohort_is_the_mean_of_length_normalized_utterances(parts):
    rng = np.random.default_rng(4)
    keys = [f"{speaker}-{n}" for speaker in "cab" for n in range(4)]
    vectors = rng.normal(size=(12, 5)) * rng.uniform(0.1, 9, (12, 1))
    # Several arks can contain the utterances of the list in any order.
    places = np.split(rng.permutation(12), np.cumsum(parts)[:-1])
    blocks = [(rows, unit(vectors)[rows]) for rows in places]
    result = speaker_cohort(keys, blocks, {key: key[0] for key in keys})
    assert result.speakers == ["a", "b", "c"]
    for speaker, row in zip(result.speakers, result.means, strict=True):
        mine = [vectors[n] / np.linalg.norm(vectors[n]) for n, key in enumerate(keys) if key[0] == speaker]
        np.testing.assert_allclose(row, np.mean(mine, axis=0) / np.linalg.norm(np.mean(mine, axis=0)), atol=1e-7)
    with pytest.raises(DataError, match="'c-0' is not in utt2spk"):
        speaker_cohort(keys, blocks, {"a-0": "a"})
    with pytest.raises(DataError, match="cohort of 1 speaker"):
        speaker_cohort(keys, blocks, dict.fromkeys(keys, "a"))


def test_embeddings_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("avsv.io.ark._VECTORS_AT_A_TIME", 3)
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(10, 4)).astype(np.float32)
    names = [f"u{n}" for n in range(10)]
    write_vectors(tmp_path / "one", names[:7], vectors[:7])
    write_vectors(tmp_path / "two", names[7:], vectors[7:])
    lines = [*(tmp_path / "one.scp").open(), *(tmp_path / "two.scp").open()]
    order = rng.permutation(10)
    (tmp_path / "eval.A.scp").write_text("".join(lines[n] for n in order))
    keys, blocks = read_embedding_blocks(tmp_path / "eval.A.scp")
    assert keys == [names[n] for n in order]
    blocks = list(blocks)  # ark by ark
    assert sorted(len(rows) for rows, _ in blocks) == [1, 3, 3, 3]
    assert sorted(np.concatenate([rows for rows, _ in blocks])) == list(range(10))
    for rows, found in blocks:
        np.testing.assert_array_equal(found, unit(vectors[order[rows]]))
    write_vectors(tmp_path / "two", names[7:], 0 * vectors[7:])
    with pytest.raises(DataError, match=r"eval.A.scp: the embedding of 'u[789]' is all zeros \(3 of 3 read\)"):
        list(read_embedding_blocks(tmp_path / "eval.A.scp")[1])


def test_modes():
    assert [assignments(mode) for mode in ("VxV", "AVxV", "AxV")] == [
        [("V", "V")],
        [("AV", "V"), ("V", "AV")],
        [("A", "V"), ("V", "A")],
    ]
    assert available_modes({"A", "V", "AV"}) == list(MODES)
    assert available_modes({"A", "V"}) == ["AxA", "VxV", "AxV"]
    assert joint_mode(["AxA", "VxV", "AVxAV"]) == "AVxAV"
    assert joint_mode(["AxA", "AxA"]) == "AxA"
    assert joint_mode(["AxV", "AxA"]) == "AVxA"
    assert widest_mode({"VxV", "AxA"}) == "AxA"
    with pytest.raises(DataError, match="mode 'VxA' is not one of AVxAV AxA"):
        parse_mode("VxA")


@pytest.fixture
def data_dir(tmp_path):
    """A data directory with three utterances of two speakers and a function that writes its trial list."""
    folder = tmp_path / "eval"
    (folder / "trials").mkdir(parents=True)
    write_list(folder / "utt2spk", {"a-1": "a", "a-2": "a", "b-1": "b"})

    def write(text, name="list"):
        (folder / "trials" / name).write_text(text)
        return folder

    return write


def test_trial_set(data_dir):
    trial_set = read_trial_set(data_dir("a-1 a-2 target\na-1 b-1 nontarget\n"))
    assert trial_set.name == "eval"
    assert trial_set.sides == trial_set.members.utterances == ["a-1", "a-2", "b-1"]
    assert trial_set.speakers.tolist() == ["a", "a", "b"]
    (trials,) = trial_set.lists
    assert (trials.name, trials.enroll.tolist(), trials.test.tolist()) == ("list", [0, 0], [1, 2])


def test_models_of_several_utterances(data_dir):
    folder = data_dir("m b-1 nontarget\nm a-2 target\n")
    (folder / "enroll").write_text("m a-1 a-2\nn b-1\n")
    trial_set = read_trial_set(folder)
    assert trial_set.sides == ["m", "b-1", "a-2"]
    assert trial_set.speakers.tolist() == ["a", "b", "a"]
    data_dir("m b-1\n", "blind")
    with_blind = read_trial_set(folder)
    assert [trials.name for trials in with_blind.lists] == ["blind", "list"]
    assert [trials.name for trials in with_blind.labeled().lists] == ["list"]
    assert with_blind.lists[0].trials.is_target is None


def test_the_embedding_of_a_model_is_the_mean_of_those_it_has():
    rng = np.random.default_rng(3)
    keys = [f"u{n}" for n in range(40)]
    vectors = rng.normal(size=(40, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    missing = {"u3", "u7", "u20", "u21"}
    models = {f"m{n}": list(rng.choice(keys, rng.integers(1, 6), replace=False)) for n in range(15)}
    models |= {"nothing": ["u20", "u21"], "some": ["u20", "u2"]}
    sides = [*rng.permutation([*models, *keys[5:30]]).tolist()]
    members = Members.of(sides, models)
    present = np.array([key not in missing for key in members.utterances])
    matrix = np.array([vectors[keys.index(key)] * (key not in missing) for key in members.utterances], np.float32)
    found = members.pool(Embeddings(matrix, present), sides)
    lengths = rng.uniform(1, 9, size=40)
    means = members.mean(np.array([np.nan if key in missing else lengths[int(key[1:])] for key in members.utterances]))
    for side, vector, there, mean in zip(sides, found.matrix, found.present, means, strict=True):
        rows = [keys.index(key) for key in models.get(side, [side]) if key not in missing]
        assert there == bool(rows)
        if rows:
            expected = vectors[rows].mean(axis=0)
            np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
            assert mean == pytest.approx(lengths[rows].mean())
        else:
            assert not vector.any() and np.isnan(mean)
    same = members.common(np.array([key[-1] for key in members.utterances]))[1]
    assert same.tolist() == [len({key[-1] for key in models.get(side, [side])}) == 1 for side in sides]


def test_a_model_whose_embeddings_cancel_out():
    embeddings = Embeddings(np.array([[1, 0], [-1, 0]], np.float32), np.ones(2, bool))
    with pytest.raises(DataError, match="model 'm': the embeddings cancel out to zero"):
        Members.of(["m"], {"m": ["a", "b"]}).pool(embeddings, ["m"])


@pytest.mark.parametrize(
    ("enroll", "message"),
    [
        ("m a-1 x-1\n", "enroll:1: the model 'm': 'x-1' is not in utt2spk"),
        ("m a-1\na-2 a-1\n", "enroll:2: the model 'a-2' has the name of an utterance: rename it"),
        ("m a-1 a-2 a-1\n", "enroll:1: the model 'm' has an utterance twice"),
        ("m a-1\nm a-2\n", "enroll:2: 'm' occurs twice"),
        ("m\n", "enroll:1: 1 field, expected a key and a value"),
        (
            "m a-1 b-1\n",
            "list:2: the model 'm' has utterances of several speakers: correct .*eval/enroll, or use it in",
        ),
        ("n a-1\n", "list:2: unknown utterance 'm': 1 of 2 trials .* not in .*/utt2spk or .*/enroll"),
    ],
)
def test_bad_models(data_dir, enroll, message):
    folder = data_dir("a-1 a-2 target\na-2 m nontarget\n")
    (folder / "enroll").write_text(enroll)
    with pytest.raises(DataError, match=message):
        read_trial_set(folder)


def test_a_model_of_several_speakers_in_a_list_without_labels(data_dir):
    folder = data_dir("m a-2\n")
    (folder / "enroll").write_text("m a-1 b-1\n")
    assert read_trial_set(folder).speakers.tolist() == ["m", "a"]
    with pytest.raises(DataError, match="trials/list: no labels"):
        labeled_sets([folder])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a-1 a-2 target\na-1 x-9 nontarget\ny-1 x-9 nontarget\n",
            r"trials/list:2: unknown utterance 'x-9': 2 of 3 trials contain one of 2 ids that are not in .*/utt2spk",
        ),
        ("a-1 a-2 target\na-1 b-1\n", r"trials/list:2: .*2 fields"),
        ("a-1 a-2 maybe\n", r"trials/list:1: label 'maybe', expected target or nontarget"),
        ("", r"trials/list: .*empty"),
    ],
)
def test_bad_trial_lists(data_dir, text, message):
    with pytest.raises(DataError, match=message):
        read_trial_set(data_dir(text))


def test_no_list_and_two_lists_of_one_name(data_dir, tmp_path):
    folder = data_dir("a-1 a-2 target\n")
    with pytest.raises(DataError, match=r"eval/trials/list: .*eval/trials/list has the same name"):
        read_trial_sets([folder, folder])
    (folder / "trials/list").unlink()
    with pytest.raises(DataError, match="no trial list"):
        read_trial_set(folder)


def test_embeddings_are_checked(tmp_path):
    write_vectors(tmp_path / "eval.A", ["a", "b", "c"], np.array([[3, 4], [0, 0], [1, 0]], dtype=np.float32))
    with pytest.raises(DataError, match=r"eval.A.scp: the embedding of 'b' is all zeros \(1 of 3 read\)"):
        read_embeddings(tmp_path / "eval.A.scp")
    write_vectors(tmp_path / "eval.A", ["a", "b"], np.array([[3, 4], [0, 2]], dtype=np.float32))
    ark = tmp_path / "eval.A.ark"
    ark.write_bytes(ark.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(DataError, match="the embedding of 'b' is not finite"):
        read_embeddings(tmp_path / "eval.A.scp")
    write_vectors(tmp_path / "eval.A", ["a", "b"], np.array([[3, 4], [0, 2]], dtype=np.float32))
    _, wanted = read_embeddings(tmp_path / "eval.A.scp", ["b", "x", "a"])
    np.testing.assert_allclose(wanted.matrix, [[0, 1], [0, 0], [0.6, 0.8]], atol=1e-7)
    assert wanted.present.tolist() == [True, False, True]


def test_trials_without_a_modality(data_dir):
    (trials,) = read_trial_set(data_dir("a-1 a-2 target\na-1 b-1 nontarget\na-2 b-1 nontarget\n")).lists
    whole, part = (Embeddings(np.eye(3, dtype=np.float32), np.array(p)) for p in ([True] * 3, [True, True, False]))
    sides = {"AV": whole, "A": part}
    assert usable_trials(trials, "AVxAV", sides, 0).tolist() == [True] * 3
    assert usable_trials(trials, "AVxA", sides, 0.7).tolist() == [True, False, False]
    with pytest.raises(DataError, match=r"list:2: 'a-1' or 'b-1' has no embedding for mode AxA: 2 of 3 trials.*0\.5"):
        usable_trials(trials, "AxA", sides, 0.5)
    none = Embeddings(whole.matrix, np.zeros(3, dtype=bool))
    with pytest.raises(DataError, match="3 of 3 trials cannot be scored"):
        usable_trials(trials, "AxA", {"A": none}, 1)


def test_modes_of_a_system(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        modes_of(tmp_path / "none", ["eval"], [])
    with pytest.raises(DataError, match="no embeddings of dev and eval"):
        modes_of(tmp_path, ["dev", "eval"], [])
    for name in ("dev.A", "dev.V", "eval.A"):
        write_vectors(tmp_path / name, ["a"], np.ones((1, 2), dtype=np.float32))
    assert modes_of(tmp_path, ["dev", "eval"], []) == ["AxA"]
    assert modes_of(tmp_path, ["dev"], ["VxV", "AxA"]) == ["AxA", "VxV"]
    with pytest.raises(DataError, match=r"mode VxV: .* has no embeddings for it in dev or eval, only for AxA"):
        modes_of(tmp_path, ["dev", "eval"], ["VxV"])


def test_sides_of_a_scorer():
    score = cosine_scorer({"A": embeddings([[1, 0], [0, 1]]), "V": embeddings([[0, 1], [1, 1]])})
    rows = np.array([0, 1]), np.array([1, 1])
    np.testing.assert_allclose(score("A", "V", *rows), [0.5**0.5, 0.5**0.5], atol=1e-7)
    np.testing.assert_allclose(score("V", "A", *rows), [1, 0.5**0.5], atol=1e-7)


def scores_of(values, enroll=("a", "a"), test=("b", "c")):
    return Scores(np.array(enroll), np.array(test), np.array(values, dtype=np.float32))


def test_places_of_scores_in_their_list():
    trials = Trials(np.array(["a", "a", "b"]), np.array(["b", "c", "c"]), np.array([True, False, False]))
    whole = Scores(trials.enroll, trials.test, np.zeros(3))
    assert places_in("f", whole, trials).tolist() == [0, 1, 2]
    assert places_in("f", scores_of([1, 2], ("b", "a"), ("c", "b")), trials).tolist() == [2, 0]
    with pytest.raises(DataError, match="f:2: 'c a' is not in the trial list"):
        places_in("f", scores_of([1, 2], ("b", "c"), ("c", "a")), trials)


def test_trials_that_all_members_have_scored():
    """Brute force over members with gaps, and a trial that occurs twice in the list."""
    rng = np.random.default_rng(5)
    pairs = [(f"e{n // 7}", f"t{n % 7}") for n in range(70)] + [("e0", "t0")]
    members = []
    for _ in range(3):
        gone = {pairs[n] for n in rng.choice(70, 6)}
        kept = [pair for pair in pairs if pair not in gone]
        members.append(scores_of(rng.normal(size=len(kept)), *zip(*kept, strict=True)))
    rows = [list(zip(m.enroll.tolist(), m.test.tolist(), m.score.tolist(), strict=True)) for m in members]
    shared = set.intersection(*({(e, t) for e, t, _ in part} for part in rows))
    assert 40 < len(shared) < 70
    for part, found in zip(rows, common_trials(members), strict=True):
        expected = [row for row in part if row[:2] in shared]
        assert list(zip(found.enroll.tolist(), found.test.tolist(), found.score.tolist(), strict=True)) == expected


def test_ensemble_mean():
    one, other = scores_of([0.25, -3.5]), scores_of([1.75, 0.5])
    np.testing.assert_array_equal(combine_scores("xyz", [one, one, one]).score, one.score)
    np.testing.assert_array_equal(combine_scores("xy", [one, other]).score, [1.0, -1.5])
    with pytest.raises(DataError, match="y:2: trial 'a d', but in x it is 'a c'"):
        combine_scores("xy", [one, scores_of([1, 2], test=("b", "d"))])
    with pytest.raises(DataError, match="y: 1 trials, but x has 2"):
        combine_scores("xy", [one, scores_of([1], ("a",), ("b",))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected 'key: value' lines"),
        ("e: [a]\n", "e: expected a list of at least two systems"),
        ("e: [a, 1]\n", "e: expected a list of at least two systems"),
        ("e: [a, a]\n", "e: a member occurs twice"),
        ("e: [a, b/XxY]\n", "e: b/XxY: no mode of that name"),
        ("e: [a, b\n", "e.yaml:2: not valid YAML"),
        ("e: {members: [a, b], weights: equal}\n", "e: expected {members: .ecapa, iresnet18., weights: fitted}"),
        ("e: {fitted: [a, b]}\n", "e: expected {members"),
        ("e: {members: [a], weights: fitted}\n", "e: expected a list of at least two systems"),
    ],
)
def test_bad_ensembles(tmp_path, text, message):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_ensembles(tmp_path / "e.yaml")


def test_ensembles(tmp_path):
    (tmp_path / "e.yaml").write_text("one: [a, b/AxA]\ntwo: {members: [a/VxV, a/AxA], weights: fitted}\n")
    assert read_ensembles(tmp_path / "e.yaml") == {
        "one": Ensemble([Member("a", None), Member("b", "AxA")]),
        "two": Ensemble([Member("a", "VxV"), Member("a", "AxA")], fitted=True),
    }
    with pytest.raises(DataError, match="no such file"):
        read_ensembles(tmp_path / "none.yaml")


def gaussian_trials(rng, distance, targets, nontargets, speakers):
    """Scores whose means differ by trial side, so that development and evaluation speakers differ too."""
    shift = 0.1 * rng.normal(size=speakers)
    scores = np.r_[rng.normal(distance, 1, targets), rng.normal(0, 1, nontargets)]
    scores += shift[rng.integers(0, speakers, len(scores))]
    return 0.05 * scores + 0.3, np.arange(len(scores)) < targets


@pytest.mark.parametrize("distance", [3, 4])
def test_calibration_holds_on_other_speakers(distance):
    rng = np.random.default_rng(distance)
    calibration = fit_calibration(*gaussian_trials(rng, distance, 4000, 100_000, 200))
    scores, is_target = gaussian_trials(rng, distance, 20_000, 400_000, 200)
    llr = calibration(scores)
    assert actual_dcf(llr, is_target) <= 1.05 * min_dcf(llr, is_target)
    assert cllr(llr, is_target) <= 1.05 * min_cllr(llr, is_target)


@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_calibration_minimizes_the_weighted_cross_entropy(prior):
    rng = np.random.default_rng(6)
    scores, is_target = gaussian_trials(rng, 2, 300, 2000, 50)

    def cost(calibration):
        logits = calibration(scores) + np.log(prior / (1 - prior))
        bits = np.where(is_target, np.logaddexp(0, -logits), np.logaddexp(0, logits))
        return prior * bits[is_target].mean() + (1 - prior) * bits[~is_target].mean()

    best = fit_calibration(scores, is_target, prior)
    for scale, offset in ((1.1, 0), (0.9, 0), (1, 0.2), (1, -0.2), (1.1, -0.5), (0.9, 0.5)):
        assert cost(best) < cost(LinearCalibration(best.scale * scale, best.offset * scale + offset))


def test_calibration_follows_affine_maps_and_survives_perfect_scores():
    scores, is_target = gaussian_trials(np.random.default_rng(7), 3, 300, 3000, 50)
    np.testing.assert_allclose(
        fit_calibration(40 * scores - 9, is_target)(40 * scores - 9),
        fit_calibration(scores, is_target)(scores),
        atol=1e-6,
    )
    perfect = fit_calibration(np.r_[np.full(50, 2.0), np.zeros(500)], np.arange(550) < 50)
    assert 5 < perfect(2.0) < 40
    assert -40 < perfect(0.0) < -1
    backwards = fit_calibration([0.0, 0.5, 1.0, 0.7], [True, True, False, False])
    assert backwards.scale <= 0
    with pytest.raises(DataError, match="all 2 scores are 1"):
        fit_calibration([1.0, 1.0], [True, False])


def test_several_columns_equal_other_libraries():
    from scipy.optimize import minimize
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(8)
    is_target = np.arange(2200) < 200
    columns = [
        2 * is_target + rng.normal(size=2200),
        5 + 0.3 * is_target + rng.normal(size=2200),
        np.full(2200, 1e6 / 3),
    ]
    prior = 0.05
    weights = np.where(is_target, prior / 200, (1 - prior) / 2000)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    reference.fit(np.stack(columns[:2], axis=1), is_target, sample_weight=2200 * weights)
    found, offset = fit_logistic(columns, is_target, prior, [1e-9, 1e-9, 1])
    np.testing.assert_allclose(found[:2], reference.coef_[0], rtol=1e-6)
    assert offset == pytest.approx(float(reference.intercept_[0]) - np.log(prior / (1 - prior)), rel=1e-6)
    assert found[2] == 0

    ridge = np.array([0.001, 0.02])

    def cost(parameters):
        logits = parameters[0] * columns[0] + parameters[1] * columns[1] + parameters[2] + np.log(prior / (1 - prior))
        penalty = ridge @ (parameters[:2] * np.std(columns[:2], axis=1)) ** 2 / 2
        return weights @ np.where(is_target, np.logaddexp(0, -logits), np.logaddexp(0, logits)) + penalty

    rough = minimize(cost, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    expected = minimize(cost, rough, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-18, "maxiter": 4000}).x
    held, offset = fit_logistic(columns[:2], is_target, prior, ridge)
    np.testing.assert_allclose([*held, offset], expected, rtol=1e-6)
    assert abs(held[1]) < abs(found[1])


def test_calibration_with_quality_forgets_units():
    rng = np.random.default_rng(9)
    scores, is_target = gaussian_trials(rng, 2, 300, 3000, 50)
    quality = np.stack([rng.normal(size=3300) + is_target, rng.uniform(1, 2, 3300)])
    one = fit_calibration(scores, is_target, quality=quality)
    other = fit_calibration(9 * scores + 1, is_target, quality=[1000 * quality[0] - 3, -quality[1]])
    np.testing.assert_allclose(
        other(9 * scores + 1, [1000 * quality[0] - 3, -quality[1]]), one(scores, quality), atol=1e-6
    )
    assert one.weights[0] > 0
    np.testing.assert_array_equal(
        fit_calibration(scores, is_target, quality=np.ones((1, 3300))).weights, 0, "a constant has no weight"
    )


def test_quality_columns_of_every_mode():
    rng = np.random.default_rng(10)
    seconds, crops = rng.normal(size=5), rng.normal(size=5)
    norms = {modality: rng.normal(size=5) for modality in ("A", "V", "AV")}
    measures = {"duration": dict.fromkeys(norms, seconds), "faces": {"V": crops, "AV": crops}, "norm": norms}
    enroll, test = np.array([0, 1, 2]), np.array([3, 1, 4])
    for mode in MODES:
        columns = quality_columns(measures, mode, enroll, test)
        turned = quality_columns(measures, mode, test, enroll)
        assert columns.keys() == turned.keys()
        for name in columns:
            np.testing.assert_array_equal(columns[name], turned[name])
        np.testing.assert_array_equal(columns["duration_min"], np.minimum(seconds[enroll], seconds[test]))
    names = {mode: list(quality_columns(measures, mode, enroll, test)) for mode in MODES}
    assert names["AVxAV"] == ["duration_min", "duration_max", "faces_min", "faces_max", "norm_min", "norm_max"]
    assert names["AxA"] == ["duration_min", "duration_max", "norm_min", "norm_max"]
    assert names["AVxV"] == ["duration_min", "duration_max", "faces_min", "faces_max", "norm_AV", "norm_V"]
    assert names["AxV"] == ["duration_min", "duration_max", "faces_V", "norm_A", "norm_V"]
    columns = quality_columns(measures, "AVxV", enroll, test)
    np.testing.assert_allclose(columns["norm_V"], (norms["V"][enroll] + norms["V"][test]) / 2)
    np.testing.assert_array_equal(columns["faces_max"], np.maximum(crops[enroll], crops[test]))


def set_of(*sides: str, **models: list[str]) -> TrialSet:
    """Some sides of trials, without lists."""
    return TrialSet("eval", list(sides), Members.of(sides, models), np.array(sides), [])


def test_measures_are_read_and_checked(tmp_path):
    data, system = tmp_path / "eval", tmp_path / "ssa"
    for folder in (data, system / "embeddings", system / "scores"):
        folder.mkdir(parents=True)
    write_list(data / "utt2dur", {"a": 2, "b": 8})
    write_list(data / "utt2num_faces", {"a": 25})
    write_list(system / "scores/eval.V.cohort", {"a": -0.25, "b": 0.5})
    write_vectors(system / "embeddings/eval.V", ["a", "b"], np.array([[3, 4], [0, 2]], dtype=np.float32))
    names = ["duration", "faces", "norm", "cohort"]
    trial_set = set_of("b", "a")
    found = read_measures(names, data, trial_set, system, ["V"])
    expected = {"duration": np.log([8, 2]), "faces": [np.nan, np.log(25)], "norm": [2, 5], "cohort": [0.5, -0.25]}
    assert list(found) == names
    for name, values in expected.items():
        np.testing.assert_allclose(found[name]["V"], values)
    assert read_measures(["faces"], data, trial_set, system, ["A"]) == {}
    write_list(system / "scores/eval.V.cohort", {"a": -0.25, "b": 0.5, "m": 0.75})
    found = read_measures(names, data, set_of("a", "m", m=["a", "b"]), system, ["V"])
    expected = {"duration": np.log([2, 5]), "faces": np.log([25, 25]), "norm": [5, 3.5], "cohort": [-0.25, 0.75]}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name]["V"], values)
    (data / "utt2dur").write_text("a 2\nb 0\n")
    with pytest.raises(DataError, match="utt2dur:2: '0', expected a number above 0"):
        read_measures(["duration"], data, trial_set, system, ["V"])
    with pytest.raises(DataError, match="'length' is not one of duration faces norm cohort"):
        read_measures(["length"], data, trial_set, system, ["V"])
    with pytest.raises(DataError, match=r"scores/eval.A.cohort: no such file"):
        read_measures(["cohort"], data, trial_set, system, ["A"])


@pytest.mark.parametrize("nontargets", [299, 300, 3000, 35_000])
def test_thresholds_are_the_lowest_that_keep_the_rate(nontargets, tmp_path):
    rng = np.random.default_rng(nontargets)
    # Rounded, so that scores are equal, also across the classes.
    llr = np.round(np.r_[rng.normal(3, 2, 500), rng.normal(-3, 2, nontargets)], 2).astype(np.float32)
    is_target = np.arange(len(llr)) < 500
    rows = find_thresholds("AxA", llr, is_target)
    assert [row.wanted for row in rows] == [10, 1, 0.1]
    for row in rows:
        if nontargets * row.wanted / 100 < 30:
            assert row[2:5] == (None, None, None)
            continue
        rates = {t: (llr[~is_target] > t).mean() for t in np.unique(llr)}
        lowest = min(t for t, rate in rates.items() if rate * 100 <= row.wanted)
        assert row.threshold == lowest
        assert row.false_accept == pytest.approx(100 * rates[lowest])
        assert row.false_reject == pytest.approx(100 * (llr[is_target] <= lowest).mean())
    (tmp_path / "thresholds.csv").write_text(thresholds_csv(rows))
    again = read_thresholds(tmp_path / "thresholds.csv")
    for row, other in zip(rows, again, strict=True):
        assert row.threshold is None or np.float32(row.threshold) == np.float32(other.threshold)


def test_fitted_weights_are_those_of_independent_members():
    rng = np.random.default_rng(12)
    is_target = np.arange(44_000) < 4000
    # Normal scores of variance v and means 0 and d: the sum of their ratios, d / v times the score, is the best.
    columns = [d * is_target + np.sqrt(v) * rng.normal(size=44_000) for d, v in ((2.0, 1.0), (1.0, 1.0), (3.0, 9.0))]
    weights, offset = fit_fusion([*columns, rng.normal(size=44_000)], is_target, 0.5)
    np.testing.assert_allclose(weights, [2, 1, 1 / 3, 0], atol=0.1)
    assert offset == pytest.approx(-(4 + 1 + 1) / 2, abs=0.1)
    one, other = scores_of([0.25, -3.5]), scores_of([1.75, 0.5])
    np.testing.assert_allclose(combine_scores("xy", [one, other], Fusion([2, -1], 0.5)).score, [-0.75, -7])
    twice, _ = fit_fusion([columns[0], columns[0]], is_target, 0.5)
    assert twice[0] == pytest.approx(twice[1])


def speaker_trials(rng, distance, speakers):
    """All trials of speakers with eight clips: miscalibrated normal scores with an offset for each speaker."""
    rows = np.repeat(np.arange(speakers), 8)
    enroll, test = np.triu_indices(len(rows), 1)
    is_target = rows[enroll] == rows[test]
    effects = 0.1 * rng.normal(size=speakers)
    scores = distance * is_target + effects[rows[enroll]] + effects[rows[test]] + rng.normal(size=len(is_target))
    return 0.05 * scores + 0.3, is_target


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("distance", [2, 3])
def test_calibration_holds_on_held_out_identities(distance, seed):
    rng = np.random.default_rng([distance, seed])
    development, (scores, is_target) = speaker_trials(rng, distance, 60), speaker_trials(rng, distance, 100)
    assert cllr(scores, is_target) > 1.5 * min_cllr(scores, is_target)
    assert actual_dcf(scores, is_target) > 1.03 * min_dcf(scores, is_target)
    llr = fit_calibration(*development)(scores)
    assert actual_dcf(llr, is_target) <= 1.05 * min_dcf(llr, is_target)
    assert cllr(llr, is_target) <= 1.05 * min_cllr(llr, is_target)


def duration_trials(rng, speakers):
    """Cosines of clips of 1 to 16 s, noisier for shorter clips, with logarithms of the shorter and longer durations."""
    seconds = rng.uniform(np.log(1), np.log(16), speakers * 6)
    noise = 0.6 * np.exp(-0.75 * (seconds - np.log(4)))
    vectors = np.repeat(rng.normal(size=(speakers, 24)), 6, axis=0) + noise[:, np.newaxis] * rng.normal(
        size=(speakers * 6, 24)
    )
    enroll, test = np.triu_indices(len(vectors), 1)
    scores = cosine_scores(unit(vectors), unit(vectors), enroll, test)
    columns = quality_columns({"duration": {"A": seconds}}, "AxA", enroll, test)
    return scores, enroll // 6 == test // 6, list(columns.values())


@pytest.mark.parametrize("seed", range(3))
def test_durations_help_where_noise_depends_on_them(seed):
    rng = np.random.default_rng(seed)
    scores, is_target, quality = duration_trials(rng, 60)
    linear, informed = fit_calibration(scores, is_target), fit_calibration(scores, is_target, quality=quality)
    scores, is_target, quality = duration_trials(rng, 100)
    without, llr = linear(scores), informed(scores, quality)
    assert cllr(llr, is_target) < 0.95 * cllr(without, is_target)
    assert min_cllr(llr, is_target) < 0.95 * min_cllr(without, is_target)


def test_calibrated_scores_of_other_lists(tmp_path):
    """All lists with normalized scores are calibrated; other calibrated scores belong to an earlier run."""
    rng = np.random.default_rng(13)
    keys = [f"s{n}-{k}" for n in range(6) for k in range(4)]
    pairs = [(a, b) for n, a in enumerate(keys) for b in keys[n + 1 :]]
    (tmp_path / "dev/trials").mkdir(parents=True)
    write_list(tmp_path / "dev/utt2spk", {key: key[:2] for key in keys})
    write_list(tmp_path / "dev/utt2dur", {key: rng.uniform(1, 9) for key in keys})
    lines = [f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in pairs]
    (tmp_path / "dev/trials/dev").write_text("".join(lines))
    enroll, test = np.array(pairs).T
    values = 2 * np.array([a[:2] == b[:2] for a, b in pairs]) + rng.normal(size=len(pairs))
    scores = tmp_path / "ens/scores"
    for name in ("dev/AxA.asnorm", "old/AxA.asnorm", "old/VxV.llr", "older/AxA.llr"):
        (scores / name).parent.mkdir(parents=True, exist_ok=True)
        write_scores(scores / name, enroll, test, values)
    (development,) = read_trial_sets([tmp_path / "dev"])
    informed = QualityReader(tmp_path / "ens", ["duration"], [tmp_path / "dev"], [development])
    with pytest.raises(
        DataError, match=f"needs the data directory with the list 'old': .* remove {scores}/old if the list"
    ):
        calibrate_system(tmp_path / "ens", development, 0.05, informed)
    plain = QualityReader(tmp_path / "ens", [], [tmp_path / "dev"], [development])
    calibrate_system(tmp_path / "ens", development, 0.05, plain)
    found = sorted(path.relative_to(scores).as_posix() for path in scores.glob("*/*.llr"))
    assert found == ["dev/AxA.llr", "old/AxA.llr"]
