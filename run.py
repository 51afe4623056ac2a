"""Find every face in a folder of photos and tell whether its mask is worn properly.

    python run.py FOLDER -o OUT

The work is done in `pipeline/`; this file only reads the command line.
"""

from data_prep.base.errors import end_when_interrupted

if __name__ == "__main__":
    end_when_interrupted()
    from pipeline.inference.command import app

    app()
