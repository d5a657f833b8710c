"""The ranks of a run, and how they communicate."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(hours=2)
"""How long ranks wait for each other. Long, because one may still be generating when the others are done."""


@dataclass(frozen=True)
class TorchWorld:
    """The torch.distributed implementation of `runs.world.World`: this rank and the others."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def join() -> "TorchWorld":
        """Join the process group that the launcher described in RANK, WORLD_SIZE, LOCAL_RANK and MASTER_*."""
        rank = int(os.environ.get("RANK", "0"))
        size = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            # Without this, DeepSpeed guesses the accelerator and prints a warning. Set it before the import.
            os.environ.setdefault("DS_ACCELERATOR", device.type)
            import deepspeed  # here, because the import takes seconds and only ranks need it

            # On a CPU, DeepSpeed would compile this op, which gloo does not need. That takes half a minute and a
            # compiler, and if the run is killed meanwhile, a lock file is left that makes every later run hang.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
            backend = "nccl" if cuda else "gloo"
            deepspeed.init_distributed(backend, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT, verbose=False)
        return TorchWorld(rank, size, device)

    @property
    def is_main(self) -> bool:
        """True on exactly one rank, which writes files and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this rank's part of a list that all ranks hold: every size-th item, starting at its rank."""
        return list(items[self.rank :: self.size])

    def gather(self, item: T) -> list[T]:
        """Return every rank's item, in rank order, on every rank."""
        if self.size == 1:
            return [item]
        items: list = [None] * self.size  # filled in by the call below
        dist.all_gather_object(items, item)
        return items

    def merge(self, items: Sequence[T]) -> list[T]:
        """Combine the ranks' shares in the original order: the inverse of `share`."""
        shares = self.gather(list(items))
        merged: list[T] = [None] * sum(map(len, shares))  # pyright: ignore[reportAssignmentType]: filled in below
        for rank, share in enumerate(shares):
            merged[rank :: self.size] = share
        return merged

    def any(self, flag: bool) -> bool:
        """Return True on all ranks if `flag` is true on at least one."""
        return any(self.gather(flag))

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


def disable_progress_bars() -> None:
    """Switch off the progress bars of transformers, which would garble our own."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
