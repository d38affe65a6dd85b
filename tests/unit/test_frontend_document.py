# SPDX-License-Identifier: Apache-2.0
"""docs/frontends.md lists what the registries hold."""

from pathlib import Path

from toolchain.frontends.document import fill


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "frontends.md"
    assert page.read_text() == fill(page.read_text()), "run `make docs`"
