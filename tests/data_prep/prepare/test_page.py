"""The audit page: its numbers, its plots, and which faces its contact sheets show."""

import base64
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data_prep.base.records import Finding
from data_prep.prepare import sheets as sheets_module
from data_prep.prepare.analysis import split_faces, summarise
from data_prep.prepare.page import (
    group_findings,
    plot_blur,
    plot_sizes,
    rank_correlation,
    render_page,
    tabulate,
)
from data_prep.prepare.sheets import Sheet, Sheets, draw_sheets
from tests.data_prep.prepare.test_analysis import OPTIONS, make_faces

NO_SHEETS = Sheets((), Sheet("smallest", ()), (), ())


class Links(HTMLParser):
    """Collects what a page would load, and whether its tags are closed."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def faces():
    return split_faces(make_faces(), OPTIONS)


def render(faces, findings=(), **options):
    summary = summarise([], faces, findings, OPTIONS)
    return render_page(faces, findings, summary, NO_SHEETS, **options)


def test_page_needs_no_other_file_and_is_well_formed(faces):
    links = Links()
    links.feed(render(faces, [Finding("a", "clipped-box", "a.xml: clipped", False)]))
    assert links.open == []
    assert links.loaded
    assert all(link.startswith(("data:", "#")) for link in links.loaded)


def test_numbers_are_on_the_page(faces):
    page = render(faces, known_groups=(3, 7))
    assert "<b>120</b><span>faces in 40 photos" in page
    assert "<b>3 of 7</b> known groups" in page
    assert "set/0.jpg · set/1.jpg" in page
    assert "of validation faces leak under a naive split" in page


def test_findings_are_grouped_faults_first_and_long_lists_folded(faces):
    findings = [Finding("x", "clipped-box", f"note {n}", False) for n in range(40)]
    findings += [Finding("x", "broken-xml", f"fault <{n}>", True) for n in range(2)]
    groups = group_findings(findings)
    assert [(len(group.messages), group.dropped) for group in groups] == [(2, True), (40, False)]
    page = render(faces, findings)
    assert all(f"<li>note {n}</li>" in page for n in range(40))
    assert "<li>fault &lt;1&gt;</li>" in page
    assert page.count("<details open>") == 1


def test_unknown_kind_is_shown_under_its_own_name():
    assert group_findings([Finding("x", "new-kind", "m", True)])[0].title == "new-kind"


def test_table_has_all_classes_and_sums():
    labels = pd.Series(["with_mask", "with_mask", "without_mask"])
    table = tabulate(labels, pd.Series(["a", "b", "b"]), ["a", "b", "c"])
    assert table.columns == ("a", "b", "c", "all")
    assert dict(table.rows) == {
        "with_mask": (1, 1, 0, 2),
        "without_mask": (0, 1, 0, 1),
        "mask_weared_incorrect": (0, 0, 0, 0),
        "all": (1, 2, 0, 3),
    }


def test_sizes_fall_in_the_right_columns(faces):
    sides = [1, 7.9, 8, 15.9, 16, 31.9, 32, 63.9, 64, 500]
    few = faces.head(10).assign(short_side=[float(side) for side in sides], label="with_mask")
    page = render(few)
    size_table = page.split('id="sizes"')[1].split("</table>")[0]
    assert size_table.count('<td class="number">2<small>20.0%</small></td>') == 10


def make_sizes(count):
    rng = np.random.default_rng(0)
    sides = rng.integers(5, 200, count).astype(float)
    labels = np.resize(["with_mask", "without_mask"], count)
    return pd.DataFrame(
        {"label": labels, "short_side": sides, "blur": rng.exponential(9, count) / sides}
    )


@pytest.mark.parametrize("plot", [plot_sizes, plot_blur])
@pytest.mark.parametrize("faces", [make_sizes(500), make_sizes(1), make_sizes(9).assign(blur=0.0)])
def test_plot_is_a_png_with_something_on_it(plot, faces):
    uri = plot(faces)
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape[1] > 400
    assert pixels.std() > 5


def test_rank_correlation_is_spearmans():
    faces = make_sizes(200)
    expected = stats.spearmanr(faces["blur"], faces["short_side"]).statistic
    assert rank_correlation(faces) == pytest.approx(expected)


@pytest.mark.parametrize("faces", [make_sizes(2), make_sizes(9).assign(short_side=7.0)])
def test_rank_correlation_of_too_little(faces):
    assert rank_correlation(faces) is None


def make_crops(folder, count=200):
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        side = int(rng.integers(5, 140))
        name = f"{index}.jpg"
        cv2.imwrite(str(folder / name), np.full((side, side, 3), index, np.uint8))
        rows.append(
            {
                "source": "set",
                "image": f"{index // 2}.jpg",
                "object": index % 2,
                "label": "with_mask" if index % 4 else "without_mask",
                "group": f"set/{index // 8 * 4}.jpg" if index < 16 else f"set/{index // 2}.jpg",
                "split": "valid" if index % 10 in (0, 1) else "train",
                "kept": index % 10 in (0, 1) or index % 3 > 0 or index % 4 == 0,
                "blur": float(rng.exponential(500)),
                "short_side": float(side),
                "crop": name,
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def cropped(tmp_path):
    return make_crops(tmp_path)


def sides(thumbs):
    return [int(thumb.caption) for thumb in thumbs]


def test_classes_are_sampled_and_sorted_by_size(cropped, tmp_path):
    sheets = draw_sheets(cropped, tmp_path)
    assert [sheet.title for sheet in sheets.classes] == ["with_mask", "without_mask"]
    for sheet in sheets.classes:
        assert 0 < len(sheet.thumbs) <= sheets_module.PER_CLASS
        assert sides(sheet.thumbs) == sorted(sides(sheet.thumbs))
        assert all(sheet.title in thumb.title for thumb in sheet.thumbs)
        assert len({thumb.title for thumb in sheet.thumbs}) == len(sheet.thumbs)


def test_smallest_faces(cropped, tmp_path):
    shown = sides(draw_sheets(cropped, tmp_path).smallest.thumbs)
    assert shown == sorted(cropped["short_side"])[: sheets_module.SMALLEST]


def test_dropped_and_kept_are_of_one_bin_of_the_thinned_class(cropped, tmp_path):
    blur = draw_sheets(cropped, tmp_path).blur
    assert len(blur) == sheets_module.BLUR_BINS
    by_title = {
        f"set/{row.image}, object {row.object}": row for row in cropped.itertuples(index=False)
    }
    for sheet in blur:
        low = float(sheet.title.split()[0])
        for thumbs, kept in ((sheet.dropped, False), (sheet.kept, True)):
            assert 0 < len(thumbs) <= sheets_module.PER_BLUR_ROW
            for thumb in thumbs:
                row = by_title[thumb.title.split(":")[0]]
                assert (row.kept, row.label, row.split) == (kept, "with_mask", "train")
                assert row.short_side >= low


def test_nothing_dropped_gives_no_blur_sheet(cropped, tmp_path):
    assert draw_sheets(cropped.assign(kept=True), tmp_path).blur == ()


def test_groups_show_a_face_of_each_photo(cropped, tmp_path):
    groups = draw_sheets(cropped, tmp_path).groups
    assert {sheet.title: len(sheet.thumbs) for sheet in groups} == {"set/0.jpg": 4, "set/4.jpg": 4}


def test_same_seed_same_sheets(cropped, tmp_path):
    assert draw_sheets(cropped, tmp_path, seed=3) == draw_sheets(cropped, tmp_path, seed=3)
    assert draw_sheets(cropped, tmp_path, seed=3) != draw_sheets(cropped, tmp_path, seed=4)


def test_large_crops_are_shrunk_and_small_ones_embedded_as_they_are(cropped, tmp_path):
    for thumb in draw_sheets(cropped, tmp_path).classes[0].thumbs:
        data = base64.b64decode(thumb.src.removeprefix("data:image/jpeg;base64,"))
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert len(pixels) == min(int(thumb.caption), sheets_module.THUMB_SIDE)


def test_unreadable_crop_is_an_error(cropped, tmp_path):
    smallest = cropped["crop"][cropped["short_side"].idxmin()]
    (tmp_path / smallest).write_bytes(b"no")
    with pytest.raises(OSError, match=smallest):
        draw_sheets(cropped, tmp_path)
