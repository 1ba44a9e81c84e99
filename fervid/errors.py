"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """A setting, file or folder that cannot be used as given.

    Its message is one sentence with the offending value, what was expected and the next step; the commands print
    it without a traceback and end with a non-zero exit code.
    """
