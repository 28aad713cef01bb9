"""Visual networks compared with published counts and sizes, torchvision, and separately written networks."""

import pytest
import torch
import torchvision
from networks import count_parameters
from torch.nn import functional

from avsv.nnet.visual import frames as frames_module
from avsv.nnet.visual.frames import FrameScaling
from avsv.nnet.visual.inception_resnet import InceptionResNetV1
from avsv.nnet.visual.iresnet import IResNet
from avsv.nnet.visual.resnet import ResNet


def _pixels(*values):
    """Frames in [-0.5, 0.5] of the colors 0..255 given."""
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) / 255 - 0.5


def _resnet(**options):
    return ResNet(**{"depth": 18, "channels": 4, "image_height": 32, "image_width": 32, **options})


def _se_resnet(**options):
    return _resnet(depth=50, se=True, **options)


def _inception(**options):
    small = {"channels": 4, "image_height": 75, "image_width": 75, "frame_dim": 16, "dropout": 0.0}
    return InceptionResNetV1(**{**small, **options})


def _iresnet(**options):
    small = {"channels": 4, "image_channels": 3, "image_height": 32, "image_width": 32, "frame_dim": 16}
    return IResNet(**{**small, "embedding_dim": None, "pooling": "tap", **options})


NETWORKS = [_resnet, _se_resnet, _inception, _iresnet]


def _clips(net, *shape, dtype=torch.float64):
    return torch.rand(*shape, *net.image_shape, dtype=dtype) - 0.5


class Published:
    """Layers with published names, which create random weights of the required shapes and apply them."""

    def __init__(self, eps=1e-5):
        self.state = {}
        self.eps = eps

    def _weight(self, name, *shape, low=-1.0, high=1.0):
        return self.state.setdefault(name, torch.empty(shape, dtype=torch.float64).uniform_(low, high))

    def conv(self, x, name, out, kernel=1, stride=1, padding=0, bias=False):
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        bound = (x.shape[1] * sides[0] * sides[1]) ** -0.5
        weight = self._weight(f"{name}.weight", out, x.shape[1], *sides, low=-bound, high=bound)
        return functional.conv2d(x, weight, self._weight(f"{name}.bias", out) if bias else None, stride, padding)

    def linear(self, x, name, out, bias=True):
        bound = x.shape[1] ** -0.5
        weight = self._weight(f"{name}.weight", out, x.shape[1], low=-bound, high=bound)
        return functional.linear(x, weight, self._weight(f"{name}.bias", out) if bias else None)

    def norm(self, x, name):
        n = x.shape[1]
        mean = self._weight(f"{name}.running_mean", n)
        variance = self._weight(f"{name}.running_var", n, low=0.5, high=2.0)
        weight, bias = self._weight(f"{name}.weight", n, low=0.5, high=1.5), self._weight(f"{name}.bias", n)
        self.state.setdefault(f"{name}.num_batches_tracked", torch.tensor(7))
        return functional.batch_norm(x, mean, variance, weight, bias, eps=self.eps)

    def prelu(self, x, name):
        return functional.prelu(x, self._weight(f"{name}.weight", x.shape[1], low=0.0, high=0.5))

    def unit(self, x, name, out, kernel=1, stride=1, padding=0):
        return self.norm(self.conv(x, f"{name}.conv", out, kernel, stride, padding), f"{name}.bn").relu()


def _published_iresnet(images, blocks, channels, frame_dim):
    """iresnet of insightface's arcface_torch: (weights, features)."""
    net = Published()
    x = net.prelu(net.norm(net.conv(images, "conv1", channels, 3, padding=1), "bn1"), "prelu")
    for stage, count in enumerate(blocks):
        width = channels * 2**stage
        for index in range(count):
            name, stride = f"layer{stage + 1}.{index}", 1 if index else 2
            y = net.conv(net.norm(x, f"{name}.bn1"), f"{name}.conv1", width, 3, padding=1)
            y = net.prelu(net.norm(y, f"{name}.bn2"), f"{name}.prelu")
            y = net.norm(net.conv(y, f"{name}.conv2", width, 3, stride, padding=1), f"{name}.bn3")
            if index == 0:
                x = net.norm(net.conv(x, f"{name}.downsample.0", width, 1, stride), f"{name}.downsample.1")
            x = x + y
    x = net.linear(net.norm(x, "bn2").flatten(1), "fc", frame_dim)
    return net.state, net.norm(x, "features")


def _published_resnet(images, depth, se, channels):
    """resnet of torchvision, with squeeze-and-excitation that of timm: (weights, averaged maps)."""
    net = Published()
    x = net.norm(net.conv(images, "conv1", channels, 7, 2, padding=3), "bn1").relu()
    x = functional.max_pool2d(x, 3, 2, padding=1)
    for stage, count in enumerate({18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]):
        width = channels * 2**stage
        out = 4 * width if depth == 50 else width
        for index in range(count):
            name, stride = f"layer{stage + 1}.{index}", 2 if stage and not index else 1
            if depth == 50:
                y = net.norm(net.conv(x, f"{name}.conv1", width), f"{name}.bn1").relu()
                y = net.norm(net.conv(y, f"{name}.conv2", width, 3, stride, 1), f"{name}.bn2").relu()
                y = net.norm(net.conv(y, f"{name}.conv3", out), f"{name}.bn3")
            else:
                y = net.norm(net.conv(x, f"{name}.conv1", width, 3, stride, 1), f"{name}.bn1").relu()
                y = net.norm(net.conv(y, f"{name}.conv2", out, 3, 1, 1), f"{name}.bn2")
            if se:
                gate = net.conv(y.mean(dim=(2, 3), keepdim=True), f"{name}.se.fc1", out // 16, bias=True).relu()
                y = y * net.conv(gate, f"{name}.se.fc2", out, bias=True).sigmoid()
            if stride == 2 or x.shape[1] != out:
                x = net.norm(net.conv(x, f"{name}.downsample.0", out, 1, stride), f"{name}.downsample.1")
            x = (x + y).relu()
    features = x.mean(dim=(2, 3))
    net.linear(features, "fc", 10)
    return net.state, features


def _published_inception(images, c, frame_dim):
    """InceptionResnetV1 of facenet-pytorch: (weights, embeddings)."""
    net = Published(eps=1e-3)

    def pool(x):
        return functional.max_pool2d(x, 3, 2)

    def residual(x, name, branches, scale, relu=True):
        total = scale * net.conv(torch.cat(branches, dim=1), f"{name}.conv2d", x.shape[1], bias=True) + x
        return total.relu() if relu else total

    def pair(x, name, width, long, scale, relu=True):
        y = net.unit(x, f"{name}.branch1.0", width)
        y = net.unit(y, f"{name}.branch1.1", width, (1, long), padding=(0, long // 2))
        y = net.unit(y, f"{name}.branch1.2", width, (long, 1), padding=(long // 2, 0))
        return residual(x, name, [net.unit(x, f"{name}.branch0", width), y], scale, relu)

    x = net.unit(images, "conv2d_1a", c, 3, 2)
    x = net.unit(net.unit(x, "conv2d_2a", c, 3), "conv2d_2b", 2 * c, 3, padding=1)
    x = net.unit(net.unit(pool(x), "conv2d_3b", c * 5 // 2), "conv2d_4a", 6 * c, 3)
    x = net.unit(x, "conv2d_4b", 8 * c, 3, 2)
    for name in (f"repeat_1.{n}" for n in range(5)):
        y = net.unit(net.unit(x, f"{name}.branch1.0", c), f"{name}.branch1.1", c, 3, padding=1)
        z = net.unit(net.unit(x, f"{name}.branch2.0", c), f"{name}.branch2.1", c, 3, padding=1)
        z = net.unit(z, f"{name}.branch2.2", c, 3, padding=1)
        x = residual(x, name, [net.unit(x, f"{name}.branch0", c), y, z], 0.17)
    y = net.unit(net.unit(x, "mixed_6a.branch1.0", 6 * c), "mixed_6a.branch1.1", 6 * c, 3, padding=1)
    y = net.unit(y, "mixed_6a.branch1.2", 8 * c, 3, 2)
    x = torch.cat([net.unit(x, "mixed_6a.branch0", 12 * c, 3, 2), y, pool(x)], dim=1)
    for n in range(10):
        x = pair(x, f"repeat_2.{n}", 4 * c, 7, 0.1)
    name = "mixed_7a.branch"
    y = net.unit(net.unit(x, f"{name}0.0", 8 * c), f"{name}0.1", 12 * c, 3, 2)
    z = net.unit(net.unit(x, f"{name}1.0", 8 * c), f"{name}1.1", 8 * c, 3, 2)
    w = net.unit(net.unit(x, f"{name}2.0", 8 * c), f"{name}2.1", 8 * c, 3, padding=1)
    x = torch.cat([y, z, net.unit(w, f"{name}2.2", 8 * c, 3, 2), pool(x)], dim=1)
    for n in range(5):
        x = pair(x, f"repeat_3.{n}", 6 * c, 3, 0.2)
    x = pair(x, "block8", 6 * c, 3, 1.0, relu=False)
    x = net.norm(net.linear(x.mean(dim=(2, 3)), "last_linear", frame_dim, bias=False), "last_bn")
    net.linear(x, "logits", 10)
    return net.state, x / x.norm(dim=1, keepdim=True)


def _load(net, state):
    """The network with published weights for everything except pooling and embedding."""
    missing, unexpected = net.load_state_dict(net.convert_published(state), strict=False)
    assert not unexpected and not [name for name in missing if not name.startswith(("pool.", "embed."))]
    return net.eval()


def test_voxceleb_scaling():
    mean = [0.4582268298, 0.3447833359, 0.3283427358]
    scaling = FrameScaling("voxceleb").double()
    torch.testing.assert_close(scaling(_pixels(*(255 * m for m in mean))).abs().max().item(), 0.0, atol=1e-6, rtol=0)
    for value, expected in ((255, [1.9992, 2.8810, 2.8660]), (0, [-1.6909, -1.5160, -1.4011])):
        scaled = scaling(_pixels(value, value, value)).flatten().tolist()
        assert [round(x, 4) for x in scaled] == expected


def test_other_scalings():
    assert FrameScaling("facenet")(_pixels(127.5, 255, 0)).flatten().tolist() == pytest.approx(
        [0.0, 0.99609375, -0.99609375]
    )
    assert FrameScaling("half")(_pixels(127.5, 255, 0)).flatten().tolist() == [0.0, 1.0, -1.0]
    assert FrameScaling("none")(_pixels(127.5, 255, 0)).flatten().tolist() == [0.0, 0.5, -0.5]
    images = torch.rand(4, 3, 5, 5, dtype=torch.float64)
    published = torchvision.models.ResNet34_Weights.DEFAULT.transforms()
    expected = torchvision.transforms.functional.normalize(images, published.mean, published.std)
    torch.testing.assert_close(FrameScaling("imagenet").double()(images - 0.5), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("net", "name"),
    [(ResNet, "voxceleb"), (ResNet, "half"), (ResNet, "imagenet"), (IResNet, "none"), (IResNet, "half")],
)
def test_networks_scale_their_frames(net, name):
    options = {"channels": 4, "image_height": 16, "image_width": 16, "depth": 18}
    net = net(image_channels=3, scaling=name, **options).eval()
    seen = []
    net.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    clips = _clips(net, 2, 3, dtype=torch.float32)
    net(clips)
    torch.testing.assert_close(seen[0], FrameScaling(name)(clips.flatten(0, 1)))
    assert not [key for key in net.state_dict() if key.startswith("scaling")]


def test_parameters():
    with torch.device("meta"):
        assert count_parameters(ResNet(depth=34)) == 21_284_672
        assert count_parameters(ResNet(depth=34, embedding_dim=512)) == 21_547_328
        assert count_parameters(ResNet(depth=34, embedding_dim=1000)) == 21_797_672
        assert count_parameters(ResNet(depth=50)) == 23_508_032
        assert count_parameters(ResNet(depth=50, se=True)) == 26_039_024 == 23_508_032 + 2_530_992
        assert count_parameters(ResNet(depth=50, se=True, embedding_dim=1000)) == 28_088_024
        se_biases = [p for name, p in ResNet(se=True).named_parameters() if ".fc" in name and name.endswith("bias")]
        assert 26_039_024 - sum(p.numel() for p in se_biases) == 26_022_976
        assert count_parameters(InceptionResNetV1()) == 23_482_624
        assert count_parameters(InceptionResNetV1(embedding_dim=8631)) == 27_910_327
        assert count_parameters(InceptionResNetV1(embedding_dim=10575)) == 28_907_599


@pytest.mark.parametrize(("side", "map_side"), [(112, 4), (128, 4), (224, 7)])
def test_resnet_map_sizes(side, map_side):
    with torch.device("meta"):
        net = ResNet(image_height=side, image_width=side).eval()
        assert net.trunk(torch.zeros(1, 3, side, side)).shape == (1, 2048, map_side, map_side)
        assert net(torch.zeros(2, 3, 3, side, side)).shape == (2, 2048)
    assert net.embedding_dim == 2048


def test_inception_map_sizes():
    with torch.device("meta"):
        net = InceptionResNetV1().eval()
        x, sides, channels = torch.zeros(1, 3, 160, 160), [], []
        for layer in (*net.trunk, net.head.avgpool_1a):
            x = layer(x)
            assert x.shape[2] == x.shape[3]
            sides.append(x.shape[2])
            channels.append(x.shape[1])
        assert net(torch.zeros(2, 3, 3, 160, 160)).shape == (2, 512)
    assert sides == [79, 77, 77, 38, 38, 36, 17, 17, 8, 8, 3, 3, 3, 1]
    assert channels == [32, 32, 64, 64, 80, 192, 256, 256, 896, 896, 1792, 1792, 1792, 1792]


def test_inception_smallest_image():
    net = _inception().eval()
    assert net.trunk(torch.zeros(1, 3, 75, 75)).shape[2:] == (1, 1)
    with pytest.raises(ValueError, match="image_width: 74: Inception-ResNet-V1 needs at least 75"):
        InceptionResNetV1(image_width=74)
    with pytest.raises(RuntimeError, match="Kernel size"):
        net.trunk(torch.zeros(1, 3, 74, 74))
    with pytest.raises(ValueError, match="channels: 5: must be even"):
        InceptionResNetV1(channels=5)


@pytest.mark.parametrize("build", NETWORKS)
def test_frames_are_independent(build):
    """With average pooling, the order of frames does not matter, and copies of a frame act as that frame."""
    net = build().double().eval()
    clips = _clips(net, 2, 5)
    expected = net(clips)
    torch.testing.assert_close(net(clips[:, torch.tensor([3, 0, 4, 2, 1])]), expected, rtol=1e-10, atol=1e-12)
    single = clips[:, :1]
    torch.testing.assert_close(net(single.expand(-1, 6, -1, -1, -1)), net(single), rtol=1e-10, atol=1e-12)
    assert (expected[0] - expected[1]).abs().max() > 1e-6


@pytest.mark.parametrize("pooling", ["tap", "tstp", "asp", "we_asp", "we_asp_literal"])
@pytest.mark.parametrize("build", [_resnet, _inception])
def test_padding_changes_nothing(build, pooling):
    net = build(pooling=pooling, embedding_dim=8).double().eval()
    clips = _clips(net, 2, 5)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    garbage = clips.clone()
    garbage[~mask] = float("nan")
    alone = torch.cat([net(clips[:1]), net(clips[1:, :3])])
    torch.testing.assert_close(net(garbage, mask), alone, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(net(clips, torch.ones_like(mask)), net(clips), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("build", NETWORKS)
def test_training_ignores_padding(build):
    states = []
    for padding in (0, 2):
        torch.manual_seed(1)
        net = build().double()
        clips = _clips(net, 2, 3)
        mask = torch.arange(3 + padding).expand(2, -1) < 3 if padding else None
        net(functional.pad(clips, (0, 0, 0, 0, 0, 0, 0, padding), value=5.0), mask).sum().backward()
        gradients = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
        states.append({**net.state_dict(), **{f"{name}.grad": grad for name, grad in gradients.items()}})
    for name, value in states[0].items():
        torch.testing.assert_close(
            value, states[1][name], rtol=1e-6, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("channels", [4, 12])
def test_gradients_with_few_channels(build, channels):
    """Strided 1x1 convolutions with fewer than 16 channels stored last crash torch 2.11 with a segmentation fault."""
    net = build(channels=channels)
    net(_clips(net, 2, 2, dtype=torch.float32)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("build", NETWORKS)
def test_long_clips_go_in_pieces_in_evaluation(build, monkeypatch):
    net = build().double().eval()
    clips = _clips(net, 1, 7)
    whole = net(clips)
    seen = []
    net.trunk.register_forward_hook(lambda _, args, output: seen.append(len(args[0])))
    monkeypatch.setattr(frames_module, "PIECE_PIXELS", 3 * net.image_shape[1] * net.image_shape[2] + 1)
    torch.testing.assert_close(net(clips), whole, rtol=1e-10, atol=1e-12)
    assert seen == [3, 3, 1]
    monkeypatch.setattr(frames_module, "PIECE_PIXELS", 1)
    net(clips)
    assert seen == [3, 3, 1] + [1] * 7
    net.train()(clips)
    assert seen[10:] == [7]


def test_inception_embeddings_have_length_one():
    net = _inception(embedding_dim=12).eval()
    clips = _clips(net, 2, 3, dtype=torch.float32)
    for vectors in (net(clips), net.frames(clips)[0].transpose(1, 2)):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
    with torch.autocast("cpu", torch.bfloat16):
        vectors = net(clips)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))


def test_resnet_starts_as_torchvision_does():
    """He's normal initialization by the number of outputs."""
    for conv in (m for m in _resnet(channels=32).trunk.modules() if isinstance(m, torch.nn.Conv2d)):
        if conv.weight.numel() > 10_000:
            outputs = conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1]
            assert conv.weight.std().item() == pytest.approx((2 / outputs) ** 0.5, rel=0.05)


@pytest.mark.parametrize("depth", [34, 50])
def test_resnet_equals_torchvision(depth):
    original = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    net = _load(ResNet(depth=depth, image_height=64, image_width=64, scaling="imagenet"), original.state_dict())
    images = torch.rand(2, 3, 64, 64)
    original.fc = torch.nn.Identity()
    published = torchvision.models.ResNet34_Weights.DEFAULT.transforms()
    with torch.no_grad():
        expected = original(torchvision.transforms.functional.normalize(images, published.mean, published.std))
        difference = (net(images.unsqueeze(1) - 0.5) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-4


@pytest.mark.parametrize(("depth", "se"), [(18, False), (34, True), (50, False), (50, True)])
def test_resnet_takes_published_weights(depth, se):
    net = ResNet(depth=depth, se=se, channels=16, image_height=48, image_width=40, scaling="half").double()
    clips = _clips(net, 2, 1)
    state, features = _published_resnet(2 * clips.squeeze(1), depth, se, 16)
    torch.testing.assert_close(_load(net, state)(clips), features, rtol=1e-9, atol=1e-10)


def test_inception_takes_published_weights():
    net = InceptionResNetV1(channels=8, image_height=90, image_width=77, frame_dim=24).double()
    clips = _clips(net, 2, 1)
    state, features = _published_inception(clips.squeeze(1) * (255 / 128), 8, 24)
    torch.testing.assert_close(_load(net, state)(clips), features, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("depth", "blocks"), [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)), (50, (3, 4, 14, 3))])
def test_iresnet_takes_published_weights(depth, blocks):
    net = _iresnet(depth=depth, scaling="half").double()
    clips = _clips(net, 2, 1)
    state, features = _published_iresnet(2 * clips.squeeze(1), blocks, 4, 16)
    torch.testing.assert_close(_load(net, state)(clips), features, rtol=1e-9, atol=1e-10)

    gray = _load(_iresnet(depth=depth, scaling="half", image_channels=1).double(), state)
    torch.testing.assert_close(gray(clips[:, :, :1]), net(clips[:, :, :1].expand_as(clips)), rtol=1e-9, atol=1e-10)


def test_iresnet_gap_head_leaves_the_published_head_out():
    net = _iresnet(head="gap", image_height=48).double()
    state, _ = _published_iresnet(torch.zeros(1, 3, 32, 32, dtype=torch.float64), (2, 2, 2, 2), 4, 16)
    assert not [name for name in net.convert_published(state) if name.startswith("head.")]
    assert _load(net, state)(_clips(net, 1, 2)).shape == (1, 32)


def _published_of_iresnet():
    return _published_iresnet(torch.zeros(1, 3, 32, 32, dtype=torch.float64), (2, 2, 2, 2), 4, 16)[0]


def test_published_weights_of_another_network_are_refused():
    net, state = _iresnet(), _published_of_iresnet()
    without = {name: value for name, value in state.items() if name not in ("layer2.1.conv2.weight", "fc.bias")}
    with pytest.raises(ValueError, match=r"of IResNet: layer2\.1\.conv2\.weight, fc\.bias: missing"):
        net.convert_published(without)
    with pytest.raises(ValueError, match=r"layer1\.9\.bn1\.weight, other: not part of this network"):
        net.convert_published({**state, "layer1.9.bn1.weight": torch.zeros(4), "other": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"conv1\.weight, .* and \d+ more: missing"):
        net.convert_published({})
    with pytest.raises(ValueError, match=r"fc\.weight has shape \(16, 128\), expected \(16, 512\)$"):
        _iresnet(image_height=64, image_width=64).convert_published(state)
    with pytest.raises(ValueError, match=r"layer4\.0\.bn1\.weight, .*missing"):
        _resnet().convert_published({name: v for name, v in state.items() if not name.startswith("layer4.")})


def test_published_weights_without_batch_counters():
    net, state = _iresnet(), _published_of_iresnet()
    assert net.convert_published(state)["trunk.1.num_batches_tracked"] == 7
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert net.convert_published(old)["trunk.1.num_batches_tracked"] == 0


@pytest.mark.parametrize("build", NETWORKS)
def test_wrong_shapes_are_named(build):
    net = build()
    with pytest.raises(
        ValueError, match=rf"{type(net).__name__}: frames of shape \(1, 2, 1, 8, 8\), expected \(B, T, 3"
    ):
        net(torch.zeros(1, 2, 1, 8, 8))
