"""Cameras, streams and addresses, each from a stand-in on this machine."""

import ast
import base64
import io
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
import typer
from PIL import Image

from data_prep.base.errors import OptionError
from pipeline.inference import command
from pipeline.inference.command import RunOptions
from pipeline.inference.folder import predict_folder
from pipeline.inference.sources import find_photos
from pipeline.inference.video import alarms, clips
from pipeline.inference.video.alarms import Alarm
from pipeline.inference.video.clips import Live, VideoOptions
from tests.pipeline.inference.video.makers import WALK, RtspServer, write_clip
from tests.pipeline.makers import paint_photo, stand_ins

BARE = [("without_mask", (20, 15, 60, 55))]


def send(request, data, kind="application/octet-stream", code=200):
    request.send_response(code)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def jpeg(faces):
    file = io.BytesIO()
    Image.fromarray(paint_photo(faces)).save(file, "JPEG", quality=95)
    return file.getvalue()


class Interrupts:
    """A predictor that is interrupted after so many calls, as by Ctrl-C."""

    def __init__(self, calls, seconds=0.0):
        self.inner, self.calls, self.seconds = stand_ins(0.3), calls, seconds

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __call__(self, frames, clock):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        return self.inner(frames, clock)


class Camera:
    """OpenCV's capture; fails after each of `lives` frames."""

    opened: ClassVar[list[int]] = []
    lives: ClassVar[list[int]] = []

    def __init__(self, number):
        self.left = self.lives[min(len(self.opened), len(self.lives) - 1)]
        self.opened.append(number)

    def read(self):
        if not self.left:
            return False, None
        self.left -= 1
        time.sleep(0.005)
        return True, paint_photo(BARE)[..., ::-1].copy()

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(clips.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(clips, "PAUSES", (0.01, 0.02))
    Camera.opened, Camera.lives = [], [10_000]
    return Camera


def run(source, out, predictor=None, **options):
    found = find_photos(str(source), leave_out=out)
    return predict_folder(found, out, predictor or stand_ins(0.3), **options)


def test_a_camera_gives_its_newest_frames_until_ctrl_c(camera, tmp_path):
    summary = run("1", tmp_path / "out", Interrupts(6, 0.05))
    (told,) = summary["videos"]
    assert camera.opened == [1]
    assert (told["video"], told["frames"], told["people"]["without_mask"]) == ("camera-1", 6, 1)
    assert told["dropped"] > 5
    assert 50 <= told["latency_ms"]["median"] < 2000
    assert summary["videos_left"] == []
    assert (tmp_path / "out" / "annotated" / "camera-1.mp4").stat().st_size > 500
    with pytest.raises(OSError, match=r"an earlier recording of camera-1.*choose another folder"):
        run("1", tmp_path / "out", Interrupts(6))


def test_a_lost_camera_is_joined_again(camera, tmp_path, monkeypatch):
    camera.lives = [3, 0, 0, 10_000]
    said = []
    monkeypatch.setattr(clips, "log", said.append)
    (told,) = run("0", tmp_path / "out", Interrupts(12))["videos"]
    assert (told["frames"], told["joined_again"]) == (12, 1)
    assert [line.rsplit(" ", 2)[1] for line in said] == ["0.01", "0.02", "0.02"]


def test_a_camera_that_is_not_there_is_told(camera, tmp_path):
    camera.lives = [0]
    summary = run("3", tmp_path / "out")
    (told,) = summary["unreadable"]
    assert told["reason"].startswith("camera-3: can't be read (no camera of that number")
    camera.lives = [100]
    assert run("3", tmp_path / "out", Interrupts(2))["videos"][0]["frames"] == 2


def test_a_picture_that_can_not_be_decoded_is_one_of_many(camera, monkeypatch):
    turns, real = iter([True]), clips.cv2.cvtColor

    def convert(*args):
        if next(turns, False):
            raise RuntimeError("no such format")
        return real(*args)

    monkeypatch.setattr(clips.cv2, "cvtColor", convert)
    frames = iter(Live("c", lambda: clips.read_camera(0)))
    first, second = next(frames), next(frames)
    frames.close()
    assert first.error == "c: not decoded (no such format)."
    assert second.size == (120, 90)


def test_only_chosen_frames_of_a_camera_are_taken(camera):
    frames = iter(Live("c", lambda: clips.read_camera(0), "0.1s"))
    times = [next(frames).time_s for _ in range(4)]
    frames.close()
    assert [int(at / 0.1) for at in times] == [0, 1, 2, 3]


def test_a_clip_at_an_address_is_run_whole(serve, tmp_path):
    data = write_clip(tmp_path / "a.mp4").read_bytes()
    address = serve(lambda request: send(request, data, "video/mp4"))
    (told,) = run(f"{address}/b/a.mp4", tmp_path / "out")["videos"]
    assert (told["video"], told["frames"]) == ("127.0.0.1-b-a.mp4", 12)


def test_a_stream_of_photos_is_live(serve, tmp_path):
    """As cameras in the network send them, with no end."""

    def stream(request):
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        for index in range(2000):
            part = jpeg(WALK[index % 12])
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
            try:
                request.wfile.write(head.encode() + part + b"\r\n")
            except OSError:
                return
            time.sleep(0.005)

    (told,) = run(f"{serve(stream)}/live", tmp_path / "out", Interrupts(5))["videos"]
    assert told["frames"] == 5
    assert "dropped" in told


def test_rtsp_is_live_and_hides_the_password(tmp_path):
    with RtspServer() as server:
        address = server.address.replace("//", "//me:secret@")
        (told,) = run(address, tmp_path / "out", Interrupts(5))["videos"]
        server.shutdown()
    assert (told["video"], told["frames"]) == ("127.0.0.1-live", 5)
    assert told["people"]["with_mask"] == 1
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in files)


def test_a_clip_whose_server_is_silent_is_asked_once_and_told(serve, tmp_path, monkeypatch, capsys):
    asked, end = [], threading.Event()
    monkeypatch.setattr(clips, "WAIT", 0.3)
    address = serve(lambda request: (asked.append(request.path), end.wait(20)))
    summary = run(f"{address}/a.mp4", tmp_path / "out")
    end.set()
    (item,) = summary["unreadable"]
    assert item["reason"] == f"{address}/a.mp4: can't be read as a video (no answer in 0.3 s)."
    assert asked == ["/a.mp4"]
    assert "asked for, which takes 0.3 s if there is no answer" in capsys.readouterr().err


def test_photos_are_fetched_from_a_list(serve, tmp_path):
    def answer(request):
        if "gone" in request.path:
            return send(request, b"", code=404)
        kind = "image/jpeg" if "photo" in request.path else "text/html"
        return send(request, jpeg(WALK[0]), kind)

    address = serve(answer)
    names = ["a.jpg", "photo?id=3", "gone.jpg", "sub/a.jpg", "page"]  # That is no video either.
    (tmp_path / "list.txt").write_text("\n".join(f"{address}/{name}" for name in names))
    summary = run(tmp_path / "list.txt", tmp_path / "out")
    assert (summary["photos"], summary["faces"]["with_mask"]) == (5, 4)
    assert [item["image"] for item in summary["unreadable"]] == ["gone.jpg"]


def test_a_password_for_photos_is_written_nowhere(serve, tmp_path):
    address = serve(lambda request: send(request, b"", code=401)).replace("//", "//me:se@cret@")
    (tmp_path / "list.txt").write_text(f"{address}/a.jpg\n{address}/b\nhttp://me:cret@[::1]/c.jpg")
    summary = run(tmp_path / "list.txt", tmp_path / "out")
    assert len(summary["unreadable"]) == 3
    assert "401" in summary["unreadable"][0]["reason"]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"cret" in path.read_bytes() for path in files)


def test_a_password_is_sent_where_it_was_given_for(serve, tmp_path):
    """To a camera whose address has no ending, and to no host that it redirects to."""
    asked, word = [], base64.b64encode(b"me:s@fe").decode()

    def other(request):
        asked.append(request.headers.get("Authorization"))
        send(request, jpeg(WALK[0]), "image/jpeg")

    elsewhere = serve(other)

    def answer(request):
        if request.headers.get("Authorization") != f"Basic {word}":
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.send_header("Content-Length", "0")
            return request.end_headers()
        if request.path == "/away":
            request.send_response(302)
            request.send_header("Location", f"{elsewhere}/b.jpg")
            request.send_header("Content-Length", "0")
            return request.end_headers()
        return send(request, jpeg(WALK[0]), "image/jpeg")

    address = serve(answer).replace("//", "//me:s%40fe@")
    found = find_photos(f"{address}/shot")
    assert [frame.error for frame in found] == [""]
    found = find_photos(f"{address}/away")
    assert [frame.error for frame in found] == [""]
    assert asked == [None] * len(asked) != []
    film = write_clip(tmp_path / "a.mp4").read_bytes()
    camera = serve(
        lambda r: answer(r) if word not in str(r.headers) else send(r, film, "video/mp4")
    )
    address = camera.replace("//", "//me:s%40fe@")
    (told,) = run(f"{address}/live", tmp_path / "out")["videos"]
    assert (told["video"], told["frames"]) == ("127.0.0.1-live", 12)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"s%40fe" in path.read_bytes() for path in files)


@pytest.mark.parametrize("header", ["ETag", "Last-Modified", "Content-Length", ""])
def test_a_clip_that_changed_under_its_address_is_done_again(serve, tmp_path, header):
    clips = [write_clip(tmp_path / f"{n}.mp4", WALK[:n]).read_bytes() for n in (4, 6)]
    films, values, asked = clips, {"ETag": "one", "Last-Modified": "Mon"}, []

    def answer(request):
        asked.append(request.path)
        request.send_response(200)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("Connection", "close")
        if header:
            request.send_header(header, values.get(header, str(len(films[0]))))
        request.end_headers()
        request.wfile.write(films[0])

    address = serve(answer)
    for times in (3, 2 if header else 3):  # It is not read again if it is known to be the same.
        asked.clear()
        out = run(f"{address}/a.mp4", tmp_path / "out", draw=False)
        assert out["videos"][0]["frames"] == 4
        assert out["videos"][0]["seconds"] == pytest.approx(0.12, abs=0.01)
        assert len(asked) == times
    films, values = films[1:], {"ETag": "two", "Last-Modified": "Tue"}
    out = run(f"{address}/a.mp4", tmp_path / "out", draw=False)
    assert out["videos"][0]["frames"] == 6


def test_another_address_of_the_same_name_is_another_clip(serve, tmp_path):
    clips = [write_clip(tmp_path / f"{n}.mp4", WALK[:n]).read_bytes() for n in (4, 6)]
    address = serve(lambda request: send(request, clips["id=6" in request.path], "video/mp4"))
    for frames in (4, 6):
        (told,) = run(f"{address}/a.mp4?id={frames}", tmp_path / "out", draw=False)["videos"]
        assert told["frames"] == frames


def test_an_address_is_called_once_per_person_and_tried_again(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(alarms, "PAUSE", 0.01)
    got, codes = [], [503, 200]

    def answer(request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        got.append(json.loads(body))
        send(request, b"", code=codes.pop(0) if codes else 200)

    clip = write_clip(tmp_path / "a.mp4", [BARE] * 8)
    alarm = Alarm(serve(answer))
    summary = run(clip, tmp_path / "out", video=VideoOptions(alarm=alarm))
    assert summary["alarm_calls"] == {"made": 1, "failed": 0}
    assert got[0] == got[1]
    assert (got[0]["image"], got[0]["track"], got[0]["label"]) == ("a.mp4", 1, "without_mask")
    assert (tmp_path / "out" / got[0]["crop"]).is_file()
    masked = write_clip(tmp_path / "b.mp4", [WALK[0]] * 8)
    options = VideoOptions(alarm=Alarm("http://127.0.0.1:9"))
    assert run(masked, tmp_path / "o2", video=options)["alarm_calls"] == {"made": 0, "failed": 0}


def test_refused_and_dead_addresses_are_told(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(alarms, "PAUSE", 0.0)
    said = []
    monkeypatch.setattr(alarms, "log", said.append)
    asked = []

    def refuse(request):
        asked.append(request.path)
        send(request, b"", code=403)

    for target in (serve(refuse), "http://127.0.0.1:9"):
        alarm = Alarm(target)
        alarm.ring({"image": "a", "track": 1})
        assert alarm.close() == {"made": 0, "failed": 1}
    assert len(asked) == 1
    begin = "warning: alarm for a, person 1: the call failed"
    assert said == [
        f"{begin} (the server answers 403 Forbidden)",
        f"{begin} (Connection refused)",
    ]


def test_alarms_that_fail_are_told_by_the_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(alarms, "PAUSE", 0.0)
    loads = classmethod(lambda *_, **__: stand_ins(0.3))
    monkeypatch.setattr("pipeline.inference.predictor.Predictor.load", loads)
    clip = write_clip(tmp_path / "a.mp4", [BARE] * 8)
    with pytest.raises(typer.Exit) as ended:
        command.run(RunOptions(str(clip), tmp_path / "o", alarm=["http://127.0.0.1:9"]))
    assert ended.value.exit_code == 1
    assert "alarms called: 0; failed: 1" in capsys.readouterr().out


def test_a_call_that_hangs_holds_no_end(monkeypatch):
    monkeypatch.setattr(alarms, "WAIT", 0.2)
    said = []
    monkeypatch.setattr(alarms, "log", said.append)
    alarm, began = Alarm(f"'{sys.executable}' -c 'import time; time.sleep(5)'"), time.monotonic()
    alarm.ring({"image": "a", "track": 1})
    assert alarm.close() == {"made": 0, "failed": 1}
    assert time.monotonic() - began < 2
    assert said == ["warning: alarms that were not called 0.2 s after the end are given up"]


@pytest.mark.skipif(os.name == "nt", reason="a script with #!")
def test_a_command_gets_fields_in_its_environment_and_no_shell(tmp_path):
    script = tmp_path / "ring me.py"
    code = "import os, sys; open(sys.argv[1], 'a').write(os.environ['TRIMASK_IMAGE'] + sys.argv[2])"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    alarm = Alarm(f"'{script}' '{tmp_path}/told' '$HOME;x'")
    alarm.ring({"image": "$(touch bad).mp4", "track": 1})
    assert alarm.close() == {"made": 1, "failed": 0}
    assert (tmp_path / "told").read_text() == "$(touch bad).mp4$HOME;x"
    for line in ("no-such-command --now", "", "sh 'no end"):
        with pytest.raises(OptionError, match="no such command"):
            Alarm(line)


def test_no_second_alarm_is_passed_over(tmp_path):
    with pytest.raises(OptionError, match="are the most"):
        command.run(RunOptions("0", tmp_path / "out", alarm=["true", "http://127.0.0.1:9"]))


def test_a_command_that_fails_or_hangs_is_told(monkeypatch):
    monkeypatch.setattr(alarms, "LONGEST", 0.2)
    monkeypatch.setattr(alarms, "log", lambda _: None)
    for line in (
        f"'{sys.executable}' -c 'raise SystemExit(3)'",
        f"'{sys.executable}' -c 'input()'",
    ):
        alarm = Alarm(line)
        alarm.ring({"image": "a", "track": 1})
        assert alarm.close() == {"made": 0, "failed": 1}


def test_a_window_needs_a_display_and_ends_by_q(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":77")  # Where nobody listens: Qt aborts.
    clip = write_clip(tmp_path / "a.mp4")
    with pytest.raises(OptionError, match="no display here"):  # Before the nets are loaded.
        command.run(RunOptions(str(clip), tmp_path / "o1", show=True))
    shown, keys = [], [0, 0, ord("q")]
    monkeypatch.setattr("cv2.imshow", lambda name, pixels: shown.append(pixels))
    monkeypatch.setattr("cv2.waitKey", lambda _: keys.pop(0))
    monkeypatch.setattr("cv2.destroyAllWindows", lambda: None)
    monkeypatch.setattr("pipeline.inference.video.follow.FIRST", 0.0)
    summary = run(clip, tmp_path / "o2", draw=False, video=VideoOptions(show=True))
    assert "a.mp4: 0 s of it done" in capsys.readouterr().err
    assert len(shown) == 3
    assert summary["videos_left"] == ["a.mp4"]


def test_nothing_of_videos_is_imported_for_photos():
    for path in Path(clips.__file__).parent.glob("*.py"):
        top = ast.parse(path.read_text()).body
        names = {a.name for node in top if isinstance(node, ast.Import) for a in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
        assert not names & {"av", "trackers", "supervision", "requests"}
