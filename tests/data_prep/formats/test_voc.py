"""Reading PASCAL VOC."""

import pytest

from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats.voc import AnnotationError, read_voc
from tests.makers import make_voc


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def wrap(objects="", head=""):
    return f"{head}<annotation><filename>a.jpg</filename>{objects}</annotation>"


BNDBOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"


def test_everything_is_read(tmp_path):
    objects = [("with_mask", (1, 2, 3, 4)), ("with_incorrect_mask", (0.5, 1.25, 7, 8))]
    voc = read_voc(make_voc(tmp_path / "a.xml", "a.png", objects, size=(40, 30)))
    assert (voc.filename, voc.width, voc.height) == ("a.png", 40, 30)
    assert voc.faces == (
        Face(0, "with_mask", Box(1, 2, 3, 4)),
        Face(1, "mask_weared_incorrect", Box(0.5, 1.25, 7, 8)),
    )
    assert voc.findings == ()


def test_difficult_is_read(tmp_path):
    body = f"<object><name>face</name><difficult>1</difficult>{BNDBOX}</object>"
    assert read_voc(write(tmp_path / "a.xml", wrap(body))).faces[0].difficult


def test_photo_without_faces(tmp_path):
    assert read_voc(make_voc(tmp_path / "a.xml", "a.jpg", [])).faces == ()


@pytest.mark.parametrize(
    "size",
    ["", "<size/>", "<size><width>0</width><height>x</height></size>"],
)
def test_unstated_size(tmp_path, size):
    voc = read_voc(write(tmp_path / "a.xml", wrap(size)))
    assert (voc.width, voc.height) == (None, None)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("<object><name>face</name></object>", "bad-box", "no <bndbox>"),
        (
            "<object><name>face</name><bndbox><xmin>wide</xmin></bndbox></object>",
            "bad-box",
            "'wide' for <xmin>",
        ),
        (f"<object>{BNDBOX}</object>", "unnamed-object", "no class name"),
    ],
)
def test_faulty_object_is_left_out_and_keeps_its_index(tmp_path, body, kind, reason):
    good = f"<object><name>face</name>{BNDBOX}</object>"
    voc = read_voc(write(tmp_path / "a.xml", wrap(body + good)), name="set/a.xml")
    assert [face.object for face in voc.faces] == [1]
    (finding,) = voc.findings
    assert (finding.file, finding.kind, finding.dropped) == ("set/a.xml", kind, True)
    assert finding.message.startswith("set/a.xml:1: object 0")
    assert reason in finding.message


def test_unknown_class_names_file_and_line(tmp_path):
    body = f"\n\n<object><name>no_maks</name>{BNDBOX}</object>"
    with pytest.raises(UnknownLabelError, match=r"a\.xml:3: unknown class 'no_maks'.*'no_mask'"):
        read_voc(write(tmp_path / "a.xml", wrap(body)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("<annotation><object>", "not well-formed"),
        ("no xml at all", "not well-formed"),
        ("<html></html>", "<annotation> expected, <html> found"),
    ],
)
def test_file_that_is_no_annotation(tmp_path, text, reason):
    with pytest.raises(AnnotationError, match=reason):
        read_voc(write(tmp_path / "a.xml", text))


def test_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match="No such file"):
        read_voc(tmp_path / "a.xml")


def test_utf16_is_read(tmp_path):
    text = (
        '<?xml version="1.0" encoding="utf-16"?><annotation><filename>ñ.jpg</filename></annotation>'
    )
    (tmp_path / "a.xml").write_bytes(text.encode("utf-16"))
    assert read_voc(tmp_path / "a.xml").filename == "ñ.jpg"


def test_outside_entity_is_not_read(tmp_path):
    secret = write(tmp_path / "secret.txt", "the secret")
    head = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    body = f"<object><name>&x;</name>{BNDBOX}</object>"
    with pytest.raises(AnnotationError, match="declares XML entities") as caught:
        read_voc(write(tmp_path / "a.xml", wrap(body, head)))
    assert "the secret" not in str(caught.value)


def test_billion_laughs_are_not_expanded(tmp_path):
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<!DOCTYPE annotation [<!ENTITY l0 "ha">{levels}]>'
    with pytest.raises(AnnotationError, match=r"declares XML entities|not well-formed"):
        read_voc(write(tmp_path / "a.xml", wrap("<folder>&l9;</folder>", head)))


def test_harmless_doctype_is_read(tmp_path):
    voc = read_voc(write(tmp_path / "a.xml", wrap(head="<!DOCTYPE annotation>")))
    assert voc.filename == "a.jpg"
