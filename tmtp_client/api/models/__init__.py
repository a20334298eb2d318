# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the local API says: one schema, from which Python reads it, and JavaScript's types and the document are made.

Version 1. A field may be added; none changes its meaning. Names of accounts are those of their folders. `…_ms` is
milliseconds since 1970; `posted` the service's text. What stands in others' texts is shown as text, never as markup,
until the engine has rendered it (B6).
"""

from tmtp_client.api.models.answers import *
from tmtp_client.api.models.conversation import *
from tmtp_client.api.models.devices import *
from tmtp_client.api.models.events import *
from tmtp_client.api.models.forms import *
from tmtp_client.api.models.home import *
from tmtp_client.api.models.people import *

VERSION = 1
