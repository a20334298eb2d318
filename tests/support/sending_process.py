# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine that sends one file in small parts and says how far it is, to be killed meanwhile.

python -m tests.support.sending_process HOME ACCOUNT FILE PART_BYTES
"""

import asyncio
import sys
from pathlib import Path

from tests.support.homes import running_home
from tmtp_client import limits
from tmtp_client.api import operations
from tmtp_client.engine import staging
from tmtp_client.engine.composing import Composing
from tmtp_client.store import outbox


async def main(home: Path, account: str, file: Path) -> None:
    """Until it is killed."""
    async with running_home(home) as running:
        context = running.account(account).context
        staged = await staging.stage(context, file)
        asked = operations.Send(account, ("Bob Builder",), "Film", "Here is the film", files=(staged.file,), delay_s=0)
        waiting = await Composing(context).send(asked)
        while (view := await context.database.read(lambda c: outbox.view(c, waiting.request))) is not None:
            sys.stdout.write(f"{view.sent}\n")
            sys.stdout.flush()
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    limits.PART_BYTES = int(sys.argv[4])
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
