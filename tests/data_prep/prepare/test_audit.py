"""The audit: its record, its numbers, its page, and which faces its contact sheets show."""

import base64
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data_prep.base.files import OutputError, refuse_dataset_folders
from data_prep.base.records import DOUBTS, NOT_READ, Finding
from data_prep.prepare import page as page_module
from data_prep.prepare.analysis import (
    list_duplicates,
    split_faces,
    summarise,
)
from data_prep.prepare.build import audit
from data_prep.prepare.options import AuditOptions, BuildOptions
from data_prep.prepare.page import (
    Sheets,
    draw_sheets,
    plot_blur,
    plot_sizes,
    rank_correlation,
    render_page,
    tabulate,
)
from tests.makers import add_example, hash_tree, make_photo, make_voc


@pytest.fixture
def without_plots():
    """Here they are looked at."""


@pytest.fixture
def run_audit(dataset, tmp_path, run):
    """Audit the dataset; gives what was printed, and the record."""

    def call(*options):
        before, out = hash_tree(dataset), tmp_path / "audit"
        result = run("audit", dataset, "-o", out, "--workers", 1, *options)
        assert hash_tree(dataset) == before
        if result.exit_code == 2:
            return result, None
        assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json"]
        assert result.stdout.splitlines()[-1] == (
            f"written    {out / 'audit.html'}, {out / 'audit.json'}"
        )
        return result, json.loads((out / "audit.json").read_text(encoding="utf-8"))

    return call


def test_contradictions_are_told(tmp_path, run):
    root, box, other = tmp_path / "s", (20, 15, 60, 55), (62, 15, 90, 55)
    two = [("with_mask", other), ("without_mask", other)]
    near = (20, 15, 60, 56)  # Drawn again, a pixel off.
    add_example(root, "a", 1, [("with_mask", box), ("with_mask", near), *two])
    add_example(root, "b", 2, [("with_mask", box)])
    add_example(root, "copy", 2, [("without_mask", box)])
    add_example(root, "same", 2, [("with_mask", box)])
    result = run("audit", root, "-o", tmp_path / "audit", "--workers", 1)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())["all_findings"]
    assert {(f["kind"], f["message"]) for f in found if f["kind"] != "no-split"} == {
        (
            "duplicate-box",
            "s/images/a.jpg: the box (20, 15, 60, 55) is there as with_mask and with_mask; "
            "keep one.",
        ),
        (
            "contradicting-labels",
            "s/images/a.jpg: the box (62, 15, 90, 55) is there as with_mask and without_mask; "
            "keep one.",
        ),
        (
            "contradicting-labels",
            "s/images/copy.jpg: looks just like s/images/b.jpg, but has other labels; keep one.",
        ),
    }


def test_record_tells_counts_findings_groups_and_leaks(dataset, tmp_path, run_audit):
    make_photo(dataset / "images" / "copy.jpg", seed=0, quality=70)
    make_voc(dataset / "annotations" / "copy.xml", "copy.jpg")
    add_example(dataset, "odd", 77, [("face", (60, 15, 20, 55))])
    add_example(dataset, "broken", 78).write_text("<broken")
    result, record = run_audit()
    assert result.exit_code == 1
    assert "left out: faces/annotations/broken.xml: not well-formed XML" in result.stderr
    assert record["faces"] == 21
    kinds = ["broken-xml", "degenerate-box", "photo-without-annotation"]
    assert record["findings"] == dict.fromkeys(kinds, 1)
    assert sorted(finding["kind"] for finding in record["all_findings"]) == kinds
    assert record["left_out"] == 2
    assert record["duplicates"] == [["faces/images/copy.jpg", "faces/images/photo0.jpg"]]
    assert record["leaked_share"]["ours"] == 0 < record["leaked_share"]["naive"]


def test_what_can_not_be_read(run, tmp_path):
    for command in ("audit", "build"):
        result = run(command, tmp_path / "nowhere", "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert result.stderr == f"error: {tmp_path / 'nowhere'}: no such folder.\n"


def test_too_few_photos_to_split_are_audited_all_the_same(tmp_path):
    add_example(tmp_path / "set", "a", 0)
    out = tmp_path / "audit"
    result = audit(AuditOptions(roots=[tmp_path / "set"], out=out, workers=1))
    assert [finding.kind for finding in result.findings] == ["no-split"]
    record = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert record["counts"] == {"set/train/with_mask": 1}
    assert result.record == record
    assert "can&#39;t be split" in (out / "audit.html").read_text(encoding="utf-8")


OPTIONS = BuildOptions(roots=[])


def make_faces(photos=40):
    """Three faces to a photo; the first six photos are pairs of duplicates."""
    photo = np.repeat(np.arange(photos), 3)
    index = np.tile(np.arange(3), photos)
    rare = np.where(photo % 2, "mask_weared_incorrect", "without_mask")
    group = np.where(photo < 6, photo - photo % 2, photo)
    return pd.DataFrame(
        {
            "source": "set",
            "image": [f"{n}.jpg" for n in photo],
            "object": index,
            "label": np.where(index, "with_mask", rare),
            "group": [f"set/{n}.jpg" for n in group],
            "blur": photo * 3.0 + index,
            "short_side": 20.0,
        }
    )


def test_output_inside_a_dataset_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    for out in (tmp_path / "set", tmp_path / "set" / "prepared", tmp_path / "x" / ".." / "set"):
        with pytest.raises(OutputError, match="meets the dataset"):
            refuse_dataset_folders([out], [tmp_path / "set"], around=True)
    refuse_dataset_folders([tmp_path / "set2"], [tmp_path / "set"])
    refuse_dataset_folders([tmp_path], [tmp_path / "set"], around=True)


def test_a_folder_of_another_command_is_refused(run_audit, dataset, tmp_path, run):
    record = {"inputs": "", "files": {}, "photos": {}}
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "manifest.json").write_text(json.dumps(record))
    refused = run("audit", dataset, "-o", tmp_path / "built")
    assert refused.exit_code == 2
    assert "built: holds other files; choose" in refused.stderr
    assert [path.name for path in (tmp_path / "built").iterdir()] == ["manifest.json"]


def test_split_thins_out_training_only(faces):
    assert faces.loc[faces["split"] == "valid", "kept"].all()
    train = faces[faces["split"] == "train"]
    kept = train.loc[train["kept"], "label"].value_counts()
    second = train["label"].value_counts().iloc[1]
    assert kept["with_mask"] == int(1.5 * second)
    assert kept["mask_weared_incorrect"] == (train["label"] == "mask_weared_incorrect").sum()


def test_summary_adds_up(faces):
    findings = [Finding("a", "broken-xml", "m", True), Finding("b", "clipped-box", "m", False)]
    summary = summarise([], faces, findings, OPTIONS)
    sizes = faces.groupby(["source", "split", "label"]).size()
    assert summary["counts"] == {"/".join(key): size for key, size in sizes.items()}
    assert (summary["faces"], summary["photos"]) == (120, 40)
    assert sum(summary["kept_per_class"].values()) == summary["kept_in_training"]
    assert (summary["duplicate_groups"], summary["photos_in_duplicate_groups"]) == (3, 6)
    assert summary["findings"] == {"broken-xml": 1, "clipped-box": 1}
    assert summary["left_out"] == 1
    assert summary["leaked_share"]["ours"] == 0
    assert summary["leaked_share"]["naive"] > 0.8
    assert list_duplicates(faces) == {
        f"set/{n}.jpg": [f"set/{n}.jpg", f"set/{n + 1}.jpg"] for n in (0, 2, 4)
    }


NO_SHEETS = Sheets([], [], [], [])


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


@pytest.fixture
def render(monkeypatch):
    """Render the page of faces without crops."""
    monkeypatch.setattr(page_module, "draw_sheets", lambda *_: NO_SHEETS)

    def call(faces, findings=(), **options):
        summary = summarise([], faces, findings, OPTIONS)
        return render_page(faces, findings, summary, Path(), **options)

    return call


def test_page_needs_no_other_file_and_is_well_formed(render, faces):
    links = Links()
    findings = [Finding("a", "clipped-box", "a.xml: clipped", False)]
    page = render(faces, findings)
    links.feed(page)
    assert links.open == []
    assert links.loaded
    assert all(link.startswith(("data:", "#")) for link in links.loaded)
    assert "<b>120</b><span>faces in 40 photos" in page
    assert "set/0.jpg · set/1.jpg" in page


def test_findings_are_grouped_faults_first_and_long_lists_folded(render, faces):
    findings = [Finding("x", "clipped-box", f"note {n}", False) for n in range(40)]
    findings += [Finding("x", "broken-xml", f"fault <{n}>", True) for n in range(2)]
    findings += [Finding("x", kind, "new", False) for kind in ("unheard-of", "another")]
    page = render(faces, findings)
    headings = re.findall("<summary><b>(\\d+)</b>(.*?)</summary>", page)
    assert headings[:-1] == [
        ("2", 'Annotation files that can&#39;t be read<span class="tag">left out</span>'),
        ("40", "Boxes that reach over the border, clipped"),
        ("1", "another"),
        ("1", "unheard-of"),
    ]
    assert all(f"<li>note {n}</li>" in page for n in range(40))
    assert "<li>fault &lt;1&gt;</li>" in page
    assert page.count("<details open>") == 3


def test_every_kind_of_finding_has_a_heading():
    package = Path(page_module.__file__).parents[1]
    code = "\n".join(path.read_text() for path in package.rglob("*.py"))
    told = r'(?:leave_out\(|kind=|kind = (?:"[a-z-]+", )*|Finding\([^"\n]*, )"([a-z]+-[a-z-]+)"'
    kinds = {*re.findall(told, code), *DOUBTS, NOT_READ, "broken-csv", "broken-json", "broken-txt"}
    page = (package / "prepare" / "templates" / "audit.html").read_text()
    assert (
        {"bad-row", "turned-photo", "no-box"} <= kinds <= set(re.findall('^  "(.*?)":', page, re.M))
    )


def test_table_has_all_classes_and_sums():
    labels = pd.Series(["with_mask", "with_mask", "without_mask"])
    table = tabulate(labels, pd.Series(["a", "b", "b"]), ["a", "b", "c"])
    assert list(table.columns) == ["a", "b", "c", "all"]
    assert dict(zip(table.index, table.to_numpy().tolist(), strict=True)) == {
        "with_mask": [1, 1, 0, 2],
        "without_mask": [0, 1, 0, 1],
        "mask_weared_incorrect": [0, 0, 0, 0],
        "all": [1, 2, 0, 3],
    }


def test_sizes_fall_in_the_right_columns(render, faces):
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
    for few in (make_sizes(2), make_sizes(9).assign(short_side=7.0)):
        assert rank_correlation(few) is None


@pytest.fixture
def cropped(tmp_path):
    """Two hundred faces, two to a photo, and their crops: grey squares."""
    rng, index = np.random.default_rng(0), np.arange(200)
    valid = index % 10 < 2
    group = np.where(index < 16, index // 8 * 4, index // 2)
    faces = pd.DataFrame(
        {
            "source": "set",
            "image": [f"{n}.jpg" for n in index // 2],
            "object": index % 2,
            "label": np.where(index % 4, "with_mask", "without_mask"),
            "group": [f"set/{n}.jpg" for n in group],
            "split": np.where(valid, "valid", "train"),
            "kept": valid | (index % 3 > 0) | (index % 4 == 0),
            "blur": rng.exponential(500, 200),
            "short_side": rng.integers(5, 140, 200).astype(float),
            "crop": [f"{n}.jpg" for n in index],
        }
    )
    for crop, side in zip(faces["crop"], faces["short_side"], strict=True):
        cv2.imwrite(str(tmp_path / crop), np.full((int(side), int(side), 3), 99, np.uint8))
    return faces


def sides(thumbs):
    return [int(thumb.caption) for thumb in thumbs]


def test_classes_are_sampled_and_sorted_by_size(cropped, tmp_path):
    sheets = draw_sheets(cropped, tmp_path)
    assert [label for label, _ in sheets.classes] == ["with_mask", "without_mask"]
    for label, thumbs in sheets.classes:
        assert 0 < len(thumbs) <= page_module.PER_CLASS
        assert sides(thumbs) == sorted(sides(thumbs))
        assert all(label in thumb.title for thumb in thumbs)
        assert len({thumb.title for thumb in thumbs}) == len(thumbs)
    assert sides(sheets.smallest) == sorted(cropped["short_side"])[: page_module.SMALLEST]
    assert draw_sheets(cropped, tmp_path) == sheets
    assert draw_sheets(cropped, tmp_path, seed=4) != sheets


def test_every_contact_sheet_says_how_many_of_how_many_it_shows(run_audit, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "PER_CLASS", 2)
    monkeypatch.setattr(page_module, "SMALLEST", 3)
    _, record = run_audit()
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert f"The smallest: 3 of {record['faces']} faces" in page
    assert "A random sample of each class, 2 at most" in page
    counts = Counter()
    for key, number in record["counts"].items():
        counts[key.split("/")[2]] += number
    for label, number in counts.items():
        assert f"<h3>{label}: {min(2, number)} of {number} face" in page


def test_dropped_and_kept_are_of_one_bin_of_the_thinned_class(cropped, tmp_path):
    blur = draw_sheets(cropped, tmp_path).blur
    assert len(blur) == page_module.BLUR_BINS
    by_title = {f"set/{row.image}, object {row.object}": row for row in cropped.itertuples()}
    for title, *both in blur:
        for thumbs, kept in zip(both, (False, True), strict=True):
            assert 0 < len(thumbs) <= page_module.PER_BLUR_ROW
            for thumb in thumbs:
                row = by_title[thumb.title.split(":")[0]]
                assert (row.kept, row.label, row.split) == (kept, "with_mask", "train")
                assert row.short_side >= float(title.split()[0])
    assert draw_sheets(cropped.assign(kept=True), tmp_path).blur == []


def test_groups_show_a_face_of_each_photo(cropped, tmp_path):
    groups = draw_sheets(cropped, tmp_path).groups
    assert {name: len(thumbs) for name, thumbs in groups} == {"set/0.jpg": 4, "set/4.jpg": 4}


def test_large_crops_are_shrunk_and_small_ones_embedded_as_they_are(cropped, tmp_path):
    for thumb in draw_sheets(cropped, tmp_path).classes[0][1]:
        data = base64.b64decode(thumb.src.removeprefix("data:image/jpeg;base64,"))
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert len(pixels) == min(int(thumb.caption), page_module.THUMB_SIDE)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = """() => [document.documentElement, ...document.querySelectorAll("table, img")].map(
    (part) => Math.max(part.getBoundingClientRect().right, part.scrollWidth))"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "folded"), [(390, True), (1280, False)])
def test_nothing_is_wider_than_the_page(dataset, tmp_path, width, folded):
    """Tables of a class's faces by size have more columns than a phone has room for."""
    playwright = pytest.importorskip("playwright.sync_api")
    audit(AuditOptions(roots=[dataset], out=tmp_path / "audit", workers=1))
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto((tmp_path / "audit" / "audit.html").as_uri())
        assert max(page.evaluate(WIDTHS)) <= width
        assert (page.locator("table.folded").count() > 0) == folded
        assert page.locator("td:visible").filter(has_text="100.0%").count() > 0
        browser.close()
