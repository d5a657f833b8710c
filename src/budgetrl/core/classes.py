"""Find the class that a name in the configuration stands for.

A built-in class is found by the name of its module, so there is no list of classes to maintain. A user's own class is
found by its import path, such as `my_package.rewards.Short`.
"""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

from budgetrl.core.checks import suggest_name
from budgetrl.core.errors import SettingError

T = TypeVar("T")


def class_names(package: ModuleType, base: type[T]) -> list[str]:
    """Return the names of the built-in classes: the modules of `package` that define one. Imports all modules."""
    return [name for name in _module_names(package) if _defined(name, package, base)]


def find_class(name: str, package: ModuleType, base: type[T], kind: str, key: str = "name") -> type[T]:
    """Return the class defined by the module `name` of `package`, or by the import path `name`.

    Args:
        kind: What messages call such a class, such as "reward".
        key: The configuration key that error messages name.

    Raises:
        SettingError: There is no such class, it is not derived from `base`, or it is not a dataclass. Import errors
            inside the user's own module are not caught.
    """
    # A dot marks an import path, unless a part is empty or not an identifier: ".short" is just a wrong name.
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        found = _imported(name, base, kind, key)
    else:
        defined = _defined(name, package, base) if name in _module_names(package) else []
        if not defined:
            raise SettingError(key, f"there is no {kind} {name!r}; {suggest_name(name, class_names(package, base))}")
        found = defined[0]
    _require_dataclass(found, base, key)
    return found


def is_unannotated(cls: type, name: str) -> bool:
    """Return whether a class attribute looks like a dataclass field but is not one, for lack of a type annotation.

    >>> is_unannotated(type("Short", (), {"weight": 0.1}), "weight")
    True
    """
    value = getattr(cls, name, None)
    is_value = value is not None and not callable(value) and not isinstance(value, property)
    return is_value and not any(name in inspect.get_annotations(owner) for owner in cls.__mro__)


def _module_names(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


def _defined(name: str, package: ModuleType, base: type[T]) -> list[type[T]]:
    """Return the classes that a module defines itself, without those that it imports from other modules."""
    module = importlib.import_module(f"{package.__name__}.{name}")
    return [found for found in _concrete_classes(module, base).values() if found.__module__ == module.__name__]


def _imported(path: str, base: type[T], kind: str, key: str) -> type[T]:
    """Import a user's class from a path such as `my_package.rewards.Short`; raise SettingError if it cannot be used."""
    module_name, _, class_name = path.rpartition(".")
    module = _import_user_module(module_name, path, key)
    classes = _concrete_classes(module, base)
    if class_name in classes:
        return classes[class_name]
    found = getattr(module, class_name, None)
    if inspect.isclass(found) and issubclass(found, base) and found is not base:
        raise SettingError(key, f"{path} lacks {_abstract_members(found)}", "define what is missing")
    if found is not None:
        article = "an" if kind[0] in "aeiou" else "a"
        raise SettingError(key, f"{path} is not {article} {kind}: derive it from {base.__module__}.{base.__name__}")
    raise SettingError(key, f"{module_name} has no class {class_name!r}; {suggest_name(class_name, classes)}")


def _abstract_members(cls: type) -> str:
    """Return the members that a class does not define yet, such as `parse(), target()`."""
    names: list[str] = []
    for name in sorted(getattr(cls, "__abstractmethods__", ())):
        names.append(name if isinstance(getattr(cls, name), property) else f"{name}()")
    return ", ".join(names)


def _require_dataclass(cls: type, base: type, key: str) -> None:
    """Raise SettingError for a class that declares fields but lacks the `@dataclass` decorator."""
    for owner in cls.__mro__:
        # Look into vars(): `dataclasses.is_dataclass` is also true for a class that inherits from a dataclass.
        if not issubclass(owner, base) or "__dataclass_fields__" in vars(owner):
            continue
        annotations = inspect.get_annotations(owner)
        fields = [name for name, annotation in annotations.items() if "ClassVar" not in str(annotation)]
        if fields:
            text = f"{owner.__module__}.{owner.__name__} is not a dataclass, so {fields[0]} is not a field"
            raise SettingError(key, text, "put @dataclass(frozen=True) above the class")


def _import_user_module(module_name: str, path: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        # If the missing module is not part of the path, the user's module exists and one of its own imports failed:
        # the user needs that traceback.
        if not f"{module_name}.".startswith(f"{missing}."):
            raise
        raise SettingError(
            key,
            f"cannot import {path!r}: there is no module {missing!r}; install it or add its folder to PYTHONPATH",
        ) from error


def _concrete_classes(module: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """Return the subclasses of `base` in a module, by name, without abstract ones."""
    classes: dict[str, type[T]] = {}
    for name, member in inspect.getmembers(module, inspect.isclass):
        if issubclass(member, base) and not inspect.isabstract(member):
            classes[name] = member
    return classes
