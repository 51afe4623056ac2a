"""Changing single faces of a VOC file and nothing else in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.base.records import Box
from data_prep.decisions.write_voc import Edit, edit_voc
from data_prep.formats.voc import AnnotationError, read_voc

TEXT = """<?xml version='1.0' encoding="UTF-8" standalone='yes'?>
<!-- made by <annotation> hand -->
<!DOCTYPE annotation [ <!ELEMENT folder (#PCDATA)> ]>

<?tool keep="this"?>
<annotation verified="yes" tool="a&amp;b">
\t<folder><![CDATA[a <b> & c]]></folder><filename>ñ.jpg</filename>
\t<!-- the first -->
\t<object id="7">
\t\t<unknown a="1" b="2"><deep>x</deep></unknown>
\t\t<bndbox><ymax> 40 </ymax><xmin>10</xmin>
\t\t\t<!-- odd order --><xmax>30.25</xmax><ymin>12</ymin><angle>3</angle></bndbox>
\t\t<name>
\t\t\tmask </name>
\t</object>
\t<object><name>face</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>
\tloose text
\t<object><name>no_mask</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>
<!-- the </annotation> end -->

"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(TEXT.encode())
    return path


def without_tag(text, number):
    """The text with an object cut out by hand."""
    start = [i for i in range(len(text)) if text.startswith("<object", i)][number]
    end = text.index("</object>", start) + len("</object>")
    return text[:start].rstrip(), text[end:]


def test_no_edit_gives_the_same_bytes(path):
    assert edit_voc(path, {}) == TEXT.encode()


def test_only_the_name_changes(path):
    edited = edit_voc(path, {0: Edit(name="with_mask")}).decode()
    assert edited == TEXT.replace("\tmask ", "\twith_mask ")


def test_only_the_numbers_change(path):
    edited = edit_voc(path, {0: Edit(box=Box(11, 12.0, 31.5, 0.1 + 0.2))}).decode()
    expected = TEXT.replace(" 40 ", " 0.30000000000000004 ").replace(">10<", ">11<")
    assert edited == expected.replace("30.25", "31.5")


def test_several_edits(path):
    edits = {2: Edit("face", Box(1, 2, 9, 10)), 0: None, 1: Edit("no_mask")}
    edited = edit_voc(path, edits).decode()
    head, tail = without_tag(TEXT, 0)
    expected = (head + tail).replace("no_mask", "@").replace("face", "no_mask")
    assert edited == expected.replace("@", "face").replace("<ymax>9<", "<ymax>10<")


@pytest.mark.parametrize("number", range(3))
def test_only_the_object_goes(path, number):
    head, tail = without_tag(TEXT, number)
    # What was written between objects stays, and white space around it.
    gap = TEXT[len(head) : TEXT.index("<object", len(head))]
    edited = edit_voc(path, {number: None}).decode()
    assert edited == (head + gap + tail if head.endswith("text") else head + tail)


def test_all_objects_go(path):
    path.write_text("<annotation><object><name>a</name></object>\n<object/>\n</annotation>")
    assert edit_voc(path, {0: None, 1: None}) == b"<annotation>\n</annotation>"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "iso-8859-1", "utf-16", "gbk"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_encoding_and_line_ends_stay(path, encoding, ends):
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    letter = "口" if encoding == "gbk" else "ñ"
    text = TEXT.replace("UTF-8", declared).replace("ñ", letter).replace("\n", ends)
    path.write_bytes(text.encode(encoding))
    edited = edit_voc(path, {1: Edit(name="mask")})
    assert edited == text.replace(">face<", ">mask<").encode(encoding)


def test_file_without_a_declaration(path):
    text = "<annotation><object><name>ñ</name></object></annotation>"
    path.write_text(text, encoding="utf-8")
    assert edit_voc(path, {0: Edit(name="ü")}).decode() == text.replace("ñ", "ü")


def test_file_is_only_read(path):
    edit_voc(path, {0: None})
    assert path.read_bytes() == TEXT.encode()


@pytest.mark.parametrize(
    ("text", "edits", "reason"),
    [
        ("<annotation/>", {0: None}, "a.xml: has no object 0"),
        ("<annotation><object/></annotation>", {0: Edit("x")}, "a.xml: an object lost its <name>"),
        ("<annotation>", {}, "a.xml: not well-formed"),
    ],
)
def test_file_that_changed_meanwhile(path, text, edits, reason):
    path.write_text(text)
    with pytest.raises(AnnotationError, match=reason):
        edit_voc(path, edits, name="a.xml")


numbers = st.floats(0, 1e4).map(lambda x: round(x, 4)) | st.floats(0, 1e4) | st.integers(0, 9999)


@settings(deadline=None)
@given(st.tuples(*[numbers] * 4))
def test_every_box_is_read_back_exactly(tmp_path_factory, sides):
    path = tmp_path_factory.mktemp("voc") / "a.xml"
    path.write_text(TEXT, encoding="utf-8")
    path.write_bytes(edit_voc(path, {1: Edit(box=Box(*sides))}))
    assert read_voc(path).faces[1].box == Box(*sides)


def test_spelling_inside_the_root_may_differ_but_not_the_meaning(path):
    path.write_text("<annotation a='1'><b></b>&#233;<object><name>x</name></object></annotation>")
    edited = edit_voc(path, {0: Edit("y")}).decode()
    assert edited == '<annotation a="1"><b/>é<object><name>y</name></object></annotation>'
