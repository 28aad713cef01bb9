"""The processor, its threads and numerical libraries, which all affect the last digits of sums."""

import os
import platform
import re
from pathlib import Path

import torch

_CPU_LIST = Path("/proc/cpuinfo")


def processor() -> dict[str, str | int]:
    """The properties of the machine on which the results of floating-point sums depend.

    Returns:
        ``model`` of the processor, ``cores`` of the machine, ``threads`` of torch, the widest vector ``instructions``
        that torch uses, its numerical libraries ``blas`` and ``onednn``, and ``gpu`` if there is one.

    Example:
        >>> sorted(processor())[:6]
        ['blas', 'cores', 'instructions', 'model', 'onednn', 'threads']
    """
    build = torch.__config__.show()
    blas = re.search(r"BLAS_INFO=(\w+)", build)
    onednn = re.search(r"MKL-DNN v([\d.]+)", build)
    found = {
        "model": _model(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "blas": blas[1] if blas else "none",
        "onednn": onednn[1] if onednn else "none",
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _model() -> str:
    if _CPU_LIST.is_file():
        name = re.search(r"^model name\s*:\s*(.+)$", _CPU_LIST.read_text(encoding="utf-8"), re.M)
        if name:
            return name[1].strip()
    return platform.processor() or platform.machine()
