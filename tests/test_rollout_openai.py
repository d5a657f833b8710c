"""rollout=openai against a scripted server: what is sent, what is made of the answers, and what is tried again."""

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from budgetrl.core.errors import RequestError, Unavailable
from budgetrl.core.records import Completion, Request, Sampling
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.decoding.base import Start
from budgetrl.decoding.two_budgets import TwoBudgets
from budgetrl.formats.plain import PlainFormat
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import make_codec
from budgetrl.rollout import completions_client
from budgetrl.rollout.openai_engine import OpenAIEngine
from budgetrl.rollout.programs import AnswerRequest, RunningProgram
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.rollout.openai import OpenAISettings

Answer = tuple[int, Any]
Script = Callable[[int, Mapping[str, Any]], Answer]
"""From the number of a request, from 0, and its body, to a status and a body."""


class Scripted:
    """A server on loopback that answers as its script says and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: Script = lambda _, body: completion(" 3")
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        lock, ours = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(ours.asked)
                    ours.asked.append({"path": self.path, **body})
                    ours.headers.append(dict(self.headers))
                status, answer = ours.script(number, body)
                content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


def completion(text: str, reason: str = "stop", **more: Any) -> Answer:
    return 200, {"choices": [{"text": text, "finish_reason": reason, **more}]}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(completions_client, "FIRST_WAIT", 0.001)
    ours = Scripted()
    thread = threading.Thread(target=ours.http.serve_forever, args=(0.01,))
    thread.start()
    yield ours
    ours.http.shutdown()
    thread.join()
    ours.http.server_close()


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return make_codec(make_tokenizer(), ModelSettings())


SAMPLING = Sampling(max_new_tokens=9, temperature=0.5, stop_ids=(1,))


def engine(scripted: Scripted, codec: TextCodec, **settings: Any) -> OpenAIEngine:
    return OpenAIEngine(OpenAISettings(**{"url": scripted.url, "model": "its name", **settings})).open(codec)


def generate(asked: OpenAIEngine, prompt: Sequence[int], seeds: Sequence[int]) -> list[Completion]:
    """One completion of the prompt for each seed."""
    return asked.generate([Request(tuple(prompt), seed, SAMPLING) for seed in seeds])


def ids_of(codec: TextCodec, text: str) -> tuple[int, ...]:
    return tuple(codec.tokenizer.encode(text, add_special_tokens=False))


def test_a_request_says_all_that_decides_a_completion(scripted: Scripted, codec: TextCodec) -> None:
    generate(engine(scripted, codec), [5, 6], [2**40 + 7])
    [body] = scripted.asked
    assert (body["path"], body["model"], body["prompt"]) == ("/v1/completions", "its name", [5, 6])
    assert (body["max_tokens"], body["temperature"], body["seed"]) == (9, 0.5, 7)
    # A server may otherwise draw as the model's own folder recommends.
    assert (body["top_p"], body["top_k"], body["min_p"], body["repetition_penalty"]) == (1.0, -1, 0.0, 1.0)
    assert body["stop_token_ids"] == [1]


def test_completions_come_back_in_the_order_of_the_call(scripted: Scripted, codec: TextCodec) -> None:
    scripted.script = lambda _, body: completion(f" {body['prompt'][0]} {body['seed']}", "length")
    requests = [Request((prompt,), seed, SAMPLING) for prompt, seed in [(5, 1), (7, 3), (5, 2)]]
    completions = engine(scripted, codec, concurrency=3).generate(requests)
    assert [codec.decode(c.token_ids) for c in completions] == [" 5 1", " 7 3", " 5 2"]
    assert {c.finish_reason for c in completions} == {"length"}


def test_text_becomes_tokens_with_an_end_where_the_model_ended(scripted: Scripted, codec: TextCodec) -> None:
    scripted.script = lambda n, _: [completion(" 3 = 3"), completion(" 3 = 3", "length"), completion("")][n]
    one = engine(scripted, codec, concurrency=1)
    ended, cut, empty = generate(one, [5], [1, 2, 3])
    text = ids_of(codec, " 3 = 3")
    assert (ended.token_ids, ended.finish_reason) == ((*text, 1), "stop")
    assert (cut.token_ids, cut.finish_reason) == (text, "length")
    assert (empty.token_ids, empty.finish_reason) == ((1,), "stop")
    assert len(ended.logprobs) == len(ended.token_ids)
    assert all(math.isnan(value) for value in ended.logprobs)


def test_tokens_that_the_server_sends_are_taken(scripted: Scripted, codec: TextCodec) -> None:
    scripted.script = lambda n, _: completion("read me not", token_ids=[[9, 8, 1], [9, 8]][n])
    with_end, without = generate(engine(scripted, codec, concurrency=1), [5], [1, 2])
    assert with_end.token_ids == without.token_ids == (9, 8, 1)


def test_a_text_prompt_is_one_that_the_server_reads_as_ours(scripted: Scripted, codec: TextCodec) -> None:
    text = "<user> 3 4<assistant>"
    asking = engine(scripted, codec, prompts="text")
    generate(asking, ids_of(codec, text), [1])
    assert scripted.asked[0]["prompt"] == text
    assert "top_k" not in scripted.asked[0]  # some servers refuse what they do not know


def adding_a_begin_token() -> TextCodec:
    """The codec of a tokenizer that puts `<pad>` before every text, as many put their begin token."""
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<pad>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    return make_codec(tokenizer, ModelSettings())


def test_a_begin_token_is_not_sent_where_the_server_adds_it(scripted: Scripted) -> None:
    codec = adding_a_begin_token()
    generate(engine(scripted, codec, prompts="text"), (0, *ids_of(codec, "<user> 3")), [1])
    assert scripted.asked[0]["prompt"] == "<user> 3"


def test_a_prompt_that_no_text_stands_for_is_refused(scripted: Scripted) -> None:
    codec = adding_a_begin_token()
    without = ids_of(codec, "<user> 3")
    with pytest.raises(
        RequestError, match=r"rollout\.prompts: .*'<user> 3'\.\.\. differently; set rollout\.prompts=ids"
    ):
        generate(engine(scripted, codec, prompts="text"), without, [1])
    assert not scripted.asked


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(scripted: Scripted, codec: TextCodec, status: int) -> None:
    scripted.script = lambda n, _: (status, {"error": "busy"}) if n < 2 else completion(" 3")
    [completed] = generate(engine(scripted, codec, retries=2), [5], [1])
    assert completed.token_ids == (*ids_of(codec, " 3"), 1)
    assert len(scripted.asked) == 3


def test_a_server_that_stays_away_ends_the_call(scripted: Scripted, codec: TextCodec) -> None:
    scripted.script = lambda *_: (503, {"error": {"message": "no room"}})
    with pytest.raises(Unavailable, match=r"failed with 503: no room, after 3 attempts; start the same command again"):
        generate(engine(scripted, codec, retries=2), [5], [1])
    assert len(scripted.asked) == 3
    gone = engine(scripted, codec, url="http://127.0.0.1:9/v1", retries=1)
    with pytest.raises(Unavailable, match=r"rollout\.url: no answer from http://127\.0\.0\.1:9/v1/completions"):
        generate(gone, [5], [1])


def test_no_wait_is_begun_that_would_outlast_the_deadline(
    scripted: Scripted, codec: TextCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions_client, "FIRST_WAIT", 1000.0)
    monkeypatch.setattr(completions_client, "LONGEST_WAIT", 1000.0)
    scripted.script = lambda *_: (503, "")
    with pytest.raises(Unavailable, match="after 1 attempt;"):
        generate(engine(scripted, codec, timeout=5), [5], [1])


REFUSALS = {
    "openai": (404, {"error": {"message": "The model `x` does not exist"}}, r"rollout\.model: .*404: The model `x`"),
    "fastapi": (400, {"detail": "prompt must be a string."}, r"prompt must be a string.*set rollout\.prompts=text"),
    "tgi": (422, {"error": "Input validation"}, r"rollout\.url.*422: Input validation"),
    "html": (404, "<h1>Not here</h1>", r"404: <h1>Not here.*ends in /v1"),
    "key": (401, {"error": {"message": "who are you"}}, r"rollout\.api_key_env: .*401: who are you"),
    "other json": (200, {"hello": 1}, r"contains no completion: \{'hello': 1\}"),
    "no json": (200, "<html>", r"is not JSON: <html>"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_passed_on_in_the_servers_words_at_once(scripted: Scripted, codec: TextCodec, kind: str) -> None:
    status, answer, message = REFUSALS[kind]
    scripted.script = lambda *_: (status, answer)
    with pytest.raises(RequestError, match=message):
        generate(engine(scripted, codec), [5], [1])
    assert len(scripted.asked) == 1


def test_one_refusal_ends_the_requests_that_wait(scripted: Scripted, codec: TextCodec) -> None:
    scripted.script = lambda *_: (400, {"error": "no"})
    with pytest.raises(RequestError, match="rejected the request with 400"):
        generate(engine(scripted, codec, concurrency=1), [5], range(200))
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join()
    assert len(scripted.asked) < 200


def test_the_key_is_read_from_the_environment(
    scripted: Scripted, codec: TextCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "hush")
    generate(engine(scripted, codec, api_key_env="OUR_KEY"), [5], [1])
    assert scripted.headers[0]["Authorization"] == "Bearer hush"
    monkeypatch.delenv("OUR_KEY")
    with pytest.raises(RequestError, match=r"rollout\.api_key_env: the environment variable OUR_KEY is not set"):
        engine(scripted, codec, api_key_env="OUR_KEY")


def test_a_server_does_not_follow_training(scripted: Scripted, codec: TextCodec) -> None:
    opened = engine(scripted, codec)
    assert not opened.capabilities.follows_training and not opened.capabilities.local
    with pytest.raises(RuntimeError, match="does not follow training"):
        opened.sync(1)


def test_a_closed_engine_generates_nothing(scripted: Scripted, codec: TextCodec) -> None:
    with engine(scripted, codec) as opened:
        generate(opened, [5], [1])
    with pytest.raises(RuntimeError, match="call open first"):
        generate(opened, [5], [1])


def test_a_server_knows_the_model_by_where_its_tokenizer_came_from(scripted: Scripted) -> None:
    tokenizer = make_tokenizer()
    tokenizer.name_or_path = "an/other"
    generate(engine(scripted, make_codec(tokenizer, ModelSettings()), model=None), [5], [1])
    assert scripted.asked[0]["model"] == "an/other"


def test_sampling_options_and_stop_strings_are_sent(scripted: Scripted, codec: TextCodec) -> None:
    scripted.script = lambda _, body: completion(" 3 ok", "stop", token_ids=[9, 8])
    sampling = Sampling(9, 0.7, (1,), (" ok",), 2, 40, 0.9, 0.05, 1.1)
    [answer] = engine(scripted, codec).generate([Request((5,), 3, sampling)])
    [body] = scripted.asked
    assert body["stop"] == [" ok"] and body["include_stop_str_in_output"] and body["min_tokens"] == 2
    assert (body["top_k"], body["top_p"], body["min_p"], body["repetition_penalty"]) == (40, 0.9, 0.05, 1.1)
    assert (answer.token_ids, answer.finish_reason) == ((9, 8), "stop")  # no end token: the text ended it


def test_forced_tokens_are_the_end_of_the_prompt(scripted: Scripted, codec: TextCodec) -> None:
    """A continuation has other draws than the tokens before it had."""
    scripted.script = lambda _, body: completion(" 3", "length", token_ids=[9])
    request = Request((5, 6), 3, SAMPLING, forced_ids=(7, 8), position=20)
    [answer] = engine(scripted, codec).generate([request])
    [body] = scripted.asked
    assert (body["prompt"], body["max_tokens"], body["seed"]) == ([5, 6, 7, 8], 9, 23)
    assert (answer.token_ids, answer.forced) == ((7, 8, 9), {0, 1})
    assert answer.logprobs[:2] == (0.0, 0.0) and math.isnan(answer.logprobs[2])


def test_a_program_runs_on_a_server(scripted: Scripted, codec: TextCodec) -> None:
    """Thinking that does not end is closed, and the answer is asked for in a second request with all of it."""
    close, thought = ids_of(codec, " \\boxed{"), ids_of(codec, " plan one wait")
    replies = [completion("", "length", token_ids=list(thought)), completion("", "stop", token_ids=[9, 1])]
    scripted.script = lambda number, _: replies[number]
    fmt = PlainFormat(close="", answer_prefix=" \\boxed{")
    start = Start(fmt, codec, 10)
    program = RunningProgram(TwoBudgets(thinking=3, answer=6), AnswerRequest((5, 6), 3, SAMPLING, start))
    engine(scripted, codec).run_programs([program])
    first, second = scripted.asked
    assert (first["prompt"], first["max_tokens"], first["stop"]) == ([5, 6], 3, [" \\boxed{"])
    assert (second["prompt"], second["max_tokens"]) == ([5, 6, *thought, *close], 6)
    answer = program.completion(0)
    assert answer.token_ids == (*thought, *close, 9, 1) and answer.finish_reason == "forced_close"
    assert answer.forced == {len(thought)} and answer.tokens_read == 2 + len(thought)


@pytest.mark.parametrize("named", ["stop_reason", "matched_stop"])
def test_a_stop_string_that_a_server_strips_is_put_back(scripted: Scripted, codec: TextCodec, named: str) -> None:
    sampling = Sampling(9, stop_ids=(1,), stop_strings=(" ok",))
    scripted.script = lambda _, body: completion(" 3", "stop", token_ids=[9], **{named: " ok"})
    [answer] = engine(scripted, codec).generate([Request((5,), 3, sampling)])
    assert answer.token_ids == (9, *ids_of(codec, " ok"))
