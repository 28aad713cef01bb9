"""A published ONNX graph as a module: frozen, run by onnxruntime, its bytes saved with the weights of a system."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avsv.errors import DataError

# The key under which a file of weights holds a graph (:func:`avsv.model.pretrained.read_state`).
KEY = "onnx"
INSTALL = "run 'pip install onnx onnxruntime'"


class OnnxGraph(nn.Module):
    """A graph with one input and an embedding as its first output.

    It has no parameters: its bytes are its state (``_extra_state``), so that a saved system contains its graph. It runs
    on the CPU, without gradients. A graph that is made for batches of a fixed size gets batches of this size.

    Args:
        embedding_dim: size D of the embeddings, with which a graph is compared when it is read.

    Shape:
        - inputs: (N, ...) as the graph takes them
        - output: (N, D)

    Raises:
        DataError: no graph has been loaded, onnxruntime is not installed, or the graph does not accept the inputs.

    Example:
        >>> OnnxGraph(128).state_dict()["_extra_state"].shape
        torch.Size([0])
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self._bytes = b""
        self._session: Any = None

    def get_extra_state(self) -> Tensor:
        """The bytes of the graph, (n,) uint8."""
        return torch.from_numpy(np.frombuffer(self._bytes, np.uint8).copy())

    def set_extra_state(self, state: Tensor) -> None:
        """Take the bytes of a graph."""
        self._bytes, self._session = state.cpu().numpy().tobytes(), None

    def __getstate__(self) -> dict[str, Any]:
        """Without the session, which cannot be copied."""
        return {**self.__dict__, "_session": None}

    def forward(self, inputs: Tensor) -> Tensor:
        session = self._open()
        (given, *_), shape = session.get_inputs(), tuple(inputs.shape)
        values = inputs.detach().to("cpu", torch.float32).contiguous().numpy()
        size = given.shape[0] if isinstance(given.shape[0], int) else len(values)
        found = [self._run(session, given.name, values[at : at + size], size) for at in range(0, len(values), size)]
        result = torch.from_numpy(np.concatenate(found)) if found else torch.zeros(0, self.embedding_dim)
        if result.shape != (len(values), self.embedding_dim):
            raise DataError(
                f"ONNX graph: {tuple(result.shape)} for an input {shape}, expected"
                f" ({shape[0]}, {self.embedding_dim}): set embedding_dim to that of the graph"
            )
        return result.to(inputs.device)

    def _open(self) -> Any:
        if not self._bytes:
            raise DataError("ONNX graph: none is loaded: name its file in the section pretrained")
        if self._session is None:
            try:
                import onnxruntime
            except ImportError:
                raise DataError(f"ONNX graph: the package onnxruntime is missing: {INSTALL}") from None
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = torch.get_num_threads()
            # Quantized weights become floats once, not in every run.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            # Threads that wait actively take the cores of the loader and of PyTorch.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            try:
                self._session = onnxruntime.InferenceSession(self._bytes, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # its errors are of many classes with no common one of its own
                raise DataError(f"ONNX graph: onnxruntime cannot run it: {_first_line(error)}") from None
        return self._session

    @staticmethod
    def _run(session: Any, name: str, values: np.ndarray, size: int) -> np.ndarray:
        """The embeddings of one batch; the last one of a fixed size is filled up with zeros."""
        count = len(values)
        if count < size:
            values = np.concatenate([values, np.zeros((size - count, *values.shape[1:]), values.dtype)])
        try:
            return session.run(None, {name: values})[0].reshape(size, -1)[:count]
        except Exception as error:  # as above
            raise DataError(f"ONNX graph: does not accept inputs {values.shape}: {_first_line(error)}") from None

    def read(self, state: Mapping[str, Tensor], probe: Tensor) -> Tensor:
        """The state of a graph in a file of weights, checked with an input.

        Args:
            state: what :func:`avsv.model.pretrained.read_state` has read.
            probe: inputs (1, ...).

        Raises:
            ValueError: the file is not an ONNX graph with one input.
            DataError: see the class; or the package onnx is not installed.
        """
        if set(state) != {KEY}:
            raise ValueError("not an ONNX graph: this network needs a file .onnx")
        graph = OnnxGraph(self.embedding_dim)
        graph.set_extra_state(torch.from_numpy(np.frombuffer(_cleaned(state[KEY]), np.uint8).copy()))
        graph(probe)
        return graph.get_extra_state()


def _cleaned(graph: Tensor) -> bytes:
    """A graph without those inputs that are constants or that nothing reads, which some exporters list as well.

    Raises:
        ValueError: not a graph, or it needs more than one input.
    """
    try:
        import onnx
    except ImportError:
        raise DataError(f"ONNX graph: the package onnx is missing: {INSTALL}") from None
    try:
        model = onnx.load_model_from_string(graph.numpy().tobytes())
    except Exception:  # the protobuf library's errors depend on its implementation
        raise ValueError("not an ONNX graph, or broken: download it again") from None
    constants = {tensor.name for tensor in model.graph.initializer}
    used = _names_read(model.graph) - constants
    for item in [item for item in model.graph.input if item.name not in used]:
        model.graph.input.remove(item)
    names = [item.name for item in model.graph.input]
    if len(names) != 1:
        raise ValueError(f"an ONNX graph with the inputs {', '.join(names) or 'none'}: one input is needed")
    return model.SerializeToString(deterministic=True)


def _names_read(graph: Any) -> set[str]:
    """The names that the nodes of a graph, and of the graphs inside them, read."""
    names = {name for node in graph.node for name in node.input}
    inside = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return names.union(*map(_names_read, inside))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
