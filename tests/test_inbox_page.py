"""The inbox page shows what was accepted, renews itself, and trusts nothing that is in a mail.

What needs a browser is tried in a headless Chromium, where there is one.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import eventually, running
from tests.test_sandbox import Sandbox, mail_to

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)

#: Tells the page that a script of a mail ran in it.
ATTACK = "<script>top.ran=1</script><img src=x onerror='top.ran=1'>\"'>{{ 7*7 }}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running(Sandbox(tmp_path_factory.mktemp("sandbox"))) as server:
        yield server


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    """A sandbox with an empty inbox."""
    shared.call("DELETE", "/api/mails")
    return shared


def accepted(sandbox: Sandbox, mail: dict[str, Any]) -> str:
    """Send a mail and return the path of its page."""
    answer = sandbox.post(mail)
    assert answer.status_code == 202, answer.text
    return f"/inbox/{answer.headers['x-message-id']}"


def page(sandbox: Sandbox, path: str) -> httpx.Response:
    return sandbox.http.get(sandbox.url + path)


def html(value: str) -> list[dict[str, str]]:
    return [{"type": "text/plain", "value": "The plain text."}, {"type": "text/html", "value": value}]


def attachment(data: bytes, **fields: str) -> dict[str, str]:
    return {"content": base64.b64encode(data).decode(), "filename": "file.bin", **fields}


def everything() -> dict[str, Any]:
    """A mail that uses most of what SendGrid has, with an attack wherever text can be."""
    person = {"email": "ada@example.com", "name": ATTACK}
    return {
        "personalizations": [
            {
                "to": [person],
                "cc": [{"email": "cc@example.com"}],
                "bcc": [{"email": "bcc@example.com"}],
                "subject": ATTACK,
                "headers": {"X-Test": ATTACK},
                "substitutions": {"-name-": ATTACK},
                "custom_args": {"postroom_id": ATTACK},
                "send_at": int(time.time()) + 3600,
            }
        ],
        "from": person,
        "reply_to": person,
        "subject": "not this one",
        "content": [{"type": "text/plain", "value": ATTACK}, {"type": "text/html", "value": ATTACK}],
        "attachments": [attachment(b"x", filename=ATTACK, type="text/html")],
        "categories": [ATTACK],
        "custom_args": {"name": ATTACK},
        "asm": {"group_id": 1},
    }


# Without a browser


def test_the_list_shows_whom_a_mail_is_for_and_what_it_says(sandbox: Sandbox) -> None:
    accepted(sandbox, mail_to("ada@example.com", "grace@example.com", subject="Weekly news"))
    text = page(sandbox, "/").text
    assert all(words in text for words in ("ada@example.com", "and 1 more", "Weekly news", "Thank you."))


def test_a_mail_without_plain_text_is_listed_with_the_words_of_its_html(sandbox: Sandbox) -> None:
    styled = "<style>p { color: red }</style><p>Fish &amp; <b>chips</b></p><script>no()</script>"
    accepted(sandbox, mail_to(content=[{"type": "text/html", "value": styled}]))
    assert '<span class="snippet">Fish &amp; chips</span>' in page(sandbox, "/").text


def test_the_list_counts_files_but_not_the_pictures_in_the_text(sandbox: Sandbox) -> None:
    picture = attachment(b"x", disposition="inline", content_id="logo")
    accepted(sandbox, mail_to(attachments=[attachment(b"a"), attachment(b"b"), picture]))
    assert "2 files" in page(sandbox, "/").text


def test_a_retried_and_a_scheduled_mail_are_marked(sandbox: Sandbox) -> None:
    sandbox.post(mail_to(), **{"x-postroom-attempt": "2"})
    accepted(sandbox, mail_to(send_at=int(time.time()) + 3600))
    text = page(sandbox, "/").text
    assert "attempt 2" in text
    assert "scheduled" in text


def test_the_list_has_pages_of_fifty(sandbox: Sandbox) -> None:
    for number in range(51):
        accepted(sandbox, mail_to(subject=f"Number {number}."))
    first, second = (page(sandbox, path).text for path in ("/", "/?q=&page=2"))
    assert (first.count('class="row"'), second.count('class="row"')) == (50, 1)
    assert "Number 0." in second
    assert "Page 2 of 2" in second


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 30, "99999"])
def test_a_page_that_is_none_is_empty_or_the_first(sandbox: Sandbox, number: str) -> None:
    accepted(sandbox, mail_to())
    assert page(sandbox, f"/?page={number}").status_code == 200


def test_a_refused_mail_counts_as_news(sandbox: Sandbox) -> None:
    version = page(sandbox, "/").text.split('data-version="')[1].split('"')[0]
    sandbox.post(mail_to(), authorization="")
    assert page(sandbox, f"/?seen={version}").status_code == 200


def test_a_list_that_was_seen_is_not_sent_again(sandbox: Sandbox) -> None:
    text = page(sandbox, "/").text
    version = text.split('data-version="')[1].split('"')[0]
    assert page(sandbox, f"/?seen={version}").status_code == 204
    accepted(sandbox, mail_to(subject="Something new"))
    renewed = page(sandbox, f"/?seen={version}")
    assert "Something new" in renewed.text
    assert "<html" not in renewed.text


@pytest.mark.parametrize("show", ["", "?show=0", "?show=1", "?show=details", "?show=json", "?show=99", "?show=²"])
def test_nothing_in_a_mail_becomes_markup_of_its_page(sandbox: Sandbox, show: str) -> None:
    path = accepted(sandbox, everything())
    for text in (page(sandbox, path + show).text, page(sandbox, "/").text, page(sandbox, f"/?q={ATTACK}").text):
        assert "&lt;script&gt;top.ran=1" in text
        assert "<script>top" not in text
        assert "onerror='" not in text
        assert "49" not in text.split("<main")[1].split("</h1>")[0]


@pytest.mark.parametrize("path", ["/", "/faults", "/inbox/{}"])
def test_a_page_runs_and_loads_nothing_from_elsewhere(sandbox: Sandbox, path: str) -> None:
    receipt = accepted(sandbox, mail_to()).rsplit("/", 1)[1]
    answer = page(sandbox, path.format(receipt))
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "http" not in answer.headers["content-security-policy"]
    assert "//" not in answer.text.replace(sandbox.url, "")


def test_the_html_of_a_mail_is_framed_without_any_rights(sandbox: Sandbox) -> None:
    path = accepted(sandbox, mail_to(content=html("<b>Hello</b>")))
    frame = page(sandbox, f"{path}/html")
    assert f'<iframe src="{path}/html" sandbox title=' in page(sandbox, path).text
    assert frame.text == "<b>Hello</b>"
    assert {"sandbox", "default-src 'none'"} <= set(frame.headers["content-security-policy"].split("; "))


@pytest.mark.parametrize("part", ["", "/html", "/attachments/0"])
def test_a_mail_that_is_not_there_is_told_with_404(sandbox: Sandbox, part: str) -> None:
    assert page(sandbox, f"/inbox/unknown{part}").status_code == 404


def test_a_part_that_a_mail_has_not_is_told_with_404(sandbox: Sandbox) -> None:
    path = accepted(sandbox, mail_to())
    assert [page(sandbox, f"{path}/{part}").status_code for part in ("html", "attachments/0")] == [404, 404]


def test_an_attachment_is_downloaded_byte_for_byte_and_never_shown(sandbox: Sandbox) -> None:
    data = bytes(range(256))
    names = attachment(data, filename='Zoë "1".html', type="text/html")
    answer = page(sandbox, accepted(sandbox, mail_to(attachments=[names])) + "/attachments/0")
    assert answer.content == data
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''Zo%C3%AB%20%221%22.html"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_json_leaves_out_what_attachments_contain(sandbox: Sandbox) -> None:
    path = accepted(sandbox, mail_to(attachments=[attachment(b"x" * 3000)]))
    assert "(4000 characters)" in page(sandbox, f"{path}?show=json").text


def test_a_time_that_no_calendar_has_is_shown_as_a_number(sandbox: Sandbox) -> None:
    assert "-1e+30" in page(sandbox, accepted(sandbox, mail_to(send_at=-(10**30)))).text


def test_a_mail_to_many_is_shown_in_short(sandbox: Sandbox) -> None:
    mail = mail_to()
    mail["personalizations"] = [{"to": [{"email": f"reader{number}@example.com"}]} for number in range(1000)]
    path = accepted(sandbox, mail)
    assert "and 990 more" in page(sandbox, path).text
    assert page(sandbox, f"{path}?show=details").text.count("Personalization ") == 50


def test_a_mail_made_by_a_template_shows_its_data(sandbox: Sandbox) -> None:
    mail = mail_to(template_id="d-123")
    mail["personalizations"][0]["dynamic_template_data"] = {"city": "Ulm"}
    del mail["content"]
    text = page(sandbox, accepted(sandbox, mail)).text
    assert "d-123" in text
    assert "Ulm" in text


# In a browser


class Browser:
    """A headless Chromium with one page, spoken to in its DevTools protocol over pipes (JSON, each ended by a zero)."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--window-size=1200,860",
            "--remote-debugging-pipe",
        ]
        read, self._out = _pipe()
        self._in, write = _pipe()
        # It reads from descriptor 3 and writes to 4.
        launch = (
            "import os, sys; [os.dup2(int(sys.argv[n]), n + 2) for n in (1, 2)]; os.execv(sys.argv[3], sys.argv[3:])"
        )
        with (profile / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", launch, str(read), str(write), CHROMIUM, *options],
                pass_fds=(read, write),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.close(read)
        os.close(write)
        self._unread = b""
        self._calls = 0
        self._session: str | None = None
        #: What the page complained about: errors of scripts, and what its policy forbade.
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        try:
            self._session = None
            self.call("Browser.close")
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._in)
            os.close(self._out)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 30
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(answer["params"]))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._in, 65_536)
            assert data, "Chromium has ended"
            self._unread += data
        message, self._unread = self._unread.split(b"\0", 1)
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def open(self, url: str) -> None:
        self.evaluate("window.former = true")
        self.call("Page.navigate", url=url)
        eventually(lambda: self.evaluate("!window.former && document.readyState === 'complete'"))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """What a reader sees of the page; nothing while it is being left for another."""
        return self.evaluate("document.body?.innerText") or ""

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def press(self, key: str, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            code = {"Enter": 13, "Tab": 9}.get(key, 0)
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are above those that Chromium wants."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium or Chrome on this machine (Debian: apt-get install chromium)")
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def browser(shared_browser: Browser) -> Browser:
    shared_browser.complaints.clear()
    return shared_browser


def test_a_new_mail_shows_up_by_itself(sandbox: Sandbox, browser: Browser) -> None:
    browser.open(sandbox.url)
    assert "No mail yet" in browser.text()
    browser.evaluate("window.same = true")
    accepted(sandbox, mail_to(subject="Something new"))
    eventually(lambda: "Something new" in browser.text())
    assert browser.evaluate("window.same")


def test_the_focus_stays_on_its_mail_when_another_comes(sandbox: Sandbox, browser: Browser) -> None:
    path = accepted(sandbox, mail_to(subject="The first"))
    browser.open(sandbox.url)
    browser.evaluate("document.querySelector('.row').focus()")
    accepted(sandbox, mail_to(subject="The second"))
    eventually(lambda: "The second" in browser.text())
    assert browser.evaluate("document.activeElement.getAttribute('href')") == path


def test_mails_are_found_and_opened_by_keyboard(sandbox: Sandbox, browser: Browser) -> None:
    accepted(sandbox, mail_to(subject="Weekly news"))
    accepted(sandbox, mail_to(subject="Your order"))
    browser.open(sandbox.url)
    browser.press("/", "/")
    browser.type("weekly")
    browser.press("Enter", "\r")
    eventually(lambda: "“weekly”" in browser.text() and "Your order" not in browser.text())
    eventually(lambda: browser.evaluate("document.readyState === 'complete'"))
    browser.evaluate("document.querySelector('#clear').focus()")
    browser.press("Tab")
    browser.press("Tab")
    assert "Weekly news" in browser.evaluate("document.activeElement.innerText")
    browser.press("Enter", "\r")
    eventually(lambda: browser.evaluate("document.querySelector('h1').innerText") == "Weekly news")


def test_a_button_empties_the_inbox(sandbox: Sandbox, browser: Browser) -> None:
    accepted(sandbox, mail_to())
    browser.open(sandbox.url)
    browser.evaluate("document.getElementById('clear').click()")
    eventually(lambda: "No mail yet" in browser.text())


def test_no_script_of_a_mail_runs(sandbox: Sandbox, browser: Browser) -> None:
    path = accepted(sandbox, everything())
    for show in ("/", path, f"{path}?show=1", f"{path}?show=details", f"{path}?show=json", f"{path}/html"):
        browser.open(sandbox.url + show)
        eventually(lambda: browser.evaluate("document.readyState === 'complete'"))
        assert browser.evaluate("window.ran") is None


def test_the_html_of_a_mail_loads_nothing_from_elsewhere(sandbox: Sandbox, browser: Browser) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        url = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/pixel"
        tracking = f"<img src={url}><link rel=stylesheet href={url}><iframe src={url}></iframe><p>Hello</p>"
        path = accepted(sandbox, mail_to(content=html(tracking)))
        for show in (path, f"{path}/html"):
            browser.open(sandbox.url + show)
        assert "Hello" in browser.text()
        assert requests_to(elsewhere) == []


def requests_to(server: socket.socket) -> list[bytes]:
    """What was asked of a server. Chromium may connect without asking: it prepares for a frame that it then forbids."""
    asked = []
    while select.select([server], [], [], 0)[0]:
        with server.accept()[0] as connection:
            asked += [connection.recv(1000) for _ in select.select([connection], [], [], 0)[0]]
    return [request for request in asked if request]


def test_a_picture_that_a_mail_carries_is_shown_in_its_text(sandbox: Sandbox, browser: Browser) -> None:
    logo = attachment(png(3, 2), type="image/png", disposition="inline", content_id="logo")
    path = accepted(sandbox, mail_to(content=html("<img src='cid:logo'>"), attachments=[logo]))
    browser.open(f"{sandbox.url}{path}/html")
    assert browser.evaluate("document.images[0].naturalWidth") == 3


def test_the_pages_complain_about_nothing(sandbox: Sandbox, browser: Browser) -> None:
    path = accepted(sandbox, mail_to(content=html("<p style='color: red'>Hello</p>")))
    for show in ("/", path, f"{path}?show=json", "/faults"):
        browser.open(sandbox.url + show)
    assert browser.complaints == []


def test_the_pages_are_dark_where_dark_is_preferred(sandbox: Sandbox, browser: Browser) -> None:
    browser.open(sandbox.url)
    grounds = []
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        grounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    browser.call("Emulation.setEmulatedMedia")
    assert [sum(map(int, ground[4:-1].split(","))) > 384 for ground in grounds] == [True, False]


def test_a_narrow_window_needs_no_scrolling_sideways(sandbox: Sandbox, browser: Browser) -> None:
    long = "x" * 300
    path = accepted(sandbox, mail_to(f"{'a' * 60}@example.com", subject=long, content=html(long)))
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=1, mobile=False)
    for show in ("/", path, f"{path}?show=details", "/faults"):
        browser.open(sandbox.url + show)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), show
        cut = (
            "[...document.querySelectorAll('main h1:not([class]), main dd')].filter(e => e.scrollWidth > e.clientWidth)"
        )
        assert browser.evaluate(f"{cut}.length") == 0, show
    browser.call("Emulation.clearDeviceMetricsOverride")


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = (b"\0" + bytes(3 * width)) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
