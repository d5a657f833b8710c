"""The figures of a report. Each function draws one `Figure`, or returns None if there is nothing to draw."""

from budgetrl.report.figures.canvas import save, save_pdf
from budgetrl.report.figures.comparison import accuracy_against_length, against_coefficient, pareto_front
from budgetrl.report.figures.evaluation import accuracy_against_limit, budget_against_length, by_level, length_control
from budgetrl.report.figures.reward import EXAMPLE, reward_grid, reward_shape
from budgetrl.report.figures.training import budgets_in_training, training_curves

__all__ = [
    "EXAMPLE",
    "accuracy_against_length",
    "accuracy_against_limit",
    "against_coefficient",
    "budget_against_length",
    "budgets_in_training",
    "by_level",
    "length_control",
    "pareto_front",
    "reward_grid",
    "reward_shape",
    "save",
    "save_pdf",
    "training_curves",
]
