"""The suspects folder, the commands `review` and `agreement`, and review in a sheet."""

import csv
import shlex
import shutil
import socket
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.base.errors import DatasetError
from data_prep.base.records import Box
from data_prep.base.tables import TableError, read_faces
from data_prep.decisions.ledger import read_ledger, settle
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from pipeline.review import command as reviewing
from pipeline.review import sheet as sheets
from pipeline.review.command import (
    PORT,
    ReviewOptions,
    UserError,
    name_address,
    open_port,
    review,
)
from pipeline.review.session import Choice
from pipeline.review.sheet import (
    DECISIONS,
    HEADER,
    draw_contact_sheets,
    import_sheet,
    list_open,
    write_sheet,
)
from pipeline.review.suspects import open_suspects
from tests.data_prep.deciding import decide_on_table, write_ledger
from tests.makers import hash_tree, make_dataset
from tests.pipeline.makers import assert_refused, call
from tests.pipeline.review.makers import BOXES, EXPECTED, make_suspects


@pytest.fixture
def own(tmp_path):
    return make_suspects(tmp_path / "own")


def rewrite(folder, change):
    table = pd.read_csv(folder / "suspects.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(folder / "suspects.csv", index=False)


def test_every_row_is_told(found):
    suspects = open_suspects(found)
    table = pd.read_csv(found / "suspects.csv")
    assert len(suspects) == len(table) == 12
    for row, entry in table.iterrows():
        face = suspects.face(row)
        assert face.key == (entry["source"], entry["image"], entry["object"])
        assert suspects.find(face.key) == row
        similar = tuple(int(rank) - 1 for rank in entry["similar"].split())
        told = (face.label, face.suggested, face.score, face.box, suspects.similar(face))
        assert told == (*entry[["label", "suggested", "score"]], Box(*BOXES[row % 3]), similar)
    assert suspects.about.expected_wrong == {name: tuple(ends) for name, ends in EXPECTED.items()}


def test_odd_names_and_empty_fields(own):
    def change(table):
        table.loc[0, ["image", "suggested", "p_with_mask", "similar", "reasons"]] = ""
        table.loc[0, "image"] = "NA"
        table.loc[1, "similar"] = "3 999 0 -2 x 1"
        table.loc[2, "score"] = ""
        return table

    rewrite(own, change)
    suspects = open_suspects(own)
    face = suspects.face(0)
    assert (face.key, face.suggested, face.probabilities, suspects.similar(face)) == (
        ("set", "NA", 0), "", None, ()
    )  # fmt: skip
    assert suspects.similar(suspects.face(1)) == (2, 0)
    assert suspects.face(2).score is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(columns="reasons"), "reasons"),
        (lambda table: table.assign(rank=table["rank"][::-1].to_numpy()), "csv:2: the ranks"),
        (lambda table: table.assign(label=["hat", *table["label"][1:]]), "csv:2: the label"),
        (lambda table: table.assign(object="0", image="a"), "csv:3: the face stands there twice"),
        (lambda table: table.assign(xmin="left"), "not a readable table"),
        (lambda table: table.assign(source="other"), "'other'"),
        (lambda table: table[:0], "no faces"),
    ],
)
def test_bad_tables_are_named(own, change, words):
    rewrite(own, change)
    with pytest.raises(DatasetError, match=words):
        open_suspects(own)


def test_a_large_table_is_indexed_once_and_again_when_it_changed(own, monkeypatch):
    small = open_suspects(own)
    monkeypatch.setattr("pipeline.review.suspects.LARGE", 0)
    index = own / "suspects.sqlite"
    assert [open_suspects(own).face(row) for row in range(12)] == [*map(small.face, range(12))]
    with monkeypatch.context() as blind:
        blind.setattr(pd, "read_csv", None)  # Or it would be read anew.
        assert open_suspects(own).face(7) == small.face(7)
    index.write_bytes(b"damaged" * 1000)
    assert open_suspects(own).face(7) == small.face(7)
    rewrite(own, lambda table: table.assign(image="other.jpg", object=range(12)))
    assert open_suspects(own).face(7).key == ("set", "other.jpg", 7)
    index.unlink()
    index.mkdir()  # Where none can be kept, none is.
    assert open_suspects(own).find(("set", "other.jpg", 11)) == 11
    rewrite(own, lambda table: table.assign(object="0"))
    with pytest.raises(DatasetError, match="csv:3: the face stands there twice"):
        open_suspects(own)
    left = {path.name for path in own.iterdir()}
    assert left == {"suspects.csv", "suspects.json", "suspects.sqlite"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Invalid JSON"),
        ('{"format": 2, "roots": {}}', "'format'"),
        ('{"format": 1, "roots": {}, "expected_wrong": {"with_mask": [1]}}', "'expected_wrong'"),
    ],
)
def test_bad_descriptions_are_named(own, text, words):
    (own / "suspects.json").write_text(text)
    with pytest.raises(DatasetError, match=rf"suspects\.json:.*{words}"):
        open_suspects(own)


@pytest.fixture
def served(monkeypatch):
    """What reaches the server, in place of serving."""
    calls = []
    monkeypatch.setattr(reviewing, "serve", lambda *arguments: calls.append(arguments))
    return calls


def test_review_serves_a_session(found, ledger, served):
    options = ("--first", 5, "--port", 0, "--no-open", "--ledger", ledger)
    result = call("review", found, "--by", " Ada ", *options)
    assert result.exit_code == 0
    ((session, options),) = served
    assert (session.way.by, len(session), session.way.blind) == ("Ada", 5, False)
    assert (options.host, options.port, options.token) == ("127.0.0.1", 0, None)
    assert options.no_open
    assert "5 faces, 5 not looked at by Ada" in result.stderr


def test_disputes_are_settled_on_a_prepared_folder_without_suspects(tmp_path, served):
    """Two ledgers, put together as `build` advises; one who disagrees decides anew."""
    root = make_dataset(tmp_path / "faces")
    out, ledger = tmp_path / "prepared", tmp_path / "all.jsonl"
    build(BuildOptions(roots=[root], out=out))
    for by, action in (("ann", "drop"), ("bob", "keep")):
        write_ledger(ledger, replace(decide_on_table(out, root, 3, action), by=by))
    options = ReviewOptions(out, by="eve", disputed=True, ledger=ledger, no_open=True)
    with pytest.raises(UserError, match=r"--by eve: .* settles nothing; give one of ann, bob"):
        review(options)
    review(replace(options, by="ann"))
    ((session, _),) = served
    face = read_faces(out).iloc[3]
    assert (len(session), session.face(0).key) == (1, (face.source, face.image, face.object))
    assert session.face(0).probabilities is None
    session.decide(0, Choice("keep"), session.look_up(0).version)
    cleaned = build(BuildOptions(roots=[root], out=tmp_path / "cleaned", decisions=[ledger]))
    assert cleaned.record["decisions"]["not_applied"] == {}


@pytest.mark.parametrize(("option", "count"), [((), 10), (("--all",), 40), (("--first", 5), 5)])
def test_review_opens_with_likely_errors(tmp_path, served, option, count):
    folder = make_suspects(tmp_path / "own", rows=40, likely=[3, 1, 6])
    result = call("review", folder, "--by", "Ada", *option)
    assert f"{count} faces, {count} not looked at by Ada" in result.stderr
    first = "about 3 likely errors (1 to 6) in 40 labels; the most suspect come first"
    assert (first in result.stderr) == (option == ())
    assert len(served[0][0]) == count


def test_out_and_in_by_sheet(found, ledger, tmp_path):
    before, sheet = hash_tree(found.parent), tmp_path / "sheet.csv"
    (tmp_path / "other-pages").mkdir()
    (tmp_path / "other-pages" / "thesis.txt").write_text("mine")
    other = tmp_path / "other.csv"
    refused = call("review", found, "--by", "ada", "--ledger", ledger, "--export", other)
    assert_refused(refused, tmp_path / "other-pages", "holds other files")
    assert not other.exists()
    result = call("review", found, "--by", "ada", "--ledger", ledger, "--export", sheet)
    assert result.exit_code == 0
    assert (tmp_path / "sheet-pages" / "page-001.png").is_file()
    told = result.stderr.partition("fill in 'decision': ")[2]
    assert all(name in told for name in DECISIONS)
    sheet.write_text(sheet.read_text().replace(",,\n", ",drop,\n"))
    for added, known in ((12, 0), (0, 12)):
        result = call("review", found, "--by", "ada", "--ledger", ledger, "--import", sheet)
        assert f"{added} decisions added, {known} stood already" in result.stderr
    assert len(read_ledger(ledger).decisions) == 12
    assert hash_tree(found.parent) == before

    sheet = tmp_path / "second.csv"
    call("review", found, "--by", "bob", "--blind", "--ledger", ledger, "--export", sheet)
    sheet.write_text(sheet.read_text().replace(",,,,\n", ",,,drop,\n"))
    call("review", found, "--by", "bob", "--blind", "--ledger", ledger, "--import", sheet)
    disputes = tmp_path / "disputes.csv"
    result = call("agreement", ledger, "--by", "ada", "--by", "bob", "-o", disputes)
    assert result.exit_code == 0
    assert "ada and bob both decided 12 faces" in result.stdout
    assert len(disputes.read_text().splitlines()) == 1
    for place in (ledger, ledger.parent):
        assert "source,image,object" in call("agreement", place).stdout


@pytest.mark.parametrize("at", ["folder", "ledger", "elsewhere"])
def test_what_agreement_says_to_type_can_be_pasted(found, tmp_path, at):
    folder = shutil.copytree(found, tmp_path / "my suspects")
    ledger = tmp_path / "all of it.jsonl" if at == "elsewhere" else folder / "decisions.jsonl"
    sheet = tmp_path / "sheet.csv"
    for name, choice in (("Ada L", "keep"), ("bob", "drop")):
        sheet.unlink(missing_ok=True)
        how = ("review", folder, "--by", name, "--ledger", ledger)
        call(*how, "--export", sheet)
        sheet.write_text(sheet.read_text().replace(",,\n", f",{choice},\n"))
        call(*how, "--import", sheet)
    given = folder if at == "folder" else ledger
    told = call("agreement", given, "-o", tmp_path / "disputes.csv").stderr
    asked = shlex.split(told.partition("to settle them: ")[2])
    assert asked[:4] == ["python", "-m", "pipeline", "review"]
    assert asked[4] == ("SUSPECTS" if at == "elsewhere" else str(folder))
    assert asked[5:] == ["--disputed", "--ledger", str(ledger), "--by", "Ada L"]
    again = call("review", folder, *asked[5:], "--export", tmp_path / "again.csv")
    assert "12 faces" in again.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--by", "a\nb"), "--by"),
        (("--token", "no blanks; here"), "--token"),
        (("--import", "none.csv"), "none.csv"),
        (("--import", "a.csv", "--export", "b.csv"), "one at a time"),
        (("--ledger", "."), "ledger"),
    ],
)
def test_bad_options_are_explained(found, served, options, words):
    assert_refused(call("review", found, *options), words)
    assert not served


@pytest.mark.parametrize("name", ["suspects.csv", "suspects.json"])
def test_missing_files_say_what_to_do(own, name):
    (own / name).unlink()
    assert_refused(call("review", own, "--no-open"), "python -m pipeline suspects")
    assert_refused(call("agreement", own / name))
    assert_refused(call("review", own / "none"), f"{own / 'none'}: no such folder")


def test_other_addresses_get_a_token(start, found, monkeypatch, capsys):
    seen = []

    class Server:
        def __init__(self, config):
            seen.append(config.app)

        def run(self, sockets):
            sockets[0].close()

    monkeypatch.setattr(reviewing.uvicorn, "Server", Server)
    for host, token in (("127.0.0.1", None), ("0.0.0.0", None), ("0.0.0.0", "given-token")):
        options = ReviewOptions(found, host=host, port=0, token=token, no_open=True)
        reviewing.serve(start(), options)
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if line.startswith("review: ")]
    assert said[1] == "0 of 12 faces decided", "there is nothing to build with"
    assert "token" not in lines[0]
    made = lines[1].split("?token=")[1].split()[0]
    assert len(made) >= 20
    assert "?token=given-token " in lines[2]
    assert "0.0.0.0" not in lines[1]


def test_ports(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}"):
            open_port("127.0.0.1", port)
        monkeypatch.setattr(reviewing, "PORT", port)
        with open_port("127.0.0.1", None) as free:
            assert free.getsockname()[1] not in (port, 0)
    with pytest.raises(UserError, match="no such host"):
        open_port("no such host", 0)
    assert name_address("::1", PORT, "t") == f"http://[::1]:{PORT}/?token=t"


@pytest.fixture
def sheet(tmp_path):
    return tmp_path / "sheet.csv"


def export(path, session):
    write_sheet(path, session, list_open(session))


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
    5: ("", "Without Mask"),
    6: ("relabel", "worn wrongly"),
    7: ("", "with"),
}


@pytest.mark.parametrize(
    "written",
    [{}, {"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-8-sig"}],
)
def test_decisions_come_in_once(start, sheet, ledger, written):
    session = start()
    export(sheet, session)
    first = session.face(0)
    assert read(sheet)[0] == {
        **{"rank": "1", "key": "set/images/000.jpg#0", "given": first.label},
        **{"suggested": first.suggested, "decision": "", "to": ""},
    }
    with pytest.raises(TableError, match="already"):
        export(sheet, session)
    import_sheet(fill(sheet, dict(list(GOOD.items())[:3])), start())
    fill(sheet, GOOD, **written)
    assert import_sheet(sheet, start()) == (5, 3), "as after a kill in the midst"
    stands = settle(read_ledger(ledger).decisions, "ada").values()
    assert [(d.object, d.image[-7:-4], d.action, d.to) for d in stands] == [
        (0, "000", "keep", None),
        (1, "000", "relabel", "with_mask"),
        (2, "000", "drop", None),
        (0, "001", "relabel", "mask_weared_incorrect"),
        (2, "001", "relabel", "without_mask"),
        (0, "002", "relabel", "mask_weared_incorrect"),
        (1, "002", "relabel", "with_mask"),
    ]
    assert import_sheet(sheet, start()) == (0, 8)
    assert len(read_ledger(ledger).decisions) == 8
    assert len(list_open(start())) == 5, "the skipped one is undecided"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (("keep", "with_mask"), "'keep' goes without"),
        (("relabel", ""), "needs a class"),
        (("relabel", "helmet"), "unknown class 'helmet'"),
        (("rebox", ""), "none of keep, relabel"),
        (("", "helmet"), "unknown class 'helmet'"),
    ],
)
def test_a_bad_row_is_named_and_nothing_comes_in(start, sheet, ledger, choice, words):
    export(sheet, start())
    fill(sheet, {**dict(list(GOOD.items())[:6]), 7: choice})
    with pytest.raises(TableError, match=words) as error:
        import_sheet(sheet, start())
    assert f"{sheet}: line 9: " in str(error.value)
    assert "Nothing is imported" in str(error.value)
    assert not ledger.exists()


def test_strangers_and_doubles_are_named(start, sheet, ledger):
    export(sheet, start())
    lines = fill(sheet, GOOD).read_text().splitlines()
    lines += [lines[1], "99,set/images/none.jpg#0,,,keep,"]
    sheet.write_text("\n".join(lines))
    with pytest.raises(TableError, match="line 14: the same face as line 2") as error:
        import_sheet(sheet, start())
    assert "line 15: no face 'set/images/none.jpg#0'" in str(error.value)
    assert not ledger.exists()


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"", b"rank,key\n1,a\n", b'key,decision,to\n"'])
def test_what_is_no_sheet_is_refused(start, sheet, data):
    sheet.write_bytes(data)
    with pytest.raises(TableError, match=str(sheet)):
        import_sheet(sheet, start())


def test_a_blind_sheet_tells_nothing(start, sheet, ledger):
    session = start("bob", blind=True)
    export(sheet, session)
    rows = read(sheet)
    assert {row["given"] + row["suggested"] for row in rows} == {""}
    assert rows[0]["key"] != "set/images/000.jpg#0"
    with pytest.raises(TableError, match="name the class"):
        import_sheet(fill(sheet, {0: ("keep", "")}), session)
    fill(sheet, dict.fromkeys(range(12), ("relabel", "with_mask")))
    assert import_sheet(sheet, session) == (12, 0)
    kept = [d for d in read_ledger(ledger).decisions if d.action == "keep"]
    assert len(kept) == 4, "those that were with_mask"


def test_contact_sheets_show_all_faces(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "ON_PAGE", 11)
    pages = draw_contact_sheets(tmp_path / "pages", start(), [*range(12)])
    assert [page.name for page in pages] == ["page-001.png", "page-002.png"]
    first, second = (np.asarray(Image.open(page).convert("RGB"), int) for page in pages)
    assert second.shape[0] < first.shape[0]
    assert second.shape[1] == first.shape[1]
    # The first face is painted green; so is the middle of the first of ten columns.
    corner = first[: first.shape[0] // 2, : first.shape[1] // 10].reshape(-1, 3)
    assert ((corner[:, 1] > 200) & (corner[:, [0, 2]].max(axis=1) < 60)).any()
