# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every bound of asking a provider and of its tokens, by name; those of a registration are in `tmtp_core.limits`."""

FETCH_TIMEOUT_S = 5.0  # of one question, from its name's look-up to the last octet of the answer
ANSWER_MAX_BYTES = 256 << 10  # a hundred keys with their certificates
CHUNK_BYTES = 16 << 10
KEYS_MAX = 100  # of one provider; more are not looked at
KEYS_REFRESH_S = 3_600.0
KEYS_KEPT_S = 24 * 3_600.0  # without a word from the provider; then nobody signs in
RETRY_S = 30.0  # between questions to a provider that does not answer
LOOK_AGAIN_S = 60.0  # between looks for a key that a token names and the provider had not
RSA_BITS_MIN, RSA_BITS_MAX = 2_048, 8_192  # more would cost whoever is shown a token a tenth of a second
RSA_EXPONENT_MAX = 2**32
TEXT_MAX_CHARACTERS = 255  # of `sub`, `sid`, `jti` (OpenID Connect Core §2)
NONCE_MAX_CHARACTERS = 512
STATE_BYTES = 32
VERIFIER_BYTES = 48  # RFC 7636 §4.1 wants 43 characters at least
