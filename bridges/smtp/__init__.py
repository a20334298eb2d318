# SPDX-License-Identifier: AGPL-3.0-or-later
"""The SMTP intake: vetted mail from approved senders into a public instance (C2). What it is made of, from the top:

`intake`: puts all of it together, from its start to its stop; `desk`: administrators' operations, each to its room
`transaction`: one mail, from whole octets to a reply for each recipient
`answers`: members' answers to mail, by the organisation's relay
`reports`: the log of decisions in numbers, and tried with other rules
`waiting`: mail on our disk, spooled for the service or held for a person
`posts`: what is posted to the service, a mail or the bridge's own words
`senders`: who is vetted, and how far each is on the way out of SMTP
`store`: what is remembered, in a small database of its own
`line`: what happens on a connection, until a mail is whole
`policy`: what becomes of a mail, and why; pure
`settings`: what one intake is told
`control`: what others know of it, values and operations
`proof`: whether a mail is from whom it names
`peers`: addresses, told apart and counted

Each knows those below it only (pyproject.toml). Nothing is imported here, nor where a room begins: the processes that
look at mails are in this package too, and need little of it.
"""
