"""A headless Chromium driven by a few lines: the DevTools protocol over a pair of pipes.

With --remote-debugging-pipe the browser reads commands from file descriptor 3 and writes answers
and events to 4: JSON texts, each ended by a zero byte. So nothing is needed beside the browser.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 60.0  # seconds for an answer, on a machine that does other things too


def find_browser():
    """The path of a Chromium, or None. MINIDL_BROWSER names another one."""
    own = os.environ.get("MINIDL_BROWSER")
    return own or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a headless browser.

    Attributes:
        complaints: what the page wrote to the console as error or warning, exceptions that nobody
            caught, and everything it tried to load from anywhere.
    """

    def __init__(self, path):
        self.complaints = []
        self._folder = tempfile.TemporaryDirectory(
            prefix="minidl-browser-", ignore_cleanup_errors=True
        )
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()

        def connect():  # in the browser's process
            # Out of the way first: 3 or 4 may be one of the pipes.
            ends = os.dup2(commands, 200), os.dup2(answers, 201)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        arguments = [
            *(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--hide-scrollbars", f"--user-data-dir={self._folder.name}"),
            *("--remote-debugging-pipe", "about:blank"),
        ]
        self._process = subprocess.Popen(
            arguments,
            pass_fds=(3, 4),
            preexec_fn=connect,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._count = 0
        self._received = b""
        self._session = None
        self._loaded = 0
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self):
        self._session = None
        self.ask("Browser.close")
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    # -- commands ----------------------------------------------------------------------------------

    def ask(self, method, **parameters):
        """Send a command and wait for its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self):
        """The next message; an event is noted."""
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError(f"the browser said nothing for {PATIENCE} seconds, or ended")
            self._received += data
        text, _, self._received = self._received.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event, about):
        if event == "Page.loadEventFired":
            self._loaded += 1
        elif event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.complaints.append(f"exception: {details['text']} {thrown}")
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.complaints.append(f"console: {about['args']}")
        elif event == "Log.entryAdded":
            self.complaints.append(f"log: {about['entry']['text']}")
        elif event == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.complaints.append(f"request: {url}")

    # -- a page ------------------------------------------------------------------------------------

    def open(self, path, fragment=""):
        """Load a file anew and wait until it is there."""
        self.ask("Page.navigate", url="about:blank")
        before = self._loaded
        self.ask("Page.navigate", url=f"file://{os.path.abspath(path)}{fragment}")
        while self._loaded == before or self.evaluate("document.readyState") != "complete":
            self._receive()

    def resize(self, width, height, dark=False):
        """The window's size in pixels, and which colours its user prefers."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, expression):
        """The value of a JavaScript expression, as Python's JSON would have it."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['result'].get('description')}")
        return result["result"].get("value")

    def press(self, key, shift=False):
        """Press and release a key, by its name in the DOM: "ArrowRight", "Tab", "Enter"."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        about = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": codes[key],
            "modifiers": 8 * shift,
        }
        if key == "Enter":
            about["text"] = "\r"
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def point(self, selector):
        """Move the mouse to the middle of an element, which is scrolled into view."""
        quoted = json.dumps(selector)
        self.evaluate(f"document.querySelector({quoted}).scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(() => {{ const b = document.querySelector({quoted}).getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
        return box

    def click(self, selector):
        """Click on the middle of an element."""
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path):
        """Write what the window shows to a PNG file."""
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
