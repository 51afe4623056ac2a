"""Calls of a command or an address, once for each person who is not properly masked."""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Queue
from threading import Thread
from typing import Any

from data_prep.base.errors import OptionError
from data_prep.base.progress import log
from pipeline.inference.addresses import ADDRESSES, FAULTS, ask, explain

WAIT = 10  # Seconds that an address has to answer, and that the last calls have at the end.
LONGEST = 60  # Seconds that a command may take.
PAUSE = 1.0  # Seconds before an address is tried again, twice that before the last time.
AGAIN = (429, 500, 502, 503, 504)  # Answers after which it is.


class Alarm:
    """Calls by a thread of its own, so that no frame waits for them.

    An address gets the fields as JSON; a command, run without a shell, as variables of its
    environment: `TRIMASK_` and the name in capitals. Raises `OptionError`: no such command.
    """

    def __init__(self, target: str) -> None:
        self.target, self.words = target, list[str]()
        is_address = target.startswith(ADDRESSES)
        with suppress(ValueError):  # A quotation without its end.
            self.words = [] if is_address else shlex.split(target)
        if not is_address and not (self.words and shutil.which(self.words[0])):
            what = "give one, an address that begins with http, or the alarm.json of evaluate"
            raise OptionError(f"--alarm {target}: no such command; {what}.")
        self._waiting, self._rung, self._made = Queue[Mapping[str, Any] | None](), 0, 0
        self._thread = Thread(target=self._work, daemon=True)  # No exit waits for it.
        self._thread.start()

    def ring(self, fields: Mapping[str, Any]) -> None:
        """Call soon."""
        self._rung += 1
        self._waiting.put(fields)

    def close(self) -> dict[str, int]:
        """Wait for the last calls, not for ever; how many were made and how many failed."""
        self._waiting.put(None)
        self._thread.join(WAIT)
        if self._thread.is_alive():
            log(f"warning: alarms that were not called {WAIT} s after the end are given up")
        return {"made": self._made, "failed": self._rung - self._made}

    def _work(self) -> None:
        while (fields := self._waiting.get()) is not None:
            self._made += self._call(fields)

    def _call(self, fields: Mapping[str, Any]) -> bool:
        try:
            if self.words:
                told = {f"TRIMASK_{name.upper()}": str(value) for name, value in fields.items()}
                own, none = {**os.environ, **told}, subprocess.DEVNULL
                subprocess.run(self.words, env=own, stdin=none, timeout=LONGEST, check=True)
            else:
                self._post(fields)
        except (*FAULTS, subprocess.SubprocessError) as error:
            who = f"{fields['image']}, person {fields['track']}"
            log(f"warning: alarm for {who}: the call failed ({explain(error)})")
            return False
        return True

    def _post(self, fields: Mapping[str, Any]) -> None:
        for pause in (PAUSE, 2 * PAUSE, 0):
            try:
                ask(self.target, json.dumps(fields).encode()).close()
                break
            except OSError as error:
                if not pause or getattr(error, "code", AGAIN[0]) not in AGAIN:
                    raise
            time.sleep(pause)
