"""From a name in a configuration to a class: a built-in one is the module of that name; there is no list to keep."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

from budgetrl.core.checks import suggest_name
from budgetrl.core.errors import SettingError

T = TypeVar("T")


def class_names(package: ModuleType, base: type[T]) -> list[str]:
    """Names of the built-in classes: the modules of `package` that define one. All of them are imported."""
    return [name for name in _modules(package) if _defined(name, package, base)]


def find_class(name: str, package: ModuleType, base: type[T], kind: str, key: str = "name") -> type[T]:
    """The class that a module of `package` defines, or that an import path of the user's own leads to.

    SettingError about `key` if there is none, if it is not derived from `base`, or if it is not a dataclass; `kind` is
    what the message calls such a class. An import error inside the user's own module comes through as it is.
    """
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        found = _imported(name, base, kind, key)
    else:
        defined = _defined(name, package, base) if name in _modules(package) else []
        if not defined:
            raise SettingError(key, f"there is no {kind} {name!r}; {suggest_name(name, class_names(package, base))}")
        found = defined[0]
    _require_dataclass(found, base, key)
    return found


def is_unannotated(cls: type, name: str) -> bool:
    """Whether a class has a value `name` that looks like a field, but is none because it has no type annotation.

    >>> is_unannotated(type("Short", (), {"weight": 0.1}), "weight")
    True
    """
    value = getattr(cls, name, None)
    is_value = value is not None and not callable(value) and not isinstance(value, property)
    return is_value and not any(name in inspect.get_annotations(owner) for owner in cls.__mro__)


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
    there = getattr(module, class_name, None)
    if inspect.isclass(there) and issubclass(there, base) and there is not base:
        raise SettingError(key, f"{path} lacks {_abstract_members(there)}", "define what is missing")
    if there is not None:
        article = "an" if kind[0] in "aeiou" else "a"
        raise SettingError(key, f"{path} is not {article} {kind}: derive it from {base.__module__}.{base.__name__}")
    raise SettingError(key, f"{module_name} has no class {class_name!r}; {suggest_name(class_name, classes)}")


def _abstract_members(cls: type) -> str:
    """What a class leaves to its subclasses, such as `parse(), target()`."""
    names: list[str] = []
    for name in sorted(getattr(cls, "__abstractmethods__", ())):
        names.append(name if isinstance(getattr(cls, name), property) else f"{name}()")
    return ", ".join(names)


def _require_dataclass(cls: type, base: type, key: str) -> None:
    """SettingError for a class that declares fields without the decorator that makes them fields.

    `dataclasses.is_dataclass` does not tell: a class inherits that from its base.
    """
    for owner in cls.__mro__:
        if not issubclass(owner, base) or "__dataclass_fields__" in vars(owner):
            continue
        annotations = inspect.get_annotations(owner)
        fields = [name for name, annotation in annotations.items() if "ClassVar" not in str(annotation)]
        if fields:
            text = f"{owner.__module__}.{owner.__name__} is not a dataclass, so {fields[0]} is not a field"
            raise SettingError(key, text, "put @dataclass(frozen=True) above the class")


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
