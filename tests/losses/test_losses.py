"""Losses compared with closed forms, worked examples and explicit loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional

from avsv.losses.age import AgeClassifier, age_class
from avsv.losses.ge2e import GE2E
from avsv.losses.gender import GenderClassifier
from avsv.losses.margin import AAMSoftmax, AMSoftmax, Softmax, warm_margin
from avsv.losses.orthogonality import OrthogonalityLoss
from avsv.losses.triplet import BatchHardTriplet
from avsv.nnet.fusion.mean import MeanFusion
from avsv.nnet.fusion.soft_attention import SimpleSoftAttention


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
    # The clamp of the sine changes the loss by sin(0.5) * sqrt(2e-7), which is 0.6 % of this tiny loss.
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
    """At cos(pi - m) the plain form reaches -1; only the continuous fallback continues from there."""
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
    """The own class is nearest by a little; with the margin the other one would be nearest."""
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


def test_margin_warm_up_rises_from_zero_to_the_full_margin():
    values = [warm_margin(0.5, epoch / 10, 2, 4) for epoch in range(60)]
    assert values == sorted(values)
    assert set(values[:21]) == {0.0} and set(values[40:]) == {0.5}
    assert values[30] == pytest.approx(0.5 * (1 - math.sqrt(1e-3)))
    assert warm_margin(0.5, 0.0, 0, 0) == 0.5


def _plain_classifier(kind: type, **options) -> nn.Module:
    return kind(5, 4, **options).double()


@pytest.mark.parametrize("kind", [Softmax, AMSoftmax, AAMSoftmax])
def test_loss_and_accuracy_equal_those_of_another_library(kind):
    loss = _plain_classifier(kind)
    loss.margin = 0.0
    if kind is Softmax:
        nn.init.normal_(loss.bias)
    embeddings, labels = torch.randn(20, 5, dtype=torch.float64), torch.randint(4, (20,))
    with torch.no_grad():
        value, accuracy = loss(embeddings, labels)
        if kind is Softmax:
            scores = embeddings @ loss.weight.T + loss.bias
        else:
            scores = 30.0 * functional.cosine_similarity(embeddings.unsqueeze(1), loss.weight.unsqueeze(0), dim=2)
    assert value.item() == pytest.approx(log_loss(labels, scores.softmax(dim=1), labels=range(4)), abs=1e-9)
    assert accuracy.item() == pytest.approx(accuracy_score(labels, scores.argmax(dim=1)))


@pytest.mark.parametrize("kind", [Softmax, AMSoftmax, GE2E])
def test_autocast_does_not_change_other_losses(kind):
    loss, labels, embeddings = kind(16, 4), torch.arange(4).repeat(2), torch.randn(8, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = loss(embeddings, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(embeddings.float(), labels)[0], rtol=0, atol=0)


def test_am_softmax_equals_an_explicit_loop():
    loss = _plain_classifier(AMSoftmax, margin=0.3, scale=12.0)
    embeddings, labels = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 0])
    total = 0.0
    for row, label in zip(embeddings, labels.tolist(), strict=True):
        cosines = [float(row @ w / row.norm() / w.norm()) for w in loss.weight.detach()]
        logits = [12.0 * (c - 0.3 * (k == label)) for k, c in enumerate(cosines)]
        total -= logits[label] - math.log(sum(map(math.exp, logits)))
    assert loss(embeddings, labels)[0].item() == pytest.approx(total / 6, abs=1e-9)


def test_am_softmax_where_all_cosines_are_zero():
    loss = AMSoftmax(2, 5994, margin=0.35, scale=30.0)
    nn.init.zeros_(loss.weight)
    value, _ = loss(torch.ones(3, 2), torch.tensor([0, 5, 5993]))
    assert value.item() == pytest.approx(math.log(1 + 5993 * math.exp(30 * 0.35)), abs=2e-5)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("kind", [Softmax, AMSoftmax, lambda *sizes: AAMSoftmax(*sizes, sub_centers=2, inter_topk=5)])
def test_gradient_of_other_classifiers_is_finite_where_the_angle_is_extreme(kind, cosine):
    loss = kind(2, 2)
    loss.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(len(loss.weight) // 2, dim=0)
    for embedding in (torch.tensor([[cosine, 0.0]]), torch.tensor([[0.0, cosine]]), torch.zeros(1, 2)):
        embedding.requires_grad_()
        value, _ = loss(embedding, torch.tensor([0]))
        value.backward()
        assert value.isfinite() and embedding.grad.isfinite().all() and loss.weight.grad.isfinite().all()


def _sub_center_pair(**options) -> tuple[AAMSoftmax, AAMSoftmax]:
    """A loss with one center per class, and one in which three equal centers replace each."""
    plain, several = AAMSoftmax(8, 10, **options), AAMSoftmax(8, 10, sub_centers=3, **options)
    assert plain.weight.shape == (10, 8) and several.weight.shape == (30, 8)
    several.weight.data = plain.weight.data.repeat_interleave(3, dim=0)
    return plain, several


def test_equal_sub_centers_act_as_one():
    plain, several = _sub_center_pair(margin=0.3)
    embeddings, labels = torch.randn(6, 8), torch.arange(6)
    for found, expected in zip(several(embeddings, labels), plain(embeddings, labels), strict=True):
        torch.testing.assert_close(found, expected)


def test_nearest_sub_center_is_used():
    loss = AAMSoftmax(8, 10, sub_centers=3)
    embeddings = torch.randn(6, 8)
    every = functional.cosine_similarity(embeddings.unsqueeze(1), loss.weight.unsqueeze(0), dim=2)
    expected = torch.stack([every[:, 3 * k : 3 * k + 3].amax(dim=1) for k in range(10)], dim=1)
    torch.testing.assert_close(loss.cosines(embeddings), expected)


def test_no_inter_topk_is_plain():
    embeddings, labels = torch.randn(6, 8), torch.arange(6)
    torch.manual_seed(1)
    plain = AAMSoftmax(8, 10)
    torch.manual_seed(1)
    other = AAMSoftmax(8, 10, sub_centers=1, inter_topk=0)
    assert torch.equal(plain.weight, other.weight)
    assert torch.equal(plain(embeddings, labels)[0], other(embeddings, labels)[0])


@pytest.mark.parametrize(("classes", "raised"), [(10, 5), (6, 5), (4, 3), (2, 1)])
def test_inter_topk_raises_the_nearest_other_classes(classes, raised):
    loss = AAMSoftmax(8, classes, margin=0.2, inter_topk=5).double()
    plain = AAMSoftmax(8, classes, margin=0.2).double()
    embeddings, labels = torch.randn(20, 8, dtype=torch.float64), torch.randint(classes, (20,))
    cosines = loss.cosines(embeddings).detach()
    difference = loss.penalized(cosines, labels) - plain.penalized(cosines, labels)
    for row in range(20):
        others = sorted((k for k in range(classes) if k != labels[row]), key=lambda k: -cosines[row, k])
        for k in range(classes):
            expected = 0.0
            if k in others[:raised]:
                expected = math.cos(math.acos(cosines[row, k]) - 0.06) - float(cosines[row, k])
                assert expected > 0
            assert difference[row, k].item() == pytest.approx(expected, abs=1e-7)


def test_inter_topk_follows_the_margin():
    loss, plain = (AAMSoftmax(8, 10, inter_topk=k, inter_topk_margin=0.1).double() for k in (3, 0))
    plain.load_state_dict(loss.state_dict())
    embeddings, labels = torch.randn(6, 8, dtype=torch.float64), torch.arange(6)
    cosines = loss.cosines(embeddings).detach()
    for margin in (0.05, 0.2, 0.5):
        loss.margin = plain.margin = margin
        larger = loss.penalized(cosines, labels) > plain.penalized(cosines, labels)
        assert larger.sum(dim=1).tolist() == [3] * 6
        turned = cosines[larger].acos() - loss.penalized(cosines, labels)[larger].acos()
        torch.testing.assert_close(turned, torch.full_like(turned, 0.1 * margin / 0.2))
    loss.margin = 0.0
    cosines = functional.normalize(embeddings) @ functional.normalize(loss.weight).T
    torch.testing.assert_close(loss(embeddings, labels)[0], functional.cross_entropy(30.0 * cosines, labels))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (AMSoftmax, {"margin": 1.0}),
        (AMSoftmax, {"scale": -1.0}),
        (AAMSoftmax, {"sub_centers": 0}),
        (AAMSoftmax, {"inter_topk": -1}),
        (AAMSoftmax, {"inter_topk_margin": 2.0}),
        (GE2E, {"scale": 0.0}),
        (GE2E, {"gradient_scale": -1.0}),
    ],
)
def test_impossible_options_of_other_losses(kind, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: .*: must"):
        kind(2, 2, **options)


def test_softmax_where_all_scores_are_zero():
    loss = Softmax(256, 5894)
    assert loss.weight.numel() == 1_508_864
    nn.init.zeros_(loss.weight)
    assert loss(torch.randn(3, 256), torch.arange(3))[0].item() == pytest.approx(math.log(5894), abs=1e-5)


def _ge2e_by_hand(speakers: torch.Tensor, variant: str, w: float, b: float) -> float:
    """GE2E of embeddings (N, M, D) from its equations, with loops."""
    number, each, _ = speakers.shape
    units = [[e / e.norm() for e in speaker] for speaker in speakers]
    total = 0.0
    for j in range(number):
        for i in range(each):
            scores = []
            for k in range(number):
                centroid = sum(e for m, e in enumerate(units[k]) if (k, m) != (j, i)) / (each - (k == j))
                scores.append(w * float(units[j][i] @ centroid / centroid.norm()) + b)
            if variant == "softmax":
                total += math.log(sum(map(math.exp, scores))) - scores[j]
            else:
                sigmoids = [1 / (1 + math.exp(-score)) for score in scores]
                total += 1 - sigmoids[j] + max(s for k, s in enumerate(sigmoids) if k != j)
    return total / (number * each)


def _rows(speakers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and labels of (N, M, D), in random order, with labels that are not row numbers."""
    order = torch.randperm(speakers.shape[0] * speakers.shape[1])
    labels = 100 - 7 * torch.arange(len(speakers)).repeat_interleave(speakers.shape[1])
    return speakers.flatten(0, 1)[order], labels[order]


@pytest.mark.parametrize(
    ("speakers", "softmax", "contrast"),
    [
        (torch.eye(4).double().unsqueeze(1).repeat(1, 3, 1), math.log(1 + 3 * math.exp(-10)), 2 / (1 + math.exp(5))),
        (torch.eye(4).double().unsqueeze(1).repeat(1, 3, 1), 1.361905e-4, 0.0133857),
        (torch.ones(4, 3, 5).double(), math.log(4), 1.0),
        (torch.arange(1, 25).double().sin().reshape(2, 3, 4), 10.448537, 1.337418),
    ],
)
def test_ge2e_of_worked_examples(speakers, softmax, contrast):
    embeddings, labels = _rows(speakers)
    for variant, expected in (("softmax", softmax), ("contrast", contrast)):
        value, _ = GE2E(speakers.shape[2], 9, variant=variant).double()(embeddings, labels)
        assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("variant", ["softmax", "contrast"])
@pytest.mark.parametrize("shape", [(2, 2, 3), (5, 3, 4), (3, 4, 8)])
def test_ge2e_equals_an_explicit_loop(variant, shape):
    speakers = torch.randn(shape, dtype=torch.float64)
    loss = GE2E(shape[2], 9, variant=variant, scale=4.0, offset=-1.0).double()
    value, accuracy = loss(*_rows(speakers))
    assert value.item() == pytest.approx(_ge2e_by_hand(speakers, variant, 4.0, -1.0), abs=1e-9)
    assert 0 <= accuracy.item() <= 1


def test_ge2e_accuracy_leaves_the_embedding_out():
    """The third embedding is nearer to the other identity than to the rest of its own."""
    embeddings = torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.5, 1.0], [0.0, 1.0], [0.0, 1.0], [0.1, 1.0]])
    _, accuracy = GE2E(2, 2)(embeddings, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert accuracy.item() == pytest.approx(5 / 6)


def test_ge2e_gradient_is_that_of_finite_differences():
    embeddings, labels = _rows(torch.randn(3, 3, 4, dtype=torch.float64))
    embeddings.requires_grad_()
    for variant in ("softmax", "contrast"):
        loss = GE2E(4, 9, variant=variant).double()
        assert torch.autograd.gradcheck(lambda e, loss=loss: loss(e, labels)[0], embeddings)


@pytest.mark.parametrize("variant", ["softmax", "contrast"])
def test_ge2e_scale_and_offset_learn_slowly_and_the_scale_stays_positive(variant):
    embeddings, labels = _rows(torch.randn(3, 3, 4, dtype=torch.float64))
    gradients = {}
    for scale in (1.0, 0.01):
        loss = GE2E(4, 9, variant=variant, gradient_scale=scale).double()
        loss(embeddings, labels)[0].backward()
        gradients[scale] = torch.stack([loss.scale.grad, loss.offset.grad])
    torch.testing.assert_close(gradients[0.01], 0.01 * gradients[1.0])
    assert gradients[1.0][0].abs() > 1e-6
    loss.scale.data.fill_(-3.0)
    value, _ = loss(embeddings, labels)
    assert loss.scale.item() == pytest.approx(1e-6) and value.isfinite()
    value.backward()
    assert loss.scale.grad.isfinite()


@pytest.mark.parametrize("variant", ["softmax", "contrast"])
@pytest.mark.parametrize("second", [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_ge2e_gradient_is_finite_where_the_angle_is_extreme(variant, second):
    """Equal, opposite (the centroid of their identity is zero) and zero embeddings."""
    embeddings = torch.tensor([[1.0, 0.0], second, [1.0, 0.0], second], requires_grad=True)
    loss = GE2E(2, 2, variant=variant)
    value, _ = loss(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.isfinite() and embeddings.grad.isfinite().all() and loss.scale.grad.isfinite()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 1], "2 identities with 1 to 2 utterances"),
        ([0, 1, 2], "3 identities with 1 utterances"),
        ([4, 4, 4], "1 identities with 3 utterances"),
        ([0, 0, 1, 1, 1], "2 identities with 2 to 3 utterances"),
    ],
)
def test_ge2e_needs_n_by_m_batches(labels, message):
    with pytest.raises(ValueError, match=message):
        GE2E(2, 2)(torch.randn(len(labels), 2), torch.tensor(labels))


def test_ge2e_mm_is_contrast_on_the_fused_embedding():
    fusion, audio, visual = SimpleSoftAttention(5, 7, dim=6, normalize=True).double(), *_pair(5, 7)
    labels = torch.arange(3).repeat_interleave(4)
    fused = fusion(audio, visual).detach()
    value, _ = GE2E(6, 3, variant="contrast").double()(fused, labels)
    assert value.item() == pytest.approx(_ge2e_by_hand(fused.reshape(3, 4, 6), "contrast", 10.0, -5.0), abs=1e-9)


def test_ge2e_mm_does_not_change_when_equal_modalities_are_swapped():
    fusion, (audio, visual) = MeanFusion(5, 5, dim=6).double().eval(), _pair(5, 5)
    fusion.visual.load_state_dict(fusion.audio.state_dict())
    labels, loss = torch.arange(3).repeat_interleave(4), GE2E(6, 3, variant="contrast").double()
    torch.testing.assert_close(loss(fusion(audio, visual), labels), loss(fusion(visual, audio), labels))
    soft = SimpleSoftAttention(5, 5, dim=6).double()
    soft.visual.load_state_dict(soft.audio.state_dict())
    audio_only, visual_only = (soft(audio, audio, torch.tensor([kind] * 12)) for kind in ([True, False], [False, True]))
    torch.testing.assert_close(loss(audio_only, labels), loss(visual_only, labels))


def _pair(audio_dim: int, visual_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, audio_dim, dtype=torch.float64), torch.randn(12, visual_dim, dtype=torch.float64)


@pytest.mark.parametrize(
    ("embeddings", "labels", "expected"),
    [
        ([[1, 0], [2, 0], [0, 1], [0, 3]], [0, 0, 1, 1], 0.0),
        ([[1, 0], [1, 0], [1, 0], [1, 0]], [0, 0, 1, 1], 0.7),
        ([[1, 0], [2, 0], [-1, 0], [-3, 0]], [0, 0, 1, 1], 0.7),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 1, 2], 1.0),
        ([[1, 0], [5, 0]], [3, 3], 0.0),
    ],
    ids=["perfect", "all equal", "antipodal classes", "no positives", "no negatives"],
)
def test_orthogonality_of_worked_examples(embeddings, labels, expected):
    value = OrthogonalityLoss(len(embeddings[0]))(torch.tensor(embeddings, dtype=torch.float32), torch.tensor(labels))[
        0
    ]
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_orthogonality_equals_an_explicit_loop():
    embeddings, labels = torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,))
    same, different = [], []
    for i in range(9):
        for j in range(9):
            cosine = float(embeddings[i] @ embeddings[j] / embeddings[i].norm() / embeddings[j].norm())
            if labels[i] != labels[j]:
                different.append(abs(cosine))
            elif i != j:
                same.append(cosine)
    expected = 1 - sum(same) / len(same) + 0.3 * sum(different) / len(different)
    value, figures = OrthogonalityLoss(4, negative_weight=0.3)(embeddings, labels)
    assert value.item() == pytest.approx(expected, abs=1e-9)
    assert figures == {"orthogonality": value}


def test_orthogonality_in_half_precision_and_its_gradient():
    embeddings, labels = torch.randn(8, 16).bfloat16(), torch.arange(4).repeat(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = OrthogonalityLoss(16)(embeddings, labels)
    assert torch.equal(value, OrthogonalityLoss(16)(embeddings.float(), labels)[0]) and value.dtype == torch.float32
    for rows in ([[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]):
        for pair in ([0, 0], [0, 1]):
            embeddings = torch.tensor(rows, requires_grad=True)
            OrthogonalityLoss(2)(embeddings, torch.tensor(pair))[0].backward()
            assert embeddings.grad.isfinite().all()
    with pytest.raises(ValueError, match="negative_weight: -1"):
        OrthogonalityLoss(2, negative_weight=-1.0)


def test_age_classes():
    ages = torch.tensor([0.0, 20, 20.5, 21, 30, 31, 40, 41, 70, 71, 100, -1, float("nan")])
    expected = [0, 0, 1, 1, 1, 2, 2, 3, 5, 6, 6, -1, -1]
    for dtype in (torch.float32, torch.float64):
        assert age_class(ages.to(dtype), (20, 30, 40, 50, 60, 70)).tolist() == expected
    assert age_class(torch.tensor([17, 18, 19]), (18,)).tolist() == [0, 0, 1]


def test_age_with_uniform_scores():
    classifier = AgeClassifier(4)
    assert classifier.weight.shape == (7, 4)
    nn.init.zeros_(classifier.weight)
    loss, _ = classifier(torch.randn(5, 4), torch.tensor([15.0, 25.0, 80.0, -1.0, float("nan")]))
    assert loss.item() == pytest.approx(1.945910, abs=1e-6)


def test_age_ignores_embeddings_without_an_age():
    classifier = AgeClassifier(4, edges=(30, 50))
    embeddings, ages = torch.randn(6, 4), torch.tensor([25.0, float("nan"), 40.0, -1.0, 30.0, 66.0])
    known = [0, 2, 4, 5]
    loss, figures = classifier(embeddings, ages)
    scores = (embeddings[known] @ classifier.weight.T + classifier.bias).detach()
    assert loss.item() == pytest.approx(log_loss([0, 1, 0, 2], scores.double().softmax(dim=1)), abs=1e-5)
    assert figures.keys() == {"age_loss", "age_accuracy"} and figures["age_loss"] is loss
    assert figures["age_accuracy"].item() == pytest.approx(accuracy_score([0, 1, 0, 2], scores.argmax(dim=1)))


def test_no_ages_at_all_give_no_loss_and_no_gradient():
    classifier, embeddings = AgeClassifier(4), torch.randn(3, 4, requires_grad=True)
    loss, figures = classifier(embeddings, torch.tensor([-1.0, float("nan"), -5.0]))
    assert loss.item() == 0.0 and figures == {}
    loss.backward()
    assert all(p.grad.abs().max() == 0.0 for p in (embeddings, *classifier.parameters()))


def test_age_in_half_precision():
    classifier, embeddings, ages = AgeClassifier(16), torch.randn(4, 16).bfloat16(), torch.tensor([20.0, 30, 40, 50])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = classifier(embeddings, ages)
    assert loss.dtype == torch.float32 and torch.equal(loss, classifier(embeddings.float(), ages)[0])


def test_gender_ignores_embeddings_without_a_gender():
    classifier = GenderClassifier(4)
    embeddings, genders = torch.randn(4, 4), torch.tensor([1.0, float("nan"), 0.0, 1.0])
    loss, figures = classifier(embeddings, genders)
    known = [0, 2, 3]
    scores = (embeddings[known] @ classifier.weight.T + classifier.bias).detach()
    assert loss.item() == pytest.approx(log_loss([1, 0, 1], scores.double().softmax(dim=1)), abs=1e-5)
    assert figures["gender_accuracy"].item() == pytest.approx(accuracy_score([1, 0, 1], scores.argmax(dim=1)))


# ---- triplets


def test_batch_hard_triplets_by_loops():
    embeddings, labels = torch.randn(9, 5), torch.tensor([3, 1, 3, 2, 1, 2, 2, 3, 1])
    for margin in (0.0, 0.2, 1.5):
        loss, accuracy = BatchHardTriplet(5, 4, margin=margin)(embeddings, labels)
        units = (embeddings / embeddings.norm(dim=1, keepdim=True)).double().numpy()
        losses, right = [], []
        for i in range(9):
            to = {j: np.linalg.norm(units[i] - units[j]) for j in range(9) if j != i}
            own = [to[j] for j in to if labels[j] == labels[i]]
            others = [to[j] for j in to if labels[j] != labels[i]]
            losses.append(max(0.0, margin + max(own) - min(others)))
            right.append(min(own) < min(others))
        assert loss.item() == pytest.approx(np.mean(losses), abs=1e-5)
        assert accuracy.item() == pytest.approx(np.mean(right))


def test_triplets_of_equal_embeddings_have_a_gradient_without_nan():
    embeddings = torch.ones(4, 3, requires_grad=True)
    loss, _ = BatchHardTriplet(3, 2)(embeddings, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.2, abs=1e-3) and embeddings.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 1]])
def test_triplets_need_pairs_of_several_identities(labels):
    with pytest.raises(ValueError, match="triplet: a batch needs two or more identities, with two or more utterances"):
        BatchHardTriplet(3, 4)(torch.randn(len(labels), 3), torch.tensor(labels))
    with pytest.raises(ValueError, match="margin: -1"):
        BatchHardTriplet(3, 4, margin=-1.0)


@pytest.mark.parametrize("edges", [(), (30, 20), (20, 20)])
def test_impossible_ages(edges):
    with pytest.raises(ValueError, match="edges: "):
        AgeClassifier(4, edges=edges)
