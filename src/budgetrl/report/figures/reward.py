"""The shape of a reward: against length, for each verdict, over training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from budgetrl.core.records import Outcome
from budgetrl.formats.base import Example
from budgetrl.formats.registry import format_class
from budgetrl.report.figures.canvas import BLACK, BLUE, COLORS, grid, legend_line, small_multiples, styled
from budgetrl.rewards.reward import Reward

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LENGTHS_DRAWN = 500
"""Points of a reward's curve, less one."""
PROGRESSES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where in training a reward is drawn."""
_VERDICT_LINES: dict[str, Any] = {"right": "solid", "wrong": (0, (4, 2)), "malformed": (0, (1, 1.5))}


@styled
def reward_shape(reward: Reward, longest: int) -> "Figure":
    """Reward against length up to `longest` tokens: a line for each verdict, a color for each moment of training.

    Where the rest of the group counts, or a budget, a tag or something remembered, a line above says what it is here.
    Malformed responses are drawn where they earn something else than wrong ones.
    """
    figure, (ax,) = grid(1, 1, width=6.4, height=4.0)
    scene = _Scene(reward.with_max_length(longest), longest)
    lengths = _lengths(longest)
    moments = _moments({progress: scene.curves(lengths, progress) for progress in PROGRESSES})
    verdicts = next(iter(moments.values()))
    for curves, color in zip(moments.values(), COLORS, strict=False):
        for verdict, earned in curves.items():
            ax.plot(lengths, earned, color=color, linestyle=_VERDICT_LINES[verdict])
    if scene.budget:
        ax.axvline(scene.budget, color="#999999", linewidth=0.9, zorder=1)
    # The notes stand between the title and the panel: 12 points for each of them.
    notes = scene.notes()
    ax.set_title(reward.name, pad=6 + 12 * len(notes))
    ax.text(0, 1.015, "\n".join(notes), transform=ax.transAxes, va="bottom", fontsize=8, linespacing=1.25)
    ax.set(xlabel="length, tokens", ylabel="reward", xlim=(0, longest))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    # Where colors stand for moments, the styles of the verdicts are shown in black; else in the only color there is.
    verdict_color = BLACK if moments.keys() != {""} else BLUE
    handles = [legend_line(verdict_color, _VERDICT_LINES[name], name) for name in verdicts]
    for label, color in zip(moments, COLORS, strict=False):
        if label:
            handles.append(legend_line(color, "solid", label))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if len(handles) <= 6 else 4)
    return figure


@styled
def reward_grid(rewards: Sequence[Reward], longest: int) -> "Figure":
    """Several rewards at the end of training beside each other: a panel each, a line for each verdict."""
    figure, axes = small_multiples(len(rewards))
    handles: list[Any] = []
    for (name, style), color in zip(_VERDICT_LINES.items(), COLORS, strict=False):
        handles.append(legend_line(color, style, name))
    lengths = _lengths(longest)
    for ax, reward in zip(axes, rewards, strict=True):
        scene = _Scene(reward.with_max_length(longest), longest)
        for (verdict, earned), color in zip(scene.curves(lengths, 1.0).items(), COLORS, strict=False):
            ax.plot(lengths, earned, color=color, linestyle=_VERDICT_LINES[verdict])
        if scene.budget:
            ax.axvline(scene.budget, color="#999999", linewidth=0.9, zorder=1)
        ax.set(title=reward.name, xlim=(0, longest), xlabel="length, tokens", ylabel="reward")
        ax.xaxis.set_major_formatter("{x:,.0f}")
    if any(_Scene(reward, longest).budget for reward in rewards):
        handles.append(legend_line("#999999", "solid", "budget"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@dataclass(frozen=True)
class _Scene:
    """A response to draw, and what stands around it."""

    reward: Reward
    longest: int

    @property
    def example(self) -> Example:
        """What a response looks like in the format that the reward reads."""
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
            self._outcome("right", quarter),
            self._outcome("right", 2 * quarter),
            self._outcome("wrong", 3 * quarter),
        ]

    def curves(self, lengths: Sequence[int], progress: float) -> "Curves":
        """The rewards of each verdict; none of malformed responses if they are those of wrong ones."""
        curves: Curves = {}
        for verdict in _VERDICT_LINES:
            curves[verdict] = [self._earned(verdict, length, progress, self.others) for length in lengths]
        if curves["malformed"] == curves["wrong"]:
            del curves["malformed"]
        return curves

    def notes(self) -> list[str]:
        """What the curves hold for, a line each."""
        notes = []
        if note := self.example.note:
            notes.append(f"{note}, within b_max" if self.budget and self.reward.needs_b_max else note)
        if self._is_relative():
            first, second, third = (f"{outcome.length:,}" for outcome in self.others)
            notes.append(f"the others of the group: right with {first} and {second} tokens, wrong with {third}")
        if moves := self.reward.controller().moves:
            values: list[str] = []
            for name in moves:
                value = getattr(self.reward, name)
                values.append(f"{name} {'none' if value in (None, {}) else value}")
            notes.append(f"learned so far: {', '.join(values)}")
        return notes

    def _is_relative(self) -> bool:
        """Whether the rest of the group changes what a response earns, tried at nine lengths."""
        for verdict in ("right", "wrong"):
            for n in range(9):
                length = self.longest * n // 8
                alone = self._earned(verdict, length, 1.0, [])
                if self._earned(verdict, length, 1.0, self.others) != alone:
                    return True
        return False

    def _earned(self, verdict: str, length: int, progress: float, others: Sequence[Outcome]) -> float:
        """What one response earns in a group with `others`."""
        return self.reward([self._outcome(verdict, length), *others], progress)[0]

    def _outcome(self, verdict: str, length: int) -> Outcome:
        well_formed = verdict != "malformed"
        return Outcome(
            well_formed=well_formed,
            correct=verdict == "right",
            length=length,
            budget=self.budget,
            easy=self.example.easy if well_formed else None,
            problem_id=EXAMPLE,
        )


EXAMPLE = "example"
"""Problem id of the responses drawn, for rewards that remember something of each problem."""
Curves = dict[str, list[float]]


def _lengths(longest: int) -> list[int]:
    """The lengths at which a reward is drawn, from 0 to `longest`, each once."""
    return sorted({longest * n // LENGTHS_DRAWN for n in range(LENGTHS_DRAWN + 1)})


def _moments(curves: Mapping[float, Curves]) -> dict[str, Curves]:
    """The curves that differ, by the share of training over which they hold; no label if they always do."""
    moments: dict[str, Curves] = {}
    # Neighbors with the same curves are one moment.
    for drawn, same in groupby(curves, key=lambda progress: curves[progress]):
        moments[_stretch(list(same))] = drawn
    return moments if len(moments) > 1 else {"": next(iter(moments.values()))}


def _stretch(shares: Sequence[float]) -> str:
    """The share of training between the first and the last of these shares, in words.

    >>> _stretch([0.25]), _stretch([0.5, 0.75, 1.0])
    ('25 %', '50 to 100 % of training')
    """
    first, last = round(100 * shares[0]), round(100 * shares[-1])
    stretch = f"{first} %" if first == last else f"{first} to {last} %"
    return f"{stretch} of training" if last == 100 else stretch
