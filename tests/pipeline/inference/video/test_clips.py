"""Frames of clips as files have them: turned, of varying rate, interlaced, damaged."""

import av
import numpy as np
import pytest

from data_prep.base.errors import OptionError
from pipeline.inference.sources import PhotosError, find_photos
from pipeline.inference.video import clips
from pipeline.inference.video.clips import Clip, VideoOptions, choose_frames
from tests.pipeline.inference.video.makers import WALK, write_clip, write_sound
from tests.pipeline.makers import assert_refused, call, paint_photo, save_photo


def read(path, **options):
    return list(Clip(path.name, str(path), **options))


def test_frames_come_with_index_and_seconds(tmp_path):
    frames = read(write_clip(tmp_path / "a.mp4"))
    assert [frame.index for frame in frames] == list(range(len(WALK)))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(len(WALK)) / 25, abs=1e-3)
    assert {(frame.name, frame.size, frame.error) for frame in frames} == {("a.mp4", (120, 90), "")}
    wanted = paint_photo(WALK[3])
    assert np.abs(frames[3].pixels.astype(int) - wanted).mean() < 12


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"codec": "libx265", "pixels": "yuv420p10le"}, "ten.mp4"),
        ({"codec": "mpeg4"}, "old.avi"),
        ({"codec": "libvpx-vp9"}, "web.webm"),
        ({"codec": "mjpeg", "pixels": "yuvj420p"}, "m.mkv"),
        ({"codec": "mpeg2video", "flags": 0x40000 | 0x20000000}, "interlaced.mpg"),
    ],
)
def test_kinds_of_clips_give_the_same_picture(options, name, tmp_path):
    frames = read(write_clip(tmp_path / name, [WALK[0]] * 6, **options))
    assert len(frames) == 6
    assert not any(frame.error for frame in frames)
    assert {frame.pixels.dtype for frame in frames} == {np.dtype(np.uint8)}
    inside, outside = frames[2].pixels[20:50, 15:45], frames[2].pixels[70:, 70:]
    assert inside[..., 1].mean() > 200 > 60 > max(inside[..., 0].mean(), outside.mean() * 0.5)


def test_one_field_of_interlaced_frames_is_taken(tmp_path):
    path = write_clip(tmp_path / "i.mpg", codec="mpeg2video", flags=0x40000 | 0x20000000)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
    assert picture.interlaced_frame
    pixels, _ = clips.to_pixels(picture)
    raw = picture.to_ndarray(format="rgb24")
    assert pixels.shape == raw.shape
    comb = lambda p: np.abs(np.diff(p.astype(int), n=2, axis=0)).mean()  # noqa: E731
    raw[1::2] = 0
    assert comb(pixels) < comb(raw) / 2


@pytest.mark.parametrize(("rotation", "orientation"), [(90, 8), (-90, 6), (180, 3), (None, 1)])
def test_phone_clips_are_turned_upright(rotation, orientation, tmp_path):
    frames = read(write_clip(tmp_path / "a.mp4", [WALK[0]], rotation=rotation))
    stored = paint_photo(WALK[0]).astype(int)
    upright = np.rot90(stored, (rotation or 0) // 90)
    assert frames[0].pixels.shape == upright.shape
    assert np.abs(frames[0].pixels - upright).mean() < 12
    assert frames[0].orientation == orientation


def test_a_varying_rate_keeps_its_times(tmp_path):
    times = [0.0, 0.04, 0.5, 0.54, 2.0, 2.5]
    path = write_clip(tmp_path / "v.mp4", WALK[:6], times=times)
    assert [frame.time_s for frame in read(path)] == pytest.approx(times, abs=1e-3)
    taken = [frame.index for frame in read(path, every="1s")]
    assert taken == [0, 4]


@pytest.mark.parametrize(
    ("every", "taken"), [("1", [0, 1, 2, 3, 4]), ("2", [0, 2, 4]), ("0.1s", [0, 2, 3])]
)
def test_every(every, taken):
    choose = choose_frames(every)
    times = [0.0, 0.09, 0.1, 0.21, 0.29]
    assert [index for index, at in enumerate(times) if choose(index, at)] == taken


@pytest.mark.parametrize("every", ["0", "-1", "s", "0s", "1.5", "2 s", "nan", "infs", ""])
def test_every_is_refused(every):
    with pytest.raises(OptionError, match="write 3 for each third frame"):
        choose_frames(every)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "flv"])
def test_a_broken_tail_is_told_of_a_clip_that_begins_late(tmp_path, ending):
    """Some formats count the length from time 0, others from the first frame."""
    path = write_clip(tmp_path / f"a.{ending}", WALK * 6, times=[8 + at / 12 for at in range(72)])
    assert not any(frame.error for frame in read(path))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert "cut short, ends after" in read(path)[-1].error


def test_a_broken_tail_loses_nothing_before_it(tmp_path):
    path = write_clip(tmp_path / "a.mp4", WALK * 6)
    whole = read(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    *frames, last = read(path)
    assert "cut short, ends after" in last.error
    assert len(frames) > 30
    for frame, before in zip(frames[:-2], whole, strict=False):
        assert (frame.pixels == before.pixels).all()


def test_damage_within_is_told_and_passed_over(tmp_path):
    path = write_clip(tmp_path / "a.mp4", WALK * 6)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(data)
    frames = read(path)
    assert any("damaged after" in frame.error for frame in frames)
    assert sum(not frame.error for frame in frames) > 50


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_bytes(b""), "can't be read as a video"),
        (lambda p: p.write_bytes(b"no clip at all" * 99), "can't be read as a video"),
        (lambda p: p.write_bytes(write_clip(p).read_bytes()[200:]), "can't be read as a video"),
        (write_sound, "only sound in it"),
        (lambda p: p.mkdir(), "can't be read as a video"),
    ],
)
def test_what_holds_no_video_is_a_frame_with_the_reason(make, words, tmp_path):
    path = tmp_path / "a.mp4"
    make(path)
    (frame,) = read(path)
    assert frame.pixels is None
    assert f"{path}: " in frame.error
    assert words in frame.error


def test_a_list_that_leads_elsewhere_is_not_followed(tmp_path):
    write_clip(tmp_path / "secret.ts")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", "http://127.0.0.1:9/a.ts"]
    (tmp_path / "a.mp4").write_text("\n".join([*lines, "#EXT-X-ENDLIST"]))
    assert all(frame.pixels is None for frame in read(tmp_path / "a.mp4"))


def test_files_that_are_lists_of_others_are_not_read(tmp_path):
    write_clip(tmp_path / "secret.ts")
    lists = {
        "a.mp4": "ffconcat version 1.0\nfile secret.ts",
        "b.m3u8": "#EXTM3U\n#EXTINF:1,\nsecret.ts",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        (frame,) = read(tmp_path / name)
        assert "can't be read as a video" in frame.error


def test_frames_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4")
    monkeypatch.setattr(clips, "MOST_PIXELS", 120 * 90 - 1)
    assert all(frame.pixels is None for frame in read(path))


def test_folders_mix_photos_and_clips(tmp_path):
    save_photo(tmp_path / "a.png")
    write_clip(tmp_path / "sub" / "b.MP4")
    found = find_photos(str(tmp_path))
    assert found.images == ("a.png",)
    assert found.videos == {"sub/b.MP4": str(tmp_path / "sub" / "b.MP4")}
    assert find_photos(str(tmp_path / "sub" / "b.MP4")).videos.keys() == {"b.MP4"}
    assert find_photos(str(tmp_path / "*" / "*.MP4")).videos.keys() == {"sub/b.MP4"}


def test_videos_alone_are_refused_where_photos_are_needed(tmp_path):
    write_clip(tmp_path / "in" / "a.mp4")
    options = ["--check", str(tmp_path / "in"), "--to", "onnx", "-o", str(tmp_path / "out")]
    assert_refused(call("export", *options), "only videos in there; photos are needed")


def test_addresses_cameras_and_lists_are_told_apart(tmp_path, monkeypatch):
    assert find_photos("0").videos == {"camera-0": "0"}
    stream = "rtsp://me:secret@cam.example/live/1"
    assert find_photos(stream).videos == {"cam.example-live-1": stream}
    lines = [
        "https://x.example/a.jpg",
        "",
        stream,
        "https://y.example/a.jpg",
        "http://z.example/b.mp4",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = find_photos(str(tmp_path / "list.txt"))
    assert found.items == {"a.jpg": lines[0], "1-a.jpg": lines[3]}
    assert list(found.videos.values()) == [stream, "http://z.example/b.mp4"]


def test_a_list_may_name_files_and_hold_remarks_and_bad_lines(tmp_path):
    save_photo(tmp_path / "a.png")
    save_photo(tmp_path / "sub" / "a.png")
    write_clip(tmp_path / "sub" / "b c.mp4")
    lines = ["# front door", " a.png ", "sub/b c.mp4", "sub/../sub/a.png", "http://[x", "gone.png"]
    (tmp_path / "in").mkdir()
    names = "\n".join(f"../{line}" if line[0] in "sg" else line for line in lines)
    (tmp_path / "in" / "list.txt").write_text(names.replace(" a.png ", f" {tmp_path}/a.png "))
    found = find_photos(str(tmp_path / "in" / "list.txt"))
    assert list(found.videos) == ["b c.mp4"]
    assert Clip("b", found.videos["b c.mp4"]).__iter__().__next__().size == (120, 90)
    told = {frame.name: frame.error for frame in found}
    assert [name for name, error in told.items() if not error] == ["a.png", "sub/a.png"]
    assert "Invalid IPv6 URL" in told["[x"]
    assert "gone.png" in told["gone.png"]
    (tmp_path / "in" / "list.txt").write_text("# nothing\n\n")
    with pytest.raises(PhotosError, match=r"list\.txt: no addresses or files"):
        find_photos(str(tmp_path / "in" / "list.txt"))


def test_without_the_packages_a_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "find_spec", lambda name: None)
    save_photo(tmp_path / "a.png")
    write_clip(tmp_path / "b.mp4")
    found = VideoOptions().fit(find_photos(str(tmp_path)))
    assert (found.images, found.videos) == (("a.png",), {})
    assert found.passed_over == (("b.mp4", 'a video: pip install "trimask[video]"'),)
    with pytest.raises(OptionError, match=r'pip install "trimask\[video\]"'):
        VideoOptions().fit(find_photos(str(tmp_path / "b.mp4")))


def test_options_for_videos_need_one(tmp_path):
    save_photo(tmp_path / "a.png")
    with pytest.raises(OptionError, match="are for videos"):
        VideoOptions(every="2").fit(find_photos(str(tmp_path)))


def test_a_clip_whose_times_begin_late_is_whole(tmp_path):
    path = write_clip(tmp_path / "a.mkv", times=[100 + index / 25 for index in range(len(WALK))])
    frames = list(read(path))
    assert [frame.error for frame in frames] == [""] * len(WALK)
    assert frames[0].time_s == 0
