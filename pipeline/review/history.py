"""What one reviewer has decided so far, kept up to date line by line."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Literal

from data_prep.decision import Decision, Key

Status = Literal["open", "kept", "changed", "skipped"]
"""How a face stands with a reviewer."""


class History:
    """One reviewer's decisions, with undos worked in as `data_prep.ledger.settle` does."""

    def __init__(self) -> None:
        self._stacks: dict[Key, list[Decision]] = {}
        self._lines: dict[Key, int] = {}
        self._order: list[Decision] = []

    def add(self, decision: Decision) -> None:
        """Take in the next line of this reviewer."""
        key = decision.key
        self._lines[key] = self._lines.get(key, 0) + 1
        stack = self._stacks.setdefault(key, [])
        if decision.action != "undo":
            stack.append(decision)
            self._order.append(decision)
        elif stack:
            undone = stack.pop()
            place = next(i for i in reversed(range(len(self._order))) if self._order[i] is undone)
            del self._order[place]

    def version(self, key: Key) -> int:
        """Lines about a face so far: a page that knows fewer has missed something."""
        return self._lines.get(key, 0)

    def standing(self, key: Key) -> Decision | None:
        """The decision that stands for a face, None when there is none or it was skipped."""
        stack = self._stacks.get(key)
        return stack[-1] if stack and stack[-1].action != "skip" else None

    def status(self, key: Key) -> Status:
        """How a face stands."""
        stack = self._stacks.get(key)
        if not stack:
            return "open"
        action = stack[-1].action
        return "skipped" if action == "skip" else "kept" if action == "keep" else "changed"

    def latest(self, among: Container[Key]) -> Decision | None:
        """The latest decision on one of these faces that is not taken back, a skip included."""
        return next((d for d in reversed(self._order) if d.key in among), None)

    def recent(self, most: int) -> list[Decision]:
        """The latest standing decisions, each face once, the latest first; no skips."""
        found: list[Decision] = []
        for decision in reversed(self._order):
            if len(found) == most:
                break
            if self.standing(decision.key) is decision:
                found.append(decision)
        return found

    def times(self, most: int) -> Sequence[str]:
        """When the latest decisions were made, skips included, in their order."""
        return [decision.at for decision in self._order[-most:]]

    def standing_keys(self) -> Iterator[Key]:
        """The faces with a standing decision."""
        return (key for key in self._stacks if self.standing(key) is not None)
