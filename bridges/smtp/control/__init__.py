# SPDX-License-Identifier: AGPL-3.0-or-later
"""How an intake is administered: what the gateway's API, console and command line know of it (C2, C5).

`models` are the values, `evidence` is what the log of decisions says, `door` lists the operations. A Unix socket
carries them where the intake is a process of its own; its desk does them. `gateway.administration`, API, console,
doctor and settings know this room only.
"""
