"""Run the programs of decoding methods (see `budgetrl.decoding.base`), many at a time, on any engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.core.seeds import derive_seed
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Piece, Start


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """The input of one decoding program: a prompt, a seed, and sampling settings."""

    prompt_ids: tuple[int, ...]
    seed: int
    sampling: Sampling
    start: Start


@dataclass(eq=False)
class RunningProgram:
    """A program that is producing one answer: its state, the requests it is waiting for, and its token counts."""

    method: DecodingMethod
    request: AnswerRequest
    intervention: object = None
    pending: Sequence[Continue] = ()
    """The requests that the program is waiting for. Empty once it has returned."""
    answer: Answer | None = None
    tokens_generated: int = 0
    """All tokens generated for the program, including those that are not part of its answer."""
    tokens_read: int = 0
    """Prompt and answer tokens that were computed again."""
    _pieces: dict[int, Piece] = field(default_factory=dict)
    """The pieces received so far, by their index in `pending`."""

    def __post_init__(self) -> None:
        self._program = self.method.program(self.request.start)
        self._advance(None)

    def requests(self) -> list[Request]:
        """Return the engine requests for `pending`, in the same order."""
        return [self._engine_request(step) for step in self.pending]

    def receive(self, index: int, completion: Completion, tokens_read: int) -> Piece:
        """Store the result of `pending[index]`, and return it as a piece.

        The last missing result resumes the program, which then replaces `pending`.
        """
        step = self.pending[index]
        piece = Piece(
            parent=step.after,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            forced=len(step.forced_ids),
            finish_reason=completion.finish_reason,
            ended=completion.finish_reason == "stop" and self._ends_answer(completion, len(step.forced_ids)),
            position=step.after.position + len(completion.token_ids),
        )
        self.tokens_generated += len(completion.token_ids)
        self.tokens_read += tokens_read
        self._pieces[index] = piece
        # Results arrive in any order; the program gets them in the order of its requests.
        if len(self._pieces) == len(self.pending):
            pieces = [self._pieces[i] for i in range(len(self.pending))]
            self._pieces = {}
            self._advance(pieces)
        return piece

    def completion(self, version: int) -> Completion:
        """Return the finished answer as one completion. `version` is that of the weights."""
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
            tokens_discarded=self.tokens_generated - len(token_ids),
            tokens_read=self.tokens_read,
        )

    def _ends_answer(self, completion: Completion, forced: int) -> bool:
        """Return whether a piece ends with an end token, or contains a stop string of the settings.

        A piece that stopped at a stop string or id of its own request can be continued.
        """
        sampling = self.request.sampling
        if completion.token_ids[-1] in sampling.stop_ids:
            return True
        if not sampling.stop_strings:
            return False
        text = self.request.start.tokenizer.decode(completion.token_ids[forced:])
        return any(stop in text for stop in sampling.stop_strings)

    def _advance(self, pieces: Sequence[Piece] | None) -> None:
        """Resume the program with the pieces it asked for; None starts it."""
        try:
            pending = next(self._program) if pieces is None else self._program.send(pieces)
            self.pending = list(pending)  # a copy, so that each round has a list of its own
        except StopIteration as end:
            # The return value of a generator is the exception's value.
            self.pending, self.answer = (), end.value
            return
        if not self.pending:
            problem = "its program yielded an empty list; yield requests, or return an answer"
            raise ValueError(f"decoding={self.method.name}: {problem}")

    def _engine_request(self, step: Continue) -> Request:
        """Convert one of the program's requests to an engine request."""
        base = self.request
        if step.max_tokens < 1:
            raise ValueError(
                f"decoding={self.method.name}: a request must ask for 1 token or more, got {step.max_tokens}"
            )
        sampling = replace(
            base.sampling,
            max_new_tokens=step.max_tokens,
            stop_ids=(*base.sampling.stop_ids, *step.stop_ids),
            stop_strings=(*base.sampling.stop_strings, *step.stop_strings),
            # `decoding.min_tokens` counts tokens of the answer, that of the request its own.
            min_tokens=max(step.min_tokens, base.sampling.min_tokens - step.after.position),
        )
        return Request(
            prompt_ids=base.prompt_ids + step.after.answer_ids(),
            # Branch 0 keeps the seed, so that an answer made in several parts equals one made in a single request.
            seed=derive_seed(base.seed, step.branch) if step.branch else base.seed,
            sampling=sampling,
            forced_ids=step.forced_ids,
            position=step.after.position,
            intervention=self.intervention if step.intervene else None,
        )


Generate = Callable[[Sequence[Request]], list[Completion]]


def run_in_rounds(generate: Generate, programs: Sequence[RunningProgram]) -> None:
    """Run programs on an engine that only completes prompts. Each round sends all requests that programs wait for.

    The prompt of a request contains the answer up to the piece that it continues. From the second round on, these
    prompt tokens count as read again.
    """
    is_first_round = True
    while running := [program for program in programs if program.pending]:
        requests: list[Request] = []
        senders: list[tuple[RunningProgram, int]] = []  # the program of each request, and its index there
        for program in running:
            for index, request in enumerate(program.requests()):
                requests.append(request)
                senders.append((program, index))
        completions = generate(requests)
        for (program, index), request, completion in zip(senders, requests, completions, strict=True):
            program.receive(index, completion, 0 if is_first_round else len(request.prompt_ids))
        is_first_round = False
