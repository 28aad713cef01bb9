"""The true worth of moments: its list, its way to the pooling, and attention against it."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from avsv.analysis.worth import _compare
from avsv.data.inputs import Inputs
from avsv.data.lists import PackedStrings, UtteranceTable
from avsv.data.worth import Worth
from avsv.errors import DataError
from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN
from avsv.nnet.backbone import spread_worth


@pytest.fixture
def table(tmp_path):
    (tmp_path / "utt2audio_worth").write_text("a 0,0.5,1\nb 1,1\nother 0\n")
    counts = np.array([12, 8], np.int32)
    names = PackedStrings(["a", "b"])
    return UtteranceTable(tmp_path, names, names, names, counts, names, counts)


def test_worth_at_times(table):
    worth = Worth(table, "A")
    assert worth.at(0, np.array([0.0, 0.039, 0.041, 0.08, 0.5])).tolist() == [0, 0, 0.5, 1, 1]
    assert worth.at(1, np.array([0.0, 9.0])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 0,1.5\nb 1\n", "utt2audio_worth:1: a: expected numbers from 0 to 1"),
        ("a 0,x\nb 1\n", "utt2audio_worth:1: a: expected numbers from 0 to 1"),
        ("a 0,nan\nb 1\n", "utt2audio_worth:1: a: expected numbers from 0 to 1"),
        ("a 0 1\nb 1\n", "utt2audio_worth:1: 3 fields, expected 2"),
        ("a 0\n", "utt2audio_worth: b is missing"),
        (None, "utt2audio_worth: no such list: the true worth"),
    ],
)
def test_bad_lists(table, text, message):
    path = table.directory / "utt2audio_worth"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=message):
        Worth(table, "A")


def test_inputs_keep_the_worth_of_their_modalities():
    inputs = Inputs(worth="AV")
    assert [inputs.only(letters).worth for letters in ("A", "V", "AV")] == ["A", "V", "AV"]


def test_worth_is_spread_over_the_frames_of_each_utterance():
    frames = torch.zeros(2, 3, 6)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    worth = torch.tensor([[0.0, 1.0, 2.0], [5.0, 7.0, -1.0]])
    assert spread_worth(worth, frames, mask).tolist()[0][::2] == [0, 0.75, 1.75]
    assert spread_worth(worth, frames, mask).tolist()[1] == [5, 5.5, 6.5, 7, 0, 0]
    fine = torch.arange(12.0).repeat(2, 1)
    assert spread_worth(fine, frames, None).tolist()[0] == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]


def test_a_network_embeds_by_worth_alone():
    """What stands where nothing is worth anything does not matter, beyond the context of the convolutions."""
    torch.manual_seed(0)
    options = {"channels": 8, "aggregate_channels": 24, "embedding_dim": 4, "se_channels": 4, "res2_scale": [2, 2, 2]}
    net = ECAPATDNN(feature_dim=8, pooling="oracle", **options).eval()
    inputs, worth = torch.randn(1, 200, 8), torch.zeros(1, 50)
    worth[:, :10] = 1
    frames, _ = net.frames(inputs)
    spread = spread_worth(worth, frames, None)[0]
    expected = net.embed(torch.from_numpy(np.average(frames[0].detach(), axis=1, weights=spread + 1e-4))[None].float())
    torch.testing.assert_close(net(inputs, None, worth), expected)


def test_agreement_equals_scipy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        attention, worth = rng.random(30), np.round(rng.random(30), 1)
        correlation, good = _compare(attention / attention.sum(), worth)
        assert correlation == pytest.approx(spearmanr(attention, worth).statistic)
        assert good == pytest.approx(attention[worth > 0.5].sum() / attention.sum() / np.mean(worth > 0.5))
    assert _compare(np.full(4, 0.25), np.array([0, 0, 1, 1])) == (0.0, 1.0)
