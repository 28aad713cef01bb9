"""Person verification from voice and face: features, networks, training, scoring, analysis, and trained systems in use.

Example (of a run of the recipe)::

    import avsv

    model = avsv.load("exp/mini/ssa")
    model.verify("a.mp4", "b.mp4").llr
"""

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.errors import DataError

if TYPE_CHECKING:
    from avsv.verification.model import Model, Used, Verification
    from avsv.verification.recording import Recording

__version__ = "0.2.0"
__all__ = ["DataError", "Model", "Recording", "Used", "Verification", "__version__", "load"]

# Where the classes are that take long to import.
_CLASSES = {
    "Model": "avsv.verification.model",
    "Recording": "avsv.verification.recording",
    "Used": "avsv.verification.model",
    "Verification": "avsv.verification.model",
}


def __getattr__(name: str) -> type:
    """Import a class when it is first asked for (PEP 562)."""
    if name not in _CLASSES:
        raise AttributeError(f"module 'avsv' has no attribute '{name}'")
    return getattr(importlib.import_module(_CLASSES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load(
    folder: str | Path, *, device: str = "cpu", detector: str | None = None, detector_weights: str | Path | None = None
) -> "Model":
    """Load a trained system: the folder of a model that ``avsv export`` wrote, or EXP/PRESET/SYSTEM of a finished run.

    Importing this package loads neither torch nor anything else that takes long; this function does. It warns of a
    model whose decisions say nothing about people, since it was made for the built-in synthetic corpus.

    Args:
        folder: of the model or system.
        device: where the networks run, as torch names it.
        detector: how to find faces, where recordings are not framed like those of the training; a detector of
            ``conf/faces.yaml``.
        detector_weights: folder with the detector's weights.

    Returns:
        The model, with ``verify(a, b)`` and ``embed(recording)``.

    Raises:
        DataError: the folder holds neither, or only a part of one; the device or the detector cannot be used.
    """
    from avsv.verification.model import Model

    model = Model.load(folder, device=device, detector=detector, detector_weights=detector_weights)
    if model.package.caution is not None:
        warnings.warn(f"{model.name}: {model.package.caution}", stacklevel=2)
    return model
