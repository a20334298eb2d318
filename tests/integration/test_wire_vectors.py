# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every wire vector over a real TLS socket, as written and byte by byte (A3, A4; tests/vectors/format.md)."""

import asyncio
from pathlib import Path

import pytest

from tests.support.instance import running_instance
from tests.support.night import NIGHTLY
from tests.vectors.runner import Vector, read_vectors, replay

_FOLDER = Path(__file__).parent.parent / "vectors" / "wire"
VECTORS = [vector for file in sorted(_FOLDER.glob("*.vec")) for vector in read_vectors(file)]
IN_BYTES = [vector for vector in VECTORS if "whole" not in vector.settings][:: 1 if NIGHTLY else 3]
"""By day every third, since they differ in what is decided and not in how it is cut; by night all."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The empty instance that every vector starts from."""

    async def make(folder: Path) -> None:
        async with running_instance(folder):
            pass

    folder = tmp_path_factory.mktemp("vectors") / "template"
    asyncio.run(make(folder))
    return folder


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector.file.stem}:{vector.name}")
async def test_vector(vector: Vector, template: Path, tmp_path: Path) -> None:
    await replay(vector, template, tmp_path / "instance", byte_by_byte=False)


@pytest.mark.parametrize("vector", IN_BYTES, ids=lambda vector: f"{vector.file.stem}:{vector.name}")
async def test_vector_byte_by_byte(vector: Vector, template: Path, tmp_path: Path) -> None:
    await replay(vector, template, tmp_path / "instance", byte_by_byte=True)


def test_vectors_have_names_of_their_own() -> None:
    names = [vector.name for vector in VECTORS]
    assert sorted(set(names)) == sorted(names)
