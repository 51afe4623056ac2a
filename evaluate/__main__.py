"""`python -m evaluate`."""

from data_prep.base.errors import end_when_interrupted

if __name__ == "__main__":
    end_when_interrupted()
    from evaluate.cli import app

    app(prog_name="python -m evaluate")
