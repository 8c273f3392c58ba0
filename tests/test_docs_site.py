"""The documentation site is built strictly, leads nowhere that is not there, and loads nothing from elsewhere."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

import producers
from docs_build.includes import section
from producers.cli.commands import SUMMARIES
from tests.servers import ROOT, clean_environment

#: What the site is made of, besides `docs/`.
SOURCES = ("README.md", "benchmarks", "celeryconfig.py", "docs_build", "postroom", "producers")
#: Attributes by which a page has the browser load something. (`href` is one on a `link`.)
LOADING = ("src", "srcset", "data", "poster", "background")


class Page(HTMLParser):
    """What a page links to and loads, and the ids in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.policy = ""
        self.styles: list[str] = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        self.loads += [values[name] for name in LOADING if name in values]
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(values["href"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]


class Site(NamedTuple):
    directory: Path
    pages: dict[Path, Page]


def tree(directory: Path) -> Path:
    """A copy of what the site is made of, so that nothing is written beside the sources."""
    for name in SOURCES:
        (directory / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", directory / "docs", symlinks=True)
    shutil.copy(ROOT / "zensical.toml", directory)
    return directory


def build(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    environment = clean_environment() | {"PYTHONPATH": str(directory), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def pages_of(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    directory = tree(tmp_path_factory.mktemp("site"))
    built = build(directory)
    assert built.returncode == 0, built.stdout + built.stderr
    return Site(directory / "site", pages_of(directory / "site"))


# The build is strict.


def page_alone(directory: Path, text: str) -> Path:
    """The tree of a site of one page."""
    tree(directory)
    shutil.rmtree(directory / "docs")
    (directory / "docs").mkdir()
    (directory / "docs/index.md").write_text(f"# A page\n\n{text}\n")
    settings = (ROOT / "zensical.toml").read_text()
    (directory / "zensical.toml").write_text(re.sub(r"^nav = \[.*?^\]\n", "", settings, flags=re.DOTALL | re.MULTILINE))
    return directory


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[there](nowhere.md)", "page does not exist"),
        ("[there](#nowhere)", "anchor does not exist"),
        ("[there][producers.client.Nothing]", "unresolved autoref"),
        ("::: producers.client.Nothing", "producers.client.Nothing could not be found"),
        ("<!-- README.md: Nothing -->", "README.md has no section 'Nothing'"),
    ],
)
def test_a_fault_of_a_page_fails_the_build(text: str, said: str, tmp_path: Path) -> None:
    built = build(page_alone(tmp_path, text))
    assert built.returncode != 0
    assert said in built.stdout + built.stderr


def test_a_page_without_faults_is_built(tmp_path: Path) -> None:
    assert build(page_alone(tmp_path, "[A page](#a-page)")).returncode == 0


# Links.


def faults_of_links(pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not link or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and anchor not in pages[target].ids):
                yield f"{path.name}: {link}"


def test_every_link_between_pages_leads_somewhere(site: Site) -> None:
    assert [*faults_of_links(site.pages)] == []
    assert sum(len(page.links) for page in site.pages.values()) > 500


def test_a_link_that_leads_nowhere_would_be_found(tmp_path: Path) -> None:
    page = tmp_path.resolve() / "page.html"
    page.write_text('<a href="page.html#here">1</a><a id="here" href="other.html">2</a><img src="no.png"><a href="#x">')
    assert [*faults_of_links(pages_of(page.parent))] == [
        "page.html: other.html",
        "page.html: #x",
        "page.html: no.png",
    ]


# Nothing from elsewhere.


def test_no_page_loads_anything_from_elsewhere(site: Site) -> None:
    for path, page in site.pages.items():
        assert [load for load in page.loads if urlsplit(load).netloc] == [], path
        assert not any("//" in address for style in page.styles for address in addresses_in(style)), path


def test_no_stylesheet_loads_anything_from_elsewhere(site: Site) -> None:
    sheets = [*site.directory.rglob("*.css")]
    assert sheets
    for sheet in sheets:
        assert [address for address in addresses_in(sheet.read_text()) if "//" in address] == []


def addresses_in(style: str) -> list[str]:
    """What a stylesheet loads; not what it has in itself."""
    found = re.findall(r"url\(([^)]*)\)|@import\s*[\"']([^\"']+)", style)
    addresses = [text.strip("\"' ") for either in found for text in either]
    return [address for address in addresses if address and not address.startswith("data:")]


def test_what_a_stylesheet_would_load_is_found() -> None:
    sheet = "@import 'https://a.test/x.css'; a{b:url(\"//b.test/y\");c:url(data:image/svg+xml,http://www.w3.org)}"
    assert addresses_in(sheet) == ["https://a.test/x.css", "//b.test/y"]


def test_browsers_are_told_to_load_nothing_from_elsewhere(site: Site) -> None:
    """The theme's script knows where to get what pages of other sites need; so this is not left to it."""
    assert {page.policy for page in site.pages.values()} == {"default-src 'self' 'unsafe-inline' data: blob:"}


def test_the_search_has_its_index_on_the_site(site: Site) -> None:
    index = (site.directory / "search.js").read_text()
    found = json.loads(index[index.index("{") : index.rindex("}") + 1])
    assert {urlsplit(item["location"]).path for item in found["items"]} == {
        path.relative_to(site.directory).as_posix() for path in site.pages if path.name != "404.html"
    }
    assert any("postroom dead retry" in item["text"] for item in found["items"])


# What is on it.


def nav_of(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else nav_of(target)


def test_each_page_is_in_the_navigation() -> None:
    nav = [*nav_of(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])]
    assert sorted(nav) == sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("name", producers.__all__)
def test_the_reference_has_each_public_name(name: str, site: Site) -> None:
    ids = {id for path, page in site.pages.items() if path.parent.name == "reference" for id in page.ids}
    thing = getattr(producers, name)
    assert f"{thing.__module__}.{name}" in ids


@pytest.mark.parametrize("command", SUMMARIES)
def test_the_reference_has_each_command(command: str, site: Site) -> None:
    assert f"postroom-{command}" in site.pages[site.directory / "reference/commands.html"].ids


@pytest.mark.parametrize("page", ["docs/crash-safety.md"])
def test_the_promise_is_the_same_everywhere(page: str) -> None:
    promise = [line for line in section("What is promised") if line.startswith(">")]
    assert len(promise) > 5
    assert "\n".join(promise) in (ROOT / page).read_text()
