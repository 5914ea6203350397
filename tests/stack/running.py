"""A whole system under a supervisor that starts again what dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agents.local import LocalStack


@contextmanager
def running(stack: LocalStack, look_every_s: float) -> Iterator[LocalStack]:
    """Started, ready, and closed at the end."""
    stack.start()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(look_every_s):
            assert stack.supervisor is not None
            stack.supervisor.poll()

    watcher = threading.Thread(target=watch)
    try:
        assert stack.wait_ready(120), "the system did not come up"
        watcher.start()
        yield stack
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join()
        stack.close()
