"""The networks and losses that a configuration may name, and their options.

A new one is its file, one line here and its name in a ``conf/systems`` file. Its options are the keyword-only arguments
of its class, and their annotations and defaults stand only there; what the system itself provides (the sizes of inputs,
the number of classes) is positional. They are read from the source text without running it, because importing torch
takes seconds and checking a configuration should not.
"""

import ast
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import avsv
from avsv.config.strict import check_keys, convert, nearest
from avsv.errors import DataError

CLASSES = {
    "audio": {
        "ecapa_tdnn": "avsv.nnet.audio.ecapa_tdnn:ECAPATDNN",
        "simam_resnet": "avsv.nnet.audio.simam_resnet:SimAMResNet",
        "audio_resnet": "avsv.nnet.audio.resnet:ResNet",
        "rawnet3": "avsv.nnet.audio.rawnet3:RawNet3",
        "mobilenetv2": "avsv.nnet.audio.mobilenetv2:MobileNetV2Audio",
        "self_supervised": "avsv.nnet.audio.ssl_ecapa:SSLECAPA",
    },
    "visual": {
        "iresnet": "avsv.nnet.visual.iresnet:IResNet",
        "visual_resnet": "avsv.nnet.visual.resnet:ResNet",
        "inception_resnet_v1": "avsv.nnet.visual.inception_resnet:InceptionResNetV1",
    },
    "fusion": {
        "ssa": "avsv.nnet.fusion:SimpleSoftAttention",
        "gated": "avsv.nnet.fusion:GatedFusion",
        "compact_bilinear": "avsv.nnet.fusion:CompactBilinearPooling",
        "mean": "avsv.nnet.fusion:MeanFusion",
        "mlp": "avsv.nnet.fusion:MLPFusion",
        "multi_view": "avsv.nnet.fusion:MultiViewFusion",
    },
    "supervision": {
        "cycle": "avsv.nnet.generative.cycle:CycleSupervision",
        "patch_nce": "avsv.nnet.generative.patch_nce:PatchNCESupervision",
        "diffusion": "avsv.nnet.generative.diffusion:DiffusionSupervision",
    },
    "classifier": {
        "softmax": "avsv.losses.margin:Softmax",
        "am_softmax": "avsv.losses.margin:AMSoftmax",
        "aam_softmax": "avsv.losses.margin:AAMSoftmax",
        "ge2e": "avsv.losses.ge2e:GE2E",
    },
}


@dataclass(frozen=True)
class Option:
    """A keyword-only argument: its type and its default (REQUIRED where it has none)."""

    kind: Any
    default: Any


REQUIRED = object()


def _location(role: str, name: str, where: str) -> tuple[str, str]:
    known = CLASSES[role]
    if name not in known:
        raise DataError(f"{where}.name: {name}: no such {role} network or loss: {nearest(name, known)}")
    module, class_name = known[name].split(":")
    return module, class_name


@functools.cache
def _definition(module: str, class_name: str) -> ast.ClassDef:
    source = Path(avsv.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)


def takes(name: str) -> str:
    """What an audio network takes: fbank, waveform or log_mel, see :class:`avsv.nnet.backbone.Backbone`.

    Example:
        >>> takes("ecapa_tdnn"), takes("rawnet3")
        ('fbank', 'waveform')
    """
    for node in _definition(*_location("audio", name, "registry")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "takes":
            return ast.literal_eval(node.value)
    return "fbank"


@functools.cache
def _source_options(module: str, class_name: str) -> dict[str, Option]:
    definition = _definition(module, class_name)
    constructor = next(n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    options = {}
    for argument, default in zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True):
        # Annotations are plain types and Literals, so these names are all that they can use.
        kind = eval(ast.unparse(argument.annotation), {"Literal": Literal})
        options[argument.arg] = Option(kind, REQUIRED if default is None else ast.literal_eval(default))
    return options


def options_of(role: str, name: str, where: str = "registry") -> dict[str, Option]:
    """The options of a network or loss, in the order of its class.

    Args:
        role: audio, visual, fusion, supervision or classifier.
        name: as in :data:`CLASSES`.
        where: 'FILE: dotted.key', the start of error messages.

    Raises:
        DataError: no such name.

    Example:
        >>> options_of("classifier", "aam_softmax")["margin"]
        Option(kind=<class 'float'>, default=0.2)
    """
    return _source_options(*_location(role, name, where))


def check_options(role: str, name: str, options: dict[str, Any], where: str) -> dict[str, Any]:
    """All options of a network or loss, converted to their types and with the defaults filled in.

    Raises:
        DataError: an unknown or missing option, or one of the wrong type.
    """
    known = options_of(role, name, where)
    check_keys(options, known, f"{where}.")
    checked = {}
    for key, option in known.items():
        if key in options:
            checked[key] = convert(options[key], option.kind, f"{where}.{key}")
        elif option.default is REQUIRED:
            raise DataError(f"{where}.{key}: missing: {name} has no default for it")
        else:
            checked[key] = option.default
    return checked


def find_class(role: str, name: str) -> type:
    """The class behind a name; this imports its module, and torch with it."""
    module, class_name = _location(role, name, "registry")
    return getattr(importlib.import_module(module), class_name)
