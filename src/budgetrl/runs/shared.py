"""Parts that several runs have in common, made once: the runs of a sweep, say, and the model they start from."""

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
"""Seconds between two looks at whether another run has made the part."""


@contextmanager
def shared_part(root: Path, name: str, content: object, ctx: Context) -> Iterator[Context]:
    """The context of the part `name`, whose folder lies below `root` for all runs with equal `content`.

    `content` is all that the part depends on; its repr must tell all of it. The run's own folder gets a link to it.
    Only one run makes the part; others wait for it, and go on with it should that run be killed. A part that the
    run has begun in a folder of its own stays there.
    """
    own = ctx.folder.path / name
    if own.exists() and not own.is_symlink():
        yield ctx.child(name)
        return
    digest = hashlib.sha256(repr(content).encode()).hexdigest()[:12]
    place = root / f"{name}-{digest}"
    if ctx.world.is_main:
        ctx.folder.create()
        place.mkdir(parents=True, exist_ok=True)
        _link(own, place)
    ctx.world.barrier()
    inner = ctx.child(name)
    inner.folder.fingerprints = place / "data.json"  # of every run that uses it
    with open(place / ".lock", "a") as lock:
        _wait_for(lock, place, ctx)
        yield inner
        ctx.world.barrier()


def _link(link: Path, place: Path) -> None:
    """A relative link, so that both may move together."""
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(place, link.parent.resolve()))


def _wait_for(lock: IO[str], place: Path, ctx: Context) -> None:
    """Wait until this run holds the lock, on all ranks; the leading one takes it. Raises Stopped if told to stop."""
    held = ctx.world.any(ctx.world.is_main and _take(lock))
    if not held:
        ctx.print(f"waiting for another run to make {place}")
    while not held:
        time.sleep(POLL)
        ctx.check_stop()
        held = ctx.world.any(ctx.world.is_main and _take(lock))


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
