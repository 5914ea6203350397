"""One machine, several processes: start each group of stages, start again what died, stop everything together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from agents.run import GROUPS

log = logging.getLogger("rahdar.supervise")

STOP_WITHIN_S = 15.0
LOOK_S = 0.05
FIRST_PAUSE_S = 0.2  # after the second death; after the first there is none
LONGEST_PAUSE_S = 10.0
CALM_S = 30.0  # a process that lived this long starts again at once


class Supervisor:
    """Children are `rahdar run STAGE...`, each told by a closing pipe when we are gone, even by kill -9."""

    def __init__(self, environment: Mapping[str, str], groups: Sequence[Sequence[str]] = GROUPS) -> None:
        self._environment = dict(environment)
        self._groups = [tuple(group) for group in groups]
        self._children: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self._started: dict[tuple[str, ...], float] = {}
        self._pause: dict[tuple[str, ...], float] = {}
        self._due: dict[tuple[str, ...], float] = {}
        self._stop = threading.Event()
        self._read_fd, self._write_fd = os.pipe()
        self.restarts = 0

    @property
    def pids(self) -> dict[tuple[str, ...], int]:
        return {group: child.pid for group, child in self._children.items()}

    def _start(self, group: tuple[str, ...]) -> None:
        environment = {**os.environ, **self._environment, "RAHDAR_PARENT_FD": str(self._read_fd)}
        self._children[group] = subprocess.Popen(  # noqa: S603  # our own program, our own words
            [sys.executable, "-m", "pipeline", "run", *group],
            env=environment,
            pass_fds=(self._read_fd,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal reaches us alone: we stop them in order
        )
        self._started[group] = time.monotonic()

    def start(self) -> None:
        for group in self._groups:
            self._start(group)

    def poll(self) -> None:
        """Look once: start again what has died, after a pause that grows while it keeps dying."""
        now = time.monotonic()
        for group, child in list(self._children.items()):
            if child.poll() is None:
                continue
            if group not in self._due:
                if now - self._started[group] > CALM_S:
                    self._pause.pop(group, None)
                pause = self._pause.get(group, 0.0)
                self._pause[group] = min(max(pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
                self._due[group] = now + pause
                log.warning("%s ended with %s; starting it again", "+".join(group), child.returncode)
            if now >= self._due[group]:
                del self._due[group]
                self.restarts += 1
                self._start(group)

    def run(self) -> None:
        """Until `stop` is called, from a signal handler or another thread."""
        while not self._stop.wait(LOOK_S):
            self.poll()

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        """Stop the children in the order of the flow, so that what was taken in is carried through; kill what does not go."""
        self._stop.set()
        os.close(self._write_fd)
        os.close(self._read_fd)
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_S
        for group, child in self._children.items():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop; killing it", "+".join(group))
                child.kill()
                child.wait()
