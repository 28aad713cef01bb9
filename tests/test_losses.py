"""Margin softmax against closed forms, worked numbers and an explicit loop."""

import math

import pytest
import torch
from torch.nn import functional

from avsv.losses.margin import AAMSoftmax, warm_margin


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _with_weight(weight: torch.Tensor, **options) -> AAMSoftmax:
    loss = AAMSoftmax(weight.shape[1], weight.shape[0], **options).to(weight.dtype)
    loss.weight.data.copy_(weight)
    return loss


@pytest.mark.parametrize(
    ("classes", "scale", "margin", "expected"),
    [
        (5994, 30.0, 0.5, 23.081114),
        (5994, 30.0, 0.2, 14.658428),
        (5894, 16.0, 0.125, 10.676339),
        (5994, 16.0, 0.125, 10.693166),
    ],
)
def test_loss_where_all_cosines_are_zero(classes, scale, margin, expected):
    loss = _with_weight(torch.zeros(classes, 2), margin=margin, scale=scale)
    value, _ = loss(torch.ones(3, 2), torch.tensor([0, 5, classes - 1]))
    assert value.item() == pytest.approx(expected, abs=2e-5)
    assert value.item() == pytest.approx(math.log(1 + (classes - 1) * math.exp(scale * math.sin(margin))), abs=2e-5)


def test_loss_of_an_embedding_on_its_own_class():
    weight = torch.zeros(5994, 2, dtype=torch.float64)
    weight[:, 1] = 1.0
    weight[7] = torch.tensor([1.0, 0.0])
    value, accuracy = _with_weight(weight, margin=0.5, scale=30.0)(
        torch.tensor([[3.0, 0.0]], dtype=torch.float64), torch.tensor([7])
    )
    # The clamp of the cosine's sine costs sin(0.5) * sqrt(2e-7), that is 0.6 % of this tiny loss.
    assert value.item() == pytest.approx(2.2068e-8, rel=0.01)
    assert accuracy.item() == 1.0


@pytest.mark.parametrize(
    ("cosine", "arcface", "continuous", "easy"),
    [
        (0.9, 0.580848, 0.580848, 0.580848),
        (0.5, 0.023597, 0.023597, 0.023597),
        (0.0, -0.479426, -0.479426, 0.0),
        (-0.88, -1.119713, -1.002417, -0.88),
    ],
)
def test_cosine_after_the_margin(cosine, arcface, continuous, easy):
    value = torch.tensor([cosine], dtype=torch.float64)
    for options, expected in (
        ({"fallback": "arcface"}, arcface),
        ({"fallback": "continuous"}, continuous),
        ({"easy_margin": True}, easy),
    ):
        phi = AAMSoftmax(2, 2, margin=0.5, **options).margin_cosine(value)
        assert phi.item() == pytest.approx(expected, abs=1e-6)


def test_fallbacks_at_the_threshold():
    """At cos(pi - m) the plain form reaches -1; only the continuous fallback goes on from there."""
    around = torch.tensor([-0.877583 + 1e-5, -0.877583 - 1e-5], dtype=torch.float64)
    above, below = AAMSoftmax(2, 2, margin=0.5, fallback="continuous").margin_cosine(around).tolist()
    assert above == pytest.approx(-1.0, abs=1e-5) and below == pytest.approx(-1.0, abs=2e-5)
    above, below = AAMSoftmax(2, 2, margin=0.5, fallback="arcface").margin_cosine(around).tolist()
    assert above == pytest.approx(-1.0, abs=1e-5)
    assert below == pytest.approx(-0.877583 - 0.5 * math.sin(math.pi - 0.5), abs=2e-5)


def test_loss_equals_an_explicit_loop():
    embeddings, labels = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 0])
    loss = AAMSoftmax(5, 4, margin=0.3, scale=12.0).double()
    value, accuracy = loss(embeddings, labels)
    total, right = 0.0, 0
    for row, label in zip(embeddings, labels.tolist(), strict=True):
        cosines = [float(row @ w / row.norm() / w.norm()) for w in loss.weight.detach()]
        theta = math.acos(cosines[label])
        own = math.cos(theta + 0.3) if theta + 0.3 < math.pi else cosines[label] - 0.3 * math.sin(math.pi - 0.3)
        logits = [12.0 * (own if k == label else c) for k, c in enumerate(cosines)]
        total -= logits[label] - math.log(sum(map(math.exp, logits)))
        right += max(range(4), key=cosines.__getitem__) == label
    assert value.item() == pytest.approx(total / 6, abs=1e-6)
    assert accuracy.item() == pytest.approx(right / 6)


def test_no_margin_is_scaled_softmax():
    loss = AAMSoftmax(8, 10, margin=0.0, scale=16.0)
    embeddings, labels = torch.randn(5, 8), torch.arange(5)
    cosines = functional.normalize(embeddings) @ functional.normalize(loss.weight).T
    torch.testing.assert_close(loss(embeddings, labels)[0], functional.cross_entropy(16.0 * cosines, labels))


@pytest.mark.parametrize("cosine", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("options", [{}, {"easy_margin": True}, {"fallback": "continuous"}])
def test_gradient_is_finite_where_the_angle_is_extreme(cosine, options):
    loss = _with_weight(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), margin=0.5, **options)
    embedding = torch.tensor([[cosine, 0.0]], requires_grad=True)
    value, _ = loss(embedding, torch.tensor([0]))
    value.backward()
    assert value.isfinite() and embedding.grad.isfinite().all() and loss.weight.grad.isfinite().all()


def test_autocast_does_not_change_the_loss():
    loss, labels = AAMSoftmax(64, 100, margin=0.5), torch.arange(4)
    embeddings = torch.randn(4, 64).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = loss(embeddings, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(embeddings.float(), labels)[0], rtol=0, atol=0)


def test_accuracy_ignores_the_margin():
    """The own class is nearest by a little, and the margin would put the other one before it."""
    loss = _with_weight(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), margin=0.5)
    value, accuracy = loss(torch.tensor([[1.0, 0.9]]), torch.tensor([0]))
    assert accuracy.item() == 1.0 and value.item() > math.log(2)


@pytest.mark.parametrize(("dim", "count"), [(192, 1_150_848), (512, 3_068_928), (256, 1_534_464)])
def test_head_parameters(dim, count):
    assert sum(p.numel() for p in AAMSoftmax(dim, 5994).parameters()) == count


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": 1.6}, {"scale": 0.0}])
def test_impossible_options(options):
    with pytest.raises(ValueError, match="must be"):
        AAMSoftmax(2, 2, **options)


def test_margin_warm_up_rises_from_nothing_to_all():
    values = [warm_margin(0.5, epoch / 10, 2, 4) for epoch in range(60)]
    assert values == sorted(values)
    assert set(values[:21]) == {0.0} and set(values[40:]) == {0.5}
    assert values[30] == pytest.approx(0.5 * (1 - math.sqrt(1e-3)))
    assert warm_margin(0.5, 0.0, 0, 0) == 0.5
