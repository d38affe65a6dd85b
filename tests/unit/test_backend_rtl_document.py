# SPDX-License-Identifier: Apache-2.0
"""docs/rtl.md lists the modules of the library."""

from pathlib import Path

from toolchain.backends.rtl.document import fill


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "rtl.md"
    assert page.read_text() == fill(page.read_text()), "run `make docs`"
