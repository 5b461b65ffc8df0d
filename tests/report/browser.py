"""Chromium without a window, for tests that open a report as a reader would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_FLAGS = (
    "--headless=new",
    "--hide-scrollbars",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--force-color-profile=srgb",
    # Whatever the browser wants to look up of its own accord, it finds nothing.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

# Selenium looks for no driver and reports to nobody.
_QUIET = ("SE_OFFLINE", "SE_AVOID_STATS", "SE_AVOID_BROWSER_DOWNLOAD")


class Reader:
    """A browser and what a reader does with it; `driver` is selenium's."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, *, width=1000, height=900, dark=False, media="screen"):
        """A page of a file, drawn at `width` CSS pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def send(self, command, **settings):
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, settings)

    def run(self, script, *values):
        """What a script on the page returns."""
        return self.driver.execute_script(script, *values)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector):
        """Texts of elements that are shown."""
        return self.run(
            "return Array.from(document.querySelectorAll(arguments[0]))"
            ".filter(one => one.checkVisibility()).map(one => one.innerText.trim())",
            selector,
        )

    def complaints(self):
        """What the console of the browser has said since the last call."""
        return self.driver.get_log("browser")

    def requests(self):
        """Addresses that were asked for since the page was opened, data URIs left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        addresses = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in addresses if not address.startswith("data:")]


@contextmanager
def open_browser() -> Iterator[Reader]:
    """A browser to read with; the test is skipped where there is none."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    program, helper = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or helper is None:
        pytest.skip("there is no chromium with its chromedriver (Debian: chromium, chromium-driver)")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as settings:
        for name in _QUIET:
            settings.setenv(name, "true")
        driver = Chrome(options=options, service=Service(helper, log_output=subprocess.DEVNULL))
    try:
        yield Reader(driver)
    finally:
        driver.quit()
