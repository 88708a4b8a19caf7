"""Closing a running server to new requests from outside, so that those it has can end.

TorchServe can't be told to take nothing more: on SIGTERM it resets what it is doing. So its sockets are
closed to the world for it. On Linux a process may get a second handle of its child's socket
(pidfd_getfd(2)), and a socket takes a filter for what comes in (socket(7), SO_ATTACH_FILTER). With these

- nobody connects any more: the listening socket ignores who comes, and is shut once TorchServe has taken
  those who were there;
- on open connections no new data arrives, while what has arrived is answered as ever.

A request that wasn't there completely when this happened never gets in. Its client sees the connection end
without an answer, as it does with any server that stops, and may ask again elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator

import psutil

ACCEPT_SECONDS = 0.2
"""How long the server may take to accept the connections that wait for it: it does little else."""

_SO_ATTACH_FILTER = 26
_PIDFD_GETFD = 438  # the number of the system call, on every architecture

_NO_DATA = (  # classic BPF over a TCP segment: operation, jump if true, jump if false, operand
    (0x30, 0, 0, 13),  # the flags
    (0x45, 6, 0, 0x02),  # SYN, a new connection: drop
    (0x30, 0, 0, 12),  # the header's length, in words of 4 bytes in the upper half of a byte
    (0x54, 0, 0, 0xF0),
    (0x74, 0, 0, 2),
    (0x07, 0, 0, 0),
    (0x80, 0, 0, 0),  # the segment's length
    (0x1D, 1, 0, 0),  # equal: an acknowledgement or an end, which must pass
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


def close_intake(pid: int, port: int) -> bool:
    """Let nothing new reach the server with this process id on this TCP port.

    Returns:
        Whether that could be done: it takes Linux 5.6, and a process that may trace the server, as its
        parent may unless a container forbids it.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return False
    try:
        for listening in _sockets(pid, pidfd, port, {psutil.CONN_LISTEN}):
            with listening:
                _attach(listening)
                time.sleep(ACCEPT_SECONDS)
                listening.shutdown(socket.SHUT_RDWR)
        for connection in _sockets(pid, pidfd, port, {psutil.CONN_ESTABLISHED, psutil.CONN_CLOSE_WAIT}):
            with connection:
                _attach(connection)
    except (OSError, psutil.Error):
        return False
    finally:
        os.close(pidfd)
    return True


def _sockets(pid: int, pidfd: int, port: int, states: set[str]) -> Iterator[socket.socket]:
    """Handles of the server's sockets on `port`."""
    libc = ctypes.CDLL(None, use_errno=True)
    for each in psutil.Process(pid).net_connections("tcp"):
        if each.laddr and each.laddr.port == port and each.status in states:
            descriptor = libc.syscall(_PIDFD_GETFD, pidfd, each.fd, 0)
            if descriptor < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            yield socket.socket(fileno=descriptor)


def _attach(target: socket.socket) -> None:
    instructions = b"".join(struct.pack("HBBI", *each) for each in _NO_DATA)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("HL", len(_NO_DATA), ctypes.addressof(buffer))
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
