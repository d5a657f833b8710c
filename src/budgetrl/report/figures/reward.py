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
    scene = _Scene(reward.within(longest), longest)
    lengths = sorted({longest * n // LENGTHS_DRAWN for n in range(LENGTHS_DRAWN + 1)})
    moments = _moments({progress: scene.curves(lengths, progress) for progress in PROGRESSES})
    verdicts = next(iter(moments.values()))
    for curves, color in zip(moments.values(), COLORS, strict=False):
        for verdict, earned in curves.items():
            ax.plot(lengths, earned, color=color, linestyle=_VERDICT_LINES[verdict])
    if scene.budget:
        ax.axvline(scene.budget, color="#999999", linewidth=0.9, zorder=1)
    ax.set_title(reward.name, pad=6 + 12 * len(scene.notes()))
    ax.text(0, 1.015, "\n".join(scene.notes()), transform=ax.transAxes, va="bottom", fontsize=8, linespacing=1.25)
    ax.set(xlabel="length, tokens", ylabel="reward", xlim=(0, longest))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    handles = [legend_line(BLACK if moments.keys() != {""} else BLUE, _VERDICT_LINES[name], name) for name in verdicts]
    handles += [legend_line(color, "solid", label) for label, color in zip(moments, COLORS, strict=False) if label]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if len(handles) <= 6 else 4)
    return figure


@styled
def reward_grid(rewards: Sequence[Reward], longest: int) -> "Figure":
    """Several rewards at the end of training beside each other: a panel each, a line for each verdict."""
    figure, axes = small_multiples(len(rewards))
    handles = [
        legend_line(color, style, name) for (name, style), color in zip(_VERDICT_LINES.items(), COLORS, strict=False)
    ]
    lengths = sorted({longest * n // LENGTHS_DRAWN for n in range(LENGTHS_DRAWN + 1)})
    for ax, reward in zip(axes, rewards, strict=True):
        scene = _Scene(reward.within(longest), longest)
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
        curves = {
            verdict: [self._earned(verdict, length, progress, self.others) for length in lengths]
            for verdict in _VERDICT_LINES
        }
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
            held = {name: getattr(self.reward, name) for name in moves}
            values = (f"{name} {value if value not in (None, {}) else 'none'}" for name, value in held.items())
            notes.append(f"learned so far: {', '.join(values)}")
        return notes

    def _is_relative(self) -> bool:
        return any(
            self._earned(verdict, self.longest * n // 8, 1.0, self.others)
            != self._earned(verdict, self.longest * n // 8, 1.0, [])
            for verdict in ("right", "wrong")
            for n in range(9)
        )

    def _earned(self, verdict: str, length: int, progress: float, others: Sequence[Outcome]) -> float:
        return self.reward([self._outcome(verdict, length), *others], progress)[0]

    def _outcome(self, verdict: str, length: int) -> Outcome:
        tag = self.example.easy if verdict != "malformed" else None
        return Outcome(verdict != "malformed", verdict == "right", length, self.budget, easy=tag, problem_id=EXAMPLE)


EXAMPLE = "example"
"""Problem id of the responses drawn, for rewards that remember something of each problem."""
Curves = dict[str, list[float]]


def _moments(curves: Mapping[float, Curves]) -> dict[str, Curves]:
    """The curves that differ, by the share of training over which they hold; no label if they always do."""
    stretches = [(list(same), drawn) for drawn, same in groupby(curves, key=lambda progress: curves[progress])]
    if len(stretches) == 1:
        return {"": stretches[0][1]}
    return {_stretch(shares): drawn for shares, drawn in stretches}


def _stretch(shares: Sequence[float]) -> str:
    """
    >>> _stretch([0.25]), _stretch([0.5, 0.75, 1.0])
    ('25 %', '50 to 100 % of training')
    """
    first, last = round(100 * shares[0]), round(100 * shares[-1])
    stretch = f"{first} %" if first == last else f"{first} to {last} %"
    return f"{stretch} of training" if last == 100 else stretch
