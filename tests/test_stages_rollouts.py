"""Dynamic sampling, on numbers in place of completions: a group's rewards are the group itself."""

from hypothesis import given
from hypothesis import strategies as st

from budgetrl.stages.rollouts import informative_groups

Group = list[float]
SPLIT, SOLVED, FAILED = [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]


def fill(attempts: list[list[Group]], count: int) -> tuple[list[Group], dict[str, float], list[int]]:
    """With what each attempt would write, if it were asked for all of it; and what was asked for."""
    asked: list[int] = []

    def write(attempt: int, missing: int) -> list[Group]:
        asked.append(missing)
        return attempts[attempt][:missing]

    groups, effort = informative_groups(write, lambda group: group, count, len(attempts))  # pyright: ignore
    return groups, effort, asked  # pyright: ignore[reportReturnType]


def test_a_full_batch_is_left_alone() -> None:
    groups, effort, asked = fill([[SPLIT, SPLIT], [SPLIT]], 2)
    assert groups == [SPLIT, SPLIT] and asked == [2]
    assert effort == {"rollouts": 1, "groups_dropped": 0}


def test_equal_groups_are_replaced() -> None:
    late = [0.5, 0.0]
    groups, effort, asked = fill([[SOLVED, SPLIT, FAILED], [FAILED, late], [late, SPLIT]], 3)
    assert groups == [SPLIT, late, late] and asked == [3, 2, 1]
    assert effort == {"rollouts": 3, "groups_dropped": 3}


def test_what_is_missing_in_the_end_is_made_up_of_equal_groups() -> None:
    groups, effort, asked = fill([[SOLVED, SPLIT, FAILED], [FAILED, FAILED]], 3)
    assert groups == [SPLIT, SOLVED, FAILED] and asked == [3, 2]
    assert effort == {"rollouts": 2, "groups_dropped": 2}


@given(st.lists(st.lists(st.sampled_from([SPLIT, SOLVED]), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_batch_keeps_its_size_and_no_equal_group_stands_where_another_was_written(
    attempts: list[list[Group]],
) -> None:
    groups, effort, asked = fill(attempts, 4)
    written = [group for attempt, n in zip(attempts, asked, strict=False) for group in attempt[:n]]
    assert len(groups) == 4
    assert groups.count(SPLIT) == written.count(SPLIT)
    assert effort == {"rollouts": len(asked), "groups_dropped": len(written) - 4}
