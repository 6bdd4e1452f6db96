"""Where a person's shell and the site's meet: two ends of one line, each with the other's messages.

A message is bytes (what the terminal says) or text (a JSON note: `{"resize": [...]}`, `{"exit": n}`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from maillage.errors import Conflict, NotFound, TimedOut

MEET_WITHIN_S = 15.0
_MOST_WAITING = 256  # messages; then the sender waits for the reader
Message = bytes | str


class End:
    """One end of a line. `receive` gives None when the line is closed."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
        self._peer: End | None = None
        self.closed = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Waits while the other end is slow; drops the message when the line is closed."""
        assert self._peer is not None
        if not self.closed.is_set():
            put = asyncio.ensure_future(self._peer._inbox.put(message))
            shut = asyncio.ensure_future(self.closed.wait())
            _, waiting = await asyncio.wait({put, shut}, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def receive(self) -> Message | None:
        """The next message; what was sent before the line closed is still given."""
        if self._inbox.empty() and self.closed.is_set():
            return None
        get = asyncio.ensure_future(self._inbox.get())
        shut = asyncio.ensure_future(self.closed.wait())
        done, waiting = await asyncio.wait({get, shut}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return get.result() if get in done else (None if self._inbox.empty() else self._inbox.get_nowait())

    def close(self) -> None:
        """Close the line for both ends."""
        assert self._peer is not None
        self.closed.set()
        self._peer.closed.set()


class Line:
    """One shell that was asked for."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.ends = {"person": End(), "site": End()}
        self.ends["person"]._peer, self.ends["site"]._peer = self.ends["site"], self.ends["person"]
        self.taken: set[str] = set()
        self.met = asyncio.Event()


class Shells:
    """The lines that are open. `forget(site, shell_id)` is called when a line needs no more dialling."""

    def __init__(self, forget: Callable[[str, str], None]) -> None:
        self._lines: dict[str, Line] = {}
        self._forget = forget

    def open(self, site: str) -> str:
        shell_id = secrets.token_hex(12)
        self._lines[shell_id] = Line(site)
        asyncio.get_running_loop().call_later(MEET_WITHIN_S, self._give_up, shell_id)
        return shell_id

    async def person(self, shell_id: str) -> End:
        """The person's end, once the site has dialled in. Raises TimedOut, NotFound, Conflict."""
        line, end = self._take(shell_id, "person")
        try:
            await asyncio.wait_for(line.met.wait(), MEET_WITHIN_S)
        except TimeoutError:
            self.close(shell_id)
            raise TimedOut(
                f"site {line.site} did not open the shell within {MEET_WITHIN_S:g} s; is its agent well?"
            ) from None
        return end

    async def site(self, shell_id: str, site: str) -> End:
        """The site's end. Raises NotFound for a shell that is not this site's."""
        if shell_id not in self._lines or self._lines[shell_id].site != site:
            raise NotFound(f"no shell {shell_id!r} at site {site}")
        line, end = self._take(shell_id, "site")
        line.met.set()
        self._forget(site, shell_id)
        return end

    def close(self, shell_id: str) -> None:
        """Close a line and forget it. Closing twice is fine."""
        line = self._lines.pop(shell_id, None)
        if line is not None:
            line.ends["person"].close()
            self._forget(line.site, shell_id)

    def _take(self, shell_id: str, who: str) -> tuple[Line, End]:
        line = self._lines.get(shell_id)
        if line is None:
            raise NotFound(f"no shell {shell_id!r}: it was closed, or nobody came in time; ask for a new one")
        if who in line.taken:
            raise Conflict(f"shell {shell_id!r} is in use already")
        line.taken.add(who)
        return line, line.ends[who]

    def _give_up(self, shell_id: str) -> None:
        line = self._lines.get(shell_id)
        if line is not None and len(line.taken) < 2:
            self.close(shell_id)
