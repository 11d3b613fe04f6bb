"""What an operator sees in a browser: the real pages of a real server, after real runs of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import browser, chromium, show, site

pytest.importorskip("playwright", reason="Playwright is not installed")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not chromium(), reason="there is no chromium here: .ci/install-chromium"),
]


def test_the_pages_show_stations_runs_reports_and_alerts(tmp_path: Path) -> None:
    with site(tmp_path) as samples, browser() as page:
        pages = samples.pages()
        for shown in pages.values():
            show(page, samples.server.ui, shown)
        # A second run of the same station stands beside the first one, under the same key.
        show(page, samples.server.ui, pages["station-history"])
        page.locator("a[href*='/runs/flow-run/']").nth(1).wait_for()
