"""MobileNetV2 for audio compared with counts, torchvision and numpy."""

import numpy as np
import pytest
import torch
from networks import count_parameters, settle, tiny_mobilenet
from torchvision.models import mobilenetv2

from avsv.nnet.audio.mobilenetv2 import (
    ConvNormReLU6,
    InvertedResidual,
    MatrixAttentionPooling,
    MobileNetV2Audio,
    RunningMoments,
)


def test_mobilenet_parameters_and_map():
    with torch.device("meta"):
        net = MobileNetV2Audio()
        assert count_parameters(net) == 994_785 and count_parameters(net.pool) == 127_449
        assert count_parameters(MobileNetV2Audio(stem_kernel=3)) == 995_041
        wider = MobileNetV2Audio(repeats=(1, 2, 2, 3, 2, 2))
        assert count_parameters(wider) == 1_786_849
        assert len(net.blocks) == len(wider.blocks) == 12
        maps = []
        net.last.register_forward_hook(lambda module, given, result: maps.append(tuple(result[0].shape[1:])))
        for length in (147, 148, 150, 151):
            assert net.frames(torch.zeros(1, length, 64))[0].shape == (1, 356, 10)
    assert set(maps) == {(356, 4, 10)}


@pytest.mark.parametrize(("into", "out", "stride", "expansion"), [(8, 8, 1, 6), (8, 12, 2, 6), (8, 4, 1, 1)])
def test_inverted_residual_equals_torchvision(into, out, stride, expansion):
    ours, theirs = (
        InvertedResidual(into, out, stride, expansion),
        mobilenetv2.InvertedResidual(into, out, stride, expansion),
    )
    settle(theirs)
    values = iter(theirs.state_dict().values())
    ours.load_state_dict({key: next(values) for key in ours.state_dict()})
    maps = torch.randn(2, into, 10, 13)
    torch.testing.assert_close(ours.eval()(maps)[0], theirs(maps), rtol=1e-5, atol=1e-5)


def test_blocks_make_up_torchvisions_mobilenet():
    """MobileNetV2 for images, built from these blocks: 3,504,872 parameters with its classifier."""
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    with torch.device("meta"):
        layers, before = [ConvNormReLU6(3, 32, 3, 2)], 32
        for expansion, channels, count, stride in rows:
            for index in range(count):
                layers.append(InvertedResidual(before, channels, stride if index == 0 else 1, expansion))
                before = channels
        layers += [ConvNormReLU6(before, 1280, 1), torch.nn.Linear(1280, 1000)]
        assert count_parameters(*layers) == count_parameters(mobilenetv2.mobilenet_v2()) == 3_504_872


def test_relu6_after_projection():
    maps = torch.randn(4, 3, 5, 5)
    assert (InvertedResidual(3, 4, 1, 2)(maps)[0] < 0).any()
    out = InvertedResidual(3, 4, 1, 2, relu6_after_projection=True)(maps)[0]
    assert (out >= 0).all() and (out <= 6).all()


def test_matrix_attention_equals_the_matrix_product():
    pool = MatrixAttentionPooling(5).double()
    torch.nn.init.normal_(pool.score.bias)
    frames = torch.randn(2, 5, 10, dtype=torch.float64)
    for sample, pooled in zip(frames, pool(frames), strict=True):
        hidden = sample.T @ pool.hidden.weight.T + pool.hidden.bias
        column = torch.where(hidden > 0, hidden, 0.01 * hidden) @ pool.score.weight.T + pool.score.bias
        column = torch.where(column > 0, column, 0.01 * column)
        assert column.shape == (10, 1)
        torch.testing.assert_close(pooled, (sample @ column)[:, 0])


def test_moments_of_chunks_equal_numpy():
    """Bins with large means and small deviations, unequal chunks and an empty one, two workers, padding ignored."""
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(1000, 64)) * rng.uniform(0.01, 3, 64) + rng.uniform(-100, 100, 64)).astype(np.float32)
    workers = [RunningMoments(64), RunningMoments(64)]
    frames = torch.from_numpy(features)
    for number, part in enumerate(frames.split([100, 1, 0, 399, 300, 200])):
        padded = torch.full((2, part.shape[0] + 3, 64), float("nan"))
        padded[0, : len(part) // 2] = part[: len(part) // 2]
        padded[1, : len(part) - len(part) // 2] = part[len(part) // 2 :]
        workers[number % 2].update(padded, ~padded.isnan().any(dim=2))
    workers[0].merge(workers[1])
    workers[0].merge(RunningMoments(64))
    assert workers[0].count == 1000
    exact = features.astype(np.float64)
    np.testing.assert_allclose(workers[0].mean, exact.mean(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(workers[0].variance, exact.var(axis=0), rtol=1e-6, atol=1e-6)
    empty = RunningMoments(2)
    empty.merge(RunningMoments(2))
    assert empty.count == 0 and empty.variance.tolist() == [0, 0] and empty.std.tolist() == [1, 1]


def test_mobilenet_normalizes_the_training_set():
    clips = torch.randn(20, 151, 64) * torch.linspace(0.1, 4, 64) + torch.linspace(-9, 3, 64)
    moments = RunningMoments(64)
    for part in clips.split(7):
        moments.update(part)
    net = MobileNetV2Audio()
    net.mel_mean.copy_(moments.mean)
    net.mel_std.copy_(moments.std)
    normed = net.normalize(clips).flatten(0, 1).double()
    assert normed.mean(dim=0).abs().max() < 1e-4 and (normed.var(dim=0) - 1).abs().max() < 1e-3
    assert {"mel_mean", "mel_std"} <= net.state_dict().keys()
    other = MobileNetV2Audio()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other.mel_mean, moments.mean.float())


def test_mobilenet_embeds_any_length_as_it_does_a_training_clip():
    """In evaluation: the mean over the columns of the last map, times those of a training clip, ceil(61 / 4) = 16."""
    net = tiny_mobilenet().eval()
    inputs, mask = torch.randn(2, 480, 32), torch.arange(480) < torch.tensor([[480], [100]])
    frames, columns = net.frames(inputs, mask)
    sums = net.pool(frames, columns)
    assert torch.equal(net(inputs, mask), sums)
    net.clip_frames.fill_(61)
    expected = torch.stack([sums[0] * 16 / 120, sums[1] * 16 / 25])
    torch.testing.assert_close(net(inputs, mask), expected)
    torch.testing.assert_close(net(inputs[:1]), expected[:1])
    clip = inputs[:, :61]
    torch.testing.assert_close(net(clip), net.pool(*net.frames(clip)))
    net.train()
    assert torch.equal(net(inputs, mask), net.pool(*net.frames(inputs, mask)))
