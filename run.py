"""Find every face in a folder of photos and tell whether its mask is worn properly.

    python run.py FOLDER -o OUT

The work is done in `pipeline/`; this file only reads the command line.
"""

from pipeline.inference.command import app

if __name__ == "__main__":
    app()
