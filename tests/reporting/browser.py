"""Pages in the real browser: Debian's Chromium, headless, which has no network and a profile of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,800",
)
_PATIENCE = 60  # seconds: machines that test are busy


class Page:
    """A page of a report, as a user meets it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path: Path) -> float:
        """Opens a file and waits until its graph is drawn; returns the milliseconds that the page says it took."""
        self.driver.get(path.as_uri())
        return float(self.until("return document.documentElement.dataset.ready"))

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str):
        """What a script returns as soon as that is something."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            found = self.run(script)
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"never came true: {script}; {self.console()}")

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str):
        return self.driver.find_elements("css selector", selector)

    def press(self, *keys: str) -> None:
        """Presses keys where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    @contextmanager
    def screen(self, width: int, height: int, scheme: str) -> Iterator[None]:
        """A screen of this size that prefers a colour scheme; a narrow one is a phone's."""
        command = self.driver.execute_cdp_cmd
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        command("Emulation.setDeviceMetricsOverride", metrics)
        command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        try:
            yield
        finally:
            command("Emulation.clearDeviceMetricsOverride", {})
            command("Emulation.setEmulatedMedia", {"features": []})

    def drag(self, selector: str, dx: int, dy: int) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).drag_and_drop_by_offset(self.find(selector), dx, dy).perform()

    def node(self, index: int):
        return self.find(f'.node[data-index="{index}"]')

    @property
    def detail(self) -> str:
        return self.find("#detail").text

    @property
    def focused(self) -> str | None:
        """Index of the block that has the focus."""
        return self.run("return document.activeElement.dataset.index || null")

    @property
    def view(self) -> str:
        return self.find("#scene").get_attribute("transform")

    def console(self) -> list[str]:
        """What the page complained about since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("the page is tested in Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield Page(driver)
    finally:
        driver.quit()
