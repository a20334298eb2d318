# SPDX-License-Identifier: AGPL-3.0-or-later
"""Measurements, as ratios and costs within one run: the machine is noisy, so nothing here is a test."""
