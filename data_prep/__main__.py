"""`python -m data_prep`."""

from data_prep.base.errors import end_when_interrupted

end_when_interrupted()

from data_prep.cli import app  # noqa: E402

app(prog_name="python -m data_prep")
