"""Completions from a server that speaks OpenAI's protocol: vLLM, SGLang, TGI, `transformers serve`.

Prompts are ours to the token, chat template and pre-filled budget included, and go to `/completions`: the server
only continues them. What comes back differs from the engines on this machine in three ways:

- Tokens are the server's own where it sends them (vLLM), else its text, encoded with our tokenizer: for
  a completion that its model did not tokenize as the tokenizer would, a token more or less.
- Log-probabilities are NaN, so nothing can be trained on them.
- A completion that draws its end token as the very last of `max_new_tokens` counts as cut off where the
  server says so.

Each request has its own seed, but a server draws in its own way: completions equal those of another engine
at temperature 0 alone.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Completion
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.completions_client import CompletionsClient
from budgetrl.rollout.engine import Sampling
from budgetrl.settings.rollout import OpenAISettings

LARGEST_SEED = 2**31
"""Servers hand seeds to generators of 32 bits."""


class OpenAIEngine:
    """Completions of `model`, as the server calls it, asked in the words of `codec`."""

    def __init__(self, spec: OpenAISettings, model: str, codec: TextCodec) -> None:
        self._spec, self._model, self._codec = spec, model, codec
        self._server = CompletionsClient(spec)

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Completion]]:
        """See `RolloutEngine.generate`, and above for what differs.

        Raises RequestError if the server refuses a request, or would read a prompt other than it is; Unavailable
        if it stays away.
        """
        sent = [list(prompt) if self._spec.prompts == "ids" else self._text(prompt) for prompt in prompts]
        bodies = [self._body(p, seed, sampling) for p, row in zip(sent, seeds, strict=True) for seed in row]
        done = iter(self._ask(bodies))
        return [[next(done) for _ in row] for row in seeds]

    def _ask(self, bodies: Sequence[Mapping[str, Any]]) -> list[Completion]:
        """Completions in the order of the requests. The first failure ends all that have not been sent."""
        given_up = threading.Event()
        pool = ThreadPoolExecutor(self._spec.concurrency)
        waiting = [pool.submit(self._server.post, body, given_up) for body in bodies]
        try:
            wait(waiting, return_when=FIRST_EXCEPTION)
            failed = [future for future in waiting if future.done() and future.exception()]
            return [self._read(future.result()) for future in failed or waiting]
        finally:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _body(self, prompt: str | list[int], seed: int, sampling: Sampling) -> dict[str, Any]:
        """One request. Settings that a server may have of its own, from the model's folder, are switched off."""
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": 1.0,
            "seed": seed % LARGEST_SEED,
        }
        if self._spec.prompts == "text":
            return body
        return body | {
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": list(sampling.stop_ids),
            "skip_special_tokens": False,
            "return_token_ids": True,
        }

    def _text(self, prompt: Sequence[int]) -> str:
        """The text that a server reads as this prompt, with whatever its tokenizer puts before a text."""
        tokenizer, whole = self._codec.tokenizer, self._codec.decode(prompt)
        for text in (whole, whole.removeprefix(str(tokenizer.bos_token))):
            if tokenizer.encode(text) == list(prompt):
                return text
        raise RequestError(
            f"rollout.prompts: as text, a server would read other tokens than {whole[:60]!r}... has; "
            "set rollout.prompts=ids, with a server that takes them"
        )

    def _read(self, answer: Mapping[str, Any]) -> Completion:
        try:
            choice = answer["choices"][0]
            finished, text = choice["finish_reason"] == "stop", choice["text"]
        except (KeyError, IndexError, TypeError):
            raise RequestError(f"rollout.url: {self._spec.url} gives no completions but {str(answer)[:200]}") from None
        ids = choice.get("token_ids") or self._codec.tokenizer.encode(text, add_special_tokens=False)
        ended = bool(ids) and ids[-1] in self._codec.stop_ids
        if finished and not ended:
            ids = [*ids, self._codec.stop_ids[0]]
        return Completion(tuple(ids), (math.nan,) * len(ids), finished)
