"""Parts that several runs have in common and that are made only once, such as the cold start of a sweep's runs."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from budgetrl.runs.context import Context

POLL = 1.0
"""Seconds between two attempts to take the lock of a part."""


@contextmanager
def shared_part(root: Path, name: str, content: object, ctx: Context) -> Iterator[Context]:
    """Yield the context of the part `name`, in a folder below `root` that all runs with equal `content` share.

    The run's own folder gets a symbolic link to it. Only one run works on the part at a time. The others wait, then
    find it finished, or continue it if that run was killed. If the run already has a real folder of this name, that
    folder is used instead.

    Args:
        content: Everything that the part depends on. It is hashed through its repr, which must show all of it.

    Raises:
        Stopped: If the run received a stop request while it waited.
    """
    own = ctx.folder.path / name
    if own.exists() and not own.is_symlink():
        yield ctx.child(name)
        return
    digest = hashlib.sha256(repr(content).encode()).hexdigest()[:12]
    place = root / f"{name}-{digest}"  # such as shared/cold_start-0123456789ab
    if ctx.world.is_main:
        ctx.folder.create()
        place.mkdir(parents=True, exist_ok=True)
        _link(own, place)
    ctx.world.barrier()  # the link must exist before any rank opens a file through it
    inner = ctx.child(name)
    # A child normally shares the data fingerprints of its run. This folder belongs to several runs.
    inner.folder.fingerprints = place / "data.json"
    with open(place / ".lock", "a") as lock:
        _wait_for(lock, place, ctx)
        yield inner
        ctx.world.barrier()  # release the lock only after every rank has finished


def _link(link: Path, place: Path) -> None:
    """Create a relative link, so that both folders can be moved together."""
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(place, link.parent.resolve()))


def _wait_for(lock: IO[str], place: Path, ctx: Context) -> None:
    """Wait on all ranks until the main rank holds the lock. Raises Stopped on a stop request."""
    # `any` tells all ranks what the main rank got: the others never try to take the lock.
    locked = ctx.world.any(ctx.world.is_main and _try_lock(lock))
    if not locked:
        ctx.print(f"waiting for another run to finish {place}")
    while not locked:
        time.sleep(POLL)
        ctx.check_stop()
        locked = ctx.world.any(ctx.world.is_main and _try_lock(lock))


def _try_lock(lock: IO[str]) -> bool:
    """Return whether this process got the lock. The system releases it when the process exits or is killed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
