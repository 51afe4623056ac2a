"""The base of all errors that a user can mend."""


class UserError(Exception):
    """Something about the input, the options or the output folder is not right.

    The message names the file or option and says what to do; command lines print it as one line
    and exit with 2.
    """


class DatasetError(UserError, ValueError):
    """A folder that can't be used as a dataset; the message says what to do."""


def describe_error(error: UserError) -> str:
    """Its message in one line: fastai and worker processes put lines of their own before it."""
    return str(error).splitlines()[-1].strip()
