from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.formats.class_names import find_names_file, read_class_names
from data_prep.formats.input_files import InputError


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "voc.names"
    path.write_bytes(b"\xef\xbb\xbfaeroplane\r\ntv monitor \r\n\r\n")
    assert read_class_names(path) == {0: "aeroplane", 1: "tv monitor"}


@pytest.mark.parametrize(
    "text",
    [
        "names: [no, 'with mask']\nnc: 2",
        "path: ..\nnames:\n  0: no\n  1: with mask\n",
        "names:\n- no\n- with mask\n",
        "names: {1: with mask, 0: no}",
    ],
)
def test_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    # `no` is a text here, not a truth value.
    assert read_class_names(path) == {0: "no", 1: "with mask"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", " \n", "the file is empty"),
        ("a.txt", "one\n\ntwo", "line 2: no class name; a blank line would shift"),
        ("a.yaml", "", "no class names"),
        ("a.yaml", "[one, two]", "no class names"),
        ("a.yaml", "names: []", "no class names"),
        ("a.yaml", "names: one", "no class names"),
        ("a.yaml", "names: [one, [two]]", "the name of class 1 is no text"),
        ("a.yaml", "names: ['']", "the name of class 0 is no text"),
        ("a.yaml", "names: {one: 1}", "'one' under 'names' is no class id"),
        ("a.yaml", "names: {-1: one}", "'-1' under 'names' is no class id"),
        ("a.yaml", "names: [one]\nkpt_shape: [17, 3]", "'kpt_shape' says key points"),
        ("a.yaml", "names: [one", "not YAML that can be read"),
        ("a.yaml", "? [a]\n: b", "not YAML that can be read"),
        ("a.yaml", "a: " + "[" * 600, "not YAML that can be read"),
        ("a.yaml", "names: [\x01]", "not YAML that can be read"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_class_names(path)
    assert str(path) in str(caught.value)


def test_nothing_in_yaml_is_run(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    trap = tmp_path / "trap"
    path.write_text(f"names: !!python/object/apply:os.mkdir ['{trap}']")
    assert read_class_names(path) == {0: str(trap)}
    assert not trap.exists()


def test_the_surest_file_comes_first(tmp_path: Path) -> None:
    near = tmp_path / "labels"
    near.mkdir()
    assert find_names_file([near, tmp_path]) is None
    (tmp_path / "classes.txt").write_text("one")
    assert find_names_file([near, tmp_path]) == tmp_path / "classes.txt"
    (tmp_path / "data.yaml").write_text("names: [one]")
    assert find_names_file([near, tmp_path]) == tmp_path / "data.yaml"
    (near / "obj.names").write_text("one")
    assert find_names_file([near, tmp_path]) == near / "obj.names"
