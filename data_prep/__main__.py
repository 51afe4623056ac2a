"""`python -m data_prep`."""

from data_prep.cli import app

app(prog_name="python -m data_prep")
