"""From a reward's name to its class. A built-in is the module of that name; there is no list to keep."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import budgetrl.rewards as built_in
from budgetrl.budget.checks import nearest
from budgetrl.rewards.shape import Shape


def shape_names() -> list[str]:
    """Names of the built-in rewards: the modules of this package that define one."""
    return [module.name for module in pkgutil.iter_modules(built_in.__path__) if _built_ins(module.name)]


def shape_class(name: str) -> type[Shape]:
    """The class of a built-in reward (`budget_cosine`) or of the user's own (`my_package.rewards.MyReward`).

    ValueError, starting with `name:`, if there is none or it is not a reward. An import error inside
    the user's own module comes through as it is.

    >>> shape_class("budget_cosine").__name__
    'BudgetCosine'
    """
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        return _imported(name)
    names = shape_names()
    if name not in names:
        raise ValueError(f"name: there is no reward {name!r}; {nearest(name, names)}")
    return _built_ins(name)[0]


def _built_ins(module_name: str) -> list[type[Shape]]:
    module = importlib.import_module(f"{built_in.__name__}.{module_name}")
    return [shape for shape in _rewards(module).values() if shape.__module__ == module.__name__]


def _imported(path: str) -> type[Shape]:
    module_name, _, class_name = path.rpartition(".")
    module = _module(module_name, path)
    rewards = _rewards(module)
    if class_name in rewards:
        return rewards[class_name]
    if hasattr(module, class_name):
        raise ValueError(f"name: {path} is not a reward: derive it from {Shape.__module__}.Shape")
    raise ValueError(f"name: {module_name} has no class {class_name!r}; {nearest(class_name, rewards)}")


def _module(module_name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module_name}.".startswith(f"{missing}."):
            raise  # the user's module is there; something it imports is not
        raise ValueError(
            f"name: cannot import {path!r}: there is no module {missing!r}; install it or add its folder to PYTHONPATH"
        ) from error


def _rewards(module: ModuleType) -> dict[str, type[Shape]]:
    return dict(inspect.getmembers(module, _is_reward))


def _is_reward(member: object) -> bool:
    return inspect.isclass(member) and issubclass(member, Shape) and not inspect.isabstract(member)
