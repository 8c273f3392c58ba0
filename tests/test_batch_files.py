"""Files of mail: what `postroom batch` takes from JSON lines and from spreadsheets, and what it refuses."""

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from producers.cli.files.template import Template
from producers.cli.speed import Speed, in_short
from tests.command_line import POSTROOM, Ran, environment_of, postroom, started, terminal
from tests.mails import mail, mails
from tests.servers import RedisServer, SandboxServer, Worker, eventually
from tests.stack import copies

#: No Redis answers there.
NOWHERE = "redis://127.0.0.1:1/0"

CORPUS = Path(__file__).parent / "data" / "sendgrid"
#: Bodies from SendGrid's documentation and its Python library; some are parts of a body only.
COLLECTIONS = ("docs.jsonl", "sendgrid_python.jsonl", "oai_spec.jsonl")

#: To, from and all kinds of content, with placeholders.
TEMPLATE = {
    "personalizations": [{"to": [{"email": "{{email}}", "name": "{{ name }}"}], "custom_args": {"plan": "{{plan}}"}}],
    "from": {"email": "shop@example.com"},
    "subject": "Hello {{name}}",
    "content": [
        {"type": "text/plain", "value": "Hi {{name}}\n"},
        {"type": "text/html", "value": "<p>Hi {{name}}</p>"},
    ],
}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return write_json(tmp_path / "template.json", TEMPLATE)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """All of the corpus in one file."""
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b"".join((CORPUS / name).read_bytes() for name in COLLECTIONS))
    return path


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def write_lines(path: Path, bodies: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return path


def check(file: Path, template: Path | None = None, *words: str) -> Ran:
    """`batch --check` of a file of either kind; no Redis is there."""
    with_template = ("--template", template) if template else ()
    return postroom("batch", "--check", file, *with_template, *words, POSTROOM_REDIS_URL=NOWHERE)


# Checking.


def test_check_prints_a_line_for_each_row_and_needs_no_redis(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "mails.jsonl", [mail("ann@example.com"), mail("nobody"), mail("eve@example.com")])
    ran = postroom("batch", "--check", file, POSTROOM_REDIS_URL=NOWHERE)
    first, second, third = ran.out.splitlines()
    assert (first, third) == ("line 1, row 0: ok", "line 3, row 2: ok")
    assert second.startswith("line 2, row 1: personalizations.0.to.0.email: ")
    assert ran.code == 2


def test_check_exits_with_0_when_every_row_is_fine(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    ran = postroom("batch", "--check", file, POSTROOM_REDIS_URL=NOWHERE)
    assert (ran.code, ran.out.count("ok\n")) == (0, 3)


def test_check_as_json_lists_the_faulty_rows(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "mails.jsonl", [mail(), mail("nobody")])
    ran = postroom("batch", "--check", "--json", file, POSTROOM_REDIS_URL=NOWHERE)
    assert {name: ran.document[name] for name in ("rows", "ok", "faulty", "truncated")} == {
        "rows": 2,
        "ok": 1,
        "faulty": 1,
        "truncated": False,
    }
    (faulty,) = ran.document["faults"]
    assert (faulty["line"], faulty["row"]) == (2, 1)
    assert [fault["field"] for fault in faulty["faults"]] == ["personalizations.0.to.0.email"]


def test_check_knows_the_rules_of_this_environment(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "mails.jsonl", [mail("ann@example.com"), mail("ann@example.org")])
    settings = {"POSTROOM_REDIS_URL": NOWHERE, "POSTROOM_ALLOW_DOMAINS": "example.com"}
    ran = postroom("batch", "--check", file, **settings)
    assert [line.endswith(": ok") for line in ran.out.splitlines()] == [True, False]


def test_check_of_a_hundred_thousand_rows_needs_no_more_memory_than_of_few(tmp_path: Path, template: Path) -> None:
    peaks = []
    for rows in (1_000, 100_000):
        file = tmp_path / f"{rows}.csv"
        with file.open("w") as text:
            text.write("email,name,plan,notes\n")
            text.writelines(f'reader{row}@example.com,Reader {row},free,"two\nlines"\n' for row in range(rows))
        peak, cpu_seconds = measured_check(file, template)
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 16 * 1024
    assert cpu_seconds < 15


def measured_check(file: Path, template: Path) -> tuple[int, float]:
    """Peak memory (KiB) and processor time (s) of a check that finds no fault."""
    command = [*POSTROOM, "batch", "--check", str(file), "--template", str(template)]
    process = subprocess.Popen(command, env=environment_of({}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return usage.ru_maxrss, usage.ru_utime + usage.ru_stime


# JSON lines.


def test_empty_lines_are_skipped_and_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    file = tmp_path / "mails.jsonl"
    body = json.dumps(mail())
    file.write_bytes(b"\xef\xbb\xbf" + f"{body}\r\n\r\n  \n{body}\n{{}}".encode())
    ran = check(file)
    assert [line.split(": ")[0] for line in ran.out.splitlines()] == ["line 1, row 0", "line 4, row 1", "line 5, row 2"]
    assert ran.out.count(": ok\n") == 2


def test_a_line_that_wraps_a_payload_stands_for_it(tmp_path: Path) -> None:
    wrapped = {"source": "a log", "payload": mail()}
    both = {**mail("nobody"), "payload": mail()}
    file = write_lines(tmp_path / "mails.jsonl", [wrapped, both, {"payload": "no object"}])
    lines = check(file).out.splitlines()
    assert lines[0] == "line 1, row 0: ok"
    assert lines[1].startswith("line 2, row 1: personalizations.0.to.0.email: ")
    assert "personalizations: " in lines[2]


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mails.jsonl"
    file.write_bytes(json.dumps(mail()).encode() + b'\n{"subject": "caf\xe9"}\n{"subject"\n')
    lines = check(file).out.splitlines()
    assert lines[1].startswith("line 2, row 1: Invalid UTF8")
    assert lines[2].startswith("line 3, row 2: Not JSON")


@pytest.mark.parametrize("document", [mail(), [mail()]], ids=["an object", "a list"])
def test_json_over_many_lines_is_told_from_json_lines(tmp_path: Path, document: object) -> None:
    file = tmp_path / "mails.json"
    file.write_text(json.dumps(document, indent=2))
    ran = check(file)
    assert ran.code == 2
    assert "JSON over many lines" in ran.err
    assert "jq -c" in ran.err


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "has no rows"), (b"\n \n", "has no rows"), ("{}\n".encode("utf-16"), "is in UTF-16")],
    ids=["empty", "blank", "UTF-16"],
)
def test_a_file_without_mails_is_bad_input(tmp_path: Path, redis_url: str, content: bytes, says: str) -> None:
    file = tmp_path / "mails.jsonl"
    file.write_bytes(content)
    ran = postroom("batch", file, POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "Nothing was enqueued." in ran.err


def test_a_missing_file_and_a_directory_are_bad_input(tmp_path: Path) -> None:
    missing, directory = check(tmp_path / "nothing.jsonl"), check(tmp_path)
    assert (missing.code, directory.code) == (2, 2)
    assert "No such file" in missing.err
    assert "Is a directory" in directory.err


# Spreadsheets.


def test_a_spreadsheet_makes_a_mail_of_each_row(
    tmp_path: Path, template: Path, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    file = tmp_path / "people.csv"
    file.write_bytes(
        b"\xef\xbb\xbfemail, name ,plan,notes\r\n"
        b'ann@example.com,"Ann, of ""A & B""",free,"two\r\nlines"\r\n'
        b"\r\n"
        b",,,\r\n"
        b"zoe@example.com,Zo\xc3\xab <b>,pro,\r\n"
    )
    ran = postroom("batch", file, "--template", template, "--wait", POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 0, ran.err
    ann, zoe = sorted(sandbox_server.accepted(), key=lambda accepted: accepted["recipients"])
    assert (ann["recipients"], ann["subject"]) == (["ann@example.com"], 'Hello Ann, of "A & B"')
    assert (zoe["recipients"], zoe["subject"]) == (["zoe@example.com"], "Hello Zoë <b>")
    body = httpx.get(f"{sandbox_server.url}/api/mails/{zoe['receipt']}", trust_env=False).json()["body"]
    assert body["content"] == [
        {"type": "text/plain", "value": "Hi Zoë <b>\n"},
        {"type": "text/html", "value": "<p>Hi Zoë &lt;b&gt;</p>"},
    ]
    assert body["personalizations"][0]["to"] == [{"email": "zoe@example.com", "name": "Zoë <b>"}]
    assert body["personalizations"][0]["custom_args"]["plan"] == "pro"


def test_lines_are_numbered_through_line_ends_in_quotes(tmp_path: Path, template: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text('email,name,plan,notes\nann@example.com,Ann,free,"three\nlines\nof it"\n\nnobody,Zoë,pro,\n')
    lines = check(file, template).out.splitlines()
    assert lines[0] == "line 2, row 0: ok"
    assert lines[1].startswith("line 6, row 1: personalizations.0.to.0.email: ")


@pytest.mark.parametrize(("delimiter", "word"), [(";", ";"), ("\t", "\t"), ("|", "|")])
def test_another_delimiter_is_noticed_and_can_be_named(
    tmp_path: Path, template: Path, delimiter: str, word: str
) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,name,plan\nann@example.com,Ann,free\n".replace(",", delimiter))
    assert "--delimiter" in check(file, template).err
    assert check(file, template, "--delimiter", word).out == "line 2, row 0: ok\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        ("email,name,plan\n".encode("utf-16"), "is in UTF-16"),
        (b"email,name,plan\nann@example.com,Ann,free\nren\xe9@example.com,Ren,free\n", "line 3: byte 4 (0xe9)"),
        (b"email,name,name,plan\n", "line 1: more than one column is called name"),
        (b'email,name,plan\nann@example.com,"Ann,free\nzoe@example.com,Zoe,pro\n', "line 2: unexpected end of data"),
        (b'email,name,plan\nann@example.com,"Ann" Lee,free\n', "line 2: ',' expected after '\"'"),
        (b"email,name,plan\rann@example.com,Ann,free\r", "line 1: a line ends in CR alone"),
    ],
    ids=["empty", "UTF-16", "Latin-1", "a column twice", "an open quote", "text after a quote", "CR alone"],
)
def test_a_spreadsheet_that_cannot_be_read_on_is_bad_input(
    tmp_path: Path, template: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    ran = check(file, template)
    assert ran.code == 2
    assert says in ran.err


def test_a_header_alone_has_no_rows(tmp_path: Path, template: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,name,plan\n")
    ran = postroom("batch", file, "--template", template, POSTROOM_REDIS_URL=NOWHERE)
    assert (ran.code, "has no rows" in ran.err) == (2, True)


def test_a_ragged_row_has_a_fault_and_the_next_one_is_looked_at(tmp_path: Path, template: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,name,plan\nann@example.com,Ann\nbob@example.com,Bob,free,more\nzoe@example.com,Zoe,pro\n")
    assert check(file, template).out.splitlines() == [
        "line 2, row 0: The row has 2 fields, the header has 3 fields.",
        "line 3, row 1: The row has 4 fields, the header has 3 fields.",
        "line 4, row 2: ok",
    ]


def test_a_missing_column_is_named_with_row_and_field(tmp_path: Path, template: Path, redis_url: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,first_name,plan\nann@example.com,Ann,free\n")
    ran = postroom("batch", file, "--template", template, POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 2
    assert "line 2, row 0" in ran.err
    assert "subject: there is no column 'name'" in ran.err


def test_the_names_of_python_and_jinja_are_not_columns(tmp_path: Path) -> None:
    names = ("range", "dict", "lipsum", "self.__class__", "row.__class__", "row.keys.__globals__")
    file = tmp_path / "people.csv"
    file.write_text("email\nann@example.com\n")
    for name in names:
        template = write_json(tmp_path / "template.json", {**mail(), "subject": f"Hello {{{{ {name} }}}}"})
        line = check(file, template).out
        assert line.startswith("line 2, row 0: subject: "), (name, line)


def test_values_are_escaped_in_html_and_nowhere_else(tmp_path: Path) -> None:
    body = {
        "subject": "{{name}}",
        "content": [
            {"type": "text/plain", "value": "{{name}}"},
            {"type": "Text/HTML; charset=utf-8", "value": "{{name}} {{name|safe}}"},
            {"type": "text/x-amp-html", "value": "{{name}}"},
        ],
        "custom_args": {"type": "text/html", "value": "{{name}}"},
    }
    filled = Template(body, "template.json").fill({"name": "<A & B>"})
    assert filled["subject"] == "<A & B>"
    assert [part["value"] for part in filled["content"]] == [
        "<A & B>",
        "&lt;A &amp; B&gt; <A & B>",
        "&lt;A &amp; B&gt;",
    ]
    assert filled["custom_args"]["value"] == "<A & B>"


def test_a_value_with_braces_is_text() -> None:
    template = Template({"subject": "{{name}}"}, "template.json")
    assert template.fill({"name": "{{ 7 * 7 }}{% raw %}"}) == {"subject": "{{ 7 * 7 }}{% raw %}"}


def test_minified_css_is_no_comment_and_a_last_line_end_stays() -> None:
    css = "<style>@media print{#header{display:none}}</style>"
    body = {"content": [{"type": "text/html", "value": css + "<p>{{name}}</p>\n"}]}
    filled = Template(body, "template.json").fill({"name": "Ann"})
    assert filled["content"][0]["value"] == css + "<p>Ann</p>\n"


def test_columns_of_several_words_filters_and_conditions_work() -> None:
    text = "{{ row['first name'] | upper }}{% set x = 1 %}{% if plan == 'pro' %}!{% endif %}"
    template = Template({"subject": text, "reply_to": {"email": "{{ x }}"}}, "template.json")
    with pytest.raises(ValueError, match=r"reply_to\.email: there is no column 'x'"):
        template.fill({"first name": "Ann", "plan": "pro"})
    assert template.fill({"first name": "Ann", "plan": "pro", "x": "y"})["subject"] == "ANN!"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "a v3 body is a JSON object"),
        (json.dumps({"content": [{"type": "text/plain", "value": "{{ first name }}"}]}), "content.0.value: expected"),
    ],
)
def test_a_template_that_is_none_is_bad_input(tmp_path: Path, template: str, says: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email\nann@example.com\n")
    (tmp_path / "template.json").write_text(template)
    ran = check(file, tmp_path / "template.json")
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


def test_csv_goes_with_a_template_and_json_lines_do_not(tmp_path: Path, template: Path) -> None:
    people, lines = tmp_path / "people.csv", tmp_path / "mails.jsonl"
    people.touch()
    lines.touch()
    assert "needs --template" in check(people).err
    assert "--template goes with CSV" in check(lines, template).err


# Enqueueing.


def test_the_valid_mails_of_a_corpus_are_sent_and_the_others_listed(
    corpus: Path, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    checked = postroom("batch", "--check", corpus).out.splitlines()
    valid = [line for line in checked if line.endswith(": ok")]
    assert 30 <= len(valid) < len(checked)
    ran = postroom("batch", corpus, "--skip-invalid", "--wait", POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 0, ran.err
    assert f"{len(valid):>10}  accepted" in ran.out
    assert [line.removeprefix("left out: ") for line in ran.err.splitlines() if line.startswith("left out: ")] == [
        line for line in checked if not line.endswith(": ok")
    ]
    assert len(sandbox_server.accepted()) == len(valid)
    assert set(copies(sandbox_server).values()) == {1}


def test_one_bad_row_stops_it_all(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    file = write_lines(tmp_path / "mails.jsonl", [*mails(300), mail("nobody"), mail()])
    ran = postroom("batch", file, POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.out) == (2, "")
    assert f"{file}, line 301, row 300 can't be sent:" in ran.err
    assert "personalizations.0.to.0.email: " in ran.err
    assert "Nothing was enqueued" in ran.err
    assert waiting_keys(redis_server) == []


def test_a_bad_row_is_named_in_json_too(tmp_path: Path, redis_url: str) -> None:
    file = write_lines(tmp_path / "mails.jsonl", [mail(), mail("nobody")])
    ran = postroom("batch", file, "--json", POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.err) == (2, "")
    error = ran.document
    assert (error["error"], error["line"], error["row"]) == ("invalid_mail", 2, 1)
    assert error["faults"][0]["field"] == "personalizations.0.to.0.email"


def waiting_keys(redis_server: RedisServer) -> list[bytes]:
    """The keys of mails and batches."""
    with redis_server.client() as client:
        return [key for key in client.keys("postroom:*") if b":batch:" in key or b":chunk:" in key]


def test_a_file_with_faults_only_makes_no_batch(tmp_path: Path, redis_url: str, redis_server: RedisServer) -> None:
    file = write_lines(tmp_path / "mails.jsonl", [mail("nobody")])
    ran = postroom("batch", file, "--skip-invalid", "--json", POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.document["error"], ran.document["skipped"]) == (2, "bad_input", 1)
    assert waiting_keys(redis_server) == []


def test_batch_prints_the_id_and_goes(tmp_path: Path, redis_url: str) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(5))
    ran = postroom("batch", file, POSTROOM_REDIS_URL=redis_url)
    progress = postroom("status", ran.out.strip(), "--json", POSTROOM_REDIS_URL=redis_url).document
    assert ran.code == 0
    assert (progress["total"], progress["queued"], progress["final_at"]) == (5, 5, None)


def test_batch_reads_standard_input(redis_url: str) -> None:
    lines = "".join(json.dumps(body) + "\n" for body in mails(3))
    ran = postroom("batch", "-", "--json", stdin=lines, POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.document["total"], ran.document["skipped"]) == (0, 3, 0)


def test_a_key_enqueues_a_file_once(tmp_path: Path, redis_url: str) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    once = [postroom("batch", file, "--key", "june", POSTROOM_REDIS_URL=redis_url) for _ in range(2)]
    assert [ran.code for ran in once] == [0, 0]
    assert once[0].out == once[1].out
    write_lines(file, mails(2))
    other = postroom("batch", file, "--key", "june", "--json", POSTROOM_REDIS_URL=redis_url)
    assert (other.code, other.document["error"], other.document["id"]) == (2, "key_conflict", once[0].out.strip())


def test_a_batch_with_refused_mails_names_their_lines(
    tmp_path: Path, redis_url: str, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    file = write_lines(tmp_path / "mails.jsonl", [mail("nobody"), mail("ann@example.com"), mail("reject@sandbox.test")])
    words = ("batch", file, "--skip-invalid", "--wait")
    ran = postroom(*words, POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 1
    assert "         1  accepted" in ran.out
    assert "         1  rejected" in ran.out
    assert "line 3, row 1" in ran.out
    document = postroom(*words, "--json", POSTROOM_REDIS_URL=redis_url).document
    (failed,) = document["failed"]
    assert (failed["line"], failed["row"], failed["state"]) == (3, 1, "rejected")
    assert document["skipped_rows"][0]["line"] == 1
    report = postroom("report", document["batch_id"], "--json", POSTROOM_REDIS_URL=redis_url)
    assert report.code == 1
    assert report.document["counts"] == document["counts"]


def test_at_most_twenty_failures_are_shown(
    tmp_path: Path, redis_url: str, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    file = write_lines(tmp_path / "mails.jsonl", [mail(f"reject+{number}@sandbox.test") for number in range(25)])
    ran = postroom("batch", file, "--wait", POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 1
    assert ran.out.count("http_400") == 20
    assert "postroom report " in ran.out.splitlines()[-1]


# Waiting.


def test_waiting_ends_in_time_and_the_batch_goes_on(tmp_path: Path, redis_url: str) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    ran = postroom("batch", file, "--wait", "1s", "--json", POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 1
    assert (ran.document["error"], ran.document["seen"]["queued"]) == ("timeout", 3)
    assert f"postroom report {ran.document['id']}" in ran.document["advice"]


def test_a_wait_that_does_not_move_says_that_no_worker_is_alive(tmp_path: Path, redis_url: str) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    ran = postroom("batch", file, "--wait", "7", POSTROOM_REDIS_URL=redis_url)
    assert ran.err.count("No worker is alive") == 1


def test_ctrl_c_stops_the_waiting_and_not_the_batch(
    tmp_path: Path, redis_url: str, worker_process: Callable[..., Worker]
) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    with terminal("batch", file, "--wait", POSTROOM_REDIS_URL=redis_url) as screen:
        screen.expect("0 sent")
        screen.press_ctrl_c()
        assert screen.wait() == 130
    assert "Traceback" not in screen.screen
    assert "0 of 3 mails are finished" in screen.screen
    batch_id = screen.screen.split("postroom report ")[1][:20]
    worker_process()
    eventually(lambda: postroom("status", batch_id, "--json", POSTROOM_REDIS_URL=redis_url).document["accepted"] == 3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_file_is_read_enqueues_nothing(
    redis_url: str, redis_server: RedisServer, number: int, code: int
) -> None:
    with started("batch", "-", POSTROOM_REDIS_URL=redis_url) as process:
        assert process.stdin
        assert process.stderr
        assert process.stdout
        process.stdin.writelines(json.dumps(body) + "\n" for body in mails(300))
        process.stdin.flush()
        eventually(lambda: waiting_keys(redis_server))
        process.send_signal(number)
        process.stdin.close()
        assert process.wait(20) == code
        said = process.stderr.read()
        assert process.stdout.read() == ""
    assert "Nothing of this batch is sent" in said
    assert "Traceback" not in said
    assert waiting_keys(redis_server) == []


def test_an_interrupted_batch_with_a_key_goes_on_where_it_stopped(
    redis_url: str, redis_server: RedisServer, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    lines = [json.dumps(body) + "\n" for body in mails(450)]
    with started("batch", "-", "--key", "june", POSTROOM_REDIS_URL=redis_url) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.writelines(lines[:300])
        process.stdin.flush()
        eventually(lambda: waiting_keys(redis_server))
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.wait(20) == 130
        assert "The same command goes on where it stopped" in process.stderr.read()
    worker_process()
    words = ("batch", "-", "--key", "june", "--wait")
    ran = postroom(*words, stdin="".join(lines), POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 0, ran.err
    assert Counter(copies(sandbox_server).values()) == {1: 450}


def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path, redis_url: str, worker_process: Callable[..., Worker]) -> None:
    worker_process()
    file = write_lines(tmp_path / "mails.jsonl", [mail("latency-1@sandbox.test"), mail("reject@sandbox.test")])
    settings = {"POSTROOM_REDIS_URL": redis_url, "POSTROOM_CHUNK_MAILS": "1"}
    with terminal("batch", file, "--wait", **settings) as screen:
        assert screen.wait() == 1
    drawn = without_escapes(screen.screen)
    assert "━" in drawn
    assert "0 sent 1 failed of 2" in drawn
    assert "left" in drawn
    assert "/s" in drawn
    assert "╭" in drawn  # the table of failures


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_plain_lines_are_printed_elsewhere(
    tmp_path: Path, redis_url: str, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    ran = postroom("batch", file, "--wait", POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 0
    assert ran.err.splitlines()[-1].startswith("3 of 3 sent, 0 failed, ")
    assert "\x1b" not in ran.out + ran.err


def test_waiting_outlasts_a_restart_of_redis(
    tmp_path: Path,
    own_redis_server: RedisServer,
    sandbox_server: SandboxServer,
    worker_process: Callable[..., Worker],
) -> None:
    settings: dict[str, Any] = {"POSTROOM_REDIS_URL": own_redis_server.url}
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    with started("batch", file, "--wait", **settings) as process:
        assert process.stderr
        assert process.stdout
        assert "3 mails are enqueued" in process.stderr.readline()
        own_redis_server.stop()
        assert "Redis does not answer" in process.stderr.readline()
        own_redis_server.start()
        worker_process(POSTROOM_SENDGRID_URL=sandbox_server.url, **settings)
        assert process.wait(30) == 0, process.stderr.read()
        assert "         3  accepted" in process.stdout.read()


def test_a_redis_that_does_not_answer_is_told_with_what_is_enqueued(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "mails.jsonl", mails(3))
    ran = postroom("batch", file, POSTROOM_REDIS_URL=NOWHERE)
    assert (ran.code, ran.out) == (1, "")
    assert "Nothing of this batch is sent" in ran.err
    document = postroom("batch", file, "--json", POSTROOM_REDIS_URL=NOWHERE).document
    assert (document["error"], document["may_be_enqueued"]) == ("queue_unavailable", False)


# Speed.


def test_the_rate_is_that_of_the_last_seconds() -> None:
    speed = Speed()
    for second in range(100):
        speed.saw(second, 10 * second if second < 50 else 500 + 2 * (second - 50))
    assert speed.rate == pytest.approx(2)
    assert speed.seconds_left(30) == pytest.approx(15)


def test_nothing_is_said_of_what_is_not_known() -> None:
    speed = Speed()
    speed.saw(0, 0)
    speed.saw(1, 0)
    assert (speed.rate, speed.seconds_left(5)) == (0, None)
    assert in_short(None) == "?"


# Merging.

#: The same for everybody, but for the personalization.
NEWS = {
    "personalizations": [{"to": [{"email": "{{email}}"}], "substitutions": {"-name-": "{{name}}"}}],
    "from": {"email": "news@example.com"},
    "subject": "News",
    "content": [{"type": "text/plain", "value": "Hello -name-"}],
}


def test_recipients_of_a_spreadsheet_are_merged(
    tmp_path: Path, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    template, people = write_json(tmp_path / "news.json", NEWS), tmp_path / "people.csv"
    people.write_text("email,name\n" + "".join(f"reader{n}@example.com,Reader {n}\n" for n in range(25)))

    words = ("--template", template, "--merge", "--per-request", "10", "--wait")
    ran = postroom("batch", people, *words, POSTROOM_REDIS_URL=redis_url)

    assert ran.code == 0, ran.err
    assert f"{25:>10}  accepted" in ran.out
    requests = sorted(sandbox_server.accepted(), key=lambda line: int(line["postroom_ids"][0].split(".")[1]))
    assert [len(line["recipients"]) for line in requests] == [10, 10, 5]
    assert [to for line in requests for to in line["recipients"]] == [f"reader{n}@example.com" for n in range(25)]


def test_recipients_in_json_lines_are_merged_and_those_with_faults_left_out(
    tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    template = write_json(tmp_path / "news.json", {name: NEWS[name] for name in ("from", "subject", "content")})
    good = {"to": [{"email": "ann@example.com"}], "substitutions": {"-name-": "Ann"}}
    file = write_lines(tmp_path / "people.jsonl", [good, {"to": [{"email": "nobody"}]}, good])
    words = ("batch", file, "--template", template, "--merge")

    stopped = postroom(*words, POSTROOM_REDIS_URL=redis_url)
    assert (stopped.code, waiting_keys(redis_server)) == (2, [])
    assert f"{file}, line 2, row 1 can't be sent:" in stopped.err
    assert "personalizations.0.to.0.email" in stopped.err

    ran = postroom(*words, "--skip-invalid", "--json", POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.document["total"], ran.document["skipped"]) == (0, 2, 1)


def test_check_looks_at_recipients_beside_their_template(tmp_path: Path) -> None:
    template = write_json(tmp_path / "news.json", {"from": {"email": "news@example.com"}, "template_id": "d-1"})
    lines = [{"to": [{"email": "a@example.com"}]}, {"to": [{"email": "b@example.com"}], "substitutions": {"a": "b"}}]
    file = write_lines(tmp_path / "people.jsonl", lines)

    ran = check(file, template, "--merge")

    assert ran.out.splitlines()[0] == "line 1, row 0: ok"
    assert "personalizations.0.substitutions" in ran.out.splitlines()[1]
    assert ran.code == 2


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (NEWS | {"subject": "News for {{name}}"}, "subject: a placeholder outside of the personalization"),
        (NEWS | {"personalizations": []}, "does not have one personalization"),
        (NEWS | {"personalizations": NEWS["personalizations"] * 2}, "does not have one personalization"),
        (NEWS | {"from": {"email": "nobody"}}, "from.email"),
    ],
)
def test_a_template_that_cannot_be_merged_says_why(tmp_path: Path, template: dict[str, Any], says: str) -> None:
    people = tmp_path / "people.csv"
    people.write_text("email,name\nann@example.com,Ann\n")
    ran = check(people, write_json(tmp_path / "news.json", template), "--merge")
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "news.json" in ran.err


def test_merging_needs_a_template(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "people.jsonl", [])
    assert "--merge needs --template" in check(file, None, "--merge").err
    assert "--per-request goes with --merge" in check(file, None, "--per-request", "10").err
    assert "1<=x<=1000" in check(file, None, "--merge", "--per-request", "1001").err
