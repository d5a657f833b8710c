"""Running the programs of decoding methods: many at a time, on any engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.core.seeds import derive_seed
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Piece, Start


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """An answer that a decoding method is to make."""

    prompt_ids: tuple[int, ...]
    seed: int
    sampling: Sampling
    start: Start


@dataclass(eq=False)
class RunningProgram:
    """One answer on its way: the program, the pieces it is waiting for, and what it has cost."""

    method: DecodingMethod
    request: AnswerRequest
    intervention: object = None
    asked: Sequence[Continue] = ()
    """What the program waits for. Nothing once it has returned."""
    answer: Answer | None = None
    tokens_made: int = 0
    tokens_read: int = 0
    _pieces: dict[int, Piece] = field(default_factory=dict)
    """The pieces that have come, by their place in `asked`."""

    def __post_init__(self) -> None:
        self._program = self.method.program(self.request.start)
        self._advance(None)

    def requests(self) -> list[Request]:
        """What is asked of an engine."""
        return [self._request(asked) for asked in self.asked]

    def receive(self, place: int, completion: Completion, tokens_read: int) -> Piece:
        """Take in what came of `asked[place]`. Once all have come, the program goes on, and `asked` is new."""
        asked = self.asked[place]
        piece = Piece(
            parent=asked.after,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            forced=len(asked.forced_ids),
            finish_reason=completion.finish_reason,
            ended=completion.finish_reason == "stop" and completion.token_ids[-1] in self.request.sampling.stop_ids,
            position=asked.after.position + len(completion.token_ids),
        )
        self.tokens_made += len(completion.token_ids)
        self.tokens_read += tokens_read
        self._pieces[place] = piece
        if len(self._pieces) == len(self.asked):
            pieces = [self._pieces[number] for number in range(len(self.asked))]
            self._pieces = {}
            self._advance(pieces)
        return piece

    def completion(self, version: int) -> Completion:
        """The whole answer, as one completion."""
        assert self.answer is not None
        token_ids: list[int] = []
        logprobs: list[float] = []
        forced: set[int] = set()
        for piece in self.answer.piece.path():
            forced.update(range(len(token_ids), len(token_ids) + piece.forced))
            token_ids += piece.token_ids
            logprobs += piece.logprobs
        return Completion(
            token_ids=tuple(token_ids),
            logprobs=tuple(logprobs),
            finish_reason=self.answer.finish_reason,
            version=version,
            forced=frozenset(forced),
            is_truncated=self.answer.is_truncated,
            tokens_discarded=self.tokens_made - len(token_ids),
            tokens_read=self.tokens_read,
        )

    def _advance(self, pieces: Sequence[Piece] | None) -> None:
        try:
            self.asked = next(self._program) if pieces is None else self._program.send(pieces)
        except StopIteration as end:
            self.asked, self.answer = (), end.value
            return
        if not self.asked:
            raise ValueError(
                f"decoding={self.method.name}: its program yielded an empty list; yield requests, or return"
            )

    def _request(self, asked: Continue) -> Request:
        whole = self.request
        sampling = replace(
            whole.sampling,
            max_new_tokens=asked.max_tokens,
            stop_strings=(*whole.sampling.stop_strings, *asked.stop_strings),
            min_tokens=asked.min_tokens,
        )
        return Request(
            prompt_ids=whole.prompt_ids + asked.after.answer_ids(),
            seed=derive_seed(whole.seed, asked.branch) if asked.branch else whole.seed,
            sampling=sampling,
            forced_ids=asked.forced_ids,
            position=asked.after.position,
            intervention=self.intervention if asked.intervene else None,
        )


Generate = Callable[[Sequence[Request]], list[Completion]]


def run_in_rounds(generate: Generate, programs: Sequence[RunningProgram]) -> None:
    """Run programs on an engine that only completes prompts: each round asks for all that they wait for at once.

    What a program goes on from is sent as a prompt, and counts as read again from the second round on.
    """
    is_first = True
    while waiting := [program for program in programs if program.asked]:
        requests: list[Request] = []
        places: list[tuple[RunningProgram, int]] = []
        for program in waiting:
            for place, request in enumerate(program.requests()):
                requests.append(request)
                places.append((program, place))
        completions = generate(requests)
        for (program, place), request, completion in zip(places, requests, completions, strict=True):
            program.receive(place, completion, 0 if is_first else len(request.prompt_ids))
        is_first = False
