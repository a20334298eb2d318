# SPDX-License-Identifier: AGPL-3.0-or-later
"""Canaille, a real identity provider, in a process of its own: `python -m tests.support.canaille_server PORT REDIRECT [CERTIFICATE KEY]`.

Two people, one of them in the group `tmtp`; one public client. It prints a line when it listens.
"""

import ssl
import sys
from typing import Any

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from canaille.oidc.jose import make_default_rsa_jwk
from werkzeug.serving import make_server

PASSWORD = "correct horse battery staple"


def main(port: int, redirect_uri: str, *certificate_and_key: str) -> None:
    """Serve until killed; over TLS where there is a certificate."""
    where = f"127.0.0.1:{port}"
    secure = len(certificate_and_key) == 2
    app = create_app(
        {
            "SECRET_KEY": "of this test",
            "SERVER_NAME": where,
            "PREFERRED_URL_SCHEME": "https" if secure else "http",
            "SESSION_COOKIE_SECURE": secure,
            "CANAILLE": {
                "DATABASE": "memory",
                "LOGGING": {"version": 1, "root": {"level": "ERROR"}},
                "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc", "edit_self"], "READ": ["user_name"], "WRITE": []}},
            },
            "CANAILLE_OIDC": {"ACTIVE_JWKS": [make_default_rsa_jwk().as_dict(private=True)]},
        }
    )
    with app.app_context():
        _populate(redirect_uri)
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate_and_key)
    server = make_server("127.0.0.1", port, app, threaded=True, ssl_context=context)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()


def _populate(redirect_uri: str) -> None:
    backend: Any = Backend.instance
    people = {}
    for name in ("ada", "bob"):
        people[name] = models.User(
            user_name=name,
            formatted_name=name.title(),
            family_name=name.title(),
            emails=[f"{name}@x.example"],
            password=PASSWORD,
        )
        backend.save(people[name])
    backend.save(models.Group(display_name="tmtp", members=[people["ada"]]))
    client = models.Client(
        client_id="tmtp",
        client_name="TMTP",
        client_uri="http://127.0.0.1",  # of a trusted domain: nobody is asked for consent
        redirect_uris=[redirect_uri],
        grant_types=["authorization_code"],
        response_types=["code"],
        scope=["openid", "profile", "groups"],
        token_endpoint_auth_method="none",
    )
    backend.save(client)
    client.audience = [client]
    backend.save(client)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
