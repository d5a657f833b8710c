"""What is logged of an optimizer step, by hand."""

from dataclasses import fields

from budgetrl.training.tally import Tally

ONE = Tally(3, 1, 1.0, 3.0, 1.5, 0.3, 0.6, 0.9, 0.5, 2.0, 6.0, 1.0)
OTHER = Tally(1, 1, 0.0, 1.0, 1.0, 0.1, 0.2, 0.7, 0.7, 1.0, 2.0, 2.0)


def test_means_are_those_of_both_micro_batches_and_maxima_the_larger_ones() -> None:
    assert list((ONE + OTHER).means().items()) == [
        ("clip_fraction", 1 / 4),
        ("ratio", 4 / 4),
        ("ratio_max", 1.5),
        ("kl_old", 0.4 / 4),
        ("kl", (0.6 + 0.2) / 4),
        ("mismatch", 1.6 / 4),
        ("mismatch_max", 0.7),
        ("mismatch_cut", 3 / 4),
        ("entropy", 8 / 4),
        ("budget_entropy", 3 / 2),
    ]


def test_what_is_found_out_bit_by_bit_comes_together() -> None:
    bits = [Tally(**{f.name: getattr(ONE, f.name)}) for f in fields(Tally)]
    assert sum(bits, Tally()) == ONE


def test_nothing_has_means_of_zero() -> None:
    assert set(Tally().means().values()) == {0.0}
