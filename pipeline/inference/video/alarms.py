"""Calls of a command or an address, once for each person who is not properly masked."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from data_prep.base.errors import UserError
from data_prep.base.progress import log
from pipeline.inference.sources import hide_password

WAIT = 10  # Seconds that an address has to answer, and that the last calls have at the end.
LONGEST = 60  # Seconds that a command may take.
PAUSE = 1.0  # Seconds before an address is tried again, twice that before the last time.
AGAIN = (429, 500, 502, 503, 504)  # Answers after which it is.


class AlarmError(UserError, ValueError):
    """What is to be called can't be."""


class Alarm:
    """Calls by a thread of its own, so that no frame waits for them.

    An address gets the fields as JSON; a command, run without a shell, as variables of its
    environment: `TRIMASK_` and the name in capitals.

    Raises:
        AlarmError: There is no such command.
    """

    def __init__(self, target: str) -> None:
        self.target, self._calls = target, list[Future[bool]]()
        is_address, self.words = target.startswith(("http://", "https://")), list[str]()
        with suppress(ValueError):  # A quotation without its end.
            self.words = [] if is_address else shlex.split(target)
        if not is_address and not (self.words and shutil.which(self.words[0])):
            what = "give one, an address that begins with http, or the alarm.json of evaluate"
            raise AlarmError(f"--alarm {target}: no such command; {what}.")
        self._thread = ThreadPoolExecutor(1)

    def ring(self, fields: Mapping[str, Any]) -> None:
        """Call soon."""
        self._calls.append(self._thread.submit(self._call, fields))

    def close(self) -> dict[str, int]:
        """Wait for the last calls, not for ever; how many were made and how many failed."""
        done, _ = wait(self._calls, WAIT)
        self._thread.shutdown(wait=False, cancel_futures=True)
        made = sum(call.result() for call in done)
        return {"made": made, "failed": len(self._calls) - made}

    def _call(self, fields: Mapping[str, Any]) -> bool:
        try:
            if self.words:
                told = {f"TRIMASK_{name.upper()}": str(value) for name, value in fields.items()}
                own, none = {**os.environ, **told}, subprocess.DEVNULL
                subprocess.run(self.words, env=own, stdin=none, timeout=LONGEST, check=True)
            else:
                self._post(fields)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            who = f"{fields['image']}, person {fields['track']}"
            log(f"warning: alarm for {who}: the call failed ({hide_password(str(error))})")
            return False
        return True

    def _post(self, fields: Mapping[str, Any]) -> None:
        from requests import Session
        from requests.adapters import HTTPAdapter, Retry

        again = Retry(2, backoff_factor=PAUSE, status_forcelist=AGAIN, allowed_methods=None)
        with Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=again))
            session.post(self.target, json=fields, timeout=WAIT).raise_for_status()
