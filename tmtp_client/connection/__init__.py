# SPDX-License-Identifier: AGPL-3.0-or-later
"""One TMTP connection over asyncio and TLS (B1, B3); clients, bridges and load generators use it.

Record first, ack after: a message is acknowledged to the service only when `on_event` has returned. One id
per post: whoever tries a post again passes the same `request_id`, and the service stores it once.
"""

from tmtp_client.connection.endpoint import Endpoint, WrongService, certificate_pin, said
from tmtp_client.connection.link import Connection, OnBatch, OnEvent, OnPresence
from tmtp_client.connection.login import AccountKeys, DeviceKeys, KeyLogin, Login, PasswordLogin
from tmtp_client.connection.payload import Disconnected, LogInRefused, Payload
from tmtp_client.connection.persistent import REFUSALS, PersistentConnection
from tmtp_client.connection.refused import Refused, RefusedHere
from tmtp_client.connection.work import OnWork

__all__ = [
    "REFUSALS",
    "AccountKeys",
    "Connection",
    "DeviceKeys",
    "Disconnected",
    "Endpoint",
    "KeyLogin",
    "LogInRefused",
    "Login",
    "OnBatch",
    "OnEvent",
    "OnPresence",
    "OnWork",
    "PasswordLogin",
    "Payload",
    "PersistentConnection",
    "Refused",
    "RefusedHere",
    "WrongService",
    "certificate_pin",
    "said",
]
