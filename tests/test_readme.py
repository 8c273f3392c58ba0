"""The README says what is so: its programs are the tested ones, its settings and commands those that exist."""

import re

import msgspec
import pytest

from postroom.settings import Settings, variable_of
from producers.cli.commands import SUMMARIES
from tests.servers import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["fastapi_app.py", "flask_app.py", "django_app.py"])
def test_the_readme_prints_the_example_that_is_tested(name: str) -> None:
    program = (ROOT / "examples" / name).read_text()
    assert f"```python\n{program.rstrip()}\n```" in README


def table_of_settings() -> dict[str, str]:
    """The default, as it is printed, of each variable."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|(.*?)\|", README, re.MULTILINE)
    return {name: default.strip(" `") for names, default in rows for name in re.findall(r"[A-Z_]+", names)}


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_the_readme_has_each_setting_with_its_default(field: msgspec.structs.FieldInfo) -> None:
    printed = table_of_settings()[variable_of(field.name)]
    assert getattr(Settings.of(**{field.name: printed} if printed else {}), field.name) == field.default


def test_the_readme_names_no_other_settings() -> None:
    assert set(table_of_settings()) == {variable_of(name) for name in Settings.__struct_fields__}


def test_the_readme_names_each_command() -> None:
    for command in SUMMARIES:
        assert re.search(rf"`(postroom )?{command}\b", README), command


def test_the_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
