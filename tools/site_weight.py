"""What a page weighs: all that Chromium loads until it is idle, each file compressed by gzip -9.

Run: python tools/site_weight.py [FOLDER]. Shared is what lies in `_static/` and the search index; a page's own are
its text, figures and frames.
"""

from __future__ import annotations

import argparse
import gzip
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from browser import built_pages, chromium, served
from playwright.sync_api import Browser

SHARED_LIMIT = 1.1e6
OWN_LIMIT = 0.5e6
DEFAULT_SITE = Path(__file__).resolve().parents[1] / "_build" / "html"


@dataclass(frozen=True)
class Weight:
    """Bytes of a page, compressed."""

    shared: int
    own: int


def is_shared(path: str) -> bool:
    """Whether a file of the site, by its path from the site's root, serves every page."""
    return path.startswith("/_static/") or path == "/searchindex.js"


def weigh(browser: Browser, base: str, page: str) -> Weight:
    """Load `base`/`page` with an empty cache and add up what came."""
    context = browser.new_context()
    tab = context.new_page()
    responses = []
    tab.on("response", lambda response: responses.append(response))
    try:
        tab.goto(f"{base}/{page}")
        tab.wait_for_load_state("networkidle")
        sizes = {r.url: len(gzip.compress(r.body(), 9)) for r in responses if r.url.startswith(base)}
    finally:
        context.close()
    shared = sum(size for url, size in sizes.items() if is_shared(urlsplit(url).path))
    return Weight(shared, sum(sizes.values()) - shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=DEFAULT_SITE, help="folder of the built site")
    site = parser.parse_args().site
    print(f"{'kB, gzip -9':40} {'shared':>8} {'own':>8}")
    print(f"{'at most':40} {SHARED_LIMIT / 1e3:8.0f} {OWN_LIMIT / 1e3:8.0f}")
    with chromium() as browser, served(site) as base:
        for page in built_pages(site):
            weight = weigh(browser, base, page)
            print(f"{page:40} {weight.shared / 1e3:8.0f} {weight.own / 1e3:8.0f}")


if __name__ == "__main__":
    main()
