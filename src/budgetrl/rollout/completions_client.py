"""HTTP client of a completions server. It retries while the server is unavailable, and passes on its messages."""

import os
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3

from budgetrl.core.errors import RequestError, Unavailable
from budgetrl.core.messages import Message
from budgetrl.settings.rollout.openai import OpenAISettings

PATH = "/completions"
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds before the first retry, which double for each further retry, and their maximum."""
CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""
TEMPORARY = (408, 425, 429)
"""Statuses to retry: timeout, too early, too many requests. All statuses from 500 are retried too."""
MAX_MESSAGE = 300
"""Maximum number of characters of the server's message in an error."""
ADVICE = "start the same command again once the server is back; it resumes from the finished rows"


class CompletionsClient:
    """Posts requests to one server. Thread-safe."""

    def __init__(self, settings: OpenAISettings) -> None:
        """Raises RequestError if the environment variable that should contain the API key is not set."""
        self._settings = settings
        self._url = settings.url.rstrip("/") + PATH
        self._http = urllib3.PoolManager(maxsize=settings.concurrency, retries=False, headers=_headers(settings))

    def post(self, body: Mapping[str, Any], canceled: threading.Event) -> dict[str, Any]:
        """Return the server's JSON answer. All attempts and waits together take at most `timeout` seconds.

        Raises:
            RequestError: The server rejected the request, so a retry would not help.
            Unavailable: All attempts failed, or `canceled` was set while waiting for the next one.
        """
        deadline = time.monotonic() + self._settings.timeout
        for attempt in range(self._settings.retries + 1):
            try:
                return self._attempt(body, deadline - time.monotonic())
            except Unavailable as error:
                # Random waits, so that the many threads do not all retry at the same moment.
                wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
                last = attempt == self._settings.retries or time.monotonic() + wait >= deadline
                if last or canceled.wait(wait):
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
            raise RequestError(Message("rollout.url", f"{self._settings.url} is not a valid URL ({error})")) from None
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"rollout.url: no answer from {self._url} ({_reason(error)})") from None
        if response.status >= 500 or response.status in TEMPORARY:
            raise Unavailable(f"rollout.url: {self._url} failed with {response.status}: {_message(response)}")
        if response.status != 200:
            key, hint = _likely_key(response)
            text = f"{self._url} rejected the request with {response.status}: {_message(response)}"
            raise RequestError(Message(key, text, hint))
        try:
            return response.json()
        except ValueError:
            text = f"the answer of {self._url} is not JSON: {_message(response)}"
            raise RequestError(Message("rollout.url", text)) from None


def _headers(settings: OpenAISettings) -> dict[str, str]:
    """Return the authorization header, or nothing if the settings name no variable for the API key."""
    variable = settings.api_key_env
    if variable is None:
        return {}
    key = os.environ.get(variable)
    if not key:
        text = f"the environment variable {variable} is not set"
        raise RequestError(Message("rollout.api_key_env", text, "set it to the API key"))
    return {"Authorization": f"Bearer {key}"}


def _likely_key(response: urllib3.BaseHTTPResponse) -> tuple[str, str]:
    """Guess the key that a rejection is about. Returns the key and a hint, which may be empty."""
    if response.status in (401, 403):
        return "rollout.api_key_env", ""
    message = _message(response).lower()
    if "prompt" in message and "string" in message:
        return "rollout.prompts", "this server only accepts text: set rollout.prompts=text"
    if "model" in message or "requested" in message:
        return "rollout.model", ""
    return "rollout.url", "check that it ends in /v1"


def _message(response: urllib3.BaseHTTPResponse) -> str:
    """Return the server's error message, or the whole body if it has none."""
    try:
        message = response.json()
    except ValueError:
        message = response.data.decode(errors="replace")
    # vLLM and OpenAI send {"error": {"message": ...}}, FastAPI servers {"detail": ...}.
    for key in ("error", "detail", "message"):
        if isinstance(message, Mapping) and key in message:
            message = message[key]
    return str(message).strip()[:MAX_MESSAGE] or "no message"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """Return the last part of urllib3's message, which comes from the operating system."""
    return str(error).rpartition(": ")[2]
