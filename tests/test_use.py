"""The commands and the Python code of docs/use.md run as they stand there, without the optional dependencies."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from finished_run import make_run
from paths import ROOT
from video_media import ffmpeg

import avsv
from avsv.io.lists import read_list

PAGE = (ROOT / "docs" / "use.md").read_text()
# What pyproject.toml installs on request only, by the names of the modules.
OPTIONAL = {"tensorboard": "tensorboard", "sox": "sox"}
OPTIONAL |= {"onnx": "onnx", "onnxruntime": "onnxruntime"}
OPTIONAL |= {"gradio": "gradio"}
OPTIONAL |= {"matplotlib": "matplotlib", "jinja2": "jinja2", "MarkupSafe": "markupsafe"}
BLOCK = "import sys\n\nsys.modules.update(dict.fromkeys({names}))\n"
CLIPS = {"ann1.mp4": "s0-u0", "ann2.mp4": "s0-u1", "bob1.mp4": "s1-u0", "unknown.mp4": "s2-u0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with everything that the page names."""
    folder = tmp_path_factory.mktemp("use")
    run = make_run(folder / "made")
    (folder / "exp/mini").mkdir(parents=True)
    (folder / "exp/mini/ssa").symlink_to(run.system)
    (folder / "data").mkdir()
    (folder / "data/eval").symlink_to(run.data["eval"])
    videos, sounds = (read_list(run.data["eval"] / name) for name in ("video.scp", "wav.scp"))
    for name, key in CLIPS.items():
        frames = ["-framerate", 25, "-i", f"{videos[key]}/%d.png"]
        ffmpeg(*frames, "-i", sounds[key], "-crf", 10, "-pix_fmt", "yuv420p", folder / name)
    (folder / "blocked").mkdir()
    (folder / "blocked/sitecustomize.py").write_text(BLOCK.format(names=set(OPTIONAL.values())))
    (folder / "call.wav").symlink_to(sounds["s0-u2"])
    (folder / "photo.png").symlink_to(Path(videos["s0-u2"]) / "0.png")
    return folder


def run_python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder, where optional packages seem not to be installed."""
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'blocked'}:{ROOT}"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_the_commands_of_the_page(folder):
    commands = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(commands) >= 10
    for line in commands:
        program, *words = shlex.split(line)
        assert program == "avsv"
        done = run_python(folder, "-m", "avsv.cli", *words)
        # 3 is a decision too: different persons, or nobody.
        assert done.returncode in ((0, 3) if words[0] in ("verify", "identify") else (0,)), f"{line}: {done.stderr}"
        assert done.stdout
    assert (folder / "model/MODEL.md").is_file() and (folder / "eval_voices.scp").is_file()


def test_the_python_code_of_the_page(folder):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = run_python(folder, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("AVxA ")


def test_what_export_writes_is_listed(folder):
    listed = set(re.findall(r"^\| `([\w.]+)", PAGE, re.MULTILINE))
    assert {path.name for path in (folder / "model").iterdir()} <= listed


def test_the_wheel_in_an_empty_environment(folder, tmp_path):
    """What is built verifies without the checkout; of other packages it sees those that are installed here."""
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "avsv", source / "avsv", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": ""}

    def good(*words: object, status: int = 0) -> str:
        command = list(map(str, words))
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == status, done.stderr
        return done.stdout

    options = "--no-deps", "--no-build-isolation", "--disable-pip-version-check"
    good(sys.executable, "-m", "pip", "wheel", *options, "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"avsv/py.typed", "avsv/report/page.html", "avsv/report/page.css", "avsv/report/page.js"} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"avsv", f"avsv-{avsv.__version__}.dist-info"}

    good(sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty")
    (site,) = (tmp_path / "empty/lib").glob("python*/site-packages")
    good(sys.executable, "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--target", site, wheel)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = tmp_path / "empty/bin/python"
    assert good(python, "-c", "import avsv; print(avsv.__file__)").startswith(str(site))
    assert "verify" in good(python, site / "bin/avsv", "--help")
    found = json.loads(good(python, site / "bin/avsv", "verify", "exp/mini/ssa", "ann1.mp4", "ann2.mp4", "--json"))
    assert found["mode"] == "AVxAV" and found["accepted"]


def test_a_missing_package_is_named(folder):
    trials = folder / "data/eval/trials/eval"
    scores = folder / "exp/mini/ssa/scores/eval/AxA.cos"
    done = run_python(folder, "-m", "avsv.cli", "eval", str(scores), "--trials", str(trials), "--det", "det.png")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "matplotlib is not installed: run 'pip install matplotlib' (in avsv's extra 'report')\n"
    )


def test_the_version_is_the_same_everywhere():
    assert f"version: {avsv.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {avsv.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
    settings = (ROOT / "pyproject.toml").read_text()
    assert 'version = { attr = "avsv.__version__" }' in settings
    extras = settings.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    assert set(re.findall(r'"([\w-]+)', extras)) == set(OPTIONAL)
    module, function = re.search(r'^avsv = "(.+):(.+)"$', settings, re.MULTILINE).groups()
    assert callable(getattr(importlib.import_module(module), function))
