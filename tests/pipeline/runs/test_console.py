"""Errors that a user can mend are one line; others are not hidden."""

import pytest
import typer

from data_prep.base.command import explain_errors
from data_prep.base.errors import UserError


@pytest.mark.parametrize(
    "message",
    [
        "a.jpg: can't be read.",
        "Exception occured in `Keeper` when calling event `after_epoch`:\n\ta.jpg: can't be read.",
    ],
)
def test_error_of_the_user_is_one_line_and_exit_code_2(capsys, message):
    with pytest.raises(typer.Exit) as caught, explain_errors():
        raise UserError(message)
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "error: a.jpg: can't be read.\n"


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError), explain_errors():
        raise ZeroDivisionError
