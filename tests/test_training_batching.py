from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetrl.training.batching import (
    assign_to_ranks,
    collate,
    pad_to,
    plan_micro_batches,
    plan_ranks,
    split_evenly,
)

lengths_and_budget = st.tuples(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 150))


def padded(lengths: list[int], batch: list[int]) -> int:
    return len(batch) * max(lengths[i] for i in batch)


def test_plan_by_hand() -> None:
    assert plan_micro_batches([3, 9, 4, 4, 2, 1], 9) == [[1], [2, 3], [0, 4, 5]]
    assert plan_micro_batches([], 9) == []


@given(lengths_and_budget)
def test_plan_keeps_to_the_budget_and_covers_each_sequence_once(case: tuple[list[int], int]) -> None:
    lengths, budget = case
    plan = plan_micro_batches(lengths, budget)
    assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or padded(lengths, batch) <= budget


@given(lengths_and_budget)
def test_plan_starts_with_the_longest_and_closes_no_batch_early(case: tuple[list[int], int]) -> None:
    lengths, budget = case
    plan = plan_micro_batches(lengths, budget)
    in_order = [lengths[i] for batch in plan for i in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch, following in pairwise(plan):
        assert padded(lengths, [*batch, following[0]]) > budget


def test_assign_to_ranks_by_hand() -> None:
    assert assign_to_ranks([1, 4, 9, 5], 2) == [[2, 0], [3, 1]]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 5))
def test_assign_to_ranks_is_fair(lengths: list[int], ranks: int) -> None:
    hands = assign_to_ranks(lengths, ranks)
    assert sorted(i for hand in hands for i in hand) == list(range(len(lengths)))
    tokens = [sum(lengths[i] for i in hand) for hand in hands]
    assert max(tokens) - min(tokens) <= max(lengths, default=0)


@given(lengths_and_budget, st.integers(1, 5))
def test_all_ranks_run_the_same_number_of_micro_batches(case: tuple[list[int], int], ranks: int) -> None:
    lengths, budget = case
    plans = plan_ranks(lengths, budget, ranks)
    assert len(plans) == ranks
    assert len({len(plan) for plan in plans}) == 1
    batches = [batch for plan in plans for batch in plan]
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) <= 1 or padded(lengths, batch) <= budget for batch in batches)
    assert plans == plan_ranks(list(lengths), budget, ranks)
    assert ranks > 1 or plans == [plan_micro_batches(lengths, budget) or [[]]]


def test_pad_to() -> None:
    assert pad_to([[1]], 3) == [[1], [], []]
    with pytest.raises(ValueError, match="2 micro-batches do not fit into 1"):
        pad_to([[1], [2]], 1)


@pytest.mark.parametrize(("lengths", "budget"), [([3, 0], 8), ([3], 0)])
def test_bad_input_is_refused(lengths: list[int], budget: int) -> None:
    with pytest.raises(ValueError, match="token"):
        plan_micro_batches(lengths, budget)


@given(st.integers(1, 50), st.data())
def test_minibatches_are_even_and_in_order(prompts: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, prompts))
    split = split_evenly(prompts, parts)
    assert [i for part in split for i in part] == list(range(prompts))
    assert len(split) == parts
    assert max(map(len, split)) - min(map(len, split)) <= 1


@pytest.mark.parametrize("parts", [0, 4])
def test_more_minibatches_than_prompts_are_refused(parts: int) -> None:
    with pytest.raises(ValueError, match="3 prompts"):
        split_evenly(3, parts)


def test_collate_by_hand() -> None:
    batch = collate([([5, 6], [7], ()), ([8], [0, 9, 0], ())])
    assert batch.input_ids.tolist() == [[5, 6, 7, 0], [8, 0, 9, 0]]  # id 0 is a token here, and padding there
    assert batch.rows.tolist() == [0, 1, 1, 1]
    assert batch.columns.tolist() == [2, 1, 2, 3]


ids = st.lists(st.integers(0, 9), min_size=1, max_size=5)


@settings(deadline=None)
@given(st.lists(st.tuples(ids, st.lists(st.integers(0, 9), max_size=5)), min_size=1, max_size=5))
def test_collate_finds_the_completion_tokens(sequences: list[tuple[list[int], list[int]]]) -> None:
    batch = collate([(prompt, completion, ()) for prompt, completion in sequences])
    assert batch.input_ids[batch.rows, batch.columns].tolist() == [i for _, end in sequences for i in end]
    assert batch.input_ids.shape == (len(sequences), max(len(a) + len(b) for a, b in sequences))
    for row, (prompt, completion) in enumerate(sequences):
        text = [*prompt, *completion]
        assert batch.input_ids[row, : len(text)].tolist() == text
    assert (batch.columns > 0).all()


def test_an_empty_micro_batch_runs_and_has_a_gradient_of_zero() -> None:
    batch = collate([])
    assert batch.input_ids.shape == (1, 1)
    assert len(batch.rows) == len(batch.columns) == 0
    table = torch.ones(4, requires_grad=True)
    loss = table[batch.input_ids][batch.rows, batch.columns - 1].sum()
    assert torch.autograd.grad(loss, table)[0].tolist() == [0.0] * 4


def test_skipped_tokens_are_read_and_not_learned_from() -> None:
    batch = collate([([5, 6], [7, 8, 9], {1}), ([1], [2], {0})])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [1, 2, 0, 0, 0]]
    assert (batch.rows.tolist(), batch.columns.tolist()) == ([0, 0], [2, 4])


def test_collate_refuses_an_empty_prompt() -> None:
    with pytest.raises(ValueError, match="prompt"):
        collate([([1], [2], ()), ([], [2], ())])


def test_a_batch_moves() -> None:
    moved = collate([([1], [2], ())]).to("meta")
    assert {moved.input_ids.device.type, moved.rows.device.type, moved.columns.device.type} == {"meta"}
