# SPDX-License-Identifier: AGPL-3.0-or-later
"""How pip and build make packages of this tree (PEP 517): as setuptools does, after `library` has made what the
client's pages take from npm. A source archive has it already; who builds from that needs neither npm nor its registry.

An editable installation is made without: scripts/environment.sh makes both, and the service runs without pages.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import library
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Made = TypeVar("Made")


def _requires(asked: Callable[[Any], list[str]]) -> Callable[[Any], list[str]]:
    def requires(config_settings: Any = None) -> list[str]:
        """Node from PyPI only where something has to be fetched and the machine has no npm."""
        made = library.is_made(library.ROOT / "tmtp_client" / "web")
        return asked(config_settings) + ([] if made or library.npm_path() else [library.NEEDS_NODE])

    return requires


def _with_library(build: Callable[..., Made]) -> Callable[..., Made]:
    def built(*arguments: Any, **options: Any) -> Made:
        """As setuptools does it."""
        library.make(library.ROOT)
        return build(*arguments, **options)

    return built


get_requires_for_build_wheel = _requires(build_meta.get_requires_for_build_wheel)
get_requires_for_build_sdist = _requires(build_meta.get_requires_for_build_sdist)
build_wheel = _with_library(build_meta.build_wheel)
build_sdist = _with_library(build_meta.build_sdist)
