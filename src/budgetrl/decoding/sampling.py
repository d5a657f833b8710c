"""`sampling`: plain sampling with a single request."""

from dataclasses import dataclass

from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Program, Start


@dataclass(frozen=True)
class PlainSampling(DecodingMethod):
    """The model generates until it ends its answer or reaches the token limit."""

    name: str = "sampling"

    is_one_request = True
    is_on_policy = True

    def program(self, start: Start) -> Program:
        """See `DecodingMethod.program`. Other methods fall back to it; engines send the request directly."""
        [piece] = yield [Continue(start.root, start.max_new_tokens)]
        return Answer(piece, piece.finish_reason)
