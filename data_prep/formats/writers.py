"""The writer of each format."""

from __future__ import annotations

from data_prep.crop import CROP_SCALE
from data_prep.formats.coco_writer import CocoWriter
from data_prep.formats.crops_writer import CropsWriter
from data_prep.formats.csv_writer import CsvWriter
from data_prep.formats.reader import Format
from data_prep.formats.voc_writer import VocWriter
from data_prep.formats.writer import Writer
from data_prep.formats.yolo_writer import YoloWriter


def make_writer(form: Format, scale: float = CROP_SCALE) -> Writer:
    """The writer of a format.

    Args:
        form: The format.
        scale: Of crops: their side as a multiple of the longer box side.
    """
    writers: dict[Format, Writer] = {
        Format.VOC: VocWriter(),
        Format.YOLO: YoloWriter(),
        Format.COCO: CocoWriter(),
        Format.CSV: CsvWriter(),
        Format.CROPS: CropsWriter(scale),
    }
    return writers[form]
