"""The hub of a group on rank 0, which detects failed and stalled processes.

It sends the reason of a failure to all processes, which print it and exit.
"""

import os
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lucid_fn.distributed.connection import Channel, Message

EXIT_CODE = 75  # of a process that ends because of another: EX_TEMPFAIL
PERIOD = 0.5  # seconds between two heartbeats
EXIT_GRACE = 5.0  # seconds for which others may wait for a process that has exited
RESUME = "the end of an interruption"  # the exchange that clears a stop


def end_process(rank: int, message: str, code: int = EXIT_CODE) -> None:
    """Prints the reason and exits, although the main thread may be blocked in MLX."""
    with suppress(OSError):  # the launcher, which reads it, may have exited
        os.write(2, f"lucid_fn: rank {rank} ends: {message}\n".encode())
    os._exit(code)


@dataclass
class Member:
    """The status of a process."""

    where: str
    channel: Channel | None = None
    last_heard: float = 0.0  # time of the latest message
    last_progress: float = 0.0  # time of the latest change of `step` or `waits`
    step: int = 0
    waits: str | None = None  # the operation in which it waits for the others
    exited: bool = False  # regularly, after saying so
    pending: list[tuple[str, Any]] = field(default_factory=list)  # values to exchange

    def update(self, status: Message, now: float) -> None:
        new = status["step"], status["waits"]
        if new != (self.step, self.waits):
            self.last_progress = now
        self.step, self.waits = new
        self.exited = self.exited or "leaving" in status

    def during(self) -> str:
        return f" in {self.waits}" if self.waits else ""


def silence_message(rank: int, member: Member, timeout: float) -> str:
    where = f" ({member.where})" if member.where else ""
    return (
        f"rank {rank}{where} has given no sign of life for {timeout:g} s"
        f"{member.during()}: it is stopped, or its machine is out of reach"
    )


class Hub:
    """The server of all control connections, in a thread of rank 0."""

    def __init__(
        self,
        size: int,
        timeout: float,
        server: socket.socket,
        own: socket.socket,
        token: int,
    ) -> None:
        self.size = size
        self.timeout = timeout
        self.token = token
        self.server = server
        self.unidentified = [Channel(own)]  # before their first message
        self.members: dict[int, Member] = {}
        self.started = time.monotonic()
        self.last_status = 0.0
        self.pausing: dict[int, int] | None = None  # the step at which each rank pauses

    def run(self) -> None:
        while True:
            before = time.monotonic()
            channels = {channel.socket: channel for channel in self.unidentified}
            for member in self.members.values():
                if member.channel is not None:
                    channels[member.channel.socket] = member.channel
            ready, _, _ = select.select([self.server, *channels], [], [], PERIOD)
            now = time.monotonic()
            if now - before > self.timeout / 2:  # this process itself was suspended
                self._reset_clocks(now)
            for source in ready:
                if source is self.server:
                    self.unidentified.append(Channel(self.server.accept()[0]))
                else:
                    self._read(channels[source], now)
            if message := self._find_failure(now):
                self._fail_all(message)
            if now - self.last_status > PERIOD:
                self.last_status = now
                self._send_rank_0_status()

    def _reset_clocks(self, now: float) -> None:
        for member in self.members.values():
            member.last_heard = member.last_progress = now

    def _read(self, channel: Channel, now: float) -> None:
        messages = channel.receive()
        rank = self._rank_of(channel)
        if messages is None:
            if rank is None:
                self.unidentified.remove(channel)
            else:
                self._disconnected(rank)
            return
        for message in messages:
            if rank is None:
                rank = self._register(channel, message, now)
                continue
            member = self.members[rank]
            member.last_heard = now
            if "step" in message:
                member.update(message, now)
            if "leaving" in message:
                self._send_rank_0_status()  # before rank 0 may exit
                channel.send({"left": True})
            if "value" in message:
                member.pending.append((message["what"], message["value"]))
                self._send_exchanged()
            if "stop" in message and self.pausing is None:
                self.pausing = {}
                self._send_all({"pause": True})
            if "pausing" in message and self.pausing is not None:
                self.pausing[rank] = message["pausing"]
                if len(self.pausing) == self.size:
                    self._send_all({"stop": max(self.pausing.values())})

    def _rank_of(self, channel: Channel) -> int | None:
        return next((r for r, m in self.members.items() if m.channel is channel), None)

    def _register(self, channel: Channel, message: Message, now: float) -> int | None:
        if message.get("token") != self.token or "hello" not in message:
            return None
        self.unidentified.remove(channel)
        rank = int(message["hello"])
        self.members[rank] = Member(message["where"], channel, now, now)
        return rank

    def _disconnected(self, rank: int) -> None:
        member = self.members[rank]
        member.channel = None
        if not member.exited:
            self._fail_all(
                f"rank {rank} ({member.where}) has ended{member.during()}: it was "
                "killed, or crashed"
            )

    def _send_exchanged(self) -> None:
        """Sends the values of an exchange once all have arrived."""
        members = [self.members[rank] for rank in sorted(self.members)]
        if len(members) < self.size or not all(member.pending for member in members):
            return
        whats, values = zip(*(m.pending.pop(0) for m in members), strict=True)
        if set(whats) == {RESUME}:
            self.pausing = None
        self._send_all({"whats": whats, "values": values})

    def _find_failure(self, now: float) -> str | None:
        """A message about a failed or stalled process, if there is one."""
        absent = [rank for rank in range(self.size) if rank not in self.members]
        if absent:
            if now - self.started < self.timeout:
                return None
            return f"{_ranks(absent)} did not appear within {self.timeout:g} s"
        for rank, member in self.members.items():
            if not member.exited and now - member.last_heard > self.timeout:
                return silence_message(rank, member, self.timeout)
        return self._find_stall(now)

    def _find_stall(self, now: float) -> str | None:
        """A message if ranks wait for an exited process, or longer than the timeout."""
        waiting = {r: m for r, m in self.members.items() if m.waits and not m.exited}
        if not waiting:
            return None
        rank, member = max(waiting.items(), key=lambda item: item[1].step)
        stalled = min(now - other.last_progress for other in waiting.values())
        behind = {r: m for r, m in self.members.items() if m.step < member.step}
        for other, late in behind.items():
            if late.exited and stalled > EXIT_GRACE:
                return (
                    f"rank {other} ({late.where}) has ended, and rank {rank} waits "
                    f"for it in {member.waits}"
                )
        if stalled <= self.timeout:
            return None
        if behind:
            return (
                f"{_ranks(list(behind))} made no step for {self.timeout:g} s, and rank "
                f"{rank} waits in {member.waits}"
            )
        return f"no rank made a step for {self.timeout:g} s in {member.waits}"

    def _fail_all(self, message: str) -> None:
        self._send_all({"failure": message}, but=0)
        end_process(0, message)

    def _send_rank_0_status(self) -> None:
        if 0 in self.members:
            member = self.members[0]
            status: Message = {"step": member.step, "waits": member.waits}
            self._send_all(status | ({"leaving": True} if member.exited else {}))

    def _send_all(self, message: Message, *, but: int | None = None) -> None:
        # Rank 0 last: its main thread may go on to connect the backend, where MLX holds
        # Python's lock until all ranks are there, and this thread could send no more.
        for rank in sorted(self.members, reverse=True):
            channel = self.members[rank].channel
            if channel is not None and rank != but:
                channel.send(message)


def _ranks(ranks: list[int]) -> str:
    numbers = ", ".join(map(str, ranks))
    return f"rank {numbers}" if len(ranks) == 1 else f"ranks {numbers}"
