"""Single faces of a VOC file changed and nothing else, and a folder of corrected files."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from data_prep.base.files import OutputError
from data_prep.base.labels import ALIASES, CLASSES
from data_prep.base.records import Box
from data_prep.decisions import write_voc as writing
from data_prep.decisions.write_voc import Edit, check_voc_folder, edit_voc, write_voc
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.registry import read_dataset
from tests.data_prep.deciding import decide, lay_over
from tests.makers import add_example, hash_tree, make_dataset, make_voc

WITH, WITHOUT, INCORRECT = CLASSES


@pytest.fixture
def overlay(dataset):
    """Photo 1 to 4 corrected, and a face that was clipped on reading left as it is."""
    add_example(dataset, "odd", 50, [(WITH, (100, 10, 121, 40)), (WITH, (1, 2, 21, 22))])
    read = read_dataset(dataset)
    choices = [("relabel", INCORRECT), ("drop",), ("rebox", WITH, (-4, 1.5, 33, 41)), ("keep",)]
    ledger = [
        decide(dataset, f"images/photo{n}.jpg", 0, WITH, (10, 12, 30 + n, 40), *choice)
        for n, choice in enumerate(choices, 1)
    ]
    ledger += [decide(dataset, "images/odd.jpg", 1, WITH, (1, 2, 21, 22), "relabel", WITHOUT)]
    return read, lay_over([read], ledger).datasets[0]


def read_back(dataset, out, aliases=ALIASES):
    """The written files, read with the dataset's photos beside them."""
    folder = out / dataset.name
    shutil.copytree(dataset / "images", folder / "images")
    return read_dataset(folder, ReadOptions(aliases=aliases))


def test_what_is_written_reads_as_the_decisions_say(dataset, overlay, tmp_path):
    read, corrected = overlay
    out = tmp_path / "voc"
    before = hash_tree(dataset)
    changed = write_voc([read], [corrected], out)
    assert hash_tree(dataset) == before
    assert changed == [
        f"faces/annotations/{name}.xml" for name in ("odd", "photo1", "photo2", "photo3")
    ]
    assert json.loads((out / "voc.json").read_text()) == {"changed": changed}
    again = read_back(dataset, out)
    for mine, wanted in zip(again.photos, corrected.photos, strict=True):
        assert (mine.image, mine.annotation) == (wanted.image, wanted.annotation)
        # Objects are numbered anew where one is gone.
        assert [(f.label, f.box, f.difficult) for f in mine.faces] == [
            (f.label, f.box, f.difficult) for f in wanted.faces
        ]
    assert "<xmax>121</xmax>" in (out / changed[0]).read_text()
    assert "<xmin>0</xmin><ymin>1.5</ymin>" in (out / changed[3]).read_text()


def test_unchanged_files_are_the_same_bytes(dataset, overlay, tmp_path):
    path = dataset / "annotations" / "photo5.xml"
    path.write_text(path.read_text().replace("<annotation>", "<annotation >") + "<!-- é -->\r\n")
    write_voc([overlay[0]], [overlay[1]], tmp_path / "voc")
    for name in ("photo0", "photo4", "photo5"):
        file = f"annotations/{name}.xml"
        assert (tmp_path / "voc" / "faces" / file).read_bytes() == (dataset / file).read_bytes()


def test_classes_are_called_as_the_dataset_calls_them(tmp_path):
    root = tmp_path / "faces"
    names = ["mask", "Mask", "mask", "no mask", "tapado", "tapado"]
    for number, name in enumerate(names):
        add_example(root, f"photo{number}", number, [(name, (20, 15, 60, 55))])
    aliases = {**ALIASES, "tapado": WITHOUT}
    reading = ReadOptions(aliases=aliases)
    read = read_dataset(root, reading)
    ledger = [
        decide(root, "images/photo0.jpg", 0, WITH, (20, 15, 60, 55), "relabel", WITHOUT),
        decide(root, "images/photo3.jpg", 0, WITHOUT, (20, 15, 60, 55), "relabel", WITH),
        decide(root, "images/photo4.jpg", 0, WITHOUT, (20, 15, 60, 55), "relabel", INCORRECT),
    ]
    corrected = lay_over([read], ledger).datasets
    write_voc([read], corrected, tmp_path / "voc", reading)
    folder = tmp_path / "voc" / "faces" / "annotations"
    written = [(folder / f"photo{n}.xml").read_text() for n in range(6)]
    for text, name in zip(
        written, ["tapado", "Mask", "mask", "mask", INCORRECT, "tapado"], strict=True
    ):
        assert f"<name>{name}</name>" in text
    assert [p.faces for p in read_back(root, tmp_path / "voc", aliases).photos] == [
        p.faces for p in corrected[0].photos
    ]


def test_interrupted_writing_goes_on_the_next_time(overlay, tmp_path, monkeypatch):
    read, corrected = overlay
    real, count = writing.write_atomically, []

    def stop(path, data):
        count.append(path)
        if len(count) == 5:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(writing, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        write_voc([read], [corrected], tmp_path / "voc")
    monkeypatch.undo()
    assert json.loads((tmp_path / "voc" / "voc.json").read_text()) == {"changed": None}
    assert len(write_voc([read], [corrected], tmp_path / "voc")) == 4


def refuse(dataset, out, reason="meets the dataset .* choose another folder with --write-voc"):
    before = hash_tree(dataset)
    with pytest.raises(OutputError, match=reason):
        check_voc_folder(out, [read_dataset(dataset)])
    assert hash_tree(dataset) == before


def test_dataset_is_never_written_to(dataset, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for out in (dataset, dataset / "new", tmp_path, link, dataset / "annotations" / ".."):
        refuse(dataset, out)
    voc = tmp_path / "voc"
    around = make_dataset(voc / "faces" / "data" / "faces")
    (voc / "voc.json").write_text("{}")
    refuse(around, voc)
    shutil.rmtree(voc / "faces" / "data")
    (voc / "faces" / "annotations").symlink_to(dataset / "annotations")
    refuse(dataset, voc)


def test_link_in_place_of_a_file_is_replaced_not_followed(dataset, overlay, tmp_path):
    folder = tmp_path / "voc" / "faces" / "annotations"
    folder.mkdir(parents=True)
    (tmp_path / "voc" / "voc.json").write_text('{"changed": []}')
    (folder / "photo1.xml").symlink_to(dataset / "annotations" / "photo1.xml")
    before = hash_tree(dataset)
    write_voc([overlay[0]], [overlay[1]], tmp_path / "voc")
    assert hash_tree(dataset) == before
    assert INCORRECT in (folder / "photo1.xml").read_text()


def test_folder_with_other_files_is_not_touched(dataset, tmp_path):
    make_voc(tmp_path / "voc" / "faces" / "annotations" / "photo1.xml", "mine.jpg")
    refuse(dataset, tmp_path / "voc", "holds other files; choose an empty .* --write-voc")
    (tmp_path / "voc" / "voc.json").write_text('{"version": "7"}')
    refuse(dataset, tmp_path / "voc", "was not written by this command; .* --write-voc")


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


NUMBERS = TEXT.replace(" 40 ", " 0.30000000000000004 ").replace(">10<", ">11<")


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({}, TEXT),
        ({0: Edit(name="with_mask")}, TEXT.replace("\tmask ", "\twith_mask ")),
        ({0: Edit(box=Box(11, 12.0, 31.5, 0.1 + 0.2))}, NUMBERS.replace("30.25", "31.5")),
    ],
    ids=["nothing", "name", "numbers"],
)
def test_only_what_is_edited_changes(path, edits, expected):
    assert edit_voc(path, edits) == expected.encode()


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


def test_all_objects_go_from_a_file_without_declaration(path):
    text = "<annotation><object><name>ñ</name></object>\n<object/>\n</annotation>"
    path.write_text(text, encoding="utf-8")
    assert edit_voc(path, {0: Edit(name="ü")}).decode() == text.replace("ñ", "ü")
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
    with pytest.raises(InputError, match=reason):
        edit_voc(path, edits, name="a.xml")


numbers = st.floats(0, 1e4).map(lambda x: round(x, 4)) | st.floats(0, 1e4) | st.integers(0, 9999)


@settings(deadline=None)
@given(st.tuples(*[numbers] * 4))
def test_every_box_is_read_back_exactly(tmp_path_factory, sides):
    path = tmp_path_factory.mktemp("voc") / "a.xml"
    path.write_text(TEXT, encoding="utf-8")
    path.write_bytes(edit_voc(path, {1: Edit(box=Box(*sides))}))
    box = etree.parse(path).findall("object")[1].find("bndbox")
    assert Box(*(float(box.findtext(name)) for name in Box._fields)) == Box(*sides)


def test_spelling_inside_the_root_may_differ_but_not_the_meaning(path):
    path.write_text("<annotation a='1'><b></b>&#233;<object><name>x</name></object></annotation>")
    edited = edit_voc(path, {0: Edit("y")}).decode()
    assert edited == '<annotation a="1"><b/>é<object><name>y</name></object></annotation>'
