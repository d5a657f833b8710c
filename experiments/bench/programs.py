"""Tokens per second of a program that makes five requests per answer, against plain sampling of the same tokens.

The program samples each answer in five parts. How a token is sampled depends only on the answer's seed and the token's
position, so both sides generate the same tokens. They use the native engine and a mini model with random weights.

    OMP_NUM_THREADS=1 python experiments/bench/programs.py --answers 256 --repeats 5
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from budgetrl.core.records import Sampling
from budgetrl.data.mini.model import make_model, make_tokenizer
from budgetrl.decoding.base import Answer, Continue, DecodingMethod, Program, Start
from budgetrl.decoding.sampling import PlainSampling
from budgetrl.formats.plain import PlainFormat
from budgetrl.policy.loading import make_codec
from budgetrl.rollout.engine import Engine, make_engine
from budgetrl.rollout.programs import AnswerRequest, RunningProgram
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.rollout.native import NativeSettings


@dataclass(frozen=True)
class InFiveParts(DecodingMethod):
    """An answer of `max_new_tokens` tokens in five requests of equal length."""

    name: str = "five_parts"

    def program(self, start: Start) -> Program:
        piece = start.root
        for part in range(1, 6):
            end = start.max_new_tokens * part // 5
            [piece] = yield [Continue(piece, end - piece.position)]
        return Answer(piece, "length")


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--answers", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--prompt-length", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=100, help="of each answer")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    tokenizer = make_tokenizer()
    codec = make_codec(tokenizer, ModelSettings())
    torch.manual_seed(0)
    prompts = torch.randint(len(tokenizer), (args.answers, args.prompt_length)).tolist()
    engine = make_engine(NativeSettings(batch_size=args.batch)).open(codec, make_model(len(tokenizer), seed=0))

    def running(method: DecodingMethod) -> list[RunningProgram]:
        programs: list[RunningProgram] = []
        for seed, prompt in enumerate(prompts):
            start = Start(PlainFormat(), codec, args.tokens)
            programs.append(RunningProgram(method, AnswerRequest(tuple(prompt), seed, Sampling(args.tokens), start)))
        return programs

    speeds: dict[str, list[float]] = {"plain sampling": [], "five requests": []}
    for _ in range(args.repeats):
        for name, method in (("plain sampling", PlainSampling()), ("five requests", InFiveParts())):
            speeds[name].append(measure(engine, lambda method=method: running(method)))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, value in medians.items():
        print(f"{name:>15}: {value:>8,.0f} tokens/s (median of {args.repeats})")
    print(f"          ratio: {medians['five requests'] / medians['plain sampling']:>8.2f}")


def measure(engine: Engine, make: Callable[[], list[RunningProgram]]) -> float:
    """Tokens per second of running new programs to their answers."""
    programs = make()
    start = time.perf_counter()
    engine.run_programs(programs)
    seconds = time.perf_counter() - start
    return sum(len(program.completion(0).token_ids) for program in programs) / seconds


if __name__ == "__main__":
    main()
