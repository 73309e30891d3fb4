"""A headless Chromium for tests, spoken to over its DevTools protocol."""

import base64
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from itertools import count
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: A page is given this long to load and to answer, in seconds.
PATIENCE = 60


def chromium():
    """The path of a Chromium; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    return found


class Browser:
    """One page, and everything that it did besides being shown."""

    def __init__(self, folder):
        self._folder, self._open = folder, ExitStack()
        self._numbers = count(1)
        self.events = []

    def __enter__(self):
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
        self._process = subprocess.Popen(
            [chromium(), *options, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._connect()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_):
        self._end()

    def _connect(self):
        port = self._port(self._folder / "DevToolsActivePort")
        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        address = pages[0]["webSocketDebuggerUrl"]
        self._socket = self._open.enter_context(connect(address, max_size=None))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _end(self):
        self._open.close()
        self._process.kill()
        self._process.wait()

    def call(self, method, **parameters):
        """The result of a command; events on the way are kept."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def open(self, address):
        """Show a page, loaded whole."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not self.of("Page.loadEventFired"):
            self._note(json.loads(self._socket.recv(timeout=PATIENCE)))

    def value(self, expression):
        """What an expression of JavaScript gives on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def size(self, width, height, *, dark=False):
        """Show the page as a screen of this size does."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path, **clip):
        """Save what is shown, or a part of the page, as PNG."""
        more = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True} if clip else {}
        found = self.call("Page.captureScreenshot", format="png", **more)
        path.write_bytes(base64.b64decode(found["data"]))

    def of(self, method):
        """Parameters of the events of one kind since the page was opened."""
        return [event["params"] for event in self.events if event["method"] == method]

    def _note(self, message):
        self.events.append(message)
        if message["method"] == "Page.javascriptDialogOpening":
            reply = {"id": next(self._numbers), "method": "Page.handleJavaScriptDialog"}
            self._socket.send(json.dumps({**reply, "params": {"accept": True}}))

    def _port(self, file):
        deadline = time.monotonic() + PATIENCE
        while not (file.exists() and (text := file.read_text())):
            assert time.monotonic() < deadline, "the browser does not start"
            assert self._process.poll() is None, "the browser ended"
            time.sleep(0.05)
        return text.split()[0]
