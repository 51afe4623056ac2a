"""The page in a real browser: keys, mouse, finger, two tabs, a long list, and a killed server."""

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data_prep.base.labels import CLASSES
from data_prep.decisions.ledger import read_ledger, settle
from tests.pipeline.review.makers import BOXES, make_suspects

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]
ROOT = Path(__file__).parents[3]
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SMALL, LYING = {"width": 360, "height": 640}, {"width": 844, "height": 390}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
        options.append("--disable-background-networking")
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def serve(found, ledger):
    """Starts the command and returns it with its address."""
    started = []

    def start(*options, folder=found, by="ada", port=0):
        command = [sys.executable, "-m", "pipeline", "review", str(folder), "--no-open"]
        command += ["--by", by, "--ledger", str(ledger), "--port", str(port), *options]
        server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        started.append(server)
        for line in server.stderr:
            if line.startswith("review: http"):
                # What comes later must not fill the pipe.
                threading.Thread(target=server.stderr.read, daemon=True).start()
                return server, line.split()[1]
        raise AssertionError("the server did not start")

    yield start
    for server in started:
        server.kill()
        server.wait()


@pytest.fixture
def visit(browser):
    """Opens an address in a window of its own and waits for the first face."""
    contexts, complaints = [], []

    def open_page(address, context=None, **options):
        if context is None:
            context = browser.new_context(**{"viewport": DESK} | options)
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: "Content Security" in m.text and complaints.append(m.text))
        page.goto(address)
        page.wait_for_selector("body[data-shown]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def find_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_for(page, shown):
    page.wait_for_selector(f'body[data-shown="{shown}"]')


def press(page, key, then):
    page.keyboard.press(key)
    wait_for(page, then)


def actions(ledger):
    return [(d.action, d.to) for d in read_ledger(ledger).decisions]


def test_every_key(serve, visit, ledger):
    page = visit(serve()[1])
    with_mask, without, wrongly = CLASSES
    # Faces 0, 1, 2, 3 … are given classes 0, 1, 2, 0 …
    for key, then in (("1", 1), ("1", 2), ("2", 3), ("3", 4), ("Space", 5), ("d", 6), ("s", 7)):
        press(page, key, then)
    assert actions(ledger) == [
        *[("keep", None), ("relabel", with_mask), ("relabel", without), ("relabel", wrongly)],
        *[("keep", None), ("drop", None), ("skip", None)],
    ]
    assert page.text_content("#counts") == "6 of 12 · 4 changed · 2 kept · 1 skipped"
    press(page, "u", 6)
    press(page, "u", 5)
    assert [action for action, _ in actions(ledger)[-2:]] == ["undo", "undo"]
    press(page, "ArrowLeft", 4)
    assert "You: kept" in page.text_content("#standing")
    press(page, "ArrowLeft", 3)
    assert "You: Worn wrongly" in page.text_content("#standing")
    assert page.get_attribute('[data-class-deed="mask_weared_incorrect"]', "aria-pressed") == "true"
    press(page, "D", 5)  # Decided anew; on to the first undecided one.
    press(page, "ArrowRight", 6)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("d")
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    for key in ("Control+d", "Alt+1", "q", "Enter", "Escape"):
        page.keyboard.press(key)
    page.keyboard.press("z")
    page.wait_for_selector('#photo:not([viewBox="0 0 120 90"])')
    *_, width, height = map(float, page.get_attribute("#photo", "viewBox").split())
    room = page.locator("#photo").bounding_box()
    assert width == 120 or width / height == pytest.approx(room["width"] / room["height"], 0.01)
    assert len(actions(ledger)) == 10
    assert settle(read_ledger(ledger).decisions)[("set", "images/001.jpg", 0)].action == "drop"


def test_a_key_held_down_decides_one_face(serve, visit, ledger):
    page = visit(serve()[1])
    page.keyboard.down("d")
    for _ in range(5):
        page.keyboard.down("d")
    wait_for(page, 1)
    page.wait_for_timeout(300)
    assert len(actions(ledger)) == 1


def test_buttons_do_the_same_and_do_not_stick(serve, visit, ledger):
    page = visit(serve()[1])
    page.click("[data-deed=drop]")
    wait_for(page, 1)
    press(page, "Space", 2)  # Space keeps, it doesn't press the button again.
    page.click('[data-class-deed="with_mask"]')
    wait_for(page, 3)
    for deed, then in (("skip", 4), ("keep", 5), ("back", 4), ("forth", 5), ("undo", 4)):
        page.click(f"[data-deed={deed}]")
        wait_for(page, then)
    page.click("#open-help")
    page.click("#help button")
    # A button reached by Tab is pressed by Space.
    page.focus("[data-deed=skip]")
    press(page, "Space", 5)
    words = ["drop", "keep", "relabel", "skip", "keep", "undo", "skip"]
    assert [action for action, _ in actions(ledger)] == words


def test_what_the_page_shows(serve, visit):
    page = visit(serve()[1])
    assert page.text_content("#label") == "Given label: With mask"
    assert page.locator("#similar img").count() == 8
    assert page.locator("#reasons li").count() == 2
    assert "%" in page.text_content("#opinion")
    assert page.evaluate("document.getElementById('crop').naturalWidth") == 36
    rect = page.locator('#photo rect.over[data-box="given"]')
    assert [rect.get_attribute(n) for n in ("x", "y", "width", "height")] == ["8", "10", "22", "24"]
    assert page.evaluate("getComputedStyle(document.querySelector('#label .chip'), '::before')"
                         ".backgroundColor") == "rgb(42, 127, 98)"  # fmt: skip


def test_two_tabs_and_two_servers(serve, visit, ledger):
    _, address = serve()
    first = visit(address)
    second = visit(address, first.context)
    third = visit(serve()[1])
    press(first, "d", 1)
    for other in (second, third):
        press(other, "Space", 1)
        assert "decided in another window" in other.text_content("#status")
        assert "It stands as: dropped" in other.text_content("#status")
    assert actions(ledger) == [("drop", None)]
    press(second, "ArrowLeft", 0)
    press(second, "Space", 1)  # Having seen it, it may be changed.
    assert [action for action, _ in actions(ledger)] == ["drop", "keep"]
    press(third, "2", 2)
    press(first, "3", 2)
    assert len(actions(ledger)) == 3


def test_redrawing_with_the_mouse(serve, visit, ledger):
    page = visit(serve()[1])
    page.keyboard.press("b")
    page.wait_for_selector("#photo.drawing")
    page.keyboard.press("Enter")
    page.keyboard.press("d")
    page.keyboard.press("Space")
    assert not ledger.exists(), "nothing but what belongs to drawing"
    drag(page, (14, 16), (40.5, 52))
    page.keyboard.press("Escape")
    page.wait_for_selector("#photo:not(.drawing)")
    assert not ledger.exists()

    page.keyboard.press("b")
    drag(page, (44, 50), (12, 20))  # Backwards, then anew.
    drag(page, (14, 16), (40.5, 52))
    page.keyboard.press("3")
    press(page, "Enter", 1)
    (decision,) = read_ledger(ledger).decisions
    assert decision.action == "rebox"
    assert decision.to == "mask_weared_incorrect"
    assert decision.box == BOXES[0]
    assert decision.to_box == pytest.approx((14, 16, 40.5, 52), abs=0.5)

    press(page, "ArrowLeft", 0)
    assert "box redrawn" in page.text_content("#standing")
    rect = page.locator('#photo rect.over[data-box="new"]')
    assert float(rect.get_attribute("x")) == pytest.approx(14, abs=0.5)
    press(page, "ArrowRight", 1)
    page.keyboard.press("b")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowDown", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    press(page, "Enter", 2)
    x0, y0, x1, y1 = BOXES[1]
    assert read_ledger(ledger).decisions[1].to_box == (x0 + 2, y0 - 1, x1 + 1, y1)


def drag(page, start, end):
    """Draw from one point of the photo to another."""
    corners = page.evaluate(
        """points => { const matrix = document.getElementById("photo").getScreenCTM();
        return points.map(([x, y]) => { const p = new DOMPoint(x, y).matrixTransform(matrix);
        return [p.x, p.y]; }); }""",
        [start, end],
    )
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=5)
    page.mouse.up()


def test_a_killed_server_loses_nothing(serve, visit, ledger):
    port = find_port()
    server, address = serve(port=port)
    page = visit(address)
    press(page, "Space", 1)
    press(page, "d", 2)
    page.reload()
    wait_for(page, 2)
    server.kill()
    server.wait()
    page.keyboard.press("1")
    page.wait_for_selector("#status.alarm")
    assert "doesn't answer" in page.text_content("#status")
    assert page.get_attribute("body", "data-shown") == "2"
    # Half a line, as a kill in the midst of writing would leave it.
    with ledger.open("ab") as file:
        file.write(b'{"at": "2026-11-20T10:00')
    serve(port=port)
    press(page, "1", 3)
    press(page, "u", 2)
    press(page, "3", 3)
    found = read_ledger(ledger)
    assert [d.action for d in found.decisions] == ["keep", "drop", "relabel", "undo", "keep"]
    assert len(found.warnings) == 1
    assert visit(address).get_attribute("body", "data-shown") == "3"


def test_on_a_phone(serve, visit, ledger):
    page = visit(serve()[1], viewport=PHONE, has_touch=True, is_mobile=True)
    page.tap("[data-deed=drop]")
    wait_for(page, 1)
    page.tap('[data-class-deed="without_mask"]')
    wait_for(page, 2)
    page.tap("[data-deed=rebox]")
    page.wait_for_selector("#photo.drawing")
    place = page.locator("#photo").bounding_box()
    footer = page.locator("footer").bounding_box()
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= footer["y"], "the photo is in sight"
    swipe(page, place, (0.3, 0.3), (0.6, 0.8))
    page.tap("[data-deed=accept]")
    wait_for(page, 3)
    page.tap("[data-deed=undo]")
    wait_for(page, 2)
    assert [action for action, _ in actions(ledger)] == ["drop", "keep", "rebox", "undo"]


@pytest.mark.parametrize("size", [PHONE, SMALL, LYING])
def test_on_phones_of_any_size(serve, visit, size):
    page = visit(serve()[1], viewport=size, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    buttons = page.locator("button:visible").all()
    assert len(buttons) == 12
    for button in buttons:
        box = button.bounding_box()
        assert min(box["height"], box["width"]) >= 40
        assert button.evaluate("node => node.scrollWidth <= node.clientWidth"), "no word is cut"
    footer = page.locator("footer").bounding_box()
    assert footer["y"] + footer["height"] <= size["height"]
    crop, label = (page.locator(name).bounding_box() for name in ("#crop", "#label"))
    assert crop["width"] >= 200
    assert label["y"] + label["height"] <= footer["y"], "face and label are in sight"
    page.tap("#open-help")
    assert page.evaluate("document.getElementById('help').scrollTop") == 0
    page.keyboard.press("Escape")
    page.evaluate("window.scrollTo(0, 9999)")
    page.tap("[data-deed=keep]")
    wait_for(page, 1)
    assert page.evaluate("window.scrollY") == 0, "the next face is in sight"


def swipe(page, place, start, end):
    """Draw with one finger, in shares of the place."""
    session = page.context.new_cdp_session(page)
    points = [
        {"x": place["x"] + place["width"] * x, "y": place["y"] + place["height"] * y}
        for x, y in (start, end)
    ]
    send = "Input.dispatchTouchEvent"
    session.send(send, {"type": "touchStart", "touchPoints": [points[0]]})
    session.send(send, {"type": "touchMove", "touchPoints": [points[1]]})
    session.send(send, {"type": "touchEnd", "touchPoints": []})


def test_blind(serve, visit, ledger):
    page = visit(serve("--blind", by="bob")[1])
    assert page.text_content("#label") == "Which class is it?"
    assert not page.locator("#why").is_visible()
    assert not page.locator("[data-deed=keep]").is_visible()
    assert "images" not in page.text_content("main")
    page.keyboard.press("b")
    drag(page, (5, 5), (50, 50))
    page.keyboard.press("Enter")
    page.wait_for_selector("#status:has-text('Name the class')")
    page.keyboard.press("2")
    press(page, "Enter", 1)
    assert actions(ledger) == [("rebox", "without_mask")]


def test_the_end_and_the_skipped_ones(serve, visit):
    page = visit(serve("--first", "3")[1])
    press(page, "s", 1)
    press(page, "d", 2)
    press(page, "Space", 0)  # The skipped one comes again,
    press(page, "s", "end")  # and may be skipped again.
    assert "2 of 3 faces are decided, 1 skipped" in page.text_content("#done-text")
    page.click("#go-skipped")
    wait_for(page, 0)
    press(page, "1", "end")
    assert not page.locator("#go-skipped").is_visible()
    page.keyboard.press("1")
    press(page, "u", 0)
    press(page, "Space", "end")
    press(page, "ArrowLeft", 2)


def test_the_rest_on_request(serve, visit, tmp_path):
    folder = make_suspects(tmp_path / "own", rows=30, likely=[3, 1, 6])
    page = visit(serve(folder=folder)[1])
    assert "About 3 likely errors (1 to 6) in 30 labels" in page.inner_text("#hint")
    assert page.inner_text("#counts") == "0 of 10 · about 3 likely errors (1 to 6)"
    for number in range(10):
        page.wait_for_selector(f"body[data-shown='{number}']")
        page.keyboard.press(" ")
    page.wait_for_selector("body[data-shown=end]")
    assert page.inner_text("#done-title") == "The most suspect faces are decided"
    page.click("text=Go on with the other 20 faces")
    page.wait_for_selector("body[data-shown='10']")
    assert page.inner_text("#counts").startswith("10 of 30")


def test_faces_without_a_photo_are_told_and_passed(serve, visit, tmp_path):
    folder = make_suspects(tmp_path / "own")
    (folder.parent / "set" / "images" / "000.jpg").unlink()
    page = visit(serve(folder=folder)[1])
    assert "No such file" in page.text_content("#problem")
    assert "Nothing can be decided" in page.text_content("#problem")
    assert page.locator("#photo rect:visible").count() == 0
    page.keyboard.press("s")
    page.wait_for_selector("#status.alarm")
    press(page, "ArrowRight", 1)
    press(page, "ArrowRight", 2)
    press(page, "ArrowRight", 3)
    assert not page.locator("#problem").is_visible()
    press(page, "d", 4)


def test_the_token_leaves_the_address(serve, visit):
    _, address = serve("--token", "a-token-of-its-own")
    page = visit(address)
    assert page.url == address.split("?")[0]
    press(page, "d", 1)
    page.reload()
    wait_for(page, 1)
