"""An optimizer step does not wait for the device, and skips itself there."""

import math
from collections import Counter

import pytest
import torch
from synthetic import config
from torch.utils._python_dispatch import TorchDispatchMode

from avsv.data.batch import Batch
from avsv.model.trainable import TrainableSystem
from avsv.train.books import STEPS_AT_A_TIME, Books
from avsv.train.distributed import Ranks
from avsv.train.optimization import Optimization
from avsv.train.schedule import make_optimizer

EXTRAS = {
    "A": {"audio": {"pooling": "we_asp"}},
    "V": {"train": {"optimizer": {"name": "sgd", "lr": 0.1}, "clip_norm": 1.0}},
    "AV": {
        "audio": {"pooling": "we_asp"},
        "visual": {"pooling": "we_asp"},
        "supervision": {"name": "cycle"},
        "loss": {"classifier": {"name": "aam_softmax"}, "audio_weight": 0.5, "visual_weight": 0.5},
    },
}


class Waits(TorchDispatchMode):
    """Counts the operations whose result a program needs before it can continue."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive")

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_unsafe_index") else []
        # An index of booleans is converted to positions, whose number must be known.
        if name in self.NAMES or any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices):
            self.seen[name] += 1
        return function(*args, **(kwargs or {}))


def batch_of(modalities: str, seed: int = 0) -> Batch:
    generator, parts = torch.Generator().manual_seed(seed), {}
    if "A" in modalities:
        parts |= {"audio": torch.randn(8, 58, 20, generator=generator), "audio_mask": torch.ones(8, 58).bool()}
    if "V" in modalities:
        video = torch.randint(256, (8, 5, 1, 16, 16), generator=generator, dtype=torch.uint8)
        parts |= {"video": video, "video_mask": torch.ones(8, 5).bool()}
    return Batch([f"u{n}" for n in range(8)], torch.arange(8) % 6, **parts)


def training(modalities: str, device: str = "cpu", **sections) -> Optimization:
    torch.manual_seed(0)
    settings = config(modalities, **{**EXTRAS[modalities], **sections})
    ranks = Ranks(use_gpu=device == "cuda")
    return Optimization(TrainableSystem(settings, 6, 5).to(ranks.device).train(), settings.train, ranks)


@pytest.mark.parametrize("modalities", ["A", "V", "AV"])
def test_a_step_waits_for_nothing(modalities):
    optimization, books = training(modalities), Books(torch.device("cuda"), False)
    batches = [batch_of(modalities, step).prepare("cpu") for step in range(STEPS_AT_A_TIME)]
    with Waits() as waits:
        for step, batch in enumerate(batches):
            figures, finite = optimization.backward(batch, 0.01)
            optimization.apply(finite)
            books.note(0, step, batch, figures, finite, 0.01, 0.2)
    assert not waits.seen
    assert books.is_due and len(books.read()) == STEPS_AT_A_TIME and not books.is_due
    with Waits() as waits:
        assert bool(finite)
    assert waits.seen == {"_local_scalar_dense": 1}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("modalities", ["A", "V", "AV"])
def test_a_step_waits_for_no_gpu(modalities):
    optimization, books = training(modalities, "cuda"), Books(torch.device("cuda"), False)
    batches = [batch_of(modalities, step).pin_memory() for step in range(4)]
    optimization.apply(optimization.backward(batches[0].prepare("cuda"), 0.01)[1])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, batch in enumerate(batches):
            figures, finite = optimization.backward(batch.prepare("cuda"), 0.01)
            optimization.apply(finite)
            books.note(0, step, batch, figures, finite, 0.01, 0.2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(books.read()) == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_step_that_is_not_finite_leaves_no_trace(optimizer, bad):
    """The state after steps of which one is skipped is, bit for bit, that after the others."""
    states = []
    for numbers in ([0, 1, 2], [number for number in range(3) if number != bad]):
        optimization = training("V", train={"optimizer": {"name": optimizer, "lr": 0.01}})
        books = Books(torch.device("cuda"), False)
        for number in numbers:
            batch = batch_of("V", number).prepare("cpu")
            if number == bad:
                batch.video[0] = math.nan
            figures, finite = optimization.backward(batch, 0.01)
            assert bool(finite) == (number != bad)
            optimization.apply(finite)
            books.note(0, number, batch, figures, finite, 0.01, 0.2)
        assert [math.isfinite(step.values["loss"]) for step in books.read()] == [number != bad for number in numbers]
        assert books.sums["count loss"] == 2 and books.sums.get("skipped", 0) == len(numbers) - 2
        states.append({**optimization.model.state_dict(), **flat(optimization.optimizer)})
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def flat(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    entries = optimizer.state_dict()["state"].items()
    return {f"{number} {name}": value for number, state in entries for name, value in state.items()}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_optimizers_are_those_of_the_papers(name):
    """Parameters get gradients at different times, as those of a network whose modality a batch lacks."""
    settings = config("A", train={"optimizer": {"name": name, "lr": 0.1, "weight_decay": 0.01}}).train
    ours = [torch.nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(n))) for n in range(2)]
    plain = [torch.nn.Parameter(parameter.detach().double()) for parameter in ours]
    options = {"lr": 0.1, "weight_decay": 0.01, "foreach": False, "fused": False}
    theirs = torch.optim.SGD(plain, momentum=0.9, **options) if name == "sgd" else torch.optim.AdamW(plain, **options)
    optimizer = make_optimizer(settings, ours)
    for step in range(5):
        for number, (mine, other) in enumerate(zip(ours, plain, strict=True)):
            if number <= step:
                mine.grad = torch.randn(5, generator=torch.Generator().manual_seed(10 * step + number))
                other.grad = mine.grad.double()
        optimizer.step()
        theirs.step()
    for mine, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.double(), other, atol=1e-6, rtol=1e-5)
