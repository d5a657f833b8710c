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
from typing import TYPE_CHECKING, Any, Self

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Completion, FinishReason, Request
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.completions_client import CompletionsClient
from budgetrl.rollout.engine import Engine
from budgetrl.settings.rollout.openai import OpenAISettings

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

LARGEST_SEED = 2**31
"""Servers hand seeds to generators of 32 bits."""


class OpenAIEngine(Engine[OpenAISettings]):
    """Asks a server for completions, for prompts and stop tokens of our codec."""

    def __init__(self, settings: OpenAISettings) -> None:
        super().__init__(settings)
        self._opened: tuple[TextCodec, CompletionsClient] | None = None

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`. Raises RequestError if the variable that should hold the server's key is not set."""
        self._opened = codec, CompletionsClient(self.settings)
        return self

    def sync(self, version: int) -> None:
        """See `Engine.sync`. A server has the model that it was started with, whatever is trained here."""
        raise RuntimeError(f"the server at {self.settings.url} does not follow training")

    def close(self) -> None:
        """See `Engine.close`."""
        if self._opened:
            self._opened[1].close()
        self._opened = None

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`, and above for what differs.

        Raises RequestError if the server refuses a request, or would read a prompt other than it is; Unavailable
        if it stays away.
        """
        # Forced tokens are the end of the prompt to a server. Many requests share a prompt, which is encoded once.
        prompts: dict[tuple[int, ...], str | list[int]] = {}
        bodies: list[dict[str, Any]] = []
        for request in requests:
            ids = request.prompt_ids + request.forced_ids
            if ids not in prompts:
                prompts[ids] = self._prompt(ids)
            bodies.append(self._body(request, prompts[ids]))
        completions: list[Completion] = []
        for request, answer in zip(requests, self._ask(bodies), strict=True):
            completions.append(self._completion(request, answer))
        return completions

    @property
    def _codec(self) -> TextCodec:
        return self._ready()[0]

    def _ready(self) -> tuple[TextCodec, CompletionsClient]:
        if self._opened is None:
            raise RuntimeError("the engine has no codec: call open first")
        return self._opened

    def _ask(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The server's answers in the order of the requests. The first failure ends all that have not been sent."""
        _, client = self._ready()
        given_up = threading.Event()
        pool = ThreadPoolExecutor(self.settings.concurrency)
        waiting = [pool.submit(client.post, body, given_up) for body in bodies]
        try:
            wait(waiting, return_when=FIRST_EXCEPTION)
            failed = [future for future in waiting if future.done() and future.exception()]
            return [future.result() for future in failed or waiting]
        finally:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _body(self, request: Request, prompt: str | list[int]) -> dict[str, Any]:
        """What is sent. Settings that a server may have of its own, from the model's folder, are switched off."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.settings.model or self._codec.tokenizer.name_or_path,
            "prompt": prompt,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # A continuation has draws of its own: with the seed alone it would repeat those of the first tokens.
            "seed": (request.seed + request.position) % LARGEST_SEED,
        }
        if sampling.stop_strings:
            body["stop"] = list(sampling.stop_strings)
        if self.settings.prompts == "text":
            return body  # some servers refuse what they do not know
        return body | {
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "min_tokens": sampling.min_tokens,
            "include_stop_str_in_output": True,
            "stop_token_ids": list(sampling.stop_ids),
            "skip_special_tokens": False,
            "return_token_ids": True,
        }

    def _prompt(self, ids: Sequence[int]) -> str | list[int]:
        """Token ids, or the text that a server reads as these tokens: its tokenizer may put a begin token before it."""
        if self.settings.prompts == "ids":
            return list(ids)
        tokenizer, whole = self._codec.tokenizer, self._codec.decode(ids)
        for text in (whole, whole.removeprefix(str(tokenizer.bos_token))):
            if tokenizer.encode(text) == list(ids):
                return text
        raise RequestError(
            f"rollout.prompts: a server would encode the text of the prompt {whole[:60]!r}... as other tokens; "
            "set rollout.prompts=ids, with a server that takes token ids"
        )

    def _completion(self, request: Request, answer: Mapping[str, Any]) -> Completion:
        try:
            choice = answer["choices"][0]
            text = choice["text"]
            reason: FinishReason = "stop" if choice["finish_reason"] == "stop" else "length"
        except (KeyError, IndexError, TypeError):
            url, shown = self.settings.url, str(answer)[:200]
            raise RequestError(f"rollout.url: the answer of {url} holds no completion: {shown}") from None
        ids = choice.get("token_ids") or self._codec.tokenizer.encode(text, add_special_tokens=False)
        ended = bool(ids) and ids[-1] in self._codec.stop_ids
        if reason == "stop" and not ended and not any(stop in text for stop in request.sampling.stop_strings):
            ids = [*ids, self._codec.stop_ids[0]]
        forced = request.forced_ids
        logprobs = (0.0,) * len(forced) + (math.nan,) * len(ids)
        return Completion((*forced, *ids), logprobs, reason, forced=frozenset(range(len(forced))))
