"""Figures of tables on photos turned by EXIF."""

import json

import pytest
from PIL import Image

from pipeline.experiments.measure import Tables, measure_tables

ROW = "with_mask,0.9,0.9,0.9,0.1,0"
HEADER = (
    "image,xmin,ymin,xmax,ymax,label,score,detection,"
    "p_with_mask,p_without_mask,p_mask_weared_incorrect"
)


@pytest.mark.parametrize(
    ("size", "face"), [((90, 60), (10, 20, 30, 50)), ((60, 90), (10, 10, 40, 30))]
)
def test_upright_predictions_on_a_turned_photo(tmp_path, size, face):
    """Annotated as stored, or as looked at: it is the photo in the manifest's folder that tells."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60)).save(tmp_path / "a.png", exif=exif)
    sides = ",".join(map(str, face))
    (tmp_path / "faces.csv").write_text(
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,split\n"
        f"a.png,{size[0]},{size[1]},0,with_mask,{sides},0,set,valid\n"
    )
    manifest = {"datasets": [{"source": "set", "root": str(tmp_path)}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    tables = Tables(tmp_path / "predictions.csv", tmp_path / "crops.csv")
    # By run.py, and on the annotated boxes themselves.
    tables.predictions.write_text(f"{HEADER},orientation\na.png,10,10,40,30,{ROW},6\n")
    tables.crops.write_text(f"{HEADER}\nset/a.png,{sides},{ROW}\n")
    figures = measure_tables(tmp_path, "set", tables)
    assert figures["detector_alone"]["face_ap75"][0] == 1
    assert figures["classifier_alone"]["accuracy"][0] == 1
