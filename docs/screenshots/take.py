"""Pictures of the real pages for the documents: `make screenshots`. Needs chromium (.ci/install-chromium)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.pages import browser, chromium, show, site  # noqa: E402

# Of a drawing nobody says when it is done.
_DRAWN = 3_000


def main() -> int:
    if not chromium():
        print("There is no chromium here. Run: .ci/install-chromium", file=sys.stderr)
        return 1
    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    place = tempfile.TemporaryDirectory(prefix="stationsync-screenshots-")
    with place as name, site(Path(name)) as samples, browser() as page:
        for title, shown in samples.pages().items():
            show(page, samples.server.ui, shown)
            page.wait_for_timeout(_DRAWN)
            file = folder / f"{title}.png"
            page.screenshot(path=file)
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
