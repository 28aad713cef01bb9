"""Train with one toolkit on the corpus of benchmarks/training.py, in rounds; run by that program.

Each function builds what the program of its toolkit builds, from the parts of the toolkit, and runs the toolkit's own
loop over batches. The programs of the peers cannot be run as they are, since they require a GPU:

- WeSpeaker: ``run_epoch`` of ``wespeaker/utils/executor.py`` over ``wespeaker/dataset``. torchaudio 2.11 reads files
  only with another package; here ``torchaudio.load`` is soundfile, as it was for wav files before.
- SpeechBrain: ``SpeakerBrain`` of ``recipes/VoxCeleb/SpeakerRec``. It draws one augmentation for a whole batch.
- insightface: the parts of ``recognition/arcface_torch`` with the statements of the loop in ``train_v2.py``, for one
  process without a GPU; pictures are read from a folder of JPEG files, as by ``get_dataloader`` in ``dataset.py``.

Usage: python benchmarks/training_loops.py TOOLKIT CORPUS SETTINGS
"""

import importlib.util
import itertools
import json
import pickle
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from rounds import Batches
from torch import nn
from torch.utils.data import DataLoader

RATE = 16000
FRAMES, BINS = 198, 80
KEPT = 4  # batches in memory
LONG = 1_000_000  # steps: no training ends before it is measured
SGD = {"lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4}
MARGIN = {"voice": 0.2, "face": 0.5}
SCALE = {"voice": 32.0, "face": 64.0}
# Shares of clips with reverberation or noise, and the largest masks, as in avsv.
AUGMENTED, MASKED_FRAMES, MASKED_BINS = 0.8, 5, 10


def random_batches(settings: dict[str, Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """KEPT random batches in an endless cycle: features (B, T, F) or pictures (B, 3, H, W), and labels (B,)."""
    generator = torch.Generator().manual_seed(0)
    size = (FRAMES, BINS) if settings["kind"] == "voice" else (3, settings["side"], settings["side"])
    batches = [
        (
            torch.randn(settings["batch"], *size, generator=generator),
            torch.randint(settings["classes"], (settings["batch"],), generator=generator),
        )
        for _ in range(KEPT)
    ]
    return itertools.cycle(batches)


def train_avsv(corpus: Path, settings: dict[str, Any], rounds: Batches) -> None:
    """Train a system with avsv, as avsv.bin.train does."""
    from avsv.train import loop
    from avsv.train.material import Sources
    from avsv.train.run import train_system

    load = loop.load_batches

    def in_rounds(clips: Any, items: Any, num_workers: int, pin_memory: bool) -> Iterator[Any]:
        # Features are computed when a batch is prepared, for which the loop waits.
        workers = 0 if settings["in_memory"] else num_workers
        batches = (batch.prepare("cpu") for batch in load(clips, items, workers, pin_memory))
        if settings["in_memory"]:
            batches = itertools.cycle(list(itertools.islice(batches, KEPT)))
        return rounds(batches)

    loop.load_batches = in_rounds
    train = corpus / "data"
    sources = Sources(train, train, corpus / "fbank.yaml", corpus / "noise", corpus / "rooms")
    train_system(settings["system"], sources, settings["exp"], num_workers=settings["workers"])


def train_wespeaker(corpus: Path, settings: dict[str, Any], rounds: Batches) -> None:
    """Train a network with WeSpeaker, as ``train`` in wespeaker/bin/train.py does."""
    # The package is not imported completely, since that would load pretrained front ends.
    package = types.ModuleType("wespeaker")
    package.__path__ = [f"{settings['checkout']}/wespeaker"]
    sys.modules["wespeaker"] = package
    from wespeaker.models import ecapa_tdnn, projections, resnet
    from wespeaker.utils import schedulers
    from wespeaker.utils.executor import run_epoch

    data = {
        "shuffle": True,
        "shuffle_args": {"shuffle_size": settings["batch"]},
        "filter_args": {"min_num_frames": 100, "max_num_frames": 800},
        "speed_perturb": False,
        "num_frms": FRAMES,
        "aug_prob": AUGMENTED,
        "fbank_args": {"num_mel_bins": BINS, "frame_shift": 10, "frame_length": 25, "dither": 1.0},
        "cmvn": not settings["in_memory"],
        "spec_aug": not settings["in_memory"],
        "spec_aug_args": {"max_t": MASKED_FRAMES, "max_f": MASKED_BINS, "prob": 1.0},
    }
    if settings["network"] == "resnet34":
        width, model = 256, resnet.ResNet34(BINS, 256)
    else:
        width, model = 192, ecapa_tdnn.ECAPA_TDNN(settings["channels"], BINS, 192, "ASTP", global_context_att=True)
    head = {"project_type": "arc_margin", "embed_dim": width, "num_class": settings["classes"], "easy_margin": False}
    model.add_module("projection", projections.get_projection({**head, "scale": SCALE["voice"]}))
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    run_epoch(
        rounds(wespeaker_batches(corpus, settings, data)),
        LONG,
        # Without a GPU, DataParallel only calls the model, as DistributedDataParallel in a single process should.
        nn.DataParallel(model),
        nn.CrossEntropyLoss(),
        optimizer,
        schedulers.ExponentialDecrease(optimizer, 1, LONG, SGD["lr"], SGD["lr"] / 2, warm_up_epoch=0),
        schedulers.MarginScheduler(model, LONG, 1, 2, MARGIN["voice"], MARGIN["voice"], True),
        epoch=1,
        logger=None,
        scaler=torch.amp.GradScaler("cuda", enabled=False),
        device=torch.device("cpu"),
        configs={"dataset_args": data, "enable_amp": False, "log_batch_interval": LONG},
    )


def wespeaker_batches(corpus: Path, settings: dict[str, Any], data: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """The batches of a training with WeSpeaker."""
    if settings["in_memory"]:
        keys = [""] * settings["batch"]
        return ({"key": keys, "feat": feats, "label": label} for feats, label in random_batches(settings))
    import soundfile
    import torchaudio
    from wespeaker.dataset.dataset import Dataset

    def load(path: str) -> tuple[torch.Tensor, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T), rate

    torchaudio.load = load
    speakers = sorted({line.split()[1] for line in (corpus / "data/utt2spk").read_text().splitlines()})
    labels = {name: number for number, name in enumerate(speakers)}
    noise = [write_lmdb(corpus / f"{name}.lmdb", corpus / name / "wav.scp") for name in ("rooms", "noise")]
    dataset = Dataset("raw", f"{corpus}/raw.list", data, labels, False, *noise)
    dataset.set_epoch(1)
    return DataLoader(dataset, batch_size=settings["batch"], num_workers=settings["workers"], drop_last=True)


def write_lmdb(path: Path, scp: Path) -> str:
    """Write the files of a list as WeSpeaker's tools/make_lmdb.py does; return the path."""
    import lmdb

    files = dict(line.split(maxsplit=1) for line in scp.read_text().splitlines())
    database = lmdb.open(str(path), map_size=1 << 40)
    with database.begin(write=True) as transaction:
        for key, name in files.items():
            transaction.put(key.encode(), Path(name).read_bytes())
        transaction.put(b"__keys__", pickle.dumps(list(files)))
    database.close()
    return str(path)


def train_speechbrain(corpus: Path, settings: dict[str, Any], rounds: Batches) -> None:
    """Train a network with SpeechBrain, with the parts that hparams/train_ecapa_tdnn.yaml names."""
    sys.path.insert(0, settings["checkout"])
    from speechbrain.augment.augmenter import Augmenter
    from speechbrain.augment.time_domain import AddNoise, AddReverb
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
    from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper
    from speechbrain.processing.features import InputNormalization

    path = f"{settings['checkout']}/recipes/VoxCeleb/SpeakerRec/train_speaker_embeddings.py"
    recipe = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("recipe", path))
    spec.loader.exec_module(recipe)
    modules = {
        "compute_features": Fbank(n_mels=BINS),
        "mean_var_norm": InputNormalization(norm_type="sentence", std_norm=False),
        "embedding_model": ECAPA_TDNN(BINS, channels=[settings["channels"]] * 4 + [1536], lin_neurons=192),
        "classifier": Classifier(192, out_neurons=settings["classes"]),
    }
    margin = AdditiveAngularMargin(MARGIN["voice"], SCALE["voice"])
    hparams = {"compute_cost": LogSoftmaxWrapper(margin), "lr_annealing": None}
    if settings["in_memory"]:
        modules |= {"compute_features": nn.Identity(), "mean_var_norm": FirstArgument()}
    else:
        hparams["wav_augment"] = Augmenter(
            min_augmentations=1,
            max_augmentations=1,
            augment_prob=AUGMENTED,
            augmentations=[
                AddNoise(f"{corpus}/noise.csv", snr_low=0, snr_high=15),
                AddReverb(f"{corpus}/rooms.csv"),
            ],
        )
    brain = recipe.SpeakerBrain(modules, lambda p: torch.optim.SGD(p, **SGD), hparams, {"device": "cpu"})
    brain.on_fit_start()
    brain._fit_train(rounds(speechbrain_batches(corpus, settings, recipe, brain)), epoch=1, enable=False)


def speechbrain_batches(corpus: Path, settings: dict[str, Any], recipe: Any, brain: Any) -> Iterable[Any]:
    """The batches of a training with SpeechBrain."""
    import speechbrain as sb

    if settings["in_memory"]:
        batches = (
            sb.dataio.batch.PaddedBatch(
                [{"id": "", "sig": feats, "spk_id_encoded": label[None]} for feats, label in zip(*batch, strict=True)]
            )
            for batch in random_batches(settings)
        )
        return itertools.cycle(list(itertools.islice(batches, KEPT)))
    names = {"data_folder": str(corpus), "save_folder": settings["exp"], "sample_rate": RATE}
    lists = {"train_annotation": f"{corpus}/train.csv", "valid_annotation": f"{corpus}/train.csv"}
    data, _, _ = recipe.dataio_prep({**names, **lists, "sentence_len": 2.0, "random_chunk": True})
    options = {"batch_size": settings["batch"], "num_workers": settings["workers"], "shuffle": True}
    return brain.make_dataloader(data, stage=sb.Stage.TRAIN, **options)


class FirstArgument(nn.Module):
    """Returns its first argument."""

    def forward(self, features: torch.Tensor, _lengths: torch.Tensor) -> torch.Tensor:
        return features


def train_insightface(corpus: Path, settings: dict[str, Any], rounds: Batches) -> None:
    """Train IResNet18 with the parts of insightface's arcface_torch, as ``main`` in train_v2.py does."""
    from torch import distributed
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    sys.path.insert(0, f"{settings['checkout']}/recognition/arcface_torch")
    from backbones import get_model
    from losses import CombinedMarginLoss
    from partial_fc_v2 import PartialFC_V2

    torch.Tensor.cuda = lambda tensor: tensor  # PartialFC_V2 moves its tensors to the GPU
    distributed.init_process_group("gloo", init_method=f"file://{settings['exp']}.group", rank=0, world_size=1)
    if settings["in_memory"]:
        batches: Iterable[Any] = random_batches(settings)
    else:
        half = [0.5, 0.5, 0.5]
        steps = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(half, half)]
        folder = ImageFolder(f"{corpus}/pictures", transforms.Compose(steps))
        options = {"batch_size": settings["batch"], "num_workers": settings["workers"]}
        batches = DataLoader(folder, shuffle=True, drop_last=True, **options)
    backbone = get_model("r18", dropout=0.0, fp16=False, num_features=512).train()
    margin = CombinedMarginLoss(SCALE["face"], 1.0, MARGIN["face"], 0.0)
    head = PartialFC_V2(margin, 512, settings["classes"]).train()
    optimizer = torch.optim.SGD([{"params": backbone.parameters()}, {"params": head.parameters()}], **SGD)
    # insightface's own class of this schedule does not run with torch 2.11.
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, LONG, 2)
    mean = 0.0
    for images, labels in rounds(batches):
        loss = head(backbone(images), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 5)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        mean += loss.item()


def main() -> None:
    """Run the training that the arguments name."""
    toolkit, corpus, settings = sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
    trainings = {
        "avsv": train_avsv,
        "WeSpeaker": train_wespeaker,
        "SpeechBrain": train_speechbrain,
        "insightface": train_insightface,
    }
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    trainings[toolkit](corpus, settings, Batches(settings["steps"]))


if __name__ == "__main__":
    main()
