"""Screenshots of the console for the README, of a server that runs already:

`python -m tests.console.screenshots --user u0000040` writes docs/images/console.png (a wide screen)
and console_phone.png (360 points wide), after one like and with the first item's "Why?" open.
The like is real feedback: point it at a demo.
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect

from tests.console.browser import chromium, chromium_path

SCREENS = {  # the page's size, and pixels a point
    "console": (ViewportSize(width=1180, height=1230), 1),
    "console_phone": (ViewportSize(width=360, height=740), 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.console.screenshots", description=__doc__
    )
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--user", required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    path = chromium_path()
    if path is None:
        raise SystemExit("no chromium; install Debian's package or set CHROMIUM to its path")
    with chromium(path) as browser:
        for name, (size, scale) in SCREENS.items():
            page = browser.new_page(
                viewport=size, device_scale_factor=scale, reduced_motion="reduce"
            )
            page.goto(options.server)
            like_and_ask_why(page, options.user)
            page.screenshot(path=options.out / f"{name}.png")


def like_and_ask_why(page: Page, user: str) -> None:
    page.get_by_role("textbox", name="User").fill(user)
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_role("status")).to_contain_text(f"items for {user}")
    page.get_by_role("button", name="Like").nth(2).click()
    expect(page.get_by_role("status")).to_contain_text("Liked")
    page.get_by_role("button", name="Why?").first.click()
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    page.evaluate(
        "() => scrollTo(0, innerWidth < 500 ? document.querySelector('#status').offsetTop - 12 : 0)"
    )


if __name__ == "__main__":
    main()
