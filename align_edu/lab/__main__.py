"""Opens JupyterLab on a notebook of the course, with the course's settings."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SETTINGS = Path(__file__).with_name("jupyter")


def start_command(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts JupyterLab, and its environment.

    arguments: a notebook, options of JupyterLab, or none, which opens notebook 00.
    """
    options_only = all(each.startswith("-") for each in arguments)
    notebook = ["notebooks/00_start_here.ipynb"] if options_only else []
    paths = [str(SETTINGS), *filter(None, [environment.get("JUPYTER_CONFIG_PATH")])]
    command = [sys.executable, "-m", "jupyterlab", *arguments, *notebook]
    return command, {**environment, "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}


if __name__ == "__main__":
    start, settings = start_command(sys.argv[1:], os.environ)
    os.execve(start[0], start, settings)
