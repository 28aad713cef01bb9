"""``avsv score`` on a finished run of the recipe: the scores of its stages 6 to 9, in all modes."""

import numpy as np
import pytest
from commands import run

from avsv.io.lists import read_scores

pytestmark = pytest.mark.recipe


@pytest.mark.parametrize("system", ["ecapa", "iresnet18", "ssa"])
def test_scores_are_those_of_the_recipe(tiny_run, tmp_path, system):
    trials, data = tiny_run.data / "eval/trials/eval", tiny_run.data / "eval"
    done = run("python", "-m", "avsv.cli", "score", tiny_run.work / system, trials, "--data", data, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    recipe = tiny_run.work / system / "scores/eval"
    files = {path.name for path in recipe.iterdir() if path.suffix in (".cos", ".asnorm", ".llr")}
    assert {path.name for path in tmp_path.iterdir()} == files
    modes = {name.partition(".")[0] for name in files}
    assert len(modes) == (6 if system == "ssa" else 1)
    for name in files:
        ours, theirs = read_scores(tmp_path / name), read_scores(recipe / name)
        assert (ours.enroll == theirs.enroll).all() and (ours.test == theirs.test).all() and len(ours.score) > 100
        np.testing.assert_allclose(ours.score, theirs.score, rtol=0, atol=1e-5)


def test_a_video_file_is_verified_as_the_recipe_scores_it(tiny_run, tmp_path):
    import avsv

    model = avsv.load(tiny_run.work / "ssa")
    lines = [line.split(maxsplit=1) for line in (tiny_run.data / "eval/video.scp").read_text().splitlines()]
    places = dict(lines)
    for mode in model.modes:
        scores = read_scores(tiny_run.work / "ssa/scores/eval" / f"{mode}.cos")
        for n in (0, len(scores.score) - 1):
            found = model.verify(places[scores.enroll[n]], places[scores.test[n]], mode=mode)
            assert found.cosine == pytest.approx(scores.score[n], abs=1e-5)
