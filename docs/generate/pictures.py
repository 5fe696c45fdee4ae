"""The pictures of the site: `make pictures` draws them with Chromium, light and dark, in docs/pictures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

import anybit
from docs.generate.models import shipped

FOLDER = Path(__file__).resolve().parent.parent / "pictures"
_SIZE = (1200, 640)
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1")
_PATIENCE = 120  # seconds


def pictures(folder: Path) -> Mapping[str, Path]:
    """Draws every picture; returns the files by name."""
    with tempfile.TemporaryDirectory() as temporary:
        page = Path(temporary) / "report.html"
        page.write_text(anybit.report(shipped("digits_cnn_2w2a")), encoding="utf-8")
        return {scheme: _drawn(page, scheme, folder / f"report-{scheme}.png") for scheme in ("light", "dark")}


def _drawn(page: Path, scheme: str, file: Path) -> Path:
    """A picture of a page in a browser that prefers this colour scheme."""
    driver = _browser()
    try:
        driver.set_window_size(*_SIZE)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.get(page.as_uri())
        WebDriverWait(driver, _PATIENCE).until(_is_ready)
        file.parent.mkdir(exist_ok=True)
        if not driver.save_screenshot(str(file)):
            raise OSError(f"{file} cannot be written")
    finally:
        driver.quit()
    return file


def _is_ready(driver: Any) -> object:
    return driver.execute_script("return document.documentElement.dataset.ready")


def _browser() -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in _FLAGS:
        options.add_argument(flag)
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver") or "")
    return webdriver.Chrome(options=options, service=service)


if __name__ == "__main__":
    pictures(FOLDER)
