"""Videos through stand-ins for the nets: tables, tracks, films, and what a stop leaves."""

import csv
import os
import sys

import av
import numpy as np
import pytest

from data_prep.base.records import Box
from data_prep.formats.predictions import write_predictions
from pipeline.inference.folder import predict_folder
from pipeline.inference.records import Clock, Face, Frame
from pipeline.inference.sources import find_photos
from pipeline.inference.video import follow, tracks
from pipeline.inference.video.clips import VideoOptions
from pipeline.inference.video.tracks import COLUMNS, Evidence, Tracks
from tests.makers import hash_tree
from tests.pipeline.inference.video.makers import WALK, write_clip
from tests.pipeline.makers import Killed, paint_photo, save_photo, stand_ins

SURE, UNSURE = (0.9, 0.05, 0.05), (0.4, 0.5, 0.1)


def run(source, out, predictor=None, **options):
    found = find_photos(str(source), leave_out=out)
    return predict_folder(found, out, predictor or stand_ins(0.3), **options)


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def frames_of(path):
    with av.open(str(path)) as container:
        return [(round(p.time, 3), p.to_ndarray(format="rgb24")) for p in container.decode(video=0)]


def test_each_clip_has_a_film_of_its_own(tmp_path):
    for number, name in enumerate(["a.avi", "a.avi.mp4", "a.avi.mp4.mp4"], start=3):
        write_clip(tmp_path / "in" / name, WALK[:number], codec="mpeg4")
    run(tmp_path / "in", tmp_path / "out")
    films = {path.name: len(frames_of(path)) for path in (tmp_path / "out/annotated").iterdir()}
    ends = ["a.avi.mp4", "a.avi.mp4.mp4", "a.avi.mp4.mp4.mp4"]
    assert films == dict(zip(ends, (4, 5, 3), strict=True))


def test_a_clip_with_a_name_as_long_as_may_be_has_a_film(tmp_path):
    clip = write_clip(tmp_path / "in" / f"{'a' * 251}.avi", WALK[:2], codec="mpeg4")
    run(clip, tmp_path / "out")
    assert (tmp_path / "out" / "annotated" / clip.with_suffix(".mp4").name).is_file()


def test_a_clip_gives_rows_tracks_a_film_and_a_summary(tmp_path):
    clip = write_clip(tmp_path / "in" / "a.mp4")
    before = hash_tree(tmp_path / "in")
    out = tmp_path / "out"
    summary = run(clip, out)
    assert hash_tree(tmp_path / "in") == before
    rows = read(out / "predictions.csv")
    assert list(rows[0])[-3:] == ["frame", "time_s", "track"]
    assert [(row["image"], int(row["frame"])) for row in rows] == [("a.mp4", i) for i in range(12)]
    assert [float(row["time_s"]) for row in rows] == pytest.approx(np.arange(12) / 25, abs=1e-3)
    assert [row["track"] for row in rows] == ["", *["1"] * 11]
    boxes = np.array([[float(row[side]) for side in Box._fields] for row in rows])
    assert np.abs(boxes - [face[0][1] for face in WALK]).max() <= 2
    (person,) = read(out / "tracks.csv")
    assert tuple(person) == COLUMNS
    assert (person["label"], person["frames"], person["alarm"]) == ("with_mask", "11", "0")
    assert [float(person[key]) for key in ("first_s", "last_s")] == [0.04, 0.44]
    assert (out / person["crop"]).is_file()
    assert read(out / "photos.csv")[0]["faces"] == "12"
    assert (summary["photos"], summary["unreadable"]) == (0, [])
    assert summary["people"] == {"with_mask": 1, "without_mask": 0, "mask_weared_incorrect": 0}
    (told,) = summary["videos"]
    assert (told["frames"], told["faces"], told["damaged"]) == (12, len(rows), None)
    assert told["people_alarming"] == 0
    film = frames_of(out / "annotated" / "a.mp4")
    assert [at for at, _ in film] == pytest.approx(np.arange(12) / 25, abs=2e-3)
    with av.open(str(out / "annotated" / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_photos_and_clips_share_the_tables(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    save_photo(source / "z.png")
    write_clip(source / "sub" / "a.mov", WALK[:4])
    (source / "broken.mp4").write_bytes(b"no clip")
    summary = run(source, out)
    rows = read(out / "predictions.csv")
    assert [row["image"] for row in rows] == ["z.png"] * 2 + ["sub/a.mov"] * 4
    assert rows[0]["frame"] == rows[0]["time_s"] == rows[0]["track"] == ""
    assert [row["image"] for row in summary["unreadable"]] == ["broken.mp4"]
    assert {p.name for p in (out / "annotated").rglob("*.*")} == {"z.png", "a.mov.mp4"}
    again = run(source, out)
    assert again["photos_done_now"] == 0
    assert again["videos"] == summary["videos"]


def test_persons_and_films_of_an_earlier_run_do_not_stay_beside_another_table(tmp_path):
    clip, out = write_clip(tmp_path / "a.mp4", WALK[:4]), tmp_path / "out"
    save_photo(tmp_path / "z.png")
    run(clip, out)
    persons = (out / "tracks.csv").read_bytes()
    run(tmp_path / "z.png", out)
    assert not (out / "tracks.csv").exists()
    predictor = stand_ins(0.3)
    run(clip, out, predictor)
    assert not predictor.detector.seen, "what was seen is kept"
    assert (out / "tracks.csv").read_bytes() == persons
    run(clip, out, draw=False)
    assert (out / "annotated" / "a.mp4").is_file(), "it shows the same"
    run(clip, out, draw=False, video=VideoOptions(every="2"))
    assert not (out / "annotated" / "a.mp4").exists()
    (out / "tracks.csv").write_text("mine")
    run(tmp_path / "z.png", out)
    assert (out / "tracks.csv").read_text() == "mine"


def outcome(out):
    files = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    kept = {p: data for p, data in files.items() if p.suffix in {".csv", ".jpg"}}
    return kept, frames_of(out / "annotated" / "a.mp4")


class Stops:
    """A predictor that is killed or interrupted at a frame."""

    def __init__(self, error, frame):
        self.inner, self.error, self.frame = stand_ins(0.3), error, frame

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def predict(self, source, clock):
        for frame, faces in self.inner.predict(source, clock):
            if frame.index == self.frame:
                raise self.error
            yield frame, faces


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize("frame", [0, 5, 8, 11])
def test_a_stopped_video_goes_on_and_ends_as_if_it_had_not(error, frame, tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "SEGMENT", 4)
    faces = [[*there, ("without_mask", (90, 60, 115, 85))] for there in WALK]
    clip = write_clip(tmp_path / "a.mp4", faces)
    run(clip, tmp_path / "whole")
    out = tmp_path / "out"
    if error is Killed:
        with pytest.raises(Killed):
            run(clip, out, Stops(Killed, frame))
    else:
        summary = run(clip, out, Stops(KeyboardInterrupt, frame))
        assert summary["videos_left"] == ["a.mp4"]
        assert len(read(out / "predictions.csv")) == 2 * frame
        assert not frame or len(frames_of(out / "annotated" / "a.mp4")) == frame
    predictor = stand_ins(0.3)
    run(clip, out, predictor)
    done = frame if error is KeyboardInterrupt else frame // 4 * 4
    assert len(predictor.detector.seen) == 12 - done
    (tables, film), (wanted, whole) = outcome(out), outcome(tmp_path / "whole")
    assert tables == wanted
    assert [at for at, _ in film] == [at for at, _ in whole]
    assert max(np.abs(a[1] - b[1].astype(int)).mean() for a, b in zip(film, whole, strict=True)) < 6


def test_other_settings_or_another_file_begin_anew(tmp_path):
    clip, out = write_clip(tmp_path / "a.mp4"), tmp_path / "out"
    for options, frames in (({}, 12), ({"video": VideoOptions(every="3")}, 4)):
        run(clip, out, **options)
        assert len(read(out / "predictions.csv")) == frames
    write_clip(clip, WALK[:6])
    run(clip, out)
    assert len(read(out / "predictions.csv")) == 6
    (out / "annotated" / "a.mp4").unlink()
    predictor = stand_ins(0.3)
    run(clip, out, predictor)
    assert not predictor.detector.seen, "drawn from what is kept"
    assert len(frames_of(out / "annotated" / "a.mp4")) == 6


def test_damage_is_told_and_what_is_before_it_is_kept(tmp_path):
    clip, out = write_clip(tmp_path / "a.mp4", WALK * 6), tmp_path / "out"
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    (told,) = run(clip, out)["videos"]
    assert told["damaged"]["times"] >= 1
    assert f"{clip}: " in told["damaged"]["first"]
    assert told["frames"] > 30 < len(read(out / "predictions.csv"))


def feed(looks, step=0.04):
    """Classes held after each look, and the evidence."""
    evidence = Evidence()
    return [evidence.look(shares, step) for shares in looks], evidence


def test_evidence_holds_a_class_through_doubts_but_not_for_ever():
    held, evidence = feed([SURE] * 25 + [UNSURE] * 5 + [SURE] * 25 + [UNSURE] * 3 + [SURE])
    assert set(held) == {0}
    assert evidence.changes == 0
    held, evidence = feed([SURE] * 100 + [(0.05, 0.9, 0.05)] * 50)
    assert evidence.changes == 1
    assert 5 <= held.index(1) - 100 <= 40
    assert evidence.sure


def test_evidence_does_not_depend_on_the_frame_rate():
    fast, slow = (feed([SURE] * 50 * n + [(0.05, 0.9, 0.05)] * 50 * n, 0.04 / n)[0] for n in (2, 1))
    assert fast.index(1) / 2 == pytest.approx(slow.index(1), abs=2)


def test_tracks_hold_their_numbers_where_persons_cross_and_leave(tmp_path):
    told = Tracks("a", tmp_path, tracks.ByteTrack())
    numbers = []
    for index in range(60):
        boxes = [Box(index, 10, index + 30, 40), Box(60 - index, 60, 90 - index, 90)]
        faces = [Face(box, 0.9, SURE) for box in boxes][: 1 if 20 <= index < 40 else 2]
        seen = told.add(Frame("a", index, time_s=index / 25), faces)
        numbers.append([face.track for face in seen])
    assert {tuple(n) for n in numbers[1:]} == {(1, 2), (1,)}
    told.add(Frame("a", 60, time_s=60.0), [])
    assert not told.present
    assert [row["frames"] for row in told.rows] == [59, 39]


def test_labels_are_the_persons_and_scores_go_with_them(tmp_path):
    told = Tracks("a", tmp_path, tracks.ByteTrack())
    for index in range(30):
        shares = UNSURE if index == 20 else SURE
        faces = told.add(
            Frame("a", index, time_s=index / 25), [Face(Box(0, 0, 30, 30), 0.9, shares)]
        )
        assert faces[0].label == "with_mask"
    assert told.describe()[0]["share_without_mask"] == pytest.approx(1 / 29, abs=1e-4)
    assert faces[0].score == pytest.approx(0.9 * 0.9)


@pytest.mark.slow
def test_memory_is_flat_over_an_hour(tmp_path, monkeypatch):
    """25 frames a second with five persons each, who come and go."""
    resource = pytest.importorskip("resource")

    class Hour:
        name, dead = "hour", None

        def __iter__(self):
            pixels = paint_photo([], 96, 64)
            for index in range(90_000):
                yield Frame("hour", index, pixels, time_s=index / 25)

    class Nets:
        def predict(self, source, clock):
            for frame in source:
                if frame.index % 1000 < 900:  # Then all leave.
                    boxes = [Box(12 * k, 5 * k, 12 * k + 9, 5 * k + 12) for k in range(5)]
                    yield frame, [Face(box, 0.9, SURE) for box in boxes]
                else:
                    yield frame, []

    held, cut = [], follow.Kept.cut

    def note(kept):
        cut(kept)
        held.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # The most so far.

    monkeypatch.setattr(follow, "open_source", lambda *_: Hour())
    monkeypatch.setattr(follow, "log", lambda _: None)
    monkeypatch.setattr(follow.Kept, "cut", note)
    (kept,), summary = follow.follow_videos(
        {"hour": "hour"}, tmp_path, Nets(), Clock(), {}, VideoOptions(), None
    )
    assert summary["people"]["with_mask"] == 5 * 90
    write_predictions(tmp_path / "predictions.csv", kept.rows(), video=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held[10]
    assert grown < 30_000, f"{held[10]} kB at first, {grown} kB more at the end"


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_a_name_in_another_encoding_is_spelt(tmp_path):
    clip, out = write_clip(tmp_path / "in" / "a.mp4"), tmp_path / "out"
    clip.rename(clip.with_name(os.fsdecode(b"\xff.mp4")))
    run(tmp_path / "in", out)
    rows = read(out / "tracks.csv")
    assert rows
    assert all((out / row["crop"]).is_file() for row in rows)
