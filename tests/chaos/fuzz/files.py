"""Files: nonsense in what `postroom batch` reads. Each refusal names the row, the field and the reason."""

import csv
import io
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from postroom.names import Lane
from postroom.settings import Settings
from producers.cli.failure import CommandFailed
from producers.cli.files.checking import checker
from producers.cli.files.mailing import Mailing, parsed
from producers.cli.files.rows import Row, json_lines
from producers.cli.files.spreadsheet import spreadsheet
from producers.cli.files.template import Template
from producers.cli.mails import faults_as_text
from producers.intake import terms
from tests.chaos.fuzz.clarity import unclear
from tests.chaos.fuzz.findings import Findings
from tests.chaos.fuzz.nonsense import TEXTS, corpus, garbled, mutated, nested, scalar

COLUMNS = ("email", "name", "first name", "plan", "row", "", "e-mail", "ü")
PLACEHOLDERS = (
    *("{{email}}", "{{ name }}", "{{row['first name']}}", "{{missing}}", "{{ name | upper }}", "{{ name.x.y }}"),
    *("{{", "}}", "{% if name %}a{% endif %}", "{% for %}", "{{ 1 // 0 }}", "{{ name() }}", "{{ plan | nosuch }}"),
    *(
        "{{ name[99] }}",
        "{{ name.__class__ }}",
        "{% set email = 1 %}{{ email }}",
        "{{ email | int + 'a' }}",
        "{{ row }}",
    ),
)
FRAGMENTS = (b"{", b"[", b"", b"  ", b"\xef\xbb\xbf", b"\xff\xfe{", b"null", b"[{}]", b'{"payload":1}')


class Files:
    """Each try is one small file; `rows` counts what was in them."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._corpus = corpus()
        settings = Settings()
        with_terms = terms(settings, lane=Lane.BULK, expires_in=None, send_at=None, on_doubt="resend")
        self._faults_of = checker(Mailing().intake(settings, with_terms, "FILE"))
        self.rows = 0

    def try_one(self, random: Random) -> str:
        make = self._json_lines if random.random() < 0.5 else self._spreadsheet
        text, template = make(random)
        door = "batch FILE.jsonl" if template is None else "batch FILE.csv"
        try:
            refused = [self._judge(door, row, text) for row in self._rows(text, template)]
            return "refused" if any(refused) or not refused else "taken"
        except CommandFailed as failed:
            for what in (unclear(failed.message), failed.advice and unclear(failed.advice)):
                if what:
                    self._findings.add(f"{door}: {what}: {failed.message[:80]!r}", (text, template))
            return "refused"
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            self._findings.add(f"{door}: {type(error).__name__}: {str(error)[:60]}", (text, template))
            return "failed"

    def _rows(self, text: bytes, template: bytes | None) -> Iterator[Row]:
        lines = io.BytesIO(text)
        if template is None:
            return json_lines(lines, "FILE.jsonl")
        return spreadsheet(lines, "FILE.csv", Template(parsed(template, "TEMPLATE.json"), "TEMPLATE.json"))

    def _judge(self, door: str, row: Row, text: bytes) -> bool:
        """Whether the row is refused."""
        self.rows += 1
        faults = self._faults_of(row)
        line = faults_as_text(row.line, row.row, faults)
        if not faults:
            return False
        if f"line {row.line}" not in line or f"row {row.row}" not in line:
            self._findings.add(f"{door}: the row is not named", text)
        for fault in faults:
            if what := unclear(fault.message):
                self._findings.add(f"{door}: {what}: {fault.message[:80]!r}", text)
            if fault.field and fault.field not in line:
                self._findings.add(f"{door}: the field {fault.field} is not named", text)
        return True

    def _json_lines(self, random: Random) -> tuple[bytes, None]:
        lines = [self._line(random) for _ in range(random.choice((0, 1, 2, 3)))]
        text = random.choice((b"\n", b"\r\n", b"\n\n")).join(lines)
        return (garbled(random, text) if random.random() < 0.3 else text), None

    def _line(self, random: Random) -> bytes:
        good = random.choice(self._corpus)
        how = random.randrange(6)
        if how == 0:
            return json.dumps({"payload": mutated(random, good), "id": 1}).encode()
        if how == 1:
            return nested(random)
        if how == 2:
            return random.choice(
                (b"{", b"[", b"", b"  ", b"\xef\xbb\xbf", b"\xff\xfe{", b"null", b"[{}]", b'{"payload":1}')
            )
        return json.dumps(mutated(random, good) if how > 3 else good).encode()

    def _spreadsheet(self, random: Random) -> tuple[bytes, bytes]:
        columns = random.sample(COLUMNS, random.randint(1, 4)) + random.choice(([], ["email"]))
        text = io.StringIO()
        writer = csv.writer(text, delimiter=random.choice((",", ",", ",", ";")))
        writer.writerow(columns)
        for _ in range(random.choice((0, 1, 2, 3))):
            size = len(columns) if random.random() < 0.8 else random.randrange(6)
            writer.writerow([_field(random) for _ in range(size)])
        encoded = text.getvalue().encode(errors="surrogatepass")
        return (garbled(random, encoded) if random.random() < 0.3 else encoded), self._template(random)

    def _template(self, random: Random) -> bytes:
        if random.random() < 0.05:
            return nested(random)
        text = json.dumps(_with_placeholders(random, random.choice(self._corpus)))
        return garbled(random, text.encode()) if random.random() < 0.1 else text.encode()


def _field(random: Random) -> str:
    return random.choice(("ann@example.com", "Ann", random.choice(TEXTS), str(scalar(random))))


def _with_placeholders(random: Random, part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _with_placeholders(random, member) for name, member in part.items()}
    if isinstance(part, list):
        return [_with_placeholders(random, item) for item in part]
    if isinstance(part, str) and random.random() < 0.2:
        return part + random.choice(PLACEHOLDERS)
    return part
