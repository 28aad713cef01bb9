"""The recipe from stage 0 to the report on corpora of voices only, of faces only, and of pictures only."""

import csv
import shutil
from pathlib import Path

import pytest
from commands import run
from faults import run_to_end
from paths import ROOT

pytestmark = [pytest.mark.recipe, pytest.mark.slow]

# local/prepare_data.sh of the three corpora: the built-in one, less a modality.
PREPARE = """\
#!/usr/bin/env bash
set -euo pipefail
source={source} data=${{!#}}
for part in train dev eval; do
  mkdir -p "$data/$part"
  cp -r "$source/$part/"{{utt2spk,spk2utt,utt2session,spk2gender}} "$data/$part"
  [ ! -d "$source/$part/trials" ] || cp -r "$source/$part/trials" "$data/$part"
  {lists}
done
echo {kind} >"$data/corpus"
"""
PICTURES = """\
while read -r key file; do
    mkdir -p "$data/pictures/$key"
    ffmpeg -nostdin -v error -y -i "$file" -vf fps=4 "$data/pictures/$key/%d.jpg"
    echo 4 >"$data/pictures/$key/fps"
    echo "$key $data/pictures/$key"
  done <"$source/$part/video.scp" >"$data/$part/video.scp"
"""
CORPORA = {
    "voices": ("ecapa", "AxA", 'cp "$source/$part/wav.scp" "$data/$part"; cp -r "$source/"{musan,rirs} "$data"'),
    "faces": ("iresnet18", "VxV", 'cp "$source/$part/video.scp" "$data/$part"'),
    "pictures": ("iresnet18", "VxV", PICTURES),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """The data directories of the built-in corpus before anything is made of them."""
    folder = tmp_path_factory.mktemp("corpus")
    command = ["./run.sh", "--preset", "tiny", "--stop-stage", "0", "--nj", "2"]
    done = run(*command, "--data", folder / "data", "--exp", folder / "exp")
    assert done.returncode == 0, done.stderr
    return folder / "data"


def recipe(folder: Path, kind: str, source: Path) -> Path:
    """A folder of a recipe, as docs/new-dataset.md describes it."""
    system, _, lists = CORPORA[kind]
    folder.mkdir()
    for name in ("run.sh", "path.sh", "cmd.sh", "steps", "utils"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "conf", folder / "conf")
    settings = folder / "conf/recipe.sh"
    lines = settings.read_text().splitlines()
    settings.write_text(
        "".join(f"systems={system}\n" if line.startswith("systems=") else f"{line}\n" for line in lines)
    )
    (folder / "local").mkdir()
    prepare = folder / "local/prepare_data.sh"
    prepare.write_text(PREPARE.format(source=source, kind=kind, lists=lists))
    prepare.chmod(0o755)
    return folder


@pytest.mark.parametrize("kind", CORPORA)
def test_one_modality_is_enough(corpus, tmp_path, kind):
    system, mode, _ = CORPORA[kind]
    folder = recipe(tmp_path / kind, kind, corpus)
    command = ["bash", "-c", f"cd '{folder}' && exec ./run.sh --preset tiny --nj 2 --num-workers 0"]
    run_to_end(command, tmp_path / "log")
    results = folder / "exp/tiny/results"
    with (results / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["system"], row["mode"]) for row in rows} == {(system, mode)}
    assert {row["corpus"] for row in rows} == {kind}
    trials = (folder / "data/eval/trials/eval").read_text().splitlines()
    assert {int(row["n_target"]) + int(row["n_nontarget"]) for row in rows if row["trials"] == "eval"} == {len(trials)}
    page = (results / "report.html").read_text()
    assert kind in page and system in page
    # What is there can be seen or heard in the report; what is not is not.
    assert ("data:audio" in page) == (kind == "voices")
    other = "faces.scp" if kind == "voices" else "feats.scp"
    assert not list(folder.glob(f"data/*/{other}"))
