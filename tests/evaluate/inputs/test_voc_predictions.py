from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.base.labels import MASKS, UnknownLabelError
from data_prep.formats.input_files import InputError
from data_prep.formats.voc import read_voc_predictions
from evaluate.inputs.predictions import Predictions, build_predictions
from evaluate.inputs.truth import read_options
from tests.evaluate.voc_files import voc_xml

FACES = [("with_mask", (1, 2, 3.5, 4)), ("no mask", (-5, 6, 7, 8))]


def xml(filename: str, *scores: str, tag: str = "score") -> str:
    text = voc_xml(filename, FACES[: len(scores)], (100, 50))
    parts = text.split("<bndbox>")
    scored = [f"<{tag}>{score}</{tag}><bndbox>" for score in scores]
    return parts[0] + "".join(a + b for a, b in zip(scored, parts[1:], strict=True))


def read(folder: Path, photos: tuple[str, ...] = ()) -> Predictions:
    found = read_voc_predictions(folder, read_options(MASKS), photos)
    return build_predictions(folder, found, MASKS)


@pytest.mark.parametrize("tag", ["score", "confidence"])
def test_objects_with_scores(tmp_path: Path, tag: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.xml").write_text(xml("a.jpg", "0.5", " 1e-3 ", tag=tag))
    (tmp_path / "b.xml").write_text(xml("b.jpg"))
    found = read(tmp_path, ("b.jpg", "images/a.jpg"))
    assert found.images == ("b.jpg", "sub/a.jpg")
    rows = found.detections
    assert rows.photo.tolist() == [1, 1]
    assert rows.boxes.tolist() == [[1, 2, 3.5, 4], [-5, 6, 7, 8]]
    assert rows.labels.tolist() == [0, 1]
    assert rows.scores.tolist() == rows.detection.tolist() == [0.5, 0.001]
    assert rows.probabilities is None


def test_names_of_photos(tmp_path: Path) -> None:
    # Only a name that an annotated photo has is worth more than that of the XML.
    (tmp_path / "a.xml").write_text(xml("C:\\x\\one.png", "0.5"))
    (tmp_path / "b.xml").write_text(xml("image.png", "0.5"))
    (tmp_path / "c.xml").write_text(xml("one.png", "0.5"))
    assert read(tmp_path, ("p/One.jpg",)).images == ("one.png", "b", "c.png")
    assert read(tmp_path).images == ("a", "b", "c")


def test_two_files_for_one_photo(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(xml("b.png", "0.5"))
    (tmp_path / "b.xml").write_text(xml("b.png", "0.5"))
    with pytest.raises(InputError, match=r"b\.xml: its photo b\.png has predictions in another"):
        read(tmp_path, ("b.png",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<score>0.5</score>", "", "line 3: object 0 has no <score> or <confidence>; .*ground"),
        ("<score>0.5</score>", "<score/>", "no <score> or <confidence>"),
        (
            "<score>0.5</score>",
            "<score>high</score>",
            "line 3: object 0: 'high' for score is not a number",
        ),
        ("0.5</score>", "nan</score>", "score is nan"),
        ("0.5</score>", "50</score>", "score is 50; scores lie between 0 and 1"),
        ("<name>with_mask</name>", "", "line 3: object 0 has no class name"),
        (
            "<xmin>1</xmin>",
            "<xmin>9</xmin>",
            r"line 3: object 0: box \(9, 2, 3\.5, 4\) is inverted",
        ),
        ("<xmin>1</xmin>", "", "line 3: object 0: '' for <xmin> is not a number"),
        ("<xmin>1</xmin>", "<xmin>inf</xmin>", "line 3: object 0: <xmin> is inf"),
        ("<object>", "<object", "not well-formed XML"),
        ("annotation", "predictions", "not PASCAL VOC"),
    ],
)
def test_bad_objects_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = xml("a.jpg", "0.5").replace("<object>", "\n\n<object>")
    assert old in text
    (tmp_path / "a.xml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / "a.xml") in str(caught.value)


def test_unknown_class(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(xml("a.jpg", "0.5").replace("with_mask", "with_msk"))
    with pytest.raises(UnknownLabelError, match=r"a\.xml, line 1: .*did you mean 'with_mask'"):
        read(tmp_path)


def test_entities_are_refused(tmp_path: Path) -> None:
    head = '<!DOCTYPE annotation [<!ENTITY s "0.5">]>'
    (tmp_path / "a.xml").write_text(head + xml("a.jpg", "&s;"))
    with pytest.raises(InputError, match="declares XML entities"):
        read(tmp_path)


def test_folders_without_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no VOC files"):
        read(tmp_path)
