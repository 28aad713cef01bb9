"""The report of a run whose names are markup, scripts, written from right to left, or very long: shown, never run."""

import html
from pathlib import Path

import pytest
from browser import Page, needs_browser

from avsv.io.lists import write_list
from tests.report import test_report as usual

RUN = "document.title='ran'"
SPEAKERS = [
    f"<script>{RUN}</script>",
    f"\"><img/src=x/onerror=\"{RUN}\">",
    f"'onmouseover='{RUN}'x='",
    "x" * 300,
    "אבגדהוזחט" * 30,
    f"]]></style></title><svg/onload={RUN}>{{{{7*7}}}}${{7*7}}&lt;b&gt;",
]  # fmt: skip
KEYS = [f"{speaker}-{number}" for speaker in SPEAKERS for number in range(4)]
ENSEMBLE = "مجموعة_" + "م" * 50
TRIALS = f'<img src=x onerror={RUN}> & "quotes" {"w" * 60}'
LABELS = [f"<iframe/srcdoc=<script>{RUN}<{'y' * 100}", f"javascript:{RUN}{'ש' * 100}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    make_clips = usual.make_clips

    def make_with_labels(data: Path) -> None:
        make_clips(data)
        write_list(data / "utt2place", {key: LABELS[number % 2] for number, key in enumerate(KEYS)})
        write_list(data / "spk2gender", {speaker: "mf"[n % 2] for n, speaker in enumerate(SPEAKERS)})

    with pytest.MonkeyPatch.context() as patch:
        modes = {**usual.SYSTEMS}
        modes[ENSEMBLE] = modes.pop(usual.ENSEMBLE)
        for name, value in (("KEYS", KEYS), ("ODD", KEYS[0]), ("ENSEMBLE", ENSEMBLE), ("SYSTEMS", modes),
                            ("make_clips", make_with_labels)):  # fmt: skip
            patch.setattr(usual, name, value)
        usual.make_run(folder)
        # The trial list gets its name afterwards, in all that was made of it.
        (folder / "data/eval/trials/eval").rename(folder / "data/eval/trials" / TRIALS)
        for scores in folder.glob("exp/made/*/scores/eval"):
            scores.rename(scores.with_name(TRIALS))
        quoted = '"' + TRIALS.replace('"', '""') + '"'
        for table in (*folder.glob("exp/made/results/*.csv"), *folder.glob("exp/made/sweeps/*.csv")):
            table.write_text(table.read_text().replace(",eval,", f",{quoted},"))
        usual.report(folder, "--published", "published.csv")
    return folder / "exp/made/results/report.html"


def test_names_are_text(made):
    """Every name is in the page, and none as markup."""
    page = made.read_text()
    plain = html.unescape(page)
    for name in (KEYS[0], TRIALS, *LABELS, ENSEMBLE):
        assert name in plain
    for markup in (f"<script>{RUN}", "<img src=x", "<img/src", "<svg/onload", "<iframe", "</title><svg"):
        assert markup not in page


@needs_browser
def test_nothing_runs_and_nothing_overflows(made, tmp_path):
    with Page(tmp_path / "profile") as browser:
        browser.open(made)
        browser.wait("[...document.images].every(i => i.complete)")
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        browser.run("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new Event('mouseover')))")
        assert browser.run("document.title") != "ran"
        assert browser.complaints == []
        assert {address.split(":")[0] for address in browser.requests} <= {"file", "data"}
        assert len([address for address in browser.requests if address.startswith("file:")]) == 1
        # The page has one policy of its own.
        other = "iframe, object, embed, base, form, meta[http-equiv]:not([http-equiv=Content-Security-Policy])"
        assert browser.run(f"document.querySelectorAll('{other}').length") == 0
        attributes = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
        assert browser.run(f"{attributes}.filter(name => name.startsWith('on') || name === 'srcdoc')") == []
        for name in ("href", "src"):
            addresses = browser.run(f"[...document.querySelectorAll('[{name}]')].map(e => e.getAttribute('{name}'))")
            assert all(address.startswith(("#", "data:")) for address in addresses)
        for width in (360, 768, 1280):
            browser.resize(width, 800)
            assert browser.run("document.documentElement.scrollWidth") == width
        browser.media("print")
        browser.resize(688, 990)
        browser.run("dispatchEvent(new Event('beforeprint'))")
        assert browser.run("document.documentElement.scrollWidth") == 688
