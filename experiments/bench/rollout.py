"""Tokens per second of the native engine against transformers' `generate`, side by side in one run.

Both write the very same completions (same seeds), so the ratio is of equal work. The model is random and
never stops by itself: `--stops` of the vocabulary's tokens end a completion, which makes lengths geometric.

    OMP_NUM_THREADS=1 python experiments/bench/rollout.py --batch 128 --repeats 3
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from budgetrl.rollout.engine import RolloutEngine, Sampling
from budgetrl.rollout.native import NativeEngine
from budgetrl.rollout.transformers_engine import TransformersEngine


def main() -> None:
    args = parse()
    torch.manual_seed(0)
    model = random_model(args).to(args.device, getattr(torch, args.dtype)).eval()
    prompts, seeds = requests(args)
    sampling = Sampling(args.max_new, stop_ids=tuple(range(args.stops)))
    engines: dict[str, RolloutEngine] = {
        "native": NativeEngine(model, args.batch),
        "transformers": TransformersEngine(model, args.batch),
    }
    clock = time.process_time if args.cpu_time else time.perf_counter
    speeds: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(args.repeats):
        for name, engine in engines.items():
            if name == "native" or repeat < args.reference_repeats:
                speeds[name].append(measure(engine, prompts, seeds, sampling, clock))
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
    parser.add_argument("--samples", type=int, default=8, help="completions a prompt")
    parser.add_argument("--prompt-length", type=int, default=34, help="of the longest prompt")
    parser.add_argument("--max-new", type=int, default=420)
    parser.add_argument("--stops", type=int, default=1, help="mean length is about vocabulary / stops")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference-repeats", type=int, default=1, help="of the slow side")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds: for a busy machine")
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


def requests(args: argparse.Namespace) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of lengths spread evenly up to the longest, and seeds for the samples of each."""
    lengths = torch.linspace(args.prompt_length / 4, args.prompt_length, args.prompts).ceil().int().tolist()
    prompts = [torch.randint(args.vocabulary, (length,)).tolist() for length in lengths]
    return prompts, [[1000 * p + s for s in range(args.samples)] for p in range(args.prompts)]


def measure(
    engine: RolloutEngine,
    prompts: list[list[int]],
    seeds: list[list[int]],
    sampling: Sampling,
    clock: Callable[[], float],
) -> float:
    """New tokens per second of one call."""
    start = clock()
    groups = engine.generate(prompts, seeds, sampling)
    seconds = clock() - start
    lengths = [len(completion.token_ids) for group in groups for completion in group]
    name = type(engine).__name__
    print(f"{name:>20}: {sum(lengths)} tokens, mean length {statistics.mean(lengths):.0f}, {seconds:.2f} s")
    return sum(lengths) / seconds


if __name__ == "__main__":
    main()
