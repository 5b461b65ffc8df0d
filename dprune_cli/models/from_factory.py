"""`package.module:factory`: a model of the user's own, from any module that Python can import."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from dprune_cli.core.errors import UsageError


def factory_model(module: str, attribute: str, classes: int) -> nn.Module:
    """What `module.attribute(num_classes=classes)` returns.

    The current directory can be imported from, as with `python -m`. Errors inside the user's code are
    left to show their own traceback.

    Raises:
        UsageError: no such module or attribute, it does not take `num_classes`, or it returns no module.
    """
    name = f"{module}:{attribute}"
    factory = _find_attribute(_import_module(name, module), name, attribute)
    if not callable(factory) or not _takes_classes(factory):
        raise UsageError(f"model {name} cannot be called as {attribute}(num_classes={classes})")
    model = factory(num_classes=classes)
    if not isinstance(model, nn.Module):
        raise UsageError(f"model {name} returned {type(model).__name__}, not a torch.nn.Module")
    return model


def _import_module(name: str, module: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (ModuleNotFoundError, ValueError) as error:
        missing = getattr(error, "name", None)
        if isinstance(error, ValueError) or missing is None or f"{module}.".startswith(f"{missing}."):
            raise UsageError(f"model {name}: there is no module {module!r} here or on the path") from None
        raise UsageError(f"model {name}: {module} needs {missing!r}, which is not installed") from error


def _find_attribute(module: ModuleType, name: str, attribute: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"model {name}: {module.__name__} has no attribute {attribute!r}")
        found = getattr(found, part)
    return found


def _takes_classes(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind(num_classes=0)
    except TypeError:
        return False
    except ValueError:  # a callable without a signature, such as one written in C
        return True
    return True
