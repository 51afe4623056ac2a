"""The commands `review` and `agreement`."""

import socket

import pytest
from typer.testing import CliRunner

from data_prep.decisions.ledger import read_ledger
from pipeline.cli import app
from pipeline.review import serve as serving
from pipeline.review.serve import PORT, ServeError, name_address, open_port
from tests.makers import hash_tree


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def served(monkeypatch):
    """What reaches the server, in place of serving."""
    calls = []
    monkeypatch.setattr(
        serving, "serve", lambda session, **options: calls.append((session, options))
    )
    return calls


def test_review_serves_a_session(found, ledger, served):
    options = ("--first", 5, "--port", 0, "--no-open", "--ledger", ledger)
    result = call("review", found, "--by", " Ada ", *options)
    assert result.exit_code == 0
    ((session, options),) = served
    assert (session.way.by, len(session), session.way.blind) == ("Ada", 5, False)
    assert (options["host"], options["port"], options["token"]) == ("127.0.0.1", 0, None)
    assert options["open_browser"] is False
    assert "5 faces, 5 not looked at by Ada" in result.stderr


def test_out_and_in_by_sheet(found, ledger, tmp_path):
    before, sheet = hash_tree(found.parent), tmp_path / "sheet.csv"
    result = call("review", found, "--by", "ada", "--ledger", ledger, "--export", sheet)
    assert result.exit_code == 0
    assert (tmp_path / "sheet-pages" / "page-001.png").is_file()
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
    assert "source,image,object" in call("agreement", ledger).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--by", ""), "--by"),
        (("--by", "a\nb"), "--by"),
        (("--token", "short"), "--token"),
        (("--token", "no blanks; here"), "--token"),
        (("--import", "none.csv"), "none.csv"),
        (("--import", "a.csv", "--export", "b.csv"), "one at a time"),
        (("--ledger", "."), "ledger"),
    ],
)
def test_bad_options_are_explained(found, served, options, words):
    result = call("review", found, *options)
    assert result.exit_code == 2
    assert words in result.stderr.splitlines()[-1]
    assert not served


def test_a_folder_without_suspects_is_explained(tmp_path):
    result = call("review", tmp_path, "--no-open")
    assert result.exit_code == 2
    assert "python -m pipeline suspects" in result.stderr
    assert call("agreement", tmp_path / "none.jsonl").exit_code == 2


def test_other_addresses_get_a_token(start, monkeypatch):
    seen = []

    class Server:
        def __init__(self, config):
            seen.append(config.app)

        def run(self, sockets):
            sockets[0].close()

    monkeypatch.setattr(serving.uvicorn, "Server", Server)
    lines = []
    options = {"port": 0, "open_browser": False, "say": lines.append}
    serving.serve(start(), host="127.0.0.1", token=None, **options)
    serving.serve(start(), host="0.0.0.0", token=None, **options)
    serving.serve(start(), host="0.0.0.0", token="given-token", **options)
    assert "token" not in lines[0]
    made = lines[1].split("?token=")[1].split()[0]
    assert len(made) >= 20
    assert "?token=given-token " in lines[2]
    assert "0.0.0.0" not in lines[1]


def test_ports(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"--port {port}"):
            open_port("127.0.0.1", port)
        monkeypatch.setattr(serving, "PORT", port)
        with open_port("127.0.0.1", None) as free:
            assert free.getsockname()[1] not in (port, 0)
    with pytest.raises(ServeError, match="no such host"):
        open_port("no such host", 0)
    assert name_address("::1", PORT, "t") == f"http://[::1]:{PORT}/?token=t"
