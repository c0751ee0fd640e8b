"""The one error that tells a user what to do."""


class InputError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and exits with status 2; it never shows a
    traceback for it.

    >>> raise InputError("pairs.tsv, row 3: one column; separate caption and url by a tab")
    Traceback (most recent call last):
    align_edu.errors.InputError: pairs.tsv, row 3: one column; separate caption and url by a tab
    """


class TrainingStopped(RuntimeError):
    """Training cannot go on, told in one sentence; the last checkpoint is kept."""
