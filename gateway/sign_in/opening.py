# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what the settings file says of sign-in to who vouches for people."""

from urllib.parse import urlsplit

from gateway.settings import models
from gateway.sign_in.provider import Provider, ProviderSettings
from gateway.sign_in.tokens import GroupRule
from gateway.sign_in.vouching import Vouching
from tmtp_core.clock import Clock


def provider_for(named: models.ProviderSettings, clock: Clock) -> Provider:
    """One that was not started yet."""
    settings = ProviderSettings(
        issuer=named.issuer,
        client_id=named.client_id,
        label=named.label or urlsplit(named.issuer).hostname or named.issuer,
        algorithms=tuple(named.algorithms),
        scopes=tuple(named.scopes),
        login_url=named.login_url,
        token_url=named.token_url,
        login_parameters=named.login_parameters,
        redirect_uri=named.redirect_uri,
        ca=named.ca,
    )
    return Provider(settings, clock)


def vouching_for(instance: str, chosen: models.SignInSettings, clock: Clock) -> Vouching:
    """One that was not started yet."""
    groups = GroupRule(chosen.groups.claim, tuple(chosen.groups.any_of)) if chosen.groups is not None else None
    return Vouching(
        instance,
        provider_for(chosen.provider, clock),
        groups,
        required=chosen.required,
        accounts_max=chosen.accounts_per_person,
    )
