"""The page alone, for a Hugging Face Space: its README says `app_file: pipeline/serve/app.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # A Space runs the file, not the module.

from pipeline.inference.predictor import Predictor
from pipeline.nets.options import SHIPPED
from pipeline.serve.page import make_page
from pipeline.serve.service import Service

demo, options = make_page(Service(Predictor.load(SHIPPED)))

if __name__ == "__main__":
    demo.launch(**options)
