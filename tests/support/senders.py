# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real mail programs as Debian has them, unpacked and not installed, each with a private configuration in a folder.

They refuse to stand beside each other on one machine, and are never to be the mail server of a developer's.
"""

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.support.downloads import debian
from tests.support.signing import pem, rsa_key

_USER, _GROUP = "daemon", "mail"  # of every Debian; Postfix wants two that are nobody else's here


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that a mail server's own user reaches too, which pytest's is not."""
    folder = Path(tempfile.mkdtemp(prefix="tmtp-mail-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(*command: str | Path, mail: bytes = b"", environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a program to its end; its code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    said, _ = await process.communicate(mail)
    assert process.returncode is not None
    return process.returncode, said.decode("utf-8", "replace")


def users(folder: Path, *names: str) -> dict[str, str]:
    """An environment in which these users exist, for programs with their own compiled in."""
    wrapper = next((debian("libnss-wrapper") / "usr/lib").glob("*/libnss_wrapper.so"))
    daemon = pwd.getpwnam(_USER)
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    for name in names:
        passwd += f"{name}:x:{daemon.pw_uid}:{daemon.pw_gid}::/nonexistent:/usr/sbin/nologin\n"
        group += f"{name}:x:{daemon.pw_gid}:\n"
    (folder / "passwd").write_text(passwd)
    (folder / "group").write_text(group)
    return {
        "LD_PRELOAD": str(wrapper),
        "NSS_WRAPPER_PASSWD": f"{folder}/passwd",
        "NSS_WRAPPER_GROUP": f"{folder}/group",
    }


def libraries(root: Path) -> dict[str, str]:
    """Where the libraries of an unpacked package are."""
    return {"LD_LIBRARY_PATH": f"{root}/usr/lib/{os.uname().machine}-linux-gnu:{root}/usr/lib/postfix"}


async def exim(folder: Path, port: int, mail: bytes, sender: str, recipient: str, *, tls: bool, sign: bool) -> str:
    """Hand a mail to Exim, which delivers it at once, signed by itself if told to; its log."""
    root = await asyncio.to_thread(debian, "exim4-daemon-light")
    (folder / "key.pem").write_bytes(pem(rsa_key()))
    (folder / "key.pem").chmod(0o644)
    signing = "dkim_domain = partner.example\ndkim_selector = rsa\ndkim_canon = relaxed\n"
    configuration = f"""\
primary_hostname = client.partner.example
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
exim_path = {folder}/exim
exim_user = {_USER}
exim_group = {_GROUP}
keep_environment =
deliver_drop_privilege = true
begin routers
out:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  allow_localhost
  {"hosts_require_tls" if tls else "hosts_avoid_tls"} = *
  tls_try_verify_hosts = :
  {(signing + f"dkim_private_key = {folder}/key.pem").replace(chr(10), chr(10) + "  ") if sign else ""}
"""
    (folder / "exim.conf").write_text(configuration)
    shutil.chown(folder, _USER, _GROUP)
    environment = {**libraries(root), **await asyncio.to_thread(users, folder, "Debian-exim")}
    variables = " ".join(f"{name}={value}" for name, value in environment.items())
    # It starts itself again, and forgets its environment first.
    (folder / "exim").write_text(f'#!/bin/sh\nexec env {variables} {root}/usr/sbin/exim4 "$@"\n')
    (folder / "exim").chmod(0o755)
    command = (folder / "exim", "-C", folder / "exim.conf", "-odi", "-oi", "-f", sender, recipient)
    _, said = await run(*command, mail=mail.replace(b"\r\n", b"\n"))
    log = folder / "mainlog"
    return said + (log.read_text() if log.exists() else "")


async def msmtp(folder: Path, port: int, mail: bytes, sender: str, recipient: str, *, tls: bool) -> tuple[int, str]:
    """Send a mail by msmtp; its code and what it said."""
    root = await asyncio.to_thread(debian, "msmtp")
    return await run(
        root / "usr/bin/msmtp",
        "--file=/dev/null",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--from={sender}",
        f"--tls={'on' if tls else 'off'}",
        "--tls-certcheck=off",
        "--domain=client.partner.example",
        recipient,
        mail=mail.replace(b"\r\n", b"\n"),
        environment=libraries(root),
    )


async def opensmtpd(folder: Path, port: int, mail: bytes, sender: str, recipient: str, *, tls: bool) -> tuple[int, str]:
    """Send a mail by OpenSMTPD's own client; its code and what it said.

    Its server cannot be run so: users, spool and chroot are compiled in.
    """
    root = await asyncio.to_thread(debian, "opensmtpd")
    server = f"{'smtp+tls' if tls else 'smtp+notls'}://127.0.0.1:{port}"
    command = (root / "usr/bin/smtp", "-C", "-H", "client.partner.example", "-s", server, "-F", sender, recipient)
    return await run(*command, mail=mail.replace(b"\r\n", b"\n"), environment=libraries(root))


@asynccontextmanager
async def postfix(folder: Path, transport: str, *lines: str) -> AsyncIterator[tuple[int, Path]]:
    """A private Postfix that hands on all that it gets over `transport`; its SMTP port and its log.

    `lines`: further ones of its main.cf. It runs for the length of the block.
    """
    root = await asyncio.to_thread(debian, "postfix")
    with _free_port() as port:
        pass
    queue, log = folder / "queue", folder / "postfix.log"
    for name in ("queue", "data", "etc"):
        (folder / name).mkdir(exist_ok=True)
    shutil.chown(folder / "data", _USER)
    main = f"""\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {folder}/data
daemon_directory = {root}/usr/lib/postfix/sbin
command_directory = {root}/usr/sbin
meta_directory = {folder}/etc
shlib_directory = {root}/usr/lib/postfix
sendmail_path = {root}/usr/sbin/sendmail
mail_owner = {_USER}
setgid_group = {_GROUP}
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
maillog_file = {log}
maillog_file_prefixes = /tmp
myhostname = mail.example.org
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
default_transport = {transport}
relay_transport = {transport}
smtpd_relay_restrictions = permit_mynetworks, reject
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""
    (folder / "etc/main.cf").write_text(main + "".join(f"{line}\n" for line in lines))
    services = [
        f"127.0.0.1:{port} inet n - n - - smtpd",
        "pickup unix n - n 60 1 pickup",
        "postlog unix-dgram n - n - 1 postlogd",
    ]
    services += ["cleanup unix n - n - 0 cleanup"]
    services += [f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")]
    services += [f"{name} unix - - n - - {name}" for name in ("rewrite", "smtp", "lmtp", "anvil", "proxymap")]
    services += ["tlsmgr unix - - n 1000? 1 tlsmgr", "scache unix - - n - 1 scache"]  # one of each, or they refuse
    services += ["qmgr unix n - n 1 1 qmgr", "retry unix - - n - - error", "error unix - - n - - error"]
    text = "\n".join(services).replace("rewrite unix - - n - - rewrite", "rewrite unix - - n - - trivial-rewrite")
    (folder / "etc/master.cf").write_text(text + "\n")
    for name, mode in (("active", 0o700), ("bounce", 0o700), ("corrupt", 0o700), ("defer", 0o700), ("deferred", 0o700),
                       ("flush", 0o700), ("hold", 0o700), ("incoming", 0o700), ("private", 0o700), ("saved", 0o700),
                       ("trace", 0o700), ("maildrop", 0o730), ("public", 0o710), ("pid", 0o755)):  # fmt: skip
        (queue / name).mkdir()
        (queue / name).chmod(mode)
        shutil.chown(queue / name, "root" if name == "pid" else _USER, _GROUP if mode in (0o730, 0o710) else None)
    environment = {**os.environ, **libraries(root), "MAIL_CONFIG": str(folder / "etc")}
    master = await asyncio.create_subprocess_exec(
        root / "usr/lib/postfix/sbin/master", "-c", folder / "etc", "-d", env=environment, start_new_session=True
    )
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):
                assert master.returncode is None, log.read_text() if log.exists() else "Postfix did not start"
                await asyncio.sleep(0.1)
        yield port, log
    finally:
        master.terminate()
        await master.wait()


@contextmanager
def _free_port() -> Iterator[int]:
    import socket  # noqa: PLC0415

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def sasl(folder: Path, user: str, password: str) -> tuple[str, ...]:
    """Lines of a Postfix's main.cf by which it lets in who knows this password, and nobody else.

    Its environment must hold `SASL_PATH`, of `sasl_modules`.
    """
    (folder / "etc" / "sasl").mkdir(parents=True)
    tools = await asyncio.to_thread(debian, "sasl2-bin")
    database = folder / "etc" / "sasl" / "sasldb"
    command = (tools / "usr/sbin/saslpasswd2", "-p", "-c", "-f", database, "-u", "mail.example.org", user)
    code, said = await run(*command, mail=password.encode(), environment=libraries(tools))
    assert code == 0, said
    shutil.chown(database, _USER)
    words = f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: PLAIN LOGIN\n"
    (folder / "etc" / "sasl" / "smtpd.conf").write_text(words)
    return (
        "import_environment = MAIL_CONFIG LD_LIBRARY_PATH SASL_PATH",
        "smtpd_sasl_auth_enable = yes",
        "smtpd_relay_restrictions = permit_sasl_authenticated, reject",
    )


async def sasl_modules() -> str:
    """The value of `SASL_PATH`."""
    roots = [await asyncio.to_thread(debian, name) for name in ("libsasl2-modules", "libsasl2-modules-db")]
    return ":".join(str(root / f"usr/lib/{os.uname().machine}-linux-gnu/sasl2") for root in roots)
