"""Compare the tokens per second of the native engine with those of transformers' `generate`, in one run.

Both generate the same completions (same seeds), so they do the same work. The model has random weights and does not
learn to stop: `--stops` of the vocabulary's tokens end a completion, so lengths are geometrically distributed.

    OMP_NUM_THREADS=1 python experiments/bench/rollout.py --batch 128 --repeats 3
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from budgetrl.core.records import Request, Sampling
from budgetrl.data.mini.model import make_tokenizer
from budgetrl.policy.loading import make_codec
from budgetrl.rollout.engine import Engine, make_engine
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.rollout.native import NativeSettings
from budgetrl.settings.rollout.transformers import TransformersSettings


def main() -> None:
    args = parse()
    torch.manual_seed(0)
    model = random_model(args).to(args.device, getattr(torch, args.dtype)).eval()
    requests = make_requests(args)
    codec = make_codec(make_tokenizer(), ModelSettings())  # not used: prompts and completions are token ids
    engines: dict[str, Engine] = {
        "native": make_engine(NativeSettings(batch_size=args.batch)).open(codec, model),
        "transformers": make_engine(TransformersSettings(batch_size=args.batch)).open(codec, model),
    }
    clock = time.process_time if args.cpu_time else time.perf_counter
    speeds: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(args.repeats):
        for name, engine in engines.items():
            if name == "native" or repeat < args.reference_repeats:
                speeds[name].append(measure(engine, requests, clock))
    for name, values in speeds.items():
        print(f"{name:>12}: {statistics.median(values):>10,.0f} tokens/s (median of {len(values)})")
    native, reference = (statistics.median(values) for values in speeds.values())
    print(f"       ratio: {native / reference:>10.1f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--kv-heads", type=int, default=1)
    parser.add_argument("--ff", type=int, default=192)
    parser.add_argument("--vocabulary", type=int, default=156)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8, help="completions per prompt")
    parser.add_argument("--prompt-length", type=int, default=34, help="tokens of the longest prompt")
    parser.add_argument("--max-new", type=int, default=420)
    parser.add_argument("--stops", type=int, default=1, help="mean length is about vocabulary / stops")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference-repeats", type=int, default=1, help="repeats of transformers, which is slower")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU seconds, for a busy machine")
    return parser.parse_args()


def random_model(args: argparse.Namespace) -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        intermediate_size=args.ff,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        tie_word_embeddings=True,
        initializer_range=0.05,
    )
    return Qwen2ForCausalLM(config)


def make_requests(args: argparse.Namespace) -> list[Request]:
    """Return several requests for each prompt; the prompts' lengths are spread evenly up to the longest."""
    sampling = Sampling(args.max_new, stop_ids=tuple(range(args.stops)))
    lengths = torch.linspace(args.prompt_length / 4, args.prompt_length, args.prompts).ceil().int().tolist()
    requests: list[Request] = []
    for place, length in enumerate(lengths):
        prompt = tuple(torch.randint(args.vocabulary, (length,)).tolist())
        requests += [Request(prompt, 1000 * place + sample, sampling) for sample in range(args.samples)]
    return requests


def measure(engine: Engine, requests: list[Request], clock: Callable[[], float]) -> float:
    """Return the generated tokens per second of one call."""
    start = clock()
    completions = engine.generate(requests)
    seconds = clock() - start
    lengths = [len(completion.token_ids) for completion in completions]
    name = type(engine).__name__
    print(f"{name:>20}: {sum(lengths)} tokens, mean length {statistics.mean(lengths):.0f}, {seconds:.2f} s")
    return sum(lengths) / seconds


if __name__ == "__main__":
    main()
