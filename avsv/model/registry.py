"""The networks and losses that a configuration can name, and their options.

To add one, write its class, add one line here and name it in a file of ``conf/systems``; a class from outside the
package is named there as ``mypackage.nets:MyNet`` and needs no line here. The options are the keyword-only arguments of
the constructor, with their annotations and defaults; the values that the system provides (sizes of inputs, number of
classes) are positional arguments. A class is imported when a configuration names it.
"""

import functools
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from avsv.config.extension import import_class, is_outside
from avsv.config.strict import check_keys, convert, nearest
from avsv.errors import DataError


@dataclass(frozen=True)
class Role:
    """The role of a network or loss in a system.

    Args:
        contract: 'module:Class' of the base class.
        arguments: positional arguments of the constructor, which the system provides.
        options: options that the class must have.
        known: 'module:Class' of the classes in this package, by name.
    """

    contract: str
    arguments: tuple[str, ...]
    known: Mapping[str, str]
    options: tuple[str, ...] = ()


ROLES = {
    "audio": Role(
        "avsv.nnet.backbone:Backbone",
        (),
        {
            "ecapa_tdnn": "avsv.nnet.audio.ecapa_tdnn:ECAPATDNN",
            "simam_resnet": "avsv.nnet.audio.simam_resnet:SimAMResNet",
            "audio_resnet": "avsv.nnet.audio.resnet:ResNet",
            "rawnet3": "avsv.nnet.audio.rawnet3:RawNet3",
            "mobilenetv2": "avsv.nnet.audio.mobilenetv2:MobileNetV2Audio",
            "self_supervised": "avsv.nnet.audio.ssl_ecapa:SSLECAPA",
            "dvector": "avsv.nnet.audio.dvector:DVector",
            "speechbrain_ecapa": "avsv.nnet.audio.speechbrain_ecapa:SpeechBrainECAPA",
            "audio_onnx": "avsv.nnet.audio.onnx:AudioONNX",
        },
    ),
    "visual": Role(
        "avsv.nnet.backbone:Backbone",
        (),
        {
            "iresnet": "avsv.nnet.visual.iresnet:IResNet",
            "visual_resnet": "avsv.nnet.visual.resnet:ResNet",
            "inception_resnet_v1": "avsv.nnet.visual.inception_resnet:InceptionResNetV1",
            "visual_onnx": "avsv.nnet.visual.onnx:VisualONNX",
        },
        ("image_channels", "image_height", "image_width"),
    ),
    "fusion": Role(
        "avsv.nnet.fusion.base:Fusion",
        ("audio_dim", "visual_dim"),
        {
            "ssa": "avsv.nnet.fusion.soft_attention:SimpleSoftAttention",
            "gated": "avsv.nnet.fusion.gated:GatedFusion",
            "compact_bilinear": "avsv.nnet.fusion.compact_bilinear:CompactBilinearPooling",
            "mean": "avsv.nnet.fusion.mean:MeanFusion",
            "mlp": "avsv.nnet.fusion.mlp:MLPFusion",
            "multi_view": "avsv.nnet.fusion.multi_view:MultiViewFusion",
        },
    ),
    "supervision": Role(
        "avsv.nnet.generative.supervision:GenerativeSupervision",
        ("frames",),
        {
            "cycle": "avsv.nnet.generative.cycle:CycleSupervision",
            "patch_nce": "avsv.nnet.generative.patch_nce:PatchNCESupervision",
            "diffusion": "avsv.nnet.generative.diffusion:DiffusionSupervision",
            "true_worth": "avsv.nnet.generative.true_worth:TrueWorthSupervision",
        },
    ),
    "classifier": Role(
        "avsv.losses.classifier:Classifier",
        ("embedding_dim", "num_classes"),
        {
            "softmax": "avsv.losses.margin:Softmax",
            "am_softmax": "avsv.losses.margin:AMSoftmax",
            "aam_softmax": "avsv.losses.margin:AAMSoftmax",
            "ge2e": "avsv.losses.ge2e:GE2E",
            "triplet": "avsv.losses.triplet:BatchHardTriplet",
        },
    ),
    "auxiliary": Role(
        "avsv.losses.auxiliary:AuxiliaryLoss",
        ("embedding_dim",),
        {
            "orthogonality": "avsv.losses.orthogonality:OrthogonalityLoss",
            "age": "avsv.losses.age:AgeClassifier",
            "gender": "avsv.losses.gender:GenderClassifier",
        },
    ),
}


@dataclass(frozen=True)
class Option:
    """A keyword-only argument: its type and its default (REQUIRED if it has none)."""

    kind: Any
    default: Any


REQUIRED = object()


def _load(location: str) -> type:
    module, name = location.split(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def find_class(role: str, name: str, where: str = "registry") -> type:
    """Find the class of a name and import its module.

    Args:
        role: a key of :data:`ROLES`.
        name: a name in the role, or ``module:Class`` from outside the package.
        where: start of error messages, 'FILE: dotted.key'.

    Raises:
        DataError: no such name, or the class does not have the base class, arguments and options of the role.

    Example:
        >>> find_class("audio", "ecapa_tdnn").takes, find_class("audio", "rawnet3").takes
        ('fbank', 'waveform')
    """
    known = ROLES[role].known
    if name in known:
        return _load(known[name])
    if not is_outside(name):
        raise DataError(f"{where}: {name}: no such {role} network or loss: {nearest(name, known)}")
    found = import_class(name, _load(ROLES[role].contract), where)
    try:
        inspect.signature(found).bind(*ROLES[role].arguments, **dict.fromkeys(_keyword_only(found)))
    except TypeError:
        takes = ", ".join(ROLES[role].arguments) or "nothing"
        raise DataError(
            f"{where}: {name}: its constructor must take {takes} by position, and options as keyword-only arguments"
        ) from None
    lacking = [option for option in ROLES[role].options if option not in _keyword_only(found)]
    if role == "audio" and found.takes != "waveform" and "feature_dim" not in _keyword_only(found):
        lacking.append("feature_dim")
    if lacking:
        raise DataError(f"{where}: {name}: its constructor lacks the option {lacking[0]}, which is required")
    return found


def _keyword_only(found: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(found).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def options_of(role: str, name: str, where: str = "registry") -> dict[str, Option]:
    """The options of a network or loss, in the order of its class.

    Args:
        role, name, where: as for :func:`find_class`.

    Raises:
        DataError: as :func:`find_class`, or an option has no type annotation.

    Example:
        >>> options_of("classifier", "aam_softmax")["margin"]
        Option(kind=<class 'float'>, default=0.2)
    """
    found = find_class(role, name, where)
    hints = get_type_hints(found.__init__, include_extras=True)
    options = {}
    for key, parameter in _keyword_only(found).items():
        if key not in hints:
            raise DataError(f"{where}: {name}: its option {key} has no type annotation, as in '{key}: int = 1'")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        options[key] = Option(hints[key], default)
    return options


def check_options(role: str, name: str, options: dict[str, Any], where: str) -> dict[str, Any]:
    """All options of a network or loss, converted to their types and with the defaults filled in.

    Raises:
        DataError: an unknown or missing option, or one of the wrong type.
    """
    # An auxiliary loss is named by its key, the others by 'name' under it.
    known = options_of(role, name, where if role == "auxiliary" else f"{where}.name")
    check_keys(options, known, f"{where}.")
    checked = {}
    for key, option in known.items():
        if key in options:
            checked[key] = _convert(options[key], option.kind, f"{where}.{key}")
        elif option.default is REQUIRED:
            raise DataError(f"{where}.{key}: missing: {name} has no default for it")
        else:
            checked[key] = option.default
    return checked


def _convert(value: Any, kind: Any, where: str) -> Any:
    from avsv.nnet.pooling import PoolingName, find_pooling

    if kind != PoolingName:
        return convert(value, kind, where)
    name = convert(value, str, where)
    find_pooling(name, where)
    return name
