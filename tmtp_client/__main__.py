# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m tmtp_client` is `tmtp`: how the program starts itself again, whatever is on the path."""

from tmtp_client.program import main

main()
