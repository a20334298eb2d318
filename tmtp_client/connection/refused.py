# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service does not grant."""


class Refused(Exception):
    """The service does not grant a request: the text of its error ack; or this side does not, what the service asks."""


class RefusedHere(Refused):
    """This device does not do it, or a provider of sign-in did not: a whole sentence, in words for a person."""
