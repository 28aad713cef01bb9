"""Classes from outside the package, named in a configuration as ``mypackage.nets:MyNet``."""

import importlib
import inspect
import re

from avsv.config.strict import nearest
from avsv.errors import DataError


def is_outside(name: str) -> bool:
    """Whether a name refers to a class outside the package, ``module:Class``.

    Example:
        >>> is_outside("mypackage.nets:MyNet"), is_outside("ecapa_tdnn")
        (True, False)
    """
    return ":" in name


def import_class(name: str, contract: type, where: str) -> type:
    """Import the class that ``module:Class`` names.

    Args:
        name: the module must be on Python's path, which contains the directory in which a recipe runs.
        contract: the base class that it must be derived from.
        where: start of error messages, 'FILE: dotted.key'.

    Raises:
        DataError: no such module or class, an error in the module, or a class that is not derived from ``contract``.

    Example:
        >>> import_class("avsv.config.sections:DataConfig", object, "example").__name__
        'DataConfig'
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise DataError(f"{where}: {name}: expected a class as MODULE:CLASS, as in mypackage.nets:MyNet")
    module_name, class_name = name.split(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise DataError(f"{where}: {name}: {module_name} needs the module {error.name}: install it") from None
        raise DataError(
            f"{where}: {name}: no module {error.name}: put it into the recipe's directory or on PYTHONPATH"
        ) from None
    except Exception as error:
        raise DataError(f"{where}: {name}: importing {module_name} fails: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise DataError(f"{where}: {name}: {module_name} has no class {class_name}: {nearest(class_name, classes)}")
    if not issubclass(found, contract):
        raise DataError(
            f"{where}: {name}: not a {contract.__name__}: derive it from {contract.__module__}.{contract.__name__}"
        )
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise DataError(f"{where}: {name}: does not define {', '.join(missing)}, as a {contract.__name__} must")
    return found
