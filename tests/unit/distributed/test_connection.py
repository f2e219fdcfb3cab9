"""The messages among the processes of a group, and where they meet."""

import socket

import pytest

from lucid_fn.distributed.connection import Channel, rendezvous_from_env


def test_messages_are_whole_however_they_are_cut():
    one, other = socket.socketpair()
    with one, other:
        sender, receiver = Channel(one), Channel(other)
        sender.send({"step": 1})
        received = receiver.receive()
        one.sendall(b"\0\0\0\x0b")
        assert receiver.receive() == []
        one.sendall(b'{"step": 2}')
        assert received + receiver.receive() == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x03abc", b"\0\0\0\x02[]", b"\0\0\0\0"]
)
def test_what_is_no_message_ends_the_connection(data):
    one, other = socket.socketpair()
    with one, other:
        one.sendall(data)
        assert Channel(other).receive() is None


def test_the_address_comes_from_the_environment():
    variables = {"LUCID_FN_WATCHDOG": "10.0.0.1:4000:77:3", "MLX_RANK": "2"}
    assert rendezvous_from_env(variables) == (2, 3, "10.0.0.1", 4000, 77)
    assert rendezvous_from_env({}) is None
