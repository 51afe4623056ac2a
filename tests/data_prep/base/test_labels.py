"""Class names and their aliases."""

import pytest

from data_prep.base.labels import (
    ALIASES,
    CLASSES,
    UnknownLabelError,
    canonical_label,
    parse_aliases,
)


@pytest.mark.parametrize("label", CLASSES)
def test_canonical_names_stay(label):
    assert canonical_label(label) == label


@pytest.mark.parametrize("name", ["With Mask", " with-mask ", "WITH_MASK", "with  mask"])
def test_spelling_does_not_matter(name):
    assert canonical_label(name) == "with_mask"


def test_rare_class_of_the_second_dataset_is_known():
    assert canonical_label("with_incorrect_mask") == "mask_weared_incorrect"


def test_every_alias_leads_to_a_class():
    assert set(ALIASES.values()) <= set(CLASSES)
    assert all(canonical_label(alias) == target for alias, target in ALIASES.items())


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(UnknownLabelError, match=r"'wiht_mask'.*did you mean 'with_mask'"):
        canonical_label("wiht_mask")


def test_name_unlike_any_gets_the_list():
    with pytest.raises(UnknownLabelError, match=r"known names: with_mask, .*--alias"):
        canonical_label("zebra")


def test_aliases_are_added_to_the_known_ones():
    aliases = parse_aliases(["Nose Out = mask_weared_incorrect"])
    assert canonical_label("nose-out", aliases) == "mask_weared_incorrect"
    assert canonical_label("no_mask", aliases) == "without_mask"


@pytest.mark.parametrize("pair", ["nose_out", "nose_out=", "nose_out=mask", "=x"])
def test_bad_alias_is_refused(pair):
    with pytest.raises(UnknownLabelError, match="write NAME=CLASS"):
        parse_aliases([pair])
