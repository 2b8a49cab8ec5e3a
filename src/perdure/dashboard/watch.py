"""Tells browsers which runs have changed: one look at all runs every half second, and only while somebody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from perdure.dashboard.answers.runs import Mark, Runs

_POLL = 0.5  # seconds
_HEARTBEAT = 15.0  # seconds of silence after which a comment is sent, so that nothing between closes the line


@dataclass(slots=True)
class Watch:
    """Used in the server's event loop alone; `close` may be called from a signal handler."""

    runs: Runs
    poll: float = _POLL
    closed: bool = False
    _seq: int = 0
    _marks: dict[str, Mark] = field(default_factory=dict)
    _listeners: set[asyncio.Queue[str]] = field(default_factory=set)
    _looking: asyncio.Task[None] | None = None
    # Set once the first look is done: changes from then on are told.
    _looked: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """End all streams within a moment."""
        self.closed = True

    async def events(self, only: str | None) -> AsyncIterator[str]:
        """A stream of server-sent events: which runs changed, all or one of them."""
        with self._listening() as queue:
            await self._looked.wait()  # who asks for a run after this line misses nothing that happens to it
            yield ": listening\nevent: listening\ndata: {}\n\n"
            waited = 0.0
            while not self.closed:
                try:
                    async with asyncio.timeout(self.poll):
                        changed = await queue.get()
                except TimeoutError:
                    waited += self.poll
                    if waited >= _HEARTBEAT:
                        waited = 0.0
                        yield ": here\n\n"
                    continue
                named = json.loads(changed)
                if only is None or only in named["runs"]:
                    waited = 0.0
                    yield f"event: change\ndata: {changed}\n\n"

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Queue[str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        if self._looking is None or self._looking.done():
            self._looked.clear()
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    async def _look(self) -> None:
        """Until nobody listens any more."""
        try:
            self._marks = await run_in_threadpool(self.runs.marks)
        finally:
            self._looked.set()
        while self._listeners and not self.closed:
            await asyncio.sleep(self.poll)
            marks = await run_in_threadpool(self.runs.marks)
            changed = _changed(self._marks, marks)
            self._marks = marks
            if changed:
                self._seq += 1
                for queue in self._listeners:
                    queue.put_nowait(json.dumps({"runs": changed, "seq": self._seq}))


def _changed(before: Mapping[str, Mark], after: Mapping[str, Mark]) -> list[str]:
    """Runs that came, went or changed."""
    return sorted(run for run in before.keys() | after.keys() if before.get(run) != after.get(run))
