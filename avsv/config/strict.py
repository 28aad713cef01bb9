"""YAML files read into typed objects; unknown keys and wrong types are errors.

Every message starts with the file and the dotted key, as in ``conf/systems/ecapa.yaml: train.epoks: unknown key: did
you mean 'epochs'?``.
"""

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from avsv.errors import DataError
from avsv.io.text import read_text

_LARGEST = 1 << 53  # larger whole numbers are not exact as floating-point numbers
_DEEPEST = 20  # levels of nesting; reading recurses, and no setting needs a tenth of this


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML restricted to plain values: no tags, no aliases, unique keys of text; dates are read as text."""

    # Only decimal numbers: plain YAML reads 1:30 as 90 and 010 as 8, and fails on a date that does not exist.
    yaml_implicit_resolvers: ClassVar[dict] = {}
    source: str = ""  # name of the text in messages

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            where = f"{self.source}:{key_node.start_mark.line + 1}"
            if not isinstance(key, str):
                raise DataError(f"{where}: the key is a {_kind(key)}: write it as text, in quotes if necessary")
            if key in keys:
                raise DataError(f"{where}: {key}: the key occurs twice: remove one")
            keys.add(key)
        return super().construct_mapping(node, deep)


_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), [*"~nN", ""])
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(?:yes|no|true|false|on|off)$", re.IGNORECASE), [*"yYnNtTfFoO"]
)
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]{1,400}$"), [*"-+0123456789"])
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    [*"-+0123456789."],
)


def _check_plain(text: str, name: str) -> None:
    """Raise DataError for anything that a file of plain values does not need: tags, aliases, deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_PlainLoader):
        where = f"{name}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise DataError(f"{where}: *{event.anchor}: aliases are not supported: write the value itself")
        if getattr(event, "tag", None) is not None:
            raise DataError(f"{where}: tags like !!int are not supported: write only the value")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise DataError(f"{where}: nested more than {_DEEPEST} levels deep")


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML text of plain values; ``name`` is its name in messages.

    Raises:
        DataError: invalid YAML, a tag, an alias, a key that is not text or occurs twice.

    Example:
        >>> parse_yaml("{lr: 0.1, day: 2020-02-30}", "x.yaml")
        {'lr': 0.1, 'day': '2020-02-30'}
        >>> parse_yaml("a: !!int x", "x.yaml")
        Traceback (most recent call last):
        avsv.errors.DataError: x.yaml:1: tags like !!int are not supported: write only the value
    """
    try:
        _check_plain(text, name)
        loader = _PlainLoader(text)
        loader.source = name
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise DataError(f"{name}{line}: not valid YAML: {' '.join(str(problem).split())}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        DataError: as :func:`avsv.io.text.read_text` and :func:`parse_yaml`, or the file does not contain a mapping.
    """
    content = parse_yaml(read_text(path), str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DataError(f"{path}: contains a {_kind(content)}: expected 'key: value' lines")
    return content


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the known word nearest to ``word``, or all known words if none is near.

    Example:
        >>> nearest("epoks", ["epochs", "batch_size"])
        "did you mean 'epochs'?"
        >>> nearest("x", ["epochs", "batch_size"])
        'choose one of batch_size, epochs'
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"choose one of {', '.join(names)}" if names else "there are none to choose from"


def check_keys(mapping: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise DataError for the first key of ``mapping`` that is not known; ``where`` is 'FILE: ' or 'FILE: a.b.'."""
    known = list(known)
    for key in mapping:
        if key not in known:
            raise DataError(f"{where}{_shown(key)}: unknown key: {nearest(key, known)}")


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``over`` into a copy of ``base``, mapping by mapping.

    A mapping with another ``name`` (another network, optimizer, schedule, ...) replaces the one in ``base`` entirely,
    since the options in ``base`` do not apply to it.

    Example:
        >>> overlay({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}})
        {'a': {'x': 1, 'y': 5}, 'b': 3}
        >>> overlay({"s": {"name": "step", "every": 5}}, {"s": {"name": "constant"}})
        {'s': {'name': 'constant'}}
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            other = "name" in value and "name" in below and value["name"] != below["name"]
            merged[key] = dict(value) if other else overlay(below, value)
        else:
            merged[key] = value
    return merged


def convert(value: Any, kind: Any, where: str) -> Any:
    """Convert ``value`` to the annotated type ``kind``.

    Known types: bool, int, float, str, None, Literal, unions of these, ``tuple[X, ...]``, ``dict[str, X]``,
    dataclasses, and unions of dataclasses, which the key ``name`` distinguishes. An int is accepted as a float, and so
    is ``5e-4``, which YAML reads as text.

    Args:
        value: the value read from YAML.
        kind: the annotation.
        where: 'FILE: dotted.key', the start of error messages.

    Raises:
        DataError: the value is of another type.

    Example:
        >>> convert("5e-4", float, "x.yaml: train.lr"), convert([8, 8], tuple[int, ...], "x.yaml: scale")
        (0.0005, (8, 8))
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        if all(isinstance(item, str) for item in arguments):
            raise DataError(f"{where}: {_shown(value)}: {nearest(value, arguments)}")
        raise DataError(f"{where}: {_shown(value)}: choose one of the numbers {', '.join(map(str, arguments))}")
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise DataError(f"{where}: expected a list like [8, 8, 8], not the {_kind(value)} {_shown(value)}")
        return tuple(convert(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise DataError(f"{where}: expected 'key: value' lines, not the {_kind(value)} {_shown(value)}")
        return {convert(k, str, where): convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return read_dataclass(kind, value, where)
    if kind is float and type(value) in (str, int, float):
        return _number(value, where)
    if kind is int and type(value) is int and abs(value) > _LARGEST:
        raise DataError(f"{where}: {_shown(value)}: larger than any such number can be")
    if type(value) is kind or (value is None and kind is type(None)):
        return value
    expected = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}.get(kind, "null")
    raise DataError(f"{where}: expected {expected}, not the {_kind(value)} {_shown(value)}")


def _number(value: str | float, where: str) -> float:
    """A finite number; YAML reads ``5e-4`` as text."""
    try:
        number = float(value)
    except ValueError:
        raise DataError(f"{where}: expected a number, not the text {_shown(value)}") from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{where}: {_shown(value)}: expected a finite number")
    return number


def _convert_union(value: Any, arguments: tuple, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    if len(kinds) == 1:
        return convert(value, kinds[0], where)
    # Several dataclasses: each has its own Literal `name`.
    by_name = {get_args(get_type_hints(kind)["name"])[0]: kind for kind in kinds}
    if not isinstance(value, dict) or "name" not in value:
        raise DataError(f"{where}: expected 'name: ...' with one of {', '.join(sorted(by_name))} and its options")
    if not isinstance(value["name"], str) or value["name"] not in by_name:
        raise DataError(f"{where}.name: {_shown(value['name'])}: {nearest(value['name'], by_name)}")
    return read_dataclass(by_name[value["name"]], value, where)


def read_dataclass(kind: type, value: Any, where: str) -> Any:
    """Make a dataclass from a mapping, with the ``from_mapping(mapping, where)`` of the class if it has one.

    Raises:
        DataError: not a mapping, an unknown or missing key, a wrong type, or a ValueError of the class's own checks.
    """
    if hasattr(kind, "from_mapping"):
        return kind.from_mapping(value, where)
    return read_fields(kind, value, where)


def read_fields(kind: type, value: Any, where: str, keys: Collection[str] = (), **given: Any) -> Any:
    """Make a dataclass from a mapping, field by field.

    Args:
        kind: the dataclass.
        value: the mapping.
        where: start of error messages.
        keys: other keys of the mapping, which the caller reads.
        given: the fields that the caller made of them.

    Raises:
        DataError: as :func:`read_dataclass`.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected 'key: value' lines, not the {_kind(value)} {_shown(value)}")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in given}
    prefix = f"{where}." if ": " in where else f"{where}: "
    check_keys(value, [*fields, *keys], prefix)
    value = {name: item for name, item in value.items() if name in fields}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise DataError(f"{prefix}{name}: missing: it has no default")
    arguments = {name: convert(item, hints[name], f"{prefix}{name}") for name, item in value.items()}
    try:
        return kind(**arguments, **given)
    except ValueError as error:
        raise DataError(f"{prefix}{error}") from None


def _shown(value: Any) -> str:
    """A value as shown in a message: on one line of limited length."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> str:
    names = {str: "text", int: "number", float: "number", bool: "truth value", list: "list", dict: "mapping"}
    return names.get(type(value), "value" if value is not None else "empty value")
