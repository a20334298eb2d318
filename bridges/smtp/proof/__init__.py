# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a mail is from whom its From header names: SPF, DKIM, ARC and DMARC's alignment, one verdict (C2, D1).

Nothing is imported here: the processes that look at mails are in this package too, and need little of it.
"""
