"""The environment of results: the processors and package versions of training and evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from avsv.errors import DataError

VARIES = (
    "Figures vary with the processor: numerical libraries add in a different order with other vector instructions and"
    " numbers of threads, and training amplifies the difference. The same code, seed and machine give the same figures."
)


def record_environment(exp: Path, systems: Sequence[str]) -> dict[str, Any]:
    """The content of environment.json: the environment of this process and of the training of each system.

    Args:
        exp: folder of the systems.
        systems: their names; a system without ``run.yaml``, such as an ensemble, was not trained.

    Raises:
        DataError: a ``run.yaml`` is malformed.
    """
    from avsv.train.provenance import environment

    training = {}
    for system in systems:
        path = exp / system / "run.yaml"
        if path.is_file():
            try:
                about = yaml.safe_load(path.read_text(encoding="utf-8"))
                training[system] = {name: about.get(name) for name in ("processor", "versions", "git")}
            except (yaml.YAMLError, AttributeError) as error:
                raise DataError(f"{path}: not the record of a training: {error}: train again") from error
    return {"evaluation": environment(), "training": training}


def describe_environment(recorded: Mapping[str, Any]) -> list[str]:
    """Lines that state where the systems were trained and evaluated; none if that was not recorded.

    Example:
        >>> versions = {"python": "3.12.3", "torch": "2.11.0", "numpy": "2.2.0"}
        >>> processor = {"model": "Some CPU", "cores": 4, "threads": 2, "instructions": "AVX2", "blas": "mkl"}
        >>> processor["onednn"] = "3.10"
        >>> made = {"processor": processor, "versions": versions, "git": None}
        >>> describe_environment({"evaluation": made, "training": {"ecapa": made}})[0].split("; ")
        ['trained and evaluated on Some CPU, 2 threads of 4 cores, AVX2, BLAS mkl, oneDNN 3.10', 'python 3.12.3, torch \
2.11.0, numpy 2.2.0']
    """
    if not recorded:
        return []
    places: dict[str, list[str]] = {}
    for system, made in recorded["training"].items():
        places.setdefault(_describe(made), []).append(system)
    here = _describe(recorded["evaluation"])
    if list(places) in ([here], []):
        return [f"{'trained and ' if places else ''}evaluated on {here}"]
    trained = [f"{', '.join(systems)} trained on {place}" for place, systems in places.items()]
    return [*trained, f"evaluated on {here}"]


def _describe(made: Mapping[str, Any]) -> str:
    found, versions = made["processor"], made["versions"]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "numpy") if name in versions)
    if not found:
        return f"a processor that was not recorded; {shown}"
    parts = [
        found["model"],
        f"{found['threads']} thread{'s' if found['threads'] != 1 else ''} of {found['cores']} cores",
        found["instructions"],
        f"BLAS {found['blas']}",
        f"oneDNN {found['onednn']}",
        *([found["gpu"]] if "gpu" in found else []),
    ]
    return f"{', '.join(parts)}; {shown}"
