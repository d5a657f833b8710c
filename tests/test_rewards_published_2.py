"""More published rewards, from the command line to the file that `stage=score` writes: values worked out by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from test_rewards_published import Row, rows, score  # noqa: F401

TRUNCATED = {"problem_id": "p", "well_formed": False, "correct": True, "truncated": True}
"""The answer stood there, but the response did not end."""
PUBLISHED_CAP = "reward.max_length=14336"
TARGETS = ["reward.max_length=16384", "reward.target_easy=100", "reward.target_medium=200", "reward.target_hard=300"]

VECTORS: list[tuple[str, list[str], list[Row], list[float]]] = [
    ("cosine", [PUBLISHED_CAP], rows([1] * 4, [0, 7168, 14336, 14337]), [2.0, 1.5, 1.0, -10.0]),
    ("cosine", [PUBLISHED_CAP], rows([0] * 4, [0, 7168, 14336, 14337]), [-10.0, -5.0, 0.0, -10.0]),
    ("cosine", [PUBLISHED_CAP], rows([1, 0], [7168, 7168], repetition=0.5), [1.5, -10.0]),
    ("cosine", [PUBLISHED_CAP, "reward.repetition_penalty=-2"], rows([0], [7168], repetition=0.25), [-5.5]),
    ("cosine", [PUBLISHED_CAP], [{**TRUNCATED, "length": 14336}], [-10.0]),
    ("cosine", [PUBLISHED_CAP], [{**TRUNCATED, "truncated": False, "length": 7168}], [-5.0]),
    ("arora", ["reward.alpha=0.2"], rows([1, 1, 1, 0], [1000, 2000, 3000, 10]), [0.954579, 0.9, 0.845421, 0.0]),
    ("arora", ["reward.alpha=0.2"], rows([1, 0, 0], [1000, 2000, 3000]), [0.9, 0.0, 0.0]),
    ("arora", ["reward.alpha=0.2"], rows([1, 1], [1000, 1000]), [0.9, 0.9]),
    ("arora", [], rows([0, 0], [1000, 2000]), [0.0, 0.0]),
    ("arora", [], [*rows([1], [1000]), {**TRUNCATED, "length": 9000}], [0.95, 0.0]),
    ("shorterbetter", [], rows([1, 1, 0, 0], [1000, 1500, 1500, 800]), [2.0, 1.5, -0.5, -0.2]),
    ("shorterbetter", [], rows([0, 0, 0], [100, 200, 300]), [-0.1, 0.0, -0.1]),
    ("shorterbetter", [], [*rows([0], [100]), {**TRUNCATED, "length": 300}], [-0.1, -0.1]),
    ("laser", [], rows([1, 1, 0, 0], [4096, 4097, 4096, 4097]), [1.5, 1.0, -0.5, -0.5]),
    ("laser", ["reward.variant=penalty"], rows([1, 1, 0], [4096, 4097, 4097]), [1.0, 0.5, -0.5]),
    ("laser", ["reward.variant=hybrid"], rows([1, 1, 0], [4096, 4097, 4097]), [1.5, 0.5, -0.5]),
    ("laser", [], [{**TRUNCATED, "length": 10}], [-0.5]),
    ("laser_d", TARGETS, rows([1, 1, 0], [100, 101, 9]), [1.5, 1.0, -0.5]),
    ("laser_d", TARGETS, rows([1, 0, 0], [200, 9, 9]), [1.5, -0.5, -0.5]),
    ("laser_d", TARGETS, rows([1, 0, 0], [201, 9, 9]), [1.0, -0.5, -0.5]),
    ("laser_d", TARGETS, rows([1, 0, 0, 0], [300, 301, 9, 9]), [1.5, -0.5, -0.5, -0.5]),
    ("laser_d", ["reward.max_length=2000"], rows([1, 1], [2000, 2001]), [1.5, 1.0]),
    ("laser_de", TARGETS, rows([1, 1, 0, 0], [200, 201, 200, 201]), [1.5, 1.0, -0.5, 0.0]),
    ("laser_de", TARGETS, rows([0, 0], [301, 301], repetition=0.2), [0.0, 0.0]),
    ("laser_de", TARGETS, rows([0, 0], [301, 301], repetition=0.21), [-0.5, -0.5]),
    ("laser_de", TARGETS, [{**TRUNCATED, "length": 16384}], [-0.5]),
    ("hapo", ["++reward.history.p=1000"], rows([1] * 4, [500, 1000, 1500, 2500]), [1.707107, 1.0, 0.3, 0.3]),
    ("hapo", ["++reward.history.p=1000"], rows([0] * 4, [500, 1000, 1500, 2500]), [0.0, 0.0, -0.707107, -1.0]),
    ("hapo", ["++reward.history={p:1000}", "reward.weight=0.5"], rows([1, 0], [500, 2000]), [1.353553, -0.5]),
    ("hapo", ["++reward.history.q=1000"], rows([1, 0], [500, 2500]), [1.0, 0.0]),
    ("alp", ["reward.max_length=8192"], rows([1, 1, 1, 0], [2000] * 4), [*[0.981690] * 3, -0.018310]),
    ("alp", ["reward.max_length=8192"], rows([0] * 4, [2000] * 4), [-0.006104] * 4),
    ("alp", ["reward.max_length=1000", "reward.beta=0.5"], [{**TRUNCATED, "length": 1000}], [-0.5]),
    ("lead", [], rows([1, 1, 0], [1000, 2000, 10]), [1.051271, 0.951229, -1.0]),
    ("lead", [], rows([1, 0], [1000, 10]), [1.0, -1.0]),
    ("lead", [], rows([0, 0], [1000, 10]), [-1.0, -1.0]),
    ("lead", ["reward.min_length=4000"], rows([1] * 4, [4000, 4000, 4000, 9000]), [1.0] * 4),
    ("lead", ["reward.min_length=4000"], rows([1, 1], [4001, 4003]), [1.051271, 0.951229]),
]


@pytest.mark.parametrize(("reward", "words", "group", "rewards"), VECTORS)
def test_vectors(
    score: Callable[..., list[dict[str, Any]]],  # noqa: F811
    reward: str,
    words: list[str],
    group: list[Row],
    rewards: list[float],
) -> None:
    scored = score(group, f"reward={reward}", *words)
    assert [row["reward"] for row in scored] == pytest.approx(rewards, abs=6e-7)
