"""The recipe from end to end on the built-in corpus, with the smallest networks."""

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from browser import Page, needs_browser
from commands import PythonPrograms, modified, run
from faults import run_to_end
from paths import ROOT

import avsv
from avsv.io.lists import read_scores, read_trials
from avsv.model.config import load_config
from avsv.scoring.metrics import eer

pytestmark = pytest.mark.recipe

COLUMNS = (
    "corpus,preset,system,trials,mode,stage,n_target,n_nontarget,"
    "eer,eer_low,eer_high,eer_rocch,mindcf,cllr,seed,git,list_md5"
)


def read_results(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_results_table(tiny_run):
    assert tiny_run.results.read_text().splitlines()[0] == COLUMNS
    rows = read_results(tiny_run.results)
    evaluation = {(row["system"], row["mode"], row["stage"]) for row in rows if row["trials"] == "eval"}
    for system, mode in (("ecapa", "AxA"), ("iresnet18", "VxV"), ("ssa", "AVxAV")):
        assert {(system, mode, "cos"), (system, mode, "asnorm")} <= evaluation
    assert any(system.startswith("ens") for system, _, _ in evaluation)
    trials = [line.split() for line in (tiny_run.data / "eval/trials/eval").read_text().splitlines()]
    for row in rows:
        assert 0 <= float(row["eer_low"]) <= float(row["eer"]) <= float(row["eer_high"]) <= 100
        assert float(row["eer_rocch"]) <= float(row["eer"]) + 1e-9
        if row["trials"] == "eval":
            assert int(row["n_target"]) == sum(kind == "target" for _, _, kind in trials)
            assert int(row["n_target"]) + int(row["n_nontarget"]) == len(trials)
    conditions = read_results(tiny_run.results.parent / "conditions.csv")
    wanted = {"system": "ssa", "mode": "AVxAV", "source": "utt2num_faces"}
    of_faces = [row for row in conditions if wanted.items() <= row.items()]
    assert sum(int(row["n_target"]) + int(row["n_nontarget"]) for row in of_faces) == len(trials)
    assert {"f", "m", "not the same"} == {row["condition"] for row in conditions if row["source"] == "spk2gender"}
    folders = f"--data '{tiny_run.data}' --exp '{tiny_run.data.parent}/exp'"
    assert folders in (tiny_run.results.parent / "RESULTS.md").read_text()
    for name in ("RESULTS.md", "det.png"):
        assert (tiny_run.results.parent / name).stat().st_size > 500


def test_console(tiny_run):
    """The output on the console: short lines, no commands, and finally the path of the report."""
    text = tiny_run.log.read_text().replace(f"{tiny_run.data.parent}/", "")
    lines = text.splitlines()
    assert [line for line in lines if len(line) > 120] == []
    assert lines[-1] == "exp/tiny/results/report.html"
    assert [line.split()[2] for line in lines if line.startswith("== Stage ")] == [f"{n}:" for n in range(12)]
    assert not [line for line in lines if "(100%)" in line]
    assert not [line for line in lines if line.startswith(("steps/", "utils/", "local/"))]
    assert not [line for line in lines if "left out" in line]
    commands = (tiny_run.work / "log/commands.log").read_text()
    assert commands.count("steps/train.sh ") == 3 and commands.count("local/prepare_data.sh ") == 1


@needs_browser
def test_report_opens(tiny_run, tmp_path):
    report = tiny_run.results.parent / "report.html"
    assert report.stat().st_size < 8_000_000
    with Page(tmp_path / "profile") as browser:
        browser.open(report)
        browser.wait("[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)")
        assert browser.run("document.querySelectorAll('audio').length") == 32
        assert browser.run("[...document.images].every(i => i.naturalWidth > 0)")
        assert browser.run("[...document.images].filter(i => i.naturalWidth === 288).length") == 32
        assert browser.complaints == []
        # The commands on the page name the folders of the run: here with the length of those of an ordinary run.
        usual = tmp_path / "usual.html"
        usual.write_text(report.read_text().replace(f"{tiny_run.work.parent.parent}/", ""))
        browser.open(usual)
        browser.resize(1280, 900)
        assert browser.run("document.documentElement.scrollHeight") <= 7200


def test_second_run_has_nothing_to_do(tiny_run, tmp_path):
    before = modified(tiny_run.work)
    programs = PythonPrograms(tmp_path)
    done = run(*tiny_run.command, env=programs.environment)
    assert done.returncode == 0, done.stderr
    # Only the programs that check whether there is something to do.
    started = Counter(line.split()[1] for line in programs.started())
    assert started.pop("avsv.bin.configure") == started.pop("avsv.bin.find_detector") == 1
    assert started == {}
    after = modified(tiny_run.work)
    assert before.keys() <= after.keys()
    changed = {str(path.relative_to(tiny_run.work)) for path in after if after[path] != before.get(path)}
    assert changed <= {"systems", ".lock", "log/commands.log"}


def run_with_kills(command: Sequence[str], moments: Sequence[tuple[str, float]], log: Path, rng: random.Random) -> int:
    """Start a command and kill it, once for each moment; finally run it to the end.

    Args:
        moments: a text that the command prints ("" for its start), and the seconds from this text to the kill.

    Returns:
        The number of starts that were still running when they were killed.
    """
    killed = 0
    for text, seconds in moments:
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )
        while process.poll() is None and text.encode() not in log.read_bytes()[begin:]:
            time.sleep(0.05)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            killed += 1
            if rng.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
    run_to_end(command, log)
    return killed


def test_kills_jobs_and_workers_change_nothing(tiny_run, tmp_path):
    """Killed several times, with other numbers of jobs, parallel trainings and workers: the same bytes."""
    command = ["./run.sh", "--preset", "tiny", "--nj", "3", "--num-workers", "2", "--train-jobs", "2"]
    command += ["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp")]
    rng = random.Random(4242)
    moments = [(f"== Stage {stage}: ", rng.uniform(0, 5)) for stage in (0, 2, 4, 5, 6, 9)]
    assert run_with_kills(command, moments, tmp_path / "run.log", rng) >= 5
    killed = tmp_path / "exp" / "tiny" / "results" / "results.csv"
    assert killed.read_text() == tiny_run.results.read_text()
    reports = [path.with_name("report.html").read_text() for path in (killed, tiny_run.results)]
    # Except for the processor time of a clip, which is measured, and for the commands, which name the folders.
    varying = r'<section id="cost">.*?</section>|<code>.*?</code>'
    first, second = (re.sub(varying, "", report, flags=re.S) for report in reports)
    assert first == second and len(first) < len(reports[0])


def test_another_corpus_as_documented(tiny_run, tmp_path):
    """The recipe of docs/new-dataset.md, word for word, on a corpus with its layout, without noises and rooms."""
    page = (ROOT / "docs" / "new-dataset.md").read_text()
    script, conf = re.findall(r"```bash\n(.*?)```", page, flags=re.S)
    corpus = tmp_path / "my corpus"
    for part in ("train", "dev", "eval"):
        for line in (tiny_run.data / part / "video.scp").read_text().splitlines():
            key, path = line.split(maxsplit=1)
            speaker, clip = key.split("-", 1)
            (corpus / part / speaker).mkdir(parents=True, exist_ok=True)
            (corpus / part / speaker / f"{clip}.mp4").symlink_to(path)
        if part != "train":
            lines = (tiny_run.data / part / "trials" / part).read_text().splitlines()
            words = [line.split() for line in lines]
            (corpus / f"{part}.txt").write_text("".join(f"{int(k == 'target')} {e} {t}\n" for e, t, k in words))

    recipe = tmp_path / "egs" / "mycorpus"
    (recipe / "local").mkdir(parents=True)
    for name in ("run.sh", "path.sh", "steps", "utils"):
        (recipe / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "cmd.sh", recipe)
    shutil.copytree(ROOT / "conf", recipe / "conf")
    (recipe / "local" / "prepare_data.sh").write_text(script)
    (recipe / "local" / "prepare_data.sh").chmod(0o755)
    (recipe / "conf" / "recipe.sh").write_text(conf)
    preset = recipe / "conf" / "presets" / "tiny.yaml"
    preset.write_text(preset.read_text().replace("  data: {", "  data: {noise_reverb: false, "))

    command = [str(recipe / "run.sh"), "--preset", "tiny", "--nj", "1", "--systems", "ecapa", "--stop-stage", "4"]
    without_root = run(*command)
    assert without_root.returncode != 0
    assert "--my-root DIR: say where the corpus is" in without_root.stderr
    with_root = run(*command, "--my-root", corpus)
    assert with_root.returncode == 0, with_root.stderr
    assert (recipe / "exp" / "tiny" / "ecapa" / "final.pt").is_file()
    for part in ("train", "dev", "eval"):
        ours, theirs = recipe / "data" / part, tiny_run.data / part
        for name in ("utt2spk", "spk2utt", "utt2num_frames", "utt2num_faces"):
            assert (ours / name).read_text() == (theirs / name).read_text()


def test_sweeps_after_a_run(tiny_run):
    """An option that is not in the default run: it adds tables and does not change the results."""
    before = tiny_run.results.read_bytes()
    done = run(*tiny_run.command, "--stage", "10", "--stop-stage", "10", "--sweeps", "blur no_audio")
    assert done.returncode == 0, done.stderr[-4000:]
    assert sorted(path.stem for path in (tiny_run.work / "sweeps").glob("*.csv")) == ["blur", "no_audio"]
    rates = {
        (row["sweep"], row["system"], row["mode"], row["level"]): float(row["eer"])
        for kind in ("blur", "no_audio")
        for row in read_results(tiny_run.work / "sweeps" / f"{kind}.csv")
    }
    assert rates["no_audio", "ecapa", "AxA", "1"] == 50
    assert rates["blur", "ecapa", "AxA", "16"] == rates["blur", "ecapa", "AxA", "clean"]
    normalized = [row for row in read_results(tiny_run.results) if row["stage"] == "asnorm" and row["trials"] == "eval"]
    for row in normalized:
        if (key := ("blur", row["system"], row["mode"], "clean")) in rates:
            assert rates[key] == pytest.approx(float(row["eer"]), abs=1e-3)
    assert tiny_run.results.read_bytes() == before


def test_a_run_for_each_seed(tiny_run, tmp_path):
    """One corpus, two seeds: a seed that is added trains alone, and its run is like one without --seeds."""
    command = ["./run.sh", "--preset", "tiny", "--nj", "1", "--num-workers", "0", "--systems", "ecapa", "--stage", "4"]
    command += ["--stop-stage", "8", "--data", tiny_run.data, "--exp", tmp_path, "--seeds"]
    one = run(*command, "0", timeout=1200)
    assert one.returncode == 1
    assert "a comparison over seeds needs at least two" in one.stderr
    trained = modified(tmp_path, "final.pt")
    assert [str(path.relative_to(tmp_path)) for path in trained] == ["seed0/tiny/ecapa/final.pt"]
    done = run(*command, "0 1", timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    assert trained.items() < modified(tmp_path, "final.pt").items()
    scores = "ecapa/scores/eval/AxA.asnorm"
    assert (tmp_path / "seed0/tiny" / scores).read_bytes() == (tiny_run.work / scores).read_bytes()
    assert (tmp_path / "seed1/tiny" / scores).read_bytes() != (tiny_run.work / scores).read_bytes()
    rows = read_results(tmp_path / "seeds/tiny/seeds.csv")
    assert [(row["system"], row["seeds"]) for row in rows] == [("ecapa", "1"), ("ecapa", "1"), ("ecapa", "2")]
    is_target = read_trials(tiny_run.data / "eval/trials/eval").is_target
    rates = [100 * eer(read_scores(tmp_path / f"seed{n}/tiny" / scores).score, is_target) for n in (0, 1)]
    assert [float(row["eer"]) for row in rows] == pytest.approx([*rates, sum(rates) / 2], abs=1e-3)


def test_seeds_that_are_not_scored_are_not_compared(tmp_path):
    command = ["steps/run_seeds.sh", "--seeds", "0 1", "--stop-stage", "5", "--exp", tmp_path, "ecapa", "data/eval"]
    done = run(*command, "true")
    assert done.returncode == 0, done.stderr
    assert "no comparison over seeds: it needs the normalized scores of stage 8, and the runs stop" in done.stderr


def test_what_the_lists_lack_is_said_before_the_features(tmp_path):
    """No data directory, no noises, and then a set without faces, for which a fused system starts from one of faces."""
    data = tmp_path / "data"
    command = ["./run.sh", "--preset", "tiny", "--data", data, "--exp", tmp_path / "exp", "--stage", "2"]
    done = run(*command)
    assert done.returncode == 1
    said = f"no data directory {data}/train: run stage 0, or check --data and the names of the sets"
    assert done.stderr.splitlines()[-1] == f"run.sh: error: {said}"
    assert not data.exists()

    for name in ("train", "dev", "eval"):
        (data / name).mkdir(parents=True)
        for list_name in ("wav.scp", *(["video.scp"] if name != "eval" else [])):
            (data / name / list_name).touch()
    error = run(*command).stderr.splitlines()[-1]
    said = (
        f"no {data}/musan and no {data}/rirs, from which ecapa takes noise: make them, or add --set data.noise_reverb="
    )
    assert said in error
    error = run(*command, "--set", "data.noise_reverb=false").stderr.splitlines()[-1]
    assert (
        f"{data}/eval has no video.scp, which iresnet18 needs: leave it, and systems that start from it, out" in error
    )
    assert not [path for path in data.rglob("*") if path.name == "log"]


def test_run_sh_may_be_edited_while_it_runs(tmp_path):
    """Bash reads a script as it goes; here everything is read before anything runs."""
    for name in ("path.sh", "cmd.sh", "steps", "utils", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "run.sh", tmp_path)
    (tmp_path / "local").mkdir()
    prepare = tmp_path / "local/prepare_data.sh"
    prepare.write_text(
        "#!/usr/bin/env bash\n{ yes '# a longer comment' | head -n 300; cat run.sh; } >new; cat new >run.sh\n"
    )
    prepare.chmod(0o755)
    done = run(tmp_path / "run.sh", "--preset", "tiny", "--systems", "ecapa", "--stop-stage", "0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run.sh").read_text().startswith("# a longer comment")
    assert (tmp_path / "data/options").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["foo"], "run.sh: error: 'foo' is not an option: for the options see ./run.sh --help"),
        (["--stge", "4"], "unknown option --stge: the options are --corpus-seed --data"),
        (["--stage"], "option --stage needs a value"),
        (["--stage", "x"], "--stage takes a whole number, not 'x'"),
        (["--nj", "0"], "--nj must be at least 1"),
        (["--train-jobs", "0"], "--train-jobs must be at least 1"),
        (["--preset", "../x"], "--preset: '../x' is not the name of a file in conf/presets"),
        (["--sweeps", "blur noize"], "--sweeps: conf/sweeps.yaml has no sweep 'noize'"),
        (["--max-lost", "5%"], "--max-lost takes a number, not '5%'"),
        (["--max-lost", "5"], "--max-lost takes a share between 0 and 1, not '5'"),
        (["--norm", "znorm"], "--norm is as-norm1, as-norm2, s-norm or MODULE:NAME, not 'znorm'"),
        (["--set", "ecapa:train.epoks=3"], "train.epoks: unknown key: did you mean 'epochs'?"),
        (["--study", "poolin"], "poolin.yaml: no such study: did you mean 'pooling'?"),
        (["--quality", "duration lenght"], "--quality: 'lenght' is not one of duration faces norm cohort"),
        (["--gates", "ssa", "--norm", "s-norm"], "--gates: gates are fitted to scores of --norm as-norm1"),
        (["--subtract-mean", "yes"], "option --subtract-mean must be true or false, not 'yes'"),
    ],
)
def test_wrong_options(arguments, message, tmp_path):
    result = run("./run.sh", "--exp", tmp_path / "exp", "--data", tmp_path / "data", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_help_names_every_option():
    result = run("./run.sh", "--help")
    assert result.returncode == 0
    options = "stage stop-stage systems preset nj ngpu nodes train-jobs num-workers faces seed sweeps max-lost"
    for option in (*options.split(), "subtract-mean", "norm", "quality", "weights", "data", "exp"):
        assert f"--{option} " in result.stdout


def run_systems(tiny_run, exp: Path, systems: str, last: int, env: Mapping[str, str] | None = None) -> Path:
    """Train and score systems on the corpus of ``tiny_run``, up to a stage; return the folder of the run."""
    command = ["./run.sh", "--preset", "tiny", "--nj", "1", "--stage", "4", "--stop-stage", last, "--train-jobs", "2"]
    done = run(*command, "--systems", systems, "--data", tiny_run.data, "--exp", exp, timeout=3600, env=env)
    assert done.returncode == 0, done.stderr[-4000:]
    return exp / "tiny"


def check_modes(tiny_run, work: Path) -> None:
    """Every configured system has scored all trials, plainly and normalized, in every mode that it supports."""
    count = len(read_trials(tiny_run.data / "eval/trials/eval").enroll)
    for path in (work / "conf/systems").glob("*.yaml"):
        modalities = load_config(path).modalities
        modes = {"A": ["AxA"], "V": ["VxV"]}.get("".join(modalities), ["AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV"])
        for mode in modes:
            for stage in ("cos", "asnorm"):
                scores = read_scores(work / path.stem / f"scores/eval/{mode}.{stage}").score
                assert len(scores) == count and np.isfinite(scores).all()


def test_systems_of_the_papers(tiny_run, tmp_path):
    """One of each paper, with the systems they start from: generative supervision, GE2E, masking, fine-tuning."""
    work = run_systems(tiny_run, tmp_path, "jap_nce reptar mean_fusion hubert_large_ft", 9)
    names = {path.stem for path in (tmp_path / "tiny/conf/systems").glob("*.yaml")}
    assert names == {
        "ecapa_we", "iresnet18_we", "jap_nce", "rawnet3", "inception_resnet_v1", "reptar", "mean_fusion",
        "hubert_large", "hubert_large_ft",
    }  # fmt: skip
    check_modes(tiny_run, work)
    assert "ens_jap_nce " in (work / "ensembles").read_text()


@pytest.mark.slow
def test_every_system_of_the_papers(tiny_run, tmp_path):
    conf = tmp_path / "tiny/conf/systems"
    programs = PythonPrograms(tmp_path)
    work = run_systems(tiny_run, tmp_path, "all", 11, programs.environment)
    systems = {path.stem for path in (ROOT / "conf/systems").glob("*.yaml") if not path.stem.startswith("published_")}
    assert {path.stem for path in conf.glob("*.yaml")} == systems
    assert sum("avsv.bin.train" in line for line in programs.started()) == len(systems)  # each is trained once
    check_modes(tiny_run, work)
    rows = [row for row in read_results(work / "results/results.csv") if row["trials"] == "eval"]
    assert {path.stem for path in conf.glob("*.yaml")} <= {row["system"] for row in rows}
    assert all(0 <= float(row["eer_low"]) <= float(row["eer"]) <= float(row["eer_high"]) <= 100 for row in rows)


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
    model = avsv.load(tiny_run.work / "ssa")
    lines = [line.split(maxsplit=1) for line in (tiny_run.data / "eval/video.scp").read_text().splitlines()]
    places = dict(lines)
    for mode in model.modes:
        scores = read_scores(tiny_run.work / "ssa/scores/eval" / f"{mode}.cos")
        for n in (0, len(scores.score) - 1):
            found = model.verify(places[scores.enroll[n]], places[scores.test[n]], mode=mode)
            assert found.cosine == pytest.approx(scores.score[n], abs=1e-5)
