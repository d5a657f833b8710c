"""An engine that asks a server with OpenAI's completions API: vLLM, SGLang, TGI, or `transformers serve`.

Prompts are built here, including chat template and pre-filled budget, and sent to `/completions`, which only continues
them. Results differ from those of the local engines in three ways:

- Token ids come from the server if it returns them (vLLM). Otherwise its text is tokenized again here, which can give
  slightly more or fewer tokens than the model generated.
- Log-probabilities are NaN, so the completions cannot be trained on.
- If the last of `max_new_tokens` is the end token, the completion still counts as truncated if the server reports
  `length`.

Each request has its own seed, but servers have their own random generators. Completions match those of another engine
only at temperature 0.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Self

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.core.records import Completion, FinishReason, Request
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.completions_client import CompletionsClient
from budgetrl.rollout.engine import Engine
from budgetrl.settings.rollout.openai import OpenAISettings

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

LARGEST_SEED = 2**31
"""Seeds must stay below this, because servers use 32-bit generators."""


class OpenAIEngine(Engine[OpenAISettings]):
    """Sends requests to a server and returns its completions."""

    def __init__(self, settings: OpenAISettings) -> None:
        super().__init__(settings)
        self._opened: tuple[TextCodec, CompletionsClient] | None = None

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`.

        Raises:
            RequestError: The environment variable that should contain the API key is not set.
        """
        self._opened = codec, CompletionsClient(self.settings)
        return self

    def sync(self, version: int) -> None:
        """Raise RuntimeError: a server keeps the weights that it was started with."""
        raise RuntimeError(f"the server at {self.settings.url} does not follow training")

    def close(self) -> None:
        """See `Engine.close`."""
        if self._opened:
            self._opened[1].close()
        self._opened = None

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`, and the module's docstring for the differences.

        Raises:
            RequestError: The server rejects a request, or would tokenize a text prompt differently.
            Unavailable: The server does not answer.
        """
        # To a server, forced tokens are simply the end of the prompt. Many requests share a prompt, so encode it once.
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
        return self._require_open()[0]

    def _require_open(self) -> tuple[TextCodec, CompletionsClient]:
        if self._opened is None:
            raise RuntimeError("the engine has no codec: call open first")
        return self._opened

    def _ask(self, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the server's answers in the order of the requests. The first failure cancels all unsent requests."""
        _, client = self._require_open()
        canceled = threading.Event()
        pool = ThreadPoolExecutor(self.settings.concurrency)
        futures = [pool.submit(client.post, body, canceled) for body in bodies]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()  # raises if this request failed
            return [future.result() for future in futures]
        finally:
            # `canceled` ends the retries of running requests, and `cancel_futures` drops those that have not started.
            canceled.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _body(self, request: Request, prompt: str | list[int]) -> dict[str, Any]:
        """Return the JSON body of a request.

        With prompts=ids it sets every sampling option, because servers otherwise take defaults from the model's folder.
        """
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.settings.model or self._codec.tokenizer.name_or_path,
            "prompt": prompt,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Add the position, or a continuation would reuse the random numbers of the answer's first tokens.
            "seed": (request.seed + request.position) % LARGEST_SEED,
        }
        if sampling.stop_strings:
            body["stop"] = list(sampling.stop_strings)
        if self.settings.prompts == "text":
            return body  # servers that only take text may reject options that are not in OpenAI's API
        return body | {
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            # A server does not count forced tokens, which are part of its prompt.
            "min_tokens": max(0, sampling.min_tokens - len(request.forced_ids)),
            "include_stop_str_in_output": True,
            "stop_token_ids": list(sampling.stop_ids),
            "skip_special_tokens": False,
            "return_token_ids": True,
        }

    def _prompt(self, ids: Sequence[int]) -> str | list[int]:
        """Return the prompt to send: token ids, or text that the server tokenizes to exactly these ids.

        Raises:
            RequestError: No such text exists.
        """
        if self.settings.prompts == "ids":
            return list(ids)
        tokenizer = self._codec.tokenizer
        whole = self._codec.decode(ids)
        # If the tokenizer adds a begin token itself, the text must not contain it.
        for text in (whole, whole.removeprefix(str(tokenizer.bos_token))):
            if tokenizer.encode(text) == list(ids):
                return text
        problem = f"the server would tokenize the text of the prompt {whole[:60]!r}... differently"
        raise RequestError(
            Message("rollout.prompts", problem, "set rollout.prompts=ids and use a server that accepts token ids")
        )

    def _completion(self, request: Request, answer: Mapping[str, Any]) -> Completion:
        """Convert a server's answer, such as {"choices": [{"text": " 7", "finish_reason": "stop"}]}."""
        try:
            choice = answer["choices"][0]
            text = choice["text"]
            reason: FinishReason = "stop" if choice["finish_reason"] == "stop" else "length"
        except (KeyError, IndexError, TypeError):
            problem = f"the answer of {self.settings.url} contains no completion: {str(answer)[:200]}"
            raise RequestError(Message("rollout.url", problem)) from None
        ids = choice.get("token_ids") or self._codec.tokenizer.encode(text, add_special_tokens=False)
        ended = bool(ids) and ids[-1] in self._codec.stop_ids
        has_stop_string = any(stop in text for stop in request.sampling.stop_strings)
        if reason == "stop" and not ended and not has_stop_string:
            # Servers usually strip what ended the completion: an end token, or a stop string that they name here.
            matched = choice.get("stop_reason") or choice.get("matched_stop")
            if matched in request.sampling.stop_strings:
                ids = [*ids, *self._codec.encode(str(matched))]
            else:
                ids = [*ids, self._codec.stop_ids[0]]
        forced = request.forced_ids
        logprobs = (0.0,) * len(forced) + (math.nan,) * len(ids)
        return Completion((*forced, *ids), logprobs, reason, forced=frozenset(range(len(forced))))
