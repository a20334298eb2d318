# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intake: vetted mail from approved senders into a public instance (C2).

Nothing is imported here: the processes that look at mails are in this package too, and need little of it.
"""
