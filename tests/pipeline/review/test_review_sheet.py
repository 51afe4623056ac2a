"""Review in a sheet: out, filled in, and in again."""

import csv

import pytest
from PIL import Image

from data_prep.decisions.ledger import read_ledger, settle
from pipeline.review.sheet import HEADER, SheetError, draw_contact_sheets, import_sheet, write_sheet


@pytest.fixture
def sheet(tmp_path):
    return tmp_path / "sheet.csv"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fill(path, choices, delimiter=",", encoding="utf-8"):
    """Fill in rows by number; returns the path."""
    rows = read(path)
    for number, (decision, to) in choices.items():
        rows[number] |= {"decision": decision, "to": to}
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, HEADER, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


GOOD = {
    0: ("keep", ""),
    1: ("relabel", "with_mask"),
    2: ("Drop", ""),
    3: ("relabel", "3"),
    4: ("skip", ""),
    5: ("relabel", "Without Mask"),
}


def test_a_sheet_lists_the_undecided_faces(start, sheet):
    session = start()
    assert write_sheet(sheet, session) == 12
    rows = read(sheet)
    assert list(rows[0]) == list(HEADER)
    first = session.face(0)
    assert rows[0] == {
        **{"rank": "1", "key": "set/images/000.jpg#0", "given": first.label},
        **{"suggested": first.suggested, "decision": "", "to": ""},
    }
    with pytest.raises(SheetError, match="already"):
        write_sheet(sheet, session)


@pytest.mark.parametrize(
    "written",
    [{}, {"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-8-sig"}],
)
def test_decisions_come_in_once(start, sheet, ledger, written):
    write_sheet(sheet, start())
    fill(sheet, GOOD, **written)
    assert import_sheet(sheet, start()) == (6, 0)
    stands = settle(read_ledger(ledger).decisions, "ada").values()
    assert [(d.object, d.image[-7:-4], d.action, d.to) for d in stands] == [
        (0, "000", "keep", None),
        (1, "000", "relabel", "with_mask"),
        (2, "000", "drop", None),
        (0, "001", "relabel", "mask_weared_incorrect"),
        (2, "001", "relabel", "without_mask"),
    ]
    assert import_sheet(sheet, start()) == (0, 6)
    assert len(read_ledger(ledger).decisions) == 6
    other = sheet.with_name("rest.csv")
    assert write_sheet(other, start()) == 7, "the skipped one is undecided"


def test_an_import_cut_short_goes_on(start, sheet, ledger):
    write_sheet(sheet, start())
    import_sheet(fill(sheet, dict(list(GOOD.items())[:3])), start())
    assert import_sheet(fill(sheet, GOOD), start()) == (3, 3)
    assert len(read_ledger(ledger).decisions) == 6


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (("keep", "with_mask"), "'keep' goes without"),
        (("relabel", ""), "needs a class"),
        (("relabel", "helmet"), "unknown class 'helmet'"),
        (("rebox", ""), "none of keep, relabel"),
        (("", "with_mask"), "decision ''"),
    ],
)
def test_a_bad_row_is_named_and_nothing_comes_in(start, sheet, ledger, choice, words):
    write_sheet(sheet, start())
    fill(sheet, GOOD | {7: choice})
    with pytest.raises(SheetError, match=words) as error:
        import_sheet(sheet, start())
    assert f"{sheet}: line 9: " in str(error.value)
    assert "Nothing is imported" in str(error.value)
    assert not ledger.exists()


def test_strangers_and_doubles_are_named(start, sheet, ledger):
    write_sheet(sheet, start())
    lines = fill(sheet, GOOD).read_text().splitlines()
    lines += [lines[1], "99,set/images/none.jpg#0,,,keep,"]
    sheet.write_text("\n".join(lines))
    with pytest.raises(SheetError, match="line 14: the same face as line 2") as error:
        import_sheet(sheet, start())
    assert "line 15: no face 'set/images/none.jpg#0'" in str(error.value)
    assert not ledger.exists()


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"", b"rank,key\n1,a\n", b'key,decision,to\n"'])
def test_what_is_no_sheet_is_refused(start, sheet, data):
    sheet.write_bytes(data)
    if data.endswith(b'"'):
        assert import_sheet(sheet, start()) == (0, 0)
        return
    with pytest.raises(SheetError, match=str(sheet)):
        import_sheet(sheet, start())


def test_a_blind_sheet_tells_nothing(start, sheet, ledger):
    session = start("bob", blind=True)
    write_sheet(sheet, session)
    rows = read(sheet)
    assert {row["given"] + row["suggested"] for row in rows} == {""}
    assert rows[0]["key"] != "set/images/000.jpg#0"
    with pytest.raises(SheetError, match="name the class"):
        import_sheet(fill(sheet, {0: ("keep", "")}), session)
    fill(sheet, dict.fromkeys(range(12), ("relabel", "with_mask")))
    assert import_sheet(sheet, session) == (12, 0)
    kept = [d for d in read_ledger(ledger).decisions if d.action == "keep"]
    assert len(kept) == 4, "those that were with_mask"


def test_contact_sheets_show_all_faces(start, tmp_path):
    session = start()
    positions = [*range(12)] * 4
    pages = draw_contact_sheets(tmp_path / "pages", session, positions)
    assert [page.name for page in pages] == ["page-001.png", "page-002.png"]
    first, second = (Image.open(page) for page in pages)
    assert first.width == second.width
    assert second.height < first.height
    # The first face is painted green; its centre is in the middle of the first tile.
    red, green, blue = first.getpixel((10 + 75, 10 + 75))
    assert green > 200 > 60 > max(red, blue)
