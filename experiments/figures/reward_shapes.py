"""Draw SelfBudgeter's two shapes, reward against length: `python experiments/figures/reward_shapes.py`."""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from budgetrl.budget.records import Outcome
from budgetrl.rewards.registry import shape_class
from budgetrl.rewards.self_budgeter import SelfBudgeter

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "figures" / "shapes.png"
BUDGET = 1000
LENGTHS = range(1, 2301)
# Three colours of the Okabe-Ito palette, and three line styles for those who see none of them.
ALPHAS = {1.0: ("#0072B2", (0, (1, 1.2))), 0.5: ("#D55E00", (0, (5, 2))), 0.1: ("#009E73", "solid")}
TITLES = {"budget_cosine": "budget_cosine (the paper's)", "budget_gauss": "budget_gauss (ours)"}


def rewards(name: str, alpha: float, correct: bool) -> np.ndarray:
    """Reward of each length at budget 1000, within b_max."""
    shape = shape_class(name)()
    assert isinstance(shape, SelfBudgeter)
    shape = replace(shape, alpha_start=alpha, alpha_schedule="constant")
    return np.array(shape([Outcome(True, correct, length, BUDGET) for length in LENGTHS], progress=0))


def draw(axes: Axes, name: str) -> None:
    """One panel: both verdicts at every tightness."""
    shape = shape_class(name)()
    assert isinstance(shape, SelfBudgeter)
    for low, high in ((shape.correct_min, shape.correct_max), (shape.wrong_min, shape.wrong_max)):
        axes.axhspan(low, high, color="#f2f2f2", zorder=0)
    axes.axvline(BUDGET, color="#999999", linewidth=0.8, zorder=1)
    for alpha, (colour, style) in ALPHAS.items():
        for correct in (True, False):
            label = rf"$\alpha$ = {alpha:g}" if correct else None
            values = rewards(name, alpha, correct)
            axes.plot(LENGTHS, values, color=colour, linestyle=style, linewidth=1.8, label=label)
    axes.axhline(shape.r_f, color="black", linewidth=1.2)
    axes.text(2280, shape.r_f + 0.03, "malformed", ha="right", va="bottom")
    for low, verdict in ((shape.correct_min, "correct"), (shape.wrong_min, "wrong")):
        axes.text(2280, low - 0.03, verdict, ha="right", va="top")
    axes.set(title=TITLES[name], xlabel="length l (tokens), budget b = 1000", xlim=(0, 2300), ylim=(-1.1, 1.1))


def main() -> None:
    plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axes, name in zip(panels, TITLES, strict=True):
        draw(axes, name)
    panels[0].set_ylabel("reward (b within b_max)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(ALPHAS), frameon=False)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUTPUT, dpi=150)


if __name__ == "__main__":
    main()
