"""From a name in a configuration to a class: a built-in one is the module of that name; there is no list to keep."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

from budgetrl.core.checks import nearest
from budgetrl.core.errors import SettingError

T = TypeVar("T")


def class_names(package: ModuleType, base: type[T]) -> list[str]:
    """Names of the built-in classes: the modules of `package` that define one. All of them are imported."""
    return [name for name in _modules(package) if _defined(name, package, base)]


def find_class(name: str, package: ModuleType, base: type[T], kind: str, key: str = "name") -> type[T]:
    """The class that a module of `package` defines, or that an import path of the user's own leads to.

    SettingError about `key` if there is none or it is not derived from `base`; `kind` is what the message
    calls such a class. An import error inside the user's own module comes through as it is.
    """
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        return _imported(name, base, kind, key)
    found = _defined(name, package, base) if name in _modules(package) else []
    if not found:
        raise SettingError(key, f"there is no {kind} {name!r}; {nearest(name, class_names(package, base))}")
    return found[0]


def _modules(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


def _defined(name: str, package: ModuleType, base: type[T]) -> list[type[T]]:
    module = importlib.import_module(f"{package.__name__}.{name}")
    return [found for found in _classes(module, base).values() if found.__module__ == module.__name__]


def _imported(path: str, base: type[T], kind: str, key: str) -> type[T]:
    module_name, _, class_name = path.rpartition(".")
    module = _module(module_name, path, key)
    classes = _classes(module, base)
    if class_name in classes:
        return classes[class_name]
    if hasattr(module, class_name):
        article = "an" if kind[0] in "aeiou" else "a"
        raise SettingError(key, f"{path} is not {article} {kind}: derive it from {base.__module__}.{base.__name__}")
    raise SettingError(key, f"{module_name} has no class {class_name!r}; {nearest(class_name, classes)}")


def _module(module_name: str, path: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module_name}.".startswith(f"{missing}."):
            raise  # the user's module is there; something it imports is not
        raise SettingError(
            key,
            f"cannot import {path!r}: there is no module {missing!r}; install it or add its folder to PYTHONPATH",
        ) from error


def _classes(module: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """The concrete classes: one that leaves methods open cannot be made yet."""
    members = inspect.getmembers(module, lambda member: inspect.isclass(member) and issubclass(member, base))
    return {name: found for name, found in members if not inspect.isabstract(found)}
