"""A prepared folder with another `faces.csv`."""

import json
import shutil

from data_prep.base.files import sha256_of
from data_prep.base.tables import read_faces, write_faces


def copy_prepared(prepared, folder, change):
    """Copy a prepared folder; `change` gets its faces and gives those of the copy."""
    shutil.copytree(prepared, folder)
    write_faces(folder / "faces.csv", change(read_faces(prepared)))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["faces_sha256"] = sha256_of(folder / "faces.csv")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
