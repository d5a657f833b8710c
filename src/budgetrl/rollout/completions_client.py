"""A server of completions behind HTTP: retries while it is away, and errors that say what it said."""

import os
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3

from budgetrl.core.errors import RequestError, Unavailable
from budgetrl.settings.rollout import OpenAISettings

PATH = "/completions"
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds before the first retry, doubled for each further one, and where the doubling ends."""
CONNECTING = 10.0
"""Seconds in which a connection must come about."""
PASSING = (408, 425, 429)
"""Refusals that a later attempt may not meet: timed out, too early, too many requests. So may all of 500 and above."""
MOST_SHOWN = 300
"""Characters of a server's own words in an error."""


class CompletionsClient:
    """`post` may be called from many threads at once."""

    def __init__(self, spec: OpenAISettings) -> None:
        """Raises RequestError if the variable that is to hold the key is not set."""
        self._spec = spec
        self._url = spec.url.rstrip("/") + PATH
        self._http = urllib3.PoolManager(maxsize=spec.concurrency, retries=False, headers=_headers(spec))

    def post(self, body: Mapping[str, Any], given_up: threading.Event) -> dict[str, Any]:
        """The server's JSON answer, within `timeout` seconds, waits and attempts included.

        Raises RequestError for a refusal that will not change, and Unavailable when all attempts failed, or
        `given_up` was set during a wait.
        """
        end = time.monotonic() + self._spec.timeout
        for attempt in range(self._spec.retries + 1):
            try:
                return self._attempt(body, end - time.monotonic())
            except Unavailable as error:
                wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
                last = attempt == self._spec.retries or time.monotonic() + wait >= end
                if last or given_up.wait(wait):
                    raise Unavailable(f"{error}. {attempt + 1} attempts; {_GO_ON}") from None
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        timeout = urllib3.Timeout(connect=min(CONNECTING, seconds), read=seconds)
        try:
            response = self._http.request("POST", self._url, json=body, timeout=timeout)
        except urllib3.exceptions.LocationValueError as error:
            raise RequestError(f"rollout.url: {self._spec.url} is no address ({error})") from None
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"rollout.url: no answer from {self._url} ({_reason(error)})") from None
        if response.status >= 500 or response.status in PASSING:
            raise Unavailable(f"rollout.url: {self._url} fails with {response.status}: {_words(response)}")
        if response.status != 200:
            raise RequestError(f"{_blamed(response)}: {self._url} refused with {response.status}: {_words(response)}")
        return self._json(response)

    def _json(self, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        try:
            return response.json()
        except ValueError:
            said = _words(response)
            raise RequestError(f"rollout.url: {self._url} does not answer in JSON but with: {said}") from None


_GO_ON = "the same command goes on from what is written, once the server is back"


def _headers(spec: OpenAISettings) -> dict[str, str]:
    if spec.api_key_env is None:
        return {}
    if not (key := os.environ.get(spec.api_key_env)):
        raise RequestError(f"rollout.api_key_env: the variable {spec.api_key_env} is not set; it is to hold the key")
    return {"Authorization": f"Bearer {key}"}


def _blamed(response: urllib3.BaseHTTPResponse) -> str:
    """The key that a refusal is most likely about."""
    if response.status in (401, 403):
        return "rollout.api_key_env"
    said = _words(response).lower()
    if "prompt" in said and "string" in said:
        return "rollout.prompts (this server takes text alone: set rollout.prompts=text)"
    return "rollout.model" if "model" in said or "requested" in said else "rollout.url (does it end in /v1?)"


def _words(response: urllib3.BaseHTTPResponse) -> str:
    """What the body says: its message where there is one, in the form of any of the known servers."""
    try:
        said = response.json()
    except ValueError:
        said = response.data.decode(errors="replace")
    for key in ("error", "detail", "message"):
        if isinstance(said, Mapping) and key in said:
            said = said[key]
    return str(said).strip()[:MOST_SHOWN] or "nothing"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The last part of urllib3's message, which is what the operating system said."""
    return str(error).rpartition(": ")[2]
