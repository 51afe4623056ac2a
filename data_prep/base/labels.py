"""The three classes and the names other datasets use for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_prep.base.errors import UserError, suggest

CLASSES: tuple[str, ...] = ("with_mask", "without_mask", "mask_weared_incorrect")
"""Class names in the order of every network output, table and plot."""

MASKED, BARE, RARE_CLASS = CLASSES
"""The classes by what is seen; balancing never thins out the last."""

ALIASES: dict[str, str] = {
    "mask": "with_mask",
    "masked": "with_mask",
    "with_correct_mask": "with_mask",
    "con_mascarilla": "with_mask",
    "face": "without_mask",
    "no_mask": "without_mask",
    "unmasked": "without_mask",
    "sin_mascarilla": "without_mask",
    "with_incorrect_mask": "mask_weared_incorrect",
    "incorrect_mask": "mask_weared_incorrect",
    "mask_worn_incorrect": "mask_weared_incorrect",
    "mask_worn_incorrectly": "mask_weared_incorrect",
    "mascarilla_mal_puesta": "mask_weared_incorrect",
}
"""Names found in published datasets, keyed by their normalised form."""


class UnknownLabelError(UserError, ValueError):
    """A class name that is neither one of `CLASSES` nor a known alias."""


def canonical_label(
    name: str, aliases: Mapping[str, str] = ALIASES, classes: Sequence[str] = CLASSES
) -> str:
    """Turn a dataset's class name into one of `classes`; `aliases` are keyed by normalised form.

    Case, surrounding blanks, and blanks or hyphens in place of underscores do not matter.

    Raises:
        UnknownLabelError: The name is not known; the message suggests the nearest known one.

    >>> canonical_label("With Mask"), canonical_label("with_incorrect_mask")
    ('with_mask', 'mask_weared_incorrect')
    """
    key = _normalise(name)
    by_key = {_normalise(label): label for label in classes}
    if key in by_key:
        return by_key[key]
    if key in aliases:
        return aliases[key]
    hint = suggest(key, [*classes, *aliases], "known names: {}.")
    raise UnknownLabelError(
        f"unknown class '{name}': {hint} Another name for a class is declared with "
        "--alias NAME=CLASS."
    )


def parse_aliases(pairs: Sequence[str], classes: Sequence[str] = CLASSES) -> dict[str, str]:
    """Read `--alias NAME=CLASS` options, on top of `ALIASES` for the mask classes."""
    aliases = dict(ALIASES) if tuple(classes) == CLASSES else {}
    for pair in pairs:
        name, equals, target = pair.partition("=")
        if not equals or target.strip() not in classes:
            raise UnknownLabelError(
                f"--alias {pair}: write NAME=CLASS, CLASS one of {', '.join(classes)}."
            )
        aliases[_normalise(name)] = target.strip()
    return aliases


@dataclass(frozen=True)
class Vocabulary:
    """The classes, in the order of every array, and the other names they go by, normalised."""

    classes: tuple[str, ...] = CLASSES
    aliases: Mapping[str, str] = field(default_factory=lambda: dict(ALIASES))

    def index(self, name: str) -> int:
        """Index of a class by any of its names; see `canonical_label`."""
        return self.classes.index(canonical_label(name, self.aliases, self.classes))


MASKS = Vocabulary()
"""The three classes of TriMask."""


def _normalise(name: str) -> str:
    return "_".join(name.replace("-", " ").replace("_", " ").lower().split())
