"""The three classes and the names other datasets use for them."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_prep.base.errors import UserError

CLASSES: tuple[str, ...] = ("with_mask", "without_mask", "mask_weared_incorrect")
"""Class names in the order of every network output, table and plot."""

MASKED, BARE, RARE_CLASS = CLASSES
"""The classes by what is seen; balancing never thins out the last."""

CLASS_WORDS = dict(zip(CLASSES, ("worn properly", "no mask", "worn wrongly"), strict=True))
"""How the classes are called in a sentence."""

SHORT = dict(zip(CLASSES, ("with", "without", "incorrect"), strict=True))
"""How the classes are called in narrow columns and captions."""

TITLES = dict(zip(CLASSES, ("With mask", "Without mask", "Worn wrongly"), strict=True))
"""How the classes are called on pages."""

_WRONGLY = ("mask_worn_incorrect", "mask_worn_incorrectly", "mascarilla_mal_puesta")
ALIASES: dict[str, str] = {
    **dict.fromkeys(("mask", "masked", "with_correct_mask", "con_mascarilla"), MASKED),
    **dict.fromkeys(("face", "no_mask", "unmasked", "sin_mascarilla"), BARE),
    **dict.fromkeys(("with_incorrect_mask", "incorrect_mask", *_WRONGLY), RARE_CLASS),
}
"""Names found in published datasets, keyed by their normalised form."""


class UnknownLabelError(UserError, ValueError):
    """A class name that is neither one of `CLASSES` nor a known alias."""


def canonical_label(
    name: str, aliases: Mapping[str, str] = ALIASES, classes: Sequence[str] = CLASSES
) -> str:
    """Turn a dataset's class name into one of `classes`; `aliases` are keyed by normalised form.

    Case, surrounding blanks, and blanks or hyphens in place of underscores do not matter. Names
    that an alias says to leave out give "". Raises `UnknownLabelError`: the name is not known; see
    `explain_unknown`.

    >>> canonical_label("With Mask"), canonical_label("WithoutMask")
    ('with_mask', 'without_mask')
    """
    known = {**aliases, **{normalise_name(label): label for label in classes}}
    if (key := normalise_name(name)) not in known:
        raise UnknownLabelError(explain_unknown({name: 1}, aliases, classes))
    return known[key]


def knows_label(name: str, aliases: Mapping[str, str], classes: Sequence[str]) -> bool:
    """Whether `canonical_label` knows a name."""
    return normalise_name(name) in {*aliases, *map(normalise_name, classes)}


_WORDS = {
    RARE_CLASS: r"incorrect(ly)?|wrong(ly)?|improper(ly)?|bad(ly)?|partial(ly)?|half|chin|nose"
    r"|mouth|under|below|mal",
    BARE: r"no|non|not|none|without|bare|unmasked|un|sin|off|missing",
    MASKED: r"mask(s|ed|ing)?|face|with|wear(ing)?|worn|on|correct(ly)?|proper(ly)?|good|has"
    r"|medical|surgical|con|mascarilla",
}
"""By what words a class is meant; the first class that has one of a name's counts."""


def guess_class(name: str) -> str | None:
    """The mask class that the words of an unknown name mean, if they tell.

    >>> guess_class("face_mask"), guess_class("FaceNoMask"), guess_class("masc")
    ('with_mask', 'without_mask', None)
    """
    words = normalise_name(name).split("_")
    if not any("mask" in word for word in words):
        return None
    has = {label: [re.fullmatch(_WORDS[label], word) for word in words] for label in _WORDS}
    meant = next((label for label in (RARE_CLASS, BARE) if any(has[label])), MASKED)
    # A word that isn't known may be anything, also "without" misspelt.
    return meant if meant != MASKED or all(has[MASKED]) else None


def explain_unknown(
    counts: Mapping[str, int], aliases: Mapping[str, str], classes: Sequence[str]
) -> str:
    """All unknown names of some data at once, how often each is there, and what to do.

    What a name may mean is told by its words; else by the nearest known name, if it is near.
    """
    parts, hints = [], 0
    for name, count in list(counts.items())[:20]:
        guess = guess_class(name) if tuple(classes) == CLASSES else None
        known = [*classes, *(alias for alias, label in aliases.items() if label)]
        near = difflib.get_close_matches(normalise_name(name), known, n=1, cutoff=0.75)
        hint = f"did you mean '{near[0]}'?" if near else ""
        if guess is not None:
            hint = f"if it means {guess}: --alias '{name}={guess}'."
        hints += bool(hint)
        often = f" ({count} times)" if count > 1 else ""
        parts.append(f"unknown class '{name}'{often}{f': {hint}' if hint else '.'}")
    if len(counts) > len(parts):
        parts.append(f"And {len(counts) - len(parts)} other names.")
    if hints < len(counts):
        parts.append(f"There are these known names: {', '.join([*classes, *aliases])}.")
        if tuple(classes) == CLASSES:
            parts.append("Other classes than of masks: evaluate --classes NAME,NAME measures them.")
    told = f"{' '.join(parts)} Another name for a class is declared with --alias NAME=CLASS; "
    return f"{told}--alias NAME= leaves such faces out."


def parse_aliases(pairs: Sequence[str], classes: Sequence[str] = CLASSES) -> dict[str, str]:
    """Read `--alias NAME=CLASS` options, on top of `ALIASES` for the mask classes.

    Without a class such faces are left out.
    """
    aliases = dict(ALIASES) if tuple(classes) == CLASSES else {}
    for pair in pairs:
        name, equals, target = pair.partition("=")
        if not equals or target.strip() not in (*classes, ""):
            hint = f"CLASS one of {', '.join(classes)}, or NAME= to leave such faces out."
            raise UnknownLabelError(f"--alias {pair}: write NAME=CLASS, {hint}")
        aliases[normalise_name(name)] = target.strip()
    return aliases


@dataclass(frozen=True)
class Vocabulary:
    """The classes, in the order of every array, and the other names they go by, normalised."""

    classes: tuple[str, ...] = CLASSES
    aliases: Mapping[str, str] = field(default_factory=lambda: dict(ALIASES))

    def index(self, name: str) -> int:
        """Index of a class by any of its names; see `canonical_label`."""
        label = canonical_label(name, self.aliases, self.classes)
        if not label:
            hint = "which datasets allow, not tables of faces or predictions; remove its rows."
            raise UnknownLabelError(f"class '{name}' is to be left out (--alias {name}=), {hint}")
        return self.classes.index(label)


MASKS = Vocabulary()  # The three classes of TriMask.


def normalise_name(name: str) -> str:
    """A class name in lower case, its words joined by underscores."""
    return "_".join(re.sub(r"(?<=[a-z])(?=[A-Z])|[-_]", " ", name).lower().split())
