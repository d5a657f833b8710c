"""Figures of a reward: against response length, for each verdict, over training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from budgetrl.core.records import Outcome
from budgetrl.formats.base import Example
from budgetrl.formats.registry import format_class
from budgetrl.report.figures.canvas import BLACK, BLUE, COLORS, grid, legend_line, small_multiples, styled
from budgetrl.rewards.reward import Reward

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LENGTH_STEPS = 500
"""Number of steps between the lengths at which a reward is computed."""
GROUP_PROBES = 9
"""Number of lengths at which to test whether a reward depends on the rest of the group."""
PROGRESSES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of training at which a reward is drawn."""
EXAMPLE = "example"
"""Problem id of the responses drawn, for rewards that keep a history of each problem."""
_VERDICT_LINES: dict[str, Any] = {"correct": "solid", "incorrect": (0, (4, 2)), "malformed": (0, (1, 1.5))}
"""Line style of each verdict; tuples are (offset, (dash, gap)) in line widths."""
_BUDGET_COLOR = "#999999"

Curves = dict[str, list[float]]
"""Rewards by verdict, one for each length."""


@styled
def reward_shape(reward: Reward, longest: int) -> "Figure":
    """Draw the reward against lengths up to `longest` tokens, by verdict (line style) and share of training (color).

    What else the reward depends on (budget, tag, rest of the group, history) is fixed, and stated above the panel.
    Malformed responses are drawn only if their reward differs from that of incorrect ones.
    """
    figure, (ax,) = grid(1, 1, width=6.4, height=4.0)
    scene = _Scene(reward.with_max_length(longest), longest)
    lengths = _lengths(longest)
    curves_by_progress = {progress: scene.curves(lengths, progress) for progress in PROGRESSES}
    curves_by_period = _merge_periods(curves_by_progress)
    for curves, color in zip(curves_by_period.values(), COLORS, strict=False):
        for verdict, rewards in curves.items():
            ax.plot(lengths, rewards, color=color, linestyle=_VERDICT_LINES[verdict])
    _finish_panel(ax, scene)
    # The notes go between the title and the panel, 12 points of height for each.
    notes = scene.notes()
    ax.set_title(reward.name, pad=6 + 12 * len(notes))
    ax.text(0, 1.015, "\n".join(notes), transform=ax.transAxes, va="bottom", fontsize=8, linespacing=1.25)

    # With several periods colors stand for periods, so the verdicts' entries are black.
    verdict_color = BLACK if len(curves_by_period) > 1 else BLUE
    verdicts = next(iter(curves_by_period.values()))
    handles: list[Any] = []
    for name in verdicts:
        handles.append(legend_line(verdict_color, _VERDICT_LINES[name], name))
    for label, color in zip(curves_by_period, COLORS, strict=False):
        if label:
            handles.append(legend_line(color, "solid", label))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if len(handles) <= 6 else 4)
    return figure


@styled
def reward_grid(rewards: Sequence[Reward], longest: int) -> "Figure":
    """Draw several rewards at the end of training, one panel each, with a line for each verdict."""
    figure, axes = small_multiples(len(rewards))
    handles: list[Any] = []
    for (name, style), color in zip(_VERDICT_LINES.items(), COLORS, strict=False):
        handles.append(legend_line(color, style, name))
    lengths = _lengths(longest)
    has_budget = False
    for ax, reward in zip(axes, rewards, strict=True):
        scene = _Scene(reward.with_max_length(longest), longest)
        for (verdict, values), color in zip(scene.curves(lengths, 1.0).items(), COLORS, strict=False):
            ax.plot(lengths, values, color=color, linestyle=_VERDICT_LINES[verdict])
        _finish_panel(ax, scene)
        ax.set_title(reward.name)
        has_budget = has_budget or bool(scene.budget)
    if has_budget:
        handles.append(legend_line(_BUDGET_COLOR, "solid", "budget"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _finish_panel(ax: "Axes", scene: "_Scene") -> None:
    """Mark the budget with a vertical line, and label the axes."""
    if scene.budget:
        ax.axvline(scene.budget, color=_BUDGET_COLOR, linewidth=0.9, zorder=1)
    ax.set(xlabel="Length (tokens)", ylabel="Reward", xlim=(0, scene.longest))
    ax.xaxis.set_major_formatter("{x:,.0f}")


@dataclass(frozen=True)
class _Scene:
    """A reward, and the fixed surroundings (budget, tag, rest of the group) in which one response is varied."""

    reward: Reward
    longest: int

    @property
    def example(self) -> Example:
        """The budget or tag of a response in the format that the reward needs."""
        name = self.reward.needs_format
        return format_class(name)().example(self.longest) if name else Example()

    @property
    def budget(self) -> int | None:
        return self.example.budget

    @property
    def others(self) -> list[Outcome]:
        """The rest of the group."""
        quarter = self.longest // 4
        return [
            self._outcome("correct", quarter),
            self._outcome("correct", 2 * quarter),
            self._outcome("incorrect", 3 * quarter),
        ]

    def curves(self, lengths: Sequence[int], progress: float) -> Curves:
        """Return the rewards of each verdict; malformed is left out if it equals incorrect."""
        curves: Curves = {}
        for verdict in _VERDICT_LINES:
            curves[verdict] = [self._reward(verdict, length, progress, self.others) for length in lengths]
        if curves["malformed"] == curves["incorrect"]:
            del curves["malformed"]
        return curves

    def notes(self) -> list[str]:
        """Return the fixed surroundings in words, one line each."""
        notes = []
        if note := self.example.note:
            notes.append(f"{note}, within b_max" if self.budget and self.reward.needs_b_max else note)
        if self._depends_on_group():
            first, second, third = self.others
            correct = f"correct with {first.length:,} and {second.length:,} tokens"
            notes.append(f"rest of the group: {correct}, incorrect with {third.length:,}")
        if updated := self.reward.controller().updated_fields:
            values: list[str] = []
            for name in updated:
                value = getattr(self.reward, name)
                values.append(f"{name} {'none' if value in (None, {}) else value}")
            notes.append(f"learned so far: {', '.join(values)}")
        return notes

    def _depends_on_group(self) -> bool:
        """Return whether the rest of the group changes a response's reward, tested at `GROUP_PROBES` lengths."""
        for verdict in ("correct", "incorrect"):
            for n in range(GROUP_PROBES):
                length = self.longest * n // (GROUP_PROBES - 1)
                alone = self._reward(verdict, length, 1.0, [])
                if self._reward(verdict, length, 1.0, self.others) != alone:
                    return True
        return False

    def _reward(self, verdict: str, length: int, progress: float, others: Sequence[Outcome]) -> float:
        """Return the reward of one response in a group with `others`."""
        return self.reward([self._outcome(verdict, length), *others], progress)[0]

    def _outcome(self, verdict: str, length: int) -> Outcome:
        well_formed = verdict != "malformed"
        return Outcome(
            well_formed=well_formed,
            correct=verdict == "correct",
            length=length,
            budget=self.budget,
            easy=self.example.easy if well_formed else None,
            problem_id=EXAMPLE,
        )


def _lengths(longest: int) -> list[int]:
    """Return distinct, evenly spaced lengths from 0 to `longest` tokens."""
    return sorted({longest * n // LENGTH_STEPS for n in range(LENGTH_STEPS + 1)})


def _merge_periods(curves_by_progress: Mapping[float, Curves]) -> dict[str, Curves]:
    """Merge neighboring shares of training with equal curves, and return the curves by period in words.

    If the curves never change, the only period has an empty label.
    """
    periods: list[tuple[list[float], Curves]] = []
    for progress, curves in curves_by_progress.items():
        if periods and periods[-1][1] == curves:
            periods[-1][0].append(progress)
        else:
            periods.append(([progress], curves))
    if len(periods) == 1:
        return {"": periods[0][1]}
    return {_period_label(shares): curves for shares, curves in periods}


def _period_label(shares: Sequence[float]) -> str:
    """Return the period from the first to the last of these shares of training, in words.

    >>> _period_label([0.25]), _period_label([0.5, 0.75, 1.0])
    ('25 %', '50 to 100 % of training')
    """
    first, last = round(100 * shares[0]), round(100 * shares[-1])
    label = f"{first} %" if first == last else f"{first} to {last} %"
    # The last entry of a legend explains what the percentages are of.
    return f"{label} of training" if last == 100 else label
