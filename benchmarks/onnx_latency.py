"""Compare the latency of networks and fusions as ONNX graphs with that of PyTorch.

Every network and fusion of the toolkit has its default size and random weights, which change no latency. A voice lasts
3 s, a face has 10 crops, a fusion takes one pair of embeddings; one recording at a time, on the CPU, in one thread.
Both runtimes run in turns, and the fastest round of each counts, so that other load on the machine counts little. Each
graph is first compared with PyTorch, as by 'avsv export --onnx': the difference is relative to the largest output.
Prints the table of docs/use.md.

Usage: python benchmarks/onnx_latency.py [--rounds 20] [--networks 'ecapa_tdnn iresnet']
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from avsv.errors import DataError
from avsv.model.build import build_network
from avsv.model.config import AudioConfig, FusionConfig, NetworkConfig, VisualConfig
from avsv.model.registry import ROLES, find_class
from avsv.verification.onnx import UNSUPPORTED, Draw, export_network

CONFIGS = {"audio": AudioConfig, "visual": VisualConfig, "fusion": FusionConfig}
FEATURE_FRAMES, SAMPLES, CROPS = 298, 48_000, 10
SIZES = 192, 512  # of the embeddings that a fusion takes


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--networks", default="", help="some networks or fusions; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wanted = args.networks.split()
    print("| network | parameters, million | PyTorch, ms | ONNX Runtime, ms | difference |\n|:--|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for role, name in [(kind, name) for kind in CONFIGS for name in ROLES[kind].known]:
            if wanted and name not in wanted:
                continue
            if name in UNSUPPORTED:
                print(f"| `{name}` | | | no graph: {UNSUPPORTED[name]} | |", flush=True)
                continue
            network, draw = build(role, name)
            path = Path(folder) / "graph.onnx"
            try:
                difference = export_network(network, draw, path)
            except DataError as error:
                raise SystemExit(f"{name}: {error}") from None
            torch_ms, onnx_ms = (1000 * seconds for seconds in latencies(network, draw(1, 0), path, args.rounds))
            size = sum(weight.numel() for weight in network.parameters()) / 1e6
            print(f"| `{name}` | {size:.2f} | {torch_ms:.1f} | {onnx_ms:.1f} | {difference:.0e} |", flush=True)


def build(role: str, name: str) -> tuple[nn.Module, Draw]:
    """A network of default size, and what draws its inputs: the length of the first argument's batch grows."""
    config: NetworkConfig = CONFIGS[role].from_mapping({"name": name}, "benchmark")
    network = build_network(config, *(SIZES if role == "fusion" else ())).eval()
    if role == "fusion":
        return network, lambda batch, more: {
            "audio": torch.randn(batch, SIZES[0]),
            "visual": torch.randn(batch, SIZES[1]),
            "present": torch.ones(batch, 2, dtype=torch.bool),
        }
    if role == "visual":
        shape = [config.options[f"image_{what}"] for what in ("channels", "height", "width")]
        return network, lambda batch, more: {"video": torch.rand(batch, CROPS + more, *shape) - 0.5}
    if find_class(role, name).takes == "waveform":
        return network, lambda batch, more: {"audio": 0.1 * torch.randn(batch, SAMPLES + 1600 * more)}
    bins = config.options["feature_dim"]
    return network, lambda batch, more: {"audio": torch.randn(batch, FEATURE_FRAMES + 10 * more, bins)}


def latencies(network: nn.Module, inputs: dict[str, Tensor], path: Path, rounds: int) -> list[float]:
    """The fewest seconds of PyTorch and of ONNX Runtime for these inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    arrays = {item.name: inputs[item.name].numpy() for item in session.get_inputs()}
    programs: list[Callable[[], object]] = [lambda: network(*inputs.values()), lambda: session.run(None, arrays)]
    return [min(taken) for taken in zip(*timed(programs, rounds), strict=True)]


def timed(programs: list[Callable[[], object]], rounds: int) -> Iterator[list[float]]:
    """The seconds of each program in every round; a first round, which prepares memory, does not count."""
    for number in range(rounds + 1):
        taken = []
        for program in programs:
            start = time.perf_counter()
            program()
            taken.append(time.perf_counter() - start)
        if number:
            yield taken


if __name__ == "__main__":
    main()
