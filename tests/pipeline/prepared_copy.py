"""A prepared folder with another `faces.csv`."""

import json
import shutil

from data_prep.faces import read_faces, write_faces
from data_prep.files import sha256_of


def copy_prepared(prepared, folder, change):
    """Copy a prepared folder; `change` gets its faces and gives those of the copy."""
    shutil.copytree(prepared, folder)
    write_faces(folder / "faces.csv", change(read_faces(prepared)))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["faces_sha256"] = sha256_of(folder / "faces.csv")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
