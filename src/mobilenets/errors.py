"""Errors a user can cause. The message is one line and says what to do; the command line prints it bare."""

from __future__ import annotations


class MobilenetsError(Exception):
    """Base of every error that a user can cause; ``exit_status`` is what the command line ends with."""

    exit_status = 2


class InputError(MobilenetsError):
    """Wrong usage, or an input that cannot be used: a missing folder, an unknown name, a corrupt file."""


class UnreadablePicture(InputError):
    """A file that does not decode to a picture; the message is the reason alone, without the path."""


class FaultFound(MobilenetsError):
    """The work itself found fault: a failed gate, a loss that is not finite."""

    exit_status = 1


class LostProcess(MobilenetsError):
    """Another process of the same training ended too early; the message says which one, and why where that is known."""

    exit_status = 1
