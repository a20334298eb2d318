# SPDX-License-Identifier: AGPL-3.0-or-later
"""The design system (B2): what the client's pages and the administrators' console look like.

Files only, nothing to import: whoever serves pages opens them as package data. `tokens.css` has the values by what
they are for, light and dark; `base.css` the bare elements; `components.css` the parts that pages are made of;
`icons.svg` the icons, each a `<symbol>` that is as large as a line of text and has its colour. `showcase.html` shows
every token, every part in each of its states and every icon, and says when to use it: a test holds it to that. Nothing
in it comes from elsewhere (B6), and nothing needs a script or an inline style.
"""
