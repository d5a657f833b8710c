"""`sampling`: one request, drawn to its end."""

from dataclasses import dataclass

from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Program, Start


@dataclass(frozen=True)
class PlainSampling(DecodingMethod):
    """The model writes until it ends or runs into the limit."""

    name: str = "sampling"

    is_one_request = True

    def program(self, start: Start) -> Program:
        [piece] = yield [Continue(start.root, start.max_new_tokens, min_tokens=self.min_tokens)]
        return Answer(piece, piece.finish_reason)
