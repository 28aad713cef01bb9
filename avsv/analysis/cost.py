"""Cost of a system: parameters, multiply-adds and seconds for a clip.

The fusion study of Claborne et al. does not compare the costs of its systems.
"""

import time

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avsv.analysis.rows import Cost
from avsv.audio.log_mel import LogMel
from avsv.config.sections import EmbedConfig
from avsv.data.batch import Batch
from avsv.data.inputs import Inputs
from avsv.model.embedder import Embedder

_RUNS = 5  # timed runs, of which the median is used, after a warm-up run


def clip_batch(inputs: Inputs, seconds: float, config: EmbedConfig, seed: int = 0) -> Batch:
    """Make a batch of one clip of noise as input of the networks.

    Args:
        inputs: form of the inputs.
        seconds: length of the clip.
        config: how many of its face frames are used.
        seed: seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    fields = {}
    if inputs.audio is not None:
        samples = round(seconds * inputs.audio.sample_rate)
        if inputs.takes == "waveform":
            shape: tuple[int, ...] = (samples,)
        elif inputs.takes == "log_mel":
            shape = (LogMel(inputs.audio.sample_rate, inputs.num_bins).num_frames(samples), inputs.num_bins)
        else:
            shape = (inputs.audio.num_frames(samples), inputs.audio.num_mel_bins)
        fields["audio"] = 0.1 * torch.randn(1, *shape, generator=generator)
        fields["audio_mask"] = torch.ones(1, shape[0], dtype=torch.bool)
        if "A" in inputs.worth:
            fields["audio_worth"] = torch.ones(1, shape[0])
    if inputs.video is not None:
        frames = config.num_faces(round(seconds * inputs.video.fps), inputs.video.fps)
        fields["video"] = torch.rand(1, frames, *inputs.image_shape, generator=generator) - 0.5
        fields["video_mask"] = torch.ones(1, frames, dtype=torch.bool)
        if "V" in inputs.worth:
            fields["video_worth"] = torch.ones(1, frames)
    return Batch(["clip"], torch.tensor([-1]), **fields)


def measure_cost(embedder: Embedder, batch: Batch) -> list[Cost]:
    """Measure the costs of the parts of a system and of the whole system for a batch of one clip.

    Example:
        >>> from avsv.audio.config import FbankConfig
        >>> from avsv.model.config import parse_config
        >>> from avsv.model.inputs import inputs_of
        >>> config = parse_config({
        ...     "audio": {"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 32},
        ...     "loss": {"classifier": {"name": "aam_softmax"}},
        ...     "train": {"epochs": 1, "batch_size": 2, "optimizer": {"name": "sgd"}, "schedule": {"name": "constant"}},
        ... }, "example")
        >>> batch = clip_batch(inputs_of(config, FbankConfig(), None), 2.0, config.embed)
        >>> costs = measure_cost(Embedder(config), batch)
        >>> [cost.part for cost in costs]
        ['audio', 'all']
    """
    embedder.eval()
    parts: list[tuple[str, nn.Module, tuple]] = []
    # In inference mode, the counter breaks computed weights such as those of HuBERT's positional convolution.
    with torch.no_grad():
        embeddings = {}
        for name, *given in (
            ("audio", batch.audio, batch.audio_mask, batch.audio_worth),
            ("visual", batch.video, batch.video_mask, batch.video_worth),
        ):
            network = getattr(embedder, name)
            if network is not None:
                arguments = tuple(given if network.pool.needs_worth else given[:2])
                embeddings[name] = network(*arguments)
                parts.append((name, network, arguments))
        if embedder.fusion is not None:
            both = torch.ones(1, 2, dtype=torch.bool)
            parts.append(("fusion", embedder.fusion, (*embeddings.values(), both)))
        costs = [_cost(name, module, arguments) for name, module, arguments in parts]
    totals = [sum(column) for column in zip(*(cost[1:] for cost in costs), strict=True)]
    return [*costs, Cost("all", *totals)]


def _cost(name: str, module: nn.Module, arguments: tuple) -> Cost:
    counter = FlopCounterMode(display=False)
    with counter:
        module(*arguments)
    durations = []
    for _ in range(_RUNS):
        started = time.process_time()
        module(*arguments)
        durations.append(time.process_time() - started)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    # The counter counts a multiplication and an addition as two operations.
    return Cost(name, parameters, counter.get_total_flops() // 2, float(np.median(durations)))
