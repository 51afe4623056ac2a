"""`python -m pipeline`."""

from data_prep.base.errors import end_when_interrupted

end_when_interrupted()

from pipeline.cli import app  # noqa: E402

app()
