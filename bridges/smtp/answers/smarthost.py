# SPDX-License-Identifier: AGPL-3.0-or-later
"""The organisation's own relay: submission (RFC 6409) in TLS with a certificate that is checked, and AUTH (C5).

Never in plain: where the relay offers no STARTTLS, or shows another certificate, nothing is said to it, least of all
the password. That is read from its file for each session, and is in no message and no log.
"""

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from bridges import limits
from bridges.mime.readable import one_line
from bridges.smtp.settings import RelaySettings

_TOO_LARGE = 552  # RFC 1870 §6.1: said to MAIL, of the mail and not of its sender
_SERVICE_ENDS = 421


class RelayAway(Exception):
    """No mail can be handed over just now; the text says why. All mails wait."""


class MailDeferred(Exception):
    """This mail cannot be handed over just now. `ours`: an administrator should look at it."""

    def __init__(self, words: str, *, ours: bool = False) -> None:
        super().__init__(words)
        self.ours = ours


class MailRefused(Exception):
    """This mail will never be taken; the text is the relay's."""


class Relay:
    """Opens sessions with the relay."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def session(self) -> "AsyncIterator[Session]":
        """A session that is authenticated, for the length of the block. Raises `RelayAway`."""
        settings = self._settings
        try:
            password = await asyncio.to_thread(self._password)
            context = await asyncio.to_thread(self._context)
        except (OSError, ssl.SSLError) as error:
            raise RelayAway(_of_file(error)) from None
        client = SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=settings.hostname,
            timeout=limits.RELAY_COMMAND_S,
            use_tls=settings.implicit,
            start_tls=not settings.implicit,
            tls_context=context,
        )
        try:
            try:
                await client.connect()
                if settings.user is not None:
                    await client.login(settings.user, password)
            except (SMTPException, OSError, ssl.SSLError, ValueError) as error:
                raise RelayAway(f"{settings.host}:{settings.port}: {_said(error)}") from None
            yield Session(client)
        finally:
            await _left(client)

    def _password(self) -> str:
        """What the file holds, without its line end. Raises `OSError`."""
        path = self._settings.password
        if self._settings.user is None or path is None:
            return ""
        with path.open("rb") as file:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise PermissionError(0, "others can read it: chmod 600", str(path))
            octets = file.read(limits.PASSWORD_MAX_BYTES)
        try:
            return octets.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise PermissionError(0, "it is not UTF-8", str(path)) from None

    def _context(self) -> ssl.SSLContext:
        """Checks name and chain (RFC 8314 §3); TLS 1.2 at least. Raises `OSError` where `ca` cannot be read."""
        context = ssl.create_default_context(cafile=self._settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class Session:
    """Hands mails over, one after the other."""

    def __init__(self, client: SMTP) -> None:
        self._client = client

    async def send(self, mail: bytes, sender: str, recipient: str) -> None:
        """When this returns the relay has said 250. Raises `RelayAway`, `MailDeferred` or `MailRefused`."""
        options = [] if (sender + recipient).isascii() else ["SMTPUTF8"]
        try:
            await self._client.sendmail(sender, [recipient], mail, mail_options=options, timeout=limits.RELAY_DATA_S)
        except SMTPNotSupported:
            raise MailRefused("the relay takes no addresses outside ASCII (SMTPUTF8)") from None
        except SMTPSenderRefused as refused:
            if refused.code != _TOO_LARGE:  # 530, 550 and the like: of this route or of our account
                raise MailDeferred(f"mail from {sender} is not taken: {_said(refused)}", ours=True) from None
            raise MailRefused(_said(refused)) from None
        except SMTPRecipientsRefused as refused:
            raise _of_mail(refused.recipients[0]) from None
        except SMTPResponseException as refused:
            raise _of_mail(refused) from None
        except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as error:
            raise RelayAway(_said(error)) from None
        except (SMTPException, ValueError) as error:
            raise MailRefused(_said(error)) from None


def _of_mail(refused: SMTPResponseException) -> Exception:
    """What a reply to RCPT or after the data means."""
    if refused.code == _SERVICE_ENDS or refused.code < 0:
        return RelayAway(_said(refused))
    return MailRefused(_said(refused)) if refused.code >= 500 else MailDeferred(_said(refused))


def _said(error: BaseException) -> str:
    """What the relay said, in one line; for other trouble what kind it is."""
    if isinstance(error, SMTPResponseException):
        words = f"{error.code} {error.message}"
    elif isinstance(error.__cause__, ssl.SSLCertVerificationError):
        words = f"its certificate is not trusted: {error.__cause__.verify_message}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        words = f"its certificate is not trusted: {error.verify_message}"
    else:
        words = str(error) or type(error).__name__
    return one_line(words.encode(errors="replace").decode())[: limits.RELAY_WORDS_MAX_CHARACTERS]


def _of_file(error: OSError) -> str:
    """Which file of ours cannot be used, and why."""
    return f"{error.filename or 'its certificate authority'}: {error.strerror or 'it holds no certificate'}"


async def _left(client: SMTP) -> None:
    """Say goodbye where there is somebody who hears it; close."""
    try:
        if client.is_connected:
            await client.quit(timeout=limits.RELAY_COMMAND_S)
    except (SMTPException, OSError):
        pass
    finally:
        client.close()
