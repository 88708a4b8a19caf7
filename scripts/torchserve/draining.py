"""Letting a server finish what it has before it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from scripts.torchserve.intake import close_intake
from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.server import TorchServe
from scripts.torchserve.waiting import time_left, wait_until_quiet

DRAIN_SECONDS = 120
"""How long requests under way may take once the service is asked to stop: one batch may take as long as
`responseTimeout` allows."""

QUIET_SECONDS = 0.5
"""How long nothing must have come; enough for what had been received to reach a queue."""

FLUSH_SECONDS = 0.2
"""How long the frontend may take to write the last answers, of which it has all."""


def drain(server: TorchServe, say: Callable[[str], None], seconds: float = DRAIN_SECONDS) -> bool:
    """Take no new requests, and wait until those that the server has are answered.

    Returns:
        Whether they all were; if not, `say` was told why.
    """
    deadline = time.monotonic() + seconds
    pid = server.frontend_pid()
    if pid is None or not server.is_running():
        return True
    if not close_intake(pid, server.ports.inference) or not close_intake(pid, server.ports.grpc_inference):
        say("new requests can't be turned away here; waiting until none comes")
    try:
        for model in Management(server.management_url, key_file=server.key_file).models():
            management = Management(server.management_url, model, server.key_file)
            for version in management.versions():
                wait_until_quiet(management, version.version, time_left(deadline), QUIET_SECONDS)
    except OperationError as error:
        say(f"stopping before all requests are answered: {error}")
        return False
    time.sleep(FLUSH_SECONDS)
    return True
