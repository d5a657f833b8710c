"""The ranks of a run and the few things they tell each other."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(hours=2)
"""Ranks wait for each other this long: one may still be writing a long completion."""


@dataclass(frozen=True)
class TorchWorld:
    """This rank among the others, joined through torch.distributed (`runs.world.World`)."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def join() -> "TorchWorld":
        """Join the ranks that the launcher described in RANK, WORLD_SIZE, LOCAL_RANK and MASTER_*."""
        rank, size, local = (int(os.environ.get(k, d)) for k, d in _RANK_VARIABLES)
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            os.environ.setdefault("DS_ACCELERATOR", device.type)  # or DeepSpeed warns that it had to look
            import deepspeed  # takes seconds to import, and only ranks need it

            # Gloo does without this op, which DeepSpeed would compile on a CPU: half a minute, a compiler,
            # and a lock that hangs every later run if the first one is killed meanwhile.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
            backend = "nccl" if cuda else "gloo"
            deepspeed.init_distributed(backend, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT, verbose=False)
        return TorchWorld(rank, size, device)

    @property
    def is_main(self) -> bool:
        """True on the one rank that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's part of a list that all ranks hold: every size-th item."""
        return list(items[self.rank :: self.size])

    def gather(self, item: T) -> list[T]:
        """Every rank's item, in rank order, on every rank."""
        if self.size == 1:
            return [item]
        items: list = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def merge(self, items: Sequence[T]) -> list[T]:
        """Put the ranks' shares together again: the inverse of `share`."""
        shares = self.gather(list(items))
        return [shares[i % self.size][i // self.size] for i in range(sum(map(len, shares)))]

    def any(self, flag: bool) -> bool:
        """True on all ranks if it is true on one."""
        return any(self.gather(flag))

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


_RANK_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


def disable_progress_bars() -> None:
    """Switch off transformers' own progress bars, for loading and saving: they drown what is going on."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
