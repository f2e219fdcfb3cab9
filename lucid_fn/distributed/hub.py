"""Rank 0's end of the connections of a group: it judges whether all processes are well.

What is wrong goes to all processes, which print it and end.
"""

import os
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lucid_fn.distributed.connection import Line, Message

EXIT_CODE = 75  # of a process that ends because of another: EX_TEMPFAIL
PERIOD = 0.5  # seconds between two signs of life
PATIENCE = 5.0  # seconds in which a process that ends may be waited for
RESUME = "the end of an interruption"  # what all exchange at that point


def end_process(rank: int, message: str, code: int = EXIT_CODE) -> None:
    """Ends the process, whose main thread may never return from MLX."""
    with suppress(OSError):  # the launcher, which reads it, may be gone
        os.write(2, f"lucid_fn: rank {rank} ends: {message}\n".encode())
    os._exit(code)


@dataclass
class Member:
    """What is known of a process."""

    where: str
    line: Line | None = None
    heard: float = 0.0  # when it gave a sign of life
    changed: float = 0.0  # when its step or what it waits for was another one
    step: int = 0
    waits: str | None = None
    left: bool = False  # it ended by itself
    given: list[tuple[str, Any]] = field(default_factory=list)  # to be exchanged

    def update(self, status: Message, now: float) -> None:
        new = status["step"], status["waits"]
        if new != (self.step, self.waits):
            self.changed = now
        self.step, self.waits = new
        self.left = self.left or "leaving" in status

    def doing(self) -> str:
        return f" in {self.waits}" if self.waits else ""


def no_sign(rank: int, member: Member, timeout: float) -> str:
    where = f" ({member.where})" if member.where else ""
    return (
        f"rank {rank}{where} has given no sign of life for {timeout:g} s"
        f"{member.doing()}: it is stopped, or its machine is out of reach"
    )


class Hub:
    """Rank 0's other end of all connections."""

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
        self.strangers = [Line(own)]  # connections that have not said who they are
        self.members: dict[int, Member] = {}
        self.started = time.monotonic()
        self.told = 0.0
        self.pausing: dict[int, int] | None = None  # where each rank pauses

    def run(self) -> None:
        while True:
            before = time.monotonic()
            lines = {line.connection: line for line in self.strangers}
            for member in self.members.values():
                if member.line is not None:
                    lines[member.line.connection] = member.line
            ready, _, _ = select.select([self.server, *lines], [], [], PERIOD)
            now = time.monotonic()
            if now - before > self.timeout / 2:  # it was stopped itself: ask anew
                self._forgive(now)
            for source in ready:
                if source is self.server:
                    self.strangers.append(Line(self.server.accept()[0]))
                else:
                    self._read(lines[source], now)
            if message := self._judge(now):
                self._condemn(message)
            if now - self.told > PERIOD:
                self.told = now
                self._tell_of_rank_0()

    def _forgive(self, now: float) -> None:
        for member in self.members.values():
            member.heard = member.changed = now

    def _read(self, line: Line, now: float) -> None:
        messages = line.receive()
        rank = self._rank_of(line)
        if messages is None:
            if rank is None:
                self.strangers.remove(line)
            else:
                self._lost(rank)
            return
        for message in messages:
            if rank is None:
                rank = self._greet(line, message, now)
                continue
            member = self.members[rank]
            member.heard = now
            if "step" in message:
                member.update(message, now)
            if "leaving" in message:
                self._tell_of_rank_0()  # the others, before rank 0 is gone
                line.send({"left": True})
            if "value" in message:
                member.given.append((message["what"], message["value"]))
                self._answer()
            if "stop" in message and self.pausing is None:
                self.pausing = {}
                self._send_all({"pause": True})
            if "pausing" in message and self.pausing is not None:
                self.pausing[rank] = message["pausing"]
                if len(self.pausing) == self.size:
                    self._send_all({"stop": max(self.pausing.values())})

    def _rank_of(self, line: Line) -> int | None:
        return next((r for r, m in self.members.items() if m.line is line), None)

    def _greet(self, line: Line, message: Message, now: float) -> int | None:
        if message.get("token") != self.token or "hello" not in message:
            return None
        self.strangers.remove(line)
        rank = int(message["hello"])
        self.members[rank] = Member(message["where"], line, now, now)
        return rank

    def _lost(self, rank: int) -> None:
        member = self.members[rank]
        member.line = None
        if not member.left:
            self._condemn(
                f"rank {rank} ({member.where}) has ended{member.doing()}: it was "
                "killed, or crashed"
            )

    def _answer(self) -> None:
        """Sends the values of an exchange once all are there."""
        members = [self.members[rank] for rank in sorted(self.members)]
        if len(members) < self.size or not all(member.given for member in members):
            return
        whats, values = zip(*(m.given.pop(0) for m in members), strict=True)
        if set(whats) == {RESUME}:
            self.pausing = None
        self._send_all({"whats": whats, "values": values})

    def _judge(self, now: float) -> str | None:
        """What is wrong, if anything is."""
        absent = [rank for rank in range(self.size) if rank not in self.members]
        if absent:
            if now - self.started < self.timeout:
                return None
            return f"{_ranks(absent)} did not appear within {self.timeout:g} s"
        for rank, member in self.members.items():
            if not member.left and now - member.heard > self.timeout:
                return no_sign(rank, member, self.timeout)
        return self._judge_progress(now)

    def _judge_progress(self, now: float) -> str | None:
        """Nobody who waits may wait for a process that has ended, or for ever."""
        waiting = {r: m for r, m in self.members.items() if m.waits and not m.left}
        if not waiting:
            return None
        rank, member = max(waiting.items(), key=lambda item: item[1].step)
        still = min(now - other.changed for other in waiting.values())
        late = {r: m for r, m in self.members.items() if m.step < member.step}
        for other, gone in late.items():
            if gone.left and still > PATIENCE:
                return (
                    f"rank {other} ({gone.where}) has ended, and rank {rank} waits "
                    f"for it in {member.waits}"
                )
        if still <= self.timeout:
            return None
        if late:
            return (
                f"{_ranks(list(late))} made no step for {self.timeout:g} s, and rank "
                f"{rank} waits in {member.waits}"
            )
        return f"no rank made a step for {self.timeout:g} s in {member.waits}"

    def _condemn(self, message: str) -> None:
        self._send_all({"verdict": message}, but=0)
        end_process(0, message)

    def _tell_of_rank_0(self) -> None:
        if 0 in self.members:
            member = self.members[0]
            status: Message = {"step": member.step, "waits": member.waits}
            self._send_all(status | ({"leaving": True} if member.left else {}))

    def _send_all(self, message: Message, *, but: int | None = None) -> None:
        for rank, member in self.members.items():
            if member.line is not None and rank != but:
                member.line.send(message)


def _ranks(ranks: list[int]) -> str:
    numbers = ", ".join(map(str, ranks))
    return f"rank {numbers}" if len(ranks) == 1 else f"ranks {numbers}"
