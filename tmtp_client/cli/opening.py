# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp open`: your accounts in a browser, or in a window of their own (B1)."""

import asyncio
import webbrowser
from typing import Annotated, Any

import typer

from tmtp_client import limits
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.common import FAILED, USAGE, JsonOption, default_home, err, fail, fail_by, out, print_json, say

PrintOption = Annotated[bool, typer.Option("--print", help="Only print the address, for a browser of your choice.")]
WindowOption = Annotated[bool, typer.Option("--window", help="A window of its own, by pywebview.")]

_NO_WINDOW = (
    "A window of its own needs pywebview: pip install 'tmtp-gateway[window]'. In your browser it is the same: tmtp open"
)


def open_pages(only_print: PrintOption = False, window: WindowOption = False, as_json: JsonOption = False) -> None:
    """Open your accounts in a browser. The engine is started when it does not run, and runs on.

    With --json it prints the address, as --print does, and opens nothing.

    Example: tmtp open
    """
    if (only_print or as_json) and window:
        fail("--print opens nothing, and --window opens a window: choose one", USAGE)
    webview = _webview() if window else None
    url = _way_in()
    if as_json:
        print_json({"url": url})
    elif only_print:
        say(url, to=out)
    elif webview is not None:
        _show(webview, url)
    elif webbrowser.open(url):
        say(
            "Your accounts are in your browser. They run on here when it is closed; tmtp daemon --stop ends them.",
            to=err,
        )
    else:
        say("No browser can be started here. Open this in one, within two minutes:", to=err)
        say(url, to=out)


def _way_in() -> str:
    from tmtp_client.api.opening import way_in  # noqa: PLC0415 - other commands need no server

    try:
        return asyncio.run(way_in(default_home(), limits.PATIENCE_S))
    except ProblemError as error:
        return fail_by(error.problem)


def _webview() -> Any:
    try:
        import webview  # noqa: PLC0415 - few have it
    except ImportError:
        return fail(_NO_WINDOW, FAILED)
    return webview


def _show(webview: Any, url: str) -> None:
    """Until the person closes it. What the window keeps goes with it: a way in is good once."""
    webview.create_window("TMTP", url, width=1280, height=800, min_size=(320, 480), text_select=True)
    try:
        webview.start(private_mode=True)
    except webview.errors.WebViewException as error:
        fail(f"No window can be opened here: {error}. In your browser it is the same: tmtp open", FAILED)
