"""What several of the integration tests may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fault_kit import Network, network
from tests.integration.tunnel_kit import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Programs that stand for fly and the others; what was started of them is gone at the end."""
    made = Programs(tmp_path)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """A network whose faults a test chooses."""
    with network() as made:
        yield made
