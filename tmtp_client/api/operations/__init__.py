# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every operation of the local API: the only list. The dispatcher, JavaScript's types and docs/client-api.md are made
from it. Each subject has its parameters and its operations in a module of its own.
"""

from typing import Final

from tmtp_client.api.operations.accounts import *
from tmtp_client.api.operations.contents import *
from tmtp_client.api.operations.conversation import *
from tmtp_client.api.operations.devices import *
from tmtp_client.api.operations.home import *
from tmtp_client.api.operations.operation import *
from tmtp_client.api.operations.people import *

OPERATIONS: Final = (*HOME, *ACCOUNTS, *PEOPLE, *CONVERSATION, *CONTENTS, *DEVICES)

BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}
