# SPDX-License-Identifier: AGPL-3.0-or-later
"""How an intake is administered: what the gateway's API, console and command line know of it (C2, C5).

`models` are the values, `desk` does the operations, and a Unix socket carries them where the intake is a process of its
own. Of the bridges, `gateway.administration` knows `models` and `door` only.
"""
