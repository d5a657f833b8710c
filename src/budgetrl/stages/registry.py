"""Find a stage's class by name: a module of this package, or an import path of the user's own."""

import importlib
import inspect
import pkgutil

import budgetrl.stages
from budgetrl.budget.checks import nearest
from budgetrl.stages.base import Stage


def stage_names() -> list[str]:
    """The built-in stages."""
    names = [m.name for m in pkgutil.iter_modules(budgetrl.stages.__path__)]
    return [name for name in names if _class_in(f"budgetrl.stages.{name}", name) is not None]


def stage_class(name: str) -> type[Stage]:
    """The class of a stage. Raises ValueError for a name that is neither built in nor importable."""
    if "." in name:
        return _imported(name)
    found = _class_in(f"budgetrl.stages.{name}", name) if name in _modules() else None
    if found is None:
        raise ValueError(f"name: no stage is called {name!r}; {nearest(name, stage_names())}")
    return found


def _imported(path: str) -> type[Stage]:
    """A class of the user's own. What that module itself cannot import comes through as it is."""
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        missing = f"there is no module {error.name!r}; install it or add its folder to PYTHONPATH"
        raise ValueError(f"name: cannot import {path!r}: {missing}") from error
    if not (inspect.isclass(found) and issubclass(found, Stage)):
        raise ValueError(f"name: {path} is not a stage: derive it from {Stage.__module__}.Stage")
    return found


def _modules() -> set[str]:
    return {m.name for m in pkgutil.iter_modules(budgetrl.stages.__path__)}


def _class_in(module: str, name: str) -> type[Stage] | None:
    members = vars(importlib.import_module(module)).values()
    own = [m for m in members if inspect.isclass(m) and issubclass(m, Stage) and m.name == name]
    return own[0] if own else None
