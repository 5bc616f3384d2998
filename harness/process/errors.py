"""What goes wrong with a child process."""


class ProcessError(Exception):
    """A process can't be started, is not ready in time or does not end; the message names it and says why."""
