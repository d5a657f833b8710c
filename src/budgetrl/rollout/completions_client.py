"""A server of completions behind HTTP: requests are repeated while it is away, and errors say what it said."""

import os
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3

from budgetrl.core.errors import RequestError, Unavailable
from budgetrl.settings.rollout.openai import OpenAISettings

PATH = "/completions"
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds before the first retry, doubled for each further one, and where the doubling ends."""
CONNECT_TIMEOUT = 10.0
"""Seconds in which a connection must come about."""
TEMPORARY = (408, 425, 429)
"""Statuses that a later attempt may not meet: timed out, too early, too many requests. So may all of 500 and above."""
MOST_SHOWN = 300
"""Characters of a server's own words in an error."""
ADVICE = "start the same command again once the server is back: it goes on from the rows that it has"


class CompletionsClient:
    """`post` may be called from many threads at once."""

    def __init__(self, settings: OpenAISettings) -> None:
        """Raises RequestError if the environment variable that should hold the key is not set."""
        self._settings = settings
        self._url = settings.url.rstrip("/") + PATH
        self._http = urllib3.PoolManager(maxsize=settings.concurrency, retries=False, headers=_headers(settings))

    def post(self, body: Mapping[str, Any], given_up: threading.Event) -> dict[str, Any]:
        """The server's JSON answer, within `timeout` seconds, waits and attempts included.

        Raises RequestError for a refusal that will not change, and Unavailable when all attempts failed, or
        `given_up` was set during a wait.
        """
        deadline = time.monotonic() + self._settings.timeout
        for attempt in range(self._settings.retries + 1):
            try:
                return self._attempt(body, deadline - time.monotonic())
            except Unavailable as error:
                wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
                last = attempt == self._settings.retries or time.monotonic() + wait >= deadline
                if last or given_up.wait(wait):
                    tried = f"{attempt + 1} attempts" if attempt else "1 attempt"
                    raise Unavailable(f"{error}, after {tried}; {ADVICE}") from None
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close all connections."""
        self._http.clear()

    def _attempt(self, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT, seconds), read=seconds)
        try:
            response = self._http.request("POST", self._url, json=body, timeout=timeout)
        except urllib3.exceptions.LocationValueError as error:
            raise RequestError(f"rollout.url: {self._settings.url} is not a valid URL ({error})") from None
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"rollout.url: no answer from {self._url} ({_reason(error)})") from None
        if response.status >= 500 or response.status in TEMPORARY:
            raise Unavailable(f"rollout.url: {self._url} fails with {response.status}: {_message(response)}")
        if response.status != 200:
            key = _likely_key(response)
            raise RequestError(f"{key}: {self._url} refused with {response.status}: {_message(response)}")
        return self._json(response)

    def _json(self, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        try:
            return response.json()
        except ValueError:
            shown = _message(response)
            raise RequestError(f"rollout.url: the answer of {self._url} is not JSON: {shown}") from None


def _headers(settings: OpenAISettings) -> dict[str, str]:
    variable = settings.api_key_env
    if variable is None:
        return {}
    key = os.environ.get(variable)
    if not key:
        raise RequestError(f"rollout.api_key_env: the environment variable {variable} is not set; set it to the key")
    return {"Authorization": f"Bearer {key}"}


def _likely_key(response: urllib3.BaseHTTPResponse) -> str:
    """The key that a refusal is most likely about."""
    if response.status in (401, 403):
        return "rollout.api_key_env"
    message = _message(response).lower()
    if "prompt" in message and "string" in message:
        return "rollout.prompts (this server takes text alone: set rollout.prompts=text)"
    if "model" in message or "requested" in message:
        return "rollout.model"
    return "rollout.url (does it end in /v1?)"


def _message(response: urllib3.BaseHTTPResponse) -> str:
    """The server's own message, found in the places where the known servers put it; else the whole body."""
    try:
        message = response.json()
    except ValueError:
        message = response.data.decode(errors="replace")
    for key in ("error", "detail", "message"):
        if isinstance(message, Mapping) and key in message:
            message = message[key]
    return str(message).strip()[:MOST_SHOWN] or "nothing"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The last part of urllib3's message, which is what the operating system said."""
    return str(error).rpartition(": ")[2]
