# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo organisation: two instances, an SMTP intake, two members and a support desk, on loopback.

    scripts/demo.py [FOLDER]    # where it lives, var/demo by default; once more in the same folder it goes on there

It uses nothing but the programs a person would: `tmtp-gateway`, `tmtp`, and a mail client's SMTP.
"""

import json
import os
import smtplib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from email.message import EmailMessage
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "var" / "demo"
CONFIG = DEMO / "gateway.yaml"
KEPT_PORTS = DEMO / "ports.json"
BIN = Path(sys.executable).parent
START_S = 60.0
PORTS = {"http": 8080, "members": 4433, "public": 4434, "smtp": 2525}
PEOPLE = {"ada": ("members", "Ada Lovelace"), "bob": ("members", "Bob Builder"), "desk": ("public", "Support Desk")}

SETTINGS = """\
# Written by the demo. Every setting is explained in config/gateway.yaml.
data_dir: ./data
http: {{listen: "127.0.0.1:{http}"}}
log: {{level: warning}}
instances:
  - {{name: members, title: Demo members, policy: members, listen: [{{tls: "127.0.0.1:{members}"}}],
     limits: {{connections_max: 1000}}}}
  - name: public
    title: Demo public desk
    policy: public
    acquaintance: everyone
    listen: [{{tls: "127.0.0.1:{public}"}}]
    limits: {{connections_max: 1000}}
bridges:
  smtp:
    - name: intake
      instance: public
      listen: 127.0.0.1:{smtp}
      senders: [{{address: orders@partner.example, proof: [network: 127.0.0.0/8]}}]
      routes: [{{recipient: support@example.org, to: Support Desk}}]
"""


class DemoFailed(Exception):
    """Something did not work; the text says what."""


def say(text: str = "") -> None:
    """A line for the person in front."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Start, show, serve."""
    DEMO.mkdir(parents=True, exist_ok=True)
    try:
        ports = kept_ports() or free_ports()
    except DemoFailed as failed:
        sys.stderr.write(f"The demo failed: {failed}\n")
        return 1
    CONFIG.write_text(SETTINGS.format(**ports), "utf-8")
    KEPT_PORTS.write_text(json.dumps(ports), "utf-8")
    say(f"Starting a demo organisation in {DEMO} …")
    gateway = subprocess.Popen([BIN / "tmtp-gateway", "serve", "-c", CONFIG])
    try:
        wait_until_ready(gateway, ports["http"])
        join_people()
        show_mail(ports["smtp"])
        show_message()
        print_what_next(ports)
        return gateway.wait()
    except KeyboardInterrupt:
        say("\nStopping …")
        return 0
    except DemoFailed as failed:
        sys.stderr.write(f"The demo failed: {failed}\n")
        return 1
    finally:
        run("tmtp", "daemon", "--stop", check=False)  # the engine that `tmtp open` has started
        stop(gateway)


def kept_ports() -> dict[str, int] | None:
    """Those of an earlier run, where its people will look for it; none at the first one. Raises `DemoFailed`."""
    try:
        kept: dict[str, int] = json.loads(KEPT_PORTS.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    for name, port in kept.items():
        if bound(port) is None:
            raise DemoFailed(
                f"port {port}, which this demo has for {name}, is taken. If a demo runs already, use that one; "
                f"else free the port, or begin anew: rm -r {DEMO}"
            )
    return kept


def bound(port: int) -> int | None:
    """The port, or for 0 a free one; None where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def free_ports() -> dict[str, int]:
    """The usual ports, or others where those are taken."""
    chosen = {}
    for name, usual in PORTS.items():
        chosen[name] = bound(usual) or bound(0) or usual
        if chosen[name] != usual:
            say(f"Port {usual} is taken; {name} uses {chosen[name]} instead.")
    return chosen


def wait_until_ready(gateway: "subprocess.Popen[bytes]", port: int) -> None:
    """Until every instance accepts."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if gateway.poll() is not None:
            raise DemoFailed("the gateway did not start; what it said stands above")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise DemoFailed(f"the gateway was not ready within {START_S:g} s")


def join_people() -> None:
    """Invite everybody who has not joined yet."""
    joined = {one["name"] for one in json.loads(run("tmtp", "accounts", "--json").stdout)}
    for profile, (instance, alias) in PEOPLE.items():
        if profile in joined:
            continue
        made = run("tmtp-gateway", "invite", "-c", CONFIG, "--instance", instance, "--note", alias, "--json")
        run("tmtp", "join", json.loads(made.stdout)["link"], "--alias", alias, "-p", profile)
        say(f"  {alias} was invited and has joined {instance}.")


def show_mail(port: int) -> None:
    """A real mail through the intake, and its arrival."""
    mail = EmailMessage()
    mail["From"] = "Orders <orders@partner.example>"
    mail["To"] = "support@example.org"
    mail["Subject"] = f"Order no. {int(time.time()) % 100_000}"
    mail["Message-ID"] = f"<{time.time_ns()}@partner.example>"
    mail.set_content("Good morning,\n\nplease find the order attached.\n")
    mail.add_attachment(b"item;count\npaper clips;500\n", maintype="text", subtype="csv", filename="order.csv")
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        raise DemoFailed(f"the intake did not take the mail: {error}") from None
    say()
    say("A mail from orders@partner.example went in by SMTP. At the Support Desk:")
    show("tmtp", "inbox", "-n", "1", "-p", "desk")


def show_message() -> None:
    """Two members get acquainted and write."""
    if "Bob Builder" not in run("tmtp", "whoami", "-p", "ada").stdout:
        run("tmtp", "ping", "Bob Builder", "Ada here, from sales.", "-p", "ada")
        run("tmtp", "inbox", "-p", "bob")
        run("tmtp", "ping", "Ada Lovelace", "Hello Ada, go ahead.", "-p", "bob")
        run("tmtp", "inbox", "-p", "ada")
    run("tmtp", "send", "Bob Builder", "The plan, as promised.", "-s", "Plan", "-f", ROOT / "README.md", "-p", "ada")
    say("Ada sent Bob a message with an attachment. At Bob's:")
    show("tmtp", "inbox", "-n", "1", "-p", "bob")


def print_what_next(ports: dict[str, int]) -> None:
    """Commands to try, ready to copy."""
    demo = DEMO.relative_to(ROOT) if DEMO.is_relative_to(ROOT) else DEMO
    home, config = f"$PWD/{demo}/home" if demo != DEMO else f"{DEMO}/home", f"{demo}/gateway.yaml"
    binary = BIN.relative_to(ROOT) if BIN.is_relative_to(ROOT) else BIN
    say(f"""
It goes on serving; Ctrl-C ends it. In another terminal, from this folder:

  export TMTP_HOME="{home}" PATH="$PWD/{binary}:$PATH"
  tmtp open                                               # all three in your browser
  tmtp watch -p bob                                       # what Bob sees, live
  tmtp send 'Bob Builder' 'Lunch?' -p ada                 # (from a third terminal)
  tmtp-gateway account list -c {config} -i members
  tmtp-gateway invite -c {config} -i members
  curl http://127.0.0.1:{ports["http"]}/metrics
""")


def run(*command: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run one of the programs as a person of the demo would. Raises `DemoFailed` with what it said."""
    done = subprocess.run(words(command), env=environment(), capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise DemoFailed(f"{' '.join(map(str, command[:2]))}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def show(*command: str | Path) -> None:
    """Run one of the programs with its output on the screen."""
    subprocess.run(words(command), env=environment(), check=True)
    say()


def words(command: Iterable[str | Path]) -> list[str]:
    """The command, with the program's path in this virtual environment."""
    program, *arguments = map(str, command)
    return [str(BIN / program), *arguments]


def environment() -> dict[str, str]:
    """Where the people of the demo live."""
    return {**os.environ, "TMTP_HOME": str(DEMO / "home")}


def stop(gateway: "subprocess.Popen[bytes]") -> None:
    """End the gateway; it finishes its commits first."""
    if gateway.poll() is None:
        gateway.terminate()
        try:
            gateway.wait(20)
        except subprocess.TimeoutExpired:
            gateway.kill()
            gateway.wait()


if __name__ == "__main__":
    sys.exit(main())
