"""The audit page."""

from html.parser import HTMLParser

import pandas as pd
import pytest

from data_prep.base.records import Finding
from data_prep.prepare.analysis import split_faces, summarise
from data_prep.prepare.page import group_findings, render_page, tabulate
from data_prep.prepare.sheets import Sheet, Sheets
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
