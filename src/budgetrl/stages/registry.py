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
    module, _, attribute = name.rpartition(".")
    if module:
        return getattr(importlib.import_module(module), attribute)
    found = _class_in(f"budgetrl.stages.{name}", name) if name in _modules() else None
    if found is None:
        raise ValueError(f"name: no stage is called {name!r}; {nearest(name, stage_names())}")
    return found


def _modules() -> set[str]:
    return {m.name for m in pkgutil.iter_modules(budgetrl.stages.__path__)}


def _class_in(module: str, name: str) -> type[Stage] | None:
    members = vars(importlib.import_module(module)).values()
    own = [m for m in members if inspect.isclass(m) and issubclass(m, Stage) and m.name == name]
    return own[0] if own else None
