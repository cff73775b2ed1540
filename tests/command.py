"""The command line, for tests."""

import contextlib
import io
import sys

from ludus import cli


def ludus(*arguments, code: int | set[int] = 0):
    """What the command prints, on one line; in this process, because importing torch takes longer than most commands.

    Args:
        code: the exit status that it must end with, or several that it may.
    """
    printed, argv, found = io.StringIO(), sys.argv, 0
    sys.argv = ["ludus", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            cli.main()
    except SystemExit as end:
        found = end.code or 0
    finally:
        sys.argv = argv
    output = " ".join(printed.getvalue().split())
    assert found in (code if isinstance(code, set) else {code}), output
    return output
