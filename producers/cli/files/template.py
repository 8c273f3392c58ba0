"""Template: a mail whose strings have `{{column}}` in them, and the mail that it makes of a row.

Values that go into HTML (content of the type text/html or text/x-amp-html) are escaped, others are put in as they are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from postroom.errors import Fault, InvalidMail
from producers.cli.failure import bad_input

HTML = ("text/html", "text/x-amp-html")


class _Values(NamedTuple):
    """The values of a row, for text and for HTML: made once for all strings of the mail."""

    text: Context
    html: Context


#: Makes a part of a mail of a row's values, and notes what it can't make.
_Fill = Callable[[_Values, list[Fault]], Any]


class _NoColumn(StrictUndefined):
    @property
    def _undefined_message(self) -> str:
        if self._undefined_obj is missing:
            return f"there is no column {self._undefined_name!r}"
        return super()._undefined_message


def _environment(*, is_html: bool) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        undefined=_NoColumn,
        autoescape=is_html,
        keep_trailing_newline=True,
        # The usual `{#` begins a comment, but also stands in minified CSS: `@media print{#header{…}}`.
        comment_start_string="{##",
        comment_end_string="##}",
    )
    environment.globals.clear()  # `range` and its like would take the place of a missing column
    return environment


class Template:
    """A mail with placeholders. Each string is compiled once."""

    def __init__(self, body: dict[str, Any], name: str) -> None:
        """`body` is one of SendGrid's v3 API, or a part of one. Raises `CommandFailed`; `name` is the file's."""
        self._name = name
        self._text = _environment(is_html=False)
        self._html = _environment(is_html=True)
        try:
            self._fill = self._compiled(body, "", is_html=False)
        except RecursionError:
            raise bad_input(f"{name} is nested too deeply.") from None

    def fill(self, values: dict[str, str]) -> dict[str, Any]:
        """The mail for a row, by its columns. Raises `InvalidMail`, with the field and the missing column."""
        faults: list[Fault] = []
        named = {"row": values, **values}
        contexts = (environment.context_class(environment, named, None, {}) for environment in (self._text, self._html))
        body: dict[str, Any] = self._fill(_Values(*contexts), faults)
        if faults:
            raise InvalidMail(faults)
        return body

    def _compiled(self, part: Any, path: str, *, is_html: bool) -> _Fill:
        if not has_placeholder(part):
            return lambda _values, _faults: part
        if isinstance(part, str):
            return self._string(part, path, is_html=is_html)
        return self._list(part, path) if isinstance(part, list) else self._dict(part, path)

    def _list(self, items: list[Any], path: str) -> _Fill:
        fills = [self._compiled(item, f"{path}.{index}", is_html=False) for index, item in enumerate(items)]
        return lambda values, faults: [fill(values, faults) for fill in fills]

    def _dict(self, members: dict[str, Any], path: str) -> _Fill:
        is_html = str(members.get("type")).split(";")[0].strip().lower() in HTML
        fills = {
            name: self._compiled(
                member, f"{path}.{name}" if path else name, is_html=is_html and _is_content(path) and name == "value"
            )
            for name, member in members.items()
        }
        return lambda values, faults: {name: fill(values, faults) for name, fill in fills.items()}

    def _string(self, text: str, path: str, *, is_html: bool) -> _Fill:
        try:
            template = (self._html if is_html else self._text).from_string(text)
        except TemplateSyntaxError as error:
            raise bad_input(
                f"{self._name}, {path}: {error.message}",
                "A column whose name is more than one word: {{ row['first name'] }}.",
            ) from None

        def fill(values: _Values, faults: list[Fault]) -> str:
            context = values.html if is_html else values.text
            context.vars.clear()  # what another string has `set`
            try:
                return "".join(template.root_render_func(context))
            except UndefinedError as error:
                faults.append(Fault(path, str(error.message)))
            except Exception as error:  # noqa: BLE001  # an expression of the user's may raise anything
                faults.append(Fault(path, f"the template fails: {type(error).__name__}: {error}"))
            return ""

        return fill


def has_placeholder(part: Any) -> bool:
    if isinstance(part, str):
        return "{{" in part or "{%" in part
    if isinstance(part, dict | list):
        return any(map(has_placeholder, part.values() if isinstance(part, dict) else part))
    return False


def _is_content(path: str) -> bool:
    head, _, index = path.rpartition(".")
    return head == "content" and index.isdigit()
