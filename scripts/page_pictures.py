#!/usr/bin/env python3
"""Drives the server's page in a headless Chromium and takes pictures of it:

    scripts/page_pictures.py URL OUT_DIR [--key KEY] [--prompt TEXT] [--browser chromium]

Asks the model, waits for the answer, opens the token view, chooses an expert; at desktop and phone
size, light and dark. Writes PNG files and prints what the page says; fails on errors of the console
and on requests to any other host. Needs Chromium (Debian: apt-get install chromium) and nothing else."""

import argparse
import base64
import json
import pathlib
import re
import secrets
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request


class WebSocket:
    """As much of RFC 6455 as a client of the DevTools protocol needs."""

    def __init__(self, url):
        host, port, path = re.fullmatch(r"ws://([^:/]+):(\d+)(/.*)", url).groups()
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, text):
        data = text.encode()
        mask = secrets.token_bytes(4)
        size = len(data)
        head = b"\x81" + (bytes([0x80 | size]) if size < 126 else
                          b"\xfe" + struct.pack(">H", size) if size < 65536 else b"\xff" + struct.pack(">Q", size))
        self.socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def receive(self):
        data = b""
        while True:
            first, size = self.file.read(2)
            if size == 126:
                size = struct.unpack(">H", self.file.read(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.file.read(8))[0]
            data += self.file.read(size)
            if first & 0x80:
                return data.decode()


class Browser:
    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(prefix="page-pictures-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
             f"--user-data-dir={self.profile.name}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = pathlib.Path(self.profile.name) / "DevToolsActivePort"
        end = time.time() + 60
        while not (port_file.exists() and port_file.read_text().count("\n") >= 1):
            if time.time() > end or self.process.poll() is not None:
                raise SystemExit("the browser does not start")
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self.connection = WebSocket(page["webSocketDebuggerUrl"])
        self.count = 0
        self.requests, self.problems = [], []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def call(self, method, **parameters):
        self.count += 1
        self.connection.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.connection.receive())
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.event(message)

    def event(self, message):
        parameters = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))
        elif message["method"] == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))

    def run(self, code):
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description"))
        return result["result"].get("value")

    def wait(self, code, seconds=120):
        end = time.time() + seconds
        while not self.run(f"(() => {{ try {{ return {code}; }} catch {{ return false; }} }})()"):  # not there yet
            if time.time() > end:
                raise SystemExit(f"still not so: {code}")
            time.sleep(0.2)

    def key(self, key, code=None, text=None):
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            virtual = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowRight": 39, "ArrowDown": 40, "ArrowLeft": 37}.get(key, 0)
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code or key, windowsVirtualKeyCode=virtual, **extra)

    def look(self, width, height, dark, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
                  mobile=phone)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        time.sleep(0.4)

    def picture(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
        print("picture", path)

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.profile.cleanup()


def give_key(browser, key):
    browser.wait("document.querySelector('#key-dialog').open", 20)
    browser.call("Input.insertText", text="wrong-key-x")
    browser.key("Enter", text="\r")
    browser.wait("document.querySelector('#key-dialog').open && !document.querySelector('#key-error').hidden", 20)
    browser.call("Input.insertText", text=key)
    browser.key("Enter", text="\r")
    browser.wait("!document.querySelector('#key-dialog').open", 20)
    browser.problems = [p for p in browser.problems if "401" not in p]  # which were provoked


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--key")
    parser.add_argument("--prompt", default="Once upon a time, in a small village by the sea,")
    parser.add_argument("--max-tokens", type=int, default=120)
    parser.add_argument("--browser", default="chromium")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    browser = Browser(args.browser)
    try:
        browser.look(1280, 860, dark=False)
        browser.call("Page.navigate", url=args.url)
        if args.key:
            give_key(browser, args.key)
        browser.wait("document.querySelector('#model').textContent.length > 1", 30)
        browser.picture(args.out / "empty.png")
        browser.run(f"document.querySelector('#max-tokens').value = {args.max_tokens};"
                    "document.querySelector('#seed').value = 7; document.querySelector('#prompt').focus()")
        browser.call("Input.insertText", text=args.prompt)
        browser.key("Enter", text="\r")
        browser.wait("document.querySelectorAll('.answer').length === 1", 20)
        time.sleep(0.8)
        browser.picture(args.out / "streaming.png")
        browser.wait("document.querySelector('.answer').getAttribute('aria-busy') === 'false'", 300)
        time.sleep(0.5)
        browser.picture(args.out / "answer.png")
        has_experts = browser.run("document.querySelector('canvas.heat') !== null")
        browser.run("[...document.querySelectorAll('.answer footer button')].find(b => b.textContent === 'Tokens').click()")
        browser.run("document.querySelector('.tokens span').focus()")
        for _ in range(5):
            browser.key("ArrowRight")
        print("focused token", browser.run("document.querySelector('.tokens .chosen')?.textContent"))
        browser.picture(args.out / "token.png")
        if has_experts:
            browser.run("document.querySelector('canvas.heat').focus()")
            for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
                browser.key(key, text="\r" if key == "Enter" else None)
            print("readout", browser.run("document.querySelector('.readout').textContent"))
            time.sleep(0.3)
            browser.picture(args.out / "expert.png")
            browser.run("document.querySelector('input[value=recent]').click()")
            time.sleep(1.5)
        browser.look(1280, 860, dark=True)
        browser.picture(args.out / "dark.png")
        for dark in (False, True):
            for tab in ("chat", "experts"):
                browser.look(390, 844, dark=dark, phone=True)
                browser.run(f"document.querySelector('#tab-{tab}').click()")
                time.sleep(0.3)
                browser.picture(args.out / f"phone-{tab}{'-dark' if dark else ''}.png")
                wide = browser.run("document.documentElement.scrollWidth > innerWidth")
                if wide:
                    browser.problems.append(f"the page is wider than the phone ({tab})")
        print("facts", browser.run("document.querySelector('#facts').textContent"))
        print("load", browser.run("document.querySelector('#load').innerText").replace("\n", " "))
        print("note", browser.run("document.querySelector('.answer footer').innerText").replace("\n", " "))
        foreign = [u for u in browser.requests if not u.startswith((args.url.rstrip("/"), "about:", "data:"))]
        for problem in browser.problems + [f"foreign request {u}" for u in foreign]:
            print("PROBLEM", problem)
        return 1 if browser.problems or foreign else 0
    finally:
        browser.close()


if __name__ == "__main__":
    raise SystemExit(main())
