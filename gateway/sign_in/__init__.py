# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sign-in with an identity provider, by OpenID Connect (A1, C1): for registrations, and for whoever else asks a person.

`Provider` knows where a provider's endpoints are and with which keys it signs. `Vouching` turns what a client brings
into an identity, or refuses it; `CodeFlow` is the authorization code flow for pages of the gateway itself.
"""

from gateway.sign_in.flow import Begun, CodeFlow
from gateway.sign_in.provider import Provider, ProviderSettings
from gateway.sign_in.tokens import Claims, GroupRule, TokenRefused
from gateway.sign_in.vouching import Vouching

__all__ = [
    "Begun",
    "Claims",
    "CodeFlow",
    "GroupRule",
    "Provider",
    "ProviderSettings",
    "TokenRefused",
    "Vouching",
]
