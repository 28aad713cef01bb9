"""The page of ``avsv demo``: what it finds, and in Chromium, from two files to the decision."""

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Page, needs_browser
from commands import wait_until
from finished_run import FinishedRun, make_run
from paths import ROOT, SHARED
from ports import free_ports

import avsv
from avsv.verification.demo import compare

CLIPS, DETECTORS = SHARED / "data/clips", SHARED / "data/detectors"
# Notes every connection that is not to this machine.
WATCH = """\
import socket

connect = socket.socket.connect


def watched(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
        with open({file!r}, "a") as file:
            print(address, file=file)
    return connect(self, address)


socket.socket.connect = watched
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FinishedRun:
    pooling = {"audio": {"pooling": "we_asp"}, "visual": {"pooling": "we_asp"}}
    return make_run(tmp_path_factory.mktemp("run"), **pooling)


def test_what_is_found_and_what_is_wrong(run, tmp_path):
    model = avsv.load(run.system)
    one, other = (str(run.data["eval"] / f"{key}.wav") for key in ("s0-u0", "s1-u0"))
    found = compare(model, one, None, None, other, 0.1)
    result = model.verify(one, other, far=0.1)
    assert f"<td>{result.llr:.3f}</td>" in found and "threshold at 10 % false accepts" in found
    assert found.startswith("<style>.explained") and "<h2>s0-u0.wav</h2>" in found and str(tmp_path) not in found
    (tmp_path / "<b>.mp4").touch()
    for recordings, message in (
        ((one, None, None, None), "the second recording: choose one"),
        ((one, one, other, None), "the first recording: remove one of the two"),
        (
            (str(tmp_path / "<b>.mp4"), None, other, None),
            "<strong>Not compared.</strong> &lt;b&gt;.mp4: the file is empty",
        ),
    ):
        assert message in compare(model, *recordings, 0.01)


@needs_browser
@pytest.mark.skipif(find_spec("gradio") is None, reason="the optional package gradio")
@pytest.mark.skipif(not (CLIPS.is_dir() and DETECTORS.is_dir()), reason="the shared clips are not here")
def test_two_clips_in_a_browser(run, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCH.format(file=str(tmp_path / "connections")))
    (port,) = free_ports(1)
    detector = ["--detector", "yunet", "--detector-weights", str(DETECTORS)]
    command = [sys.executable, "-m", "avsv.cli", "demo", str(run.system), "--port", str(port), *detector]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "TMPDIR": str(tmp_path)}
    address = f"http://127.0.0.1:{port}/"
    with (tmp_path / "said").open("w") as said:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
    try:
        wait_until(lambda: address in (tmp_path / "said").read_text() or server.poll() is not None, 180)
        assert server.poll() is None, (tmp_path / "said").read_text()
        listening = re.findall(rf"(\w{{8}}):{port:04X} 00000000:0000 0A", Path("/proc/net/tcp").read_text())
        assert listening == ["0100007F"]
        with Page(tmp_path / "profile") as browser:
            shown = try_out(browser, address)
            assert [x for x in browser.requests if not x.startswith((address, "data:", "blob:"))] == []
            assert len(browser.requests) > 10
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    model = avsv.load(run.system, detector="yunet", detector_weights=DETECTORS)
    result = model.verify(CLIPS / "bbaf2n.mpg", CLIPS / "swiz3n.mpg")
    assert f"{result.llr:.3f}" in shown and "mode\tAVxAV" in shown
    assert not (tmp_path / "connections").exists()
    assert not list(tmp_path.glob("avsv-demo-*")), "the recordings are deleted"


def try_out(browser: Page, address: str) -> str:
    """Compare two clips on the page, wide and light and then as on a phone and dark; return the text that is shown."""
    browser.open(address)
    browser.wait("document.querySelectorAll('input[type=file]').length >= 2", 120)
    for name in ("bbaf2n.mpg", "swiz3n.mpg"):
        # The field of the first recording is replaced by its name.
        browser.upload("input[type=file]", 0, CLIPS / name)
        browser.wait(f"document.body.innerText.includes('{name}')", 60)
    browser.run("[...document.querySelectorAll('button')].find(x => x.innerText === 'Compare').click()")
    browser.wait("!!document.querySelector('.explained, [role=alert]')", 180)
    for width, scheme in ((1280, "light"), (390, "dark")):
        browser.resize(width, 900)
        browser.media(scheme=scheme)
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("[...document.querySelectorAll('.explained img')].filter(x => x.naturalWidth > 0).length") == 6
    assert browser.run("document.querySelectorAll('.explained polyline').length") == 4
    return browser.run("document.querySelector('.explained').innerText")
