"""Bad input, row by row: what is sent, and the one answer that it gets."""

import io
import json
import socket
import stat
import struct
import zipfile
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest

from app.callers import Scope
from tests.integration.conftest import Api

JOB = {"dataset_id": "ds_0", "classes": ["cat", "dog"], "preset": "tiny"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def code(self):
        return json.loads(self.body)["code"]


def answer_of(reply):
    return Answer(
        reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, reply.content
    )


# What is sent


def raw(*parts):
    """Bytes on a line of their own; {host} is the right one."""

    def send(api):
        address = urlsplit(str(api.base_url)).netloc
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as line:
            for part in parts:
                line.sendall(part.replace(b"{host}", address.encode()))
            reply = HTTPResponse(line)
            reply.begin()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, headers, reply.read())

    return send


def head(*lines, method=b"GET", path=b"/v1/jobs"):
    """A request by its lines, with the right host."""
    first = method + b" " + path + b" HTTP/1.1"
    return raw(b"\r\n".join([first, b"Host: {host}", *lines, b"", b""]))


def hosts(*lines):
    return raw(b"\r\n".join([b"GET /livez HTTP/1.1", *lines, b"", b""]))


def ask(method, path, **how):
    return lambda api: answer_of(api.request(method, path, **how))


def get(path, **query):
    return ask("GET", path, params=query)


def body(content, path="/v1/jobs", headers=JSON):
    return ask("POST", path, content=content, headers=headers)


def job(**changes):
    return body(json.dumps({**JOB, **changes}))


def source(**fields):
    """{root} is an allowed folder."""

    def send(api):
        text = json.dumps({"source": fields}).replace("{root}", str(api.root))
        return answer_of(api.post("/v1/datasets", content=text, headers=JSON))

    return send


def folder(path):
    return source(kind="folder", path=path)


def form(*parts, end=b"--x--\r\n"):
    """A multipart body by its parts: head and content."""
    whole = b"".join(b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return body(whole + end, path="/v1/datasets", headers=FORM)


def field(name, file=None):
    named = f'; filename="{file}"' if file is not None else ""
    return f'Content-Disposition: form-data; name="{name}"{named}'.encode()


PHOTO = (field("files", "a.jpg"), b"x")


def archive(content):
    return ask("POST", "/v1/datasets", files={"archive": ("a.zip", content)})


def zipped(*members, **options):
    """Members are (name or ZipInfo, content)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


def special(kind):
    info = zipfile.ZipInfo("a.jpg")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return zipped((info, b"/etc/passwd"))


def with_flags(flags):
    """A zip whose directory has these flags."""
    content = bytearray(zipped(("a.jpg", b"x")))
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 8, flags)
    return bytes(content)


def overlapping():
    """Two members, of which the second says that it lies where the first does."""
    content = bytearray(zipped(("a.jpg", b"x" * 50), ("b.jpg", b"y" * 50)))
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    struct.pack_into("<L", content, second + 42, 0)
    return bytes(content)


# On a job that is as far as its phase


def on_job(phase, method, path, **how):
    def send(api: Api):
        job_id = api.new_job()
        if phase:
            api.run_until(job_id, phase)
        student = job_id.replace("job_", "stu_")
        return answer_of(api.request(method, path.format(job=job_id, student=student), **how))

    return send


def on_weights(range_):
    path = "/v1/students/{student}/weights"
    return on_job("score", "GET", path, headers={"Range": range_})


def with_damaged_weights(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    student = job_id.replace("job_", "stu_")
    file = api.folder.student(student) / "student.safetensors"
    file.write_bytes(bytes(len(file.read_bytes())))
    return answer_of(api.get(f"/v1/students/{student}/weights"))


def dataset_of_a_job(api):
    job_id = api.new_job()
    return answer_of(api.delete(f"/v1/datasets/{api.store.get(job_id).request['dataset_id']}"))


def cancelled_twice(api):
    job_id = api.new_job()
    api.post(f"/v1/jobs/{job_id}/cancel")
    return answer_of(api.post(f"/v1/jobs/{job_id}/cancel"))


def key_with_another_body(api):
    dataset_id = api.new_dataset()
    headers = {"Idempotency-Key": "k"}
    for name in ("a", "b"):
        sent = {**JOB, "dataset_id": dataset_id, "name": name}
        reply = api.post("/v1/jobs", json=sent, headers=headers)
    return answer_of(reply)


def key(value):
    return body(json.dumps(JOB), headers={**JSON, "Idempotency-Key": value})


NEST = 100_000
INVALID = (422, "invalid_request")
MALFORMED = (400, "malformed_request")
TOO_LARGE = (413, "body_too_large")
REJECTED = (422, "archive_rejected")
UNSUPPORTED = (415, "unsupported_archive")
FORBIDDEN = (403, "path_not_allowed")
NO_HOST = (400, "bad_host")
FOREIGN = (403, "foreign_page")
HEAD = (431, "head_too_large")

#: What is sent, and the status and code of the answer.
TABLE = {
    # The head of a request
    "no host": (hosts(), NO_HOST),
    "two hosts": (hosts(b"Host: {host}", b"Host: localhost"), NO_HOST),
    "an empty host": (hosts(b"Host:"), NO_HOST),
    "a host that is a path": (hosts(b"Host: a/?x="), NO_HOST),
    "a host that is another's": (hosts(b"Host: evil.example"), NO_HOST),
    "a host that begins like ours": (hosts(b"Host: 127.0.0.1.evil.example"), NO_HOST),
    "a host with a user": (hosts(b"Host: me@127.0.0.1"), NO_HOST),
    "a host with half a bracket": (hosts(b"Host: [::1"), NO_HOST),
    "a host with a port that is none": (hosts(b"Host: 127.0.0.1:http"), NO_HOST),
    "a host that is no ASCII": (hosts("Host: münchen".encode()), NO_HOST),
    "a form of another site": (
        head(b"Sec-Fetch-Site: cross-site", method=b"POST", path=b"/v1/datasets"),
        FOREIGN,
    ),
    "a form of another port": (head(b"Sec-Fetch-Site: same-site", method=b"POST"), FOREIGN),
    "a script of another port": (head(b"Origin: http://127.0.0.1:1", method=b"POST"), FOREIGN),
    "a page without an address": (head(b"Origin: null", method=b"DELETE"), FOREIGN),
    "a script that asks for leave": (
        head(b"Origin: https://evil.example", method=b"OPTIONS"),
        FOREIGN,
    ),
    "a header of 64 kB": (head(b"X-Long: " + b"x" * 65_536), HEAD),
    "a header without end": (raw(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 200_000), HEAD),
    "a name of a header of 64 kB": (head(b"x" * 65_536 + b": 1"), HEAD),
    "ten thousand headers": (head(*[b"X-A: 12345"] * 10_000), HEAD),
    "a target of 64 kB": (head(path=b"/" + b"x" * 65_536), HEAD),
    "no HTTP at all": (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), MALFORMED),
    "another version of HTTP": (raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), MALFORMED),
    "a method that is none": (head(method=b"BREW"), MALFORMED),
    "a NUL in a header": (head(b"X-A: \x00"), MALFORMED),
    "a header without a colon": (head(b"nonsense"), MALFORMED),
    "a space before the colon": (head(b"Content-Length : 1"), MALFORMED),
    "two lengths": (head(b"Content-Length: 1", b"Content-Length: 2"), MALFORMED),
    "a length below zero": (head(b"Content-Length: -1", method=b"POST"), MALFORMED),
    "a length that is no number": (head(b"Content-Length: ten", method=b"POST"), MALFORMED),
    "a length beside chunks": (
        head(b"Content-Length: 3", b"Transfer-Encoding: chunked", method=b"POST"),
        MALFORMED,
    ),
    "an upgrade that nobody offers": (
        head(b"Connection: Upgrade", b"Upgrade: websocket", path=b"/v1/nothing"),
        (404, "not_found"),
    ),
    "a method that is not for this": (ask("TRACE", "/v1/jobs"), (405, "method_not_allowed")),
    "a path with dots": (head(path=b"/v1/jobs/../datasets"), (404, "not_found")),
    # Bodies
    "a length of a million terabytes": (
        head(b"Content-Type: application/json", b"Content-Length: 1" + b"0" * 18, method=b"POST"),
        TOO_LARGE,
    ),
    "an upload of a million terabytes": (
        head(
            b"Content-Type: multipart/form-data; boundary=x",
            b"Content-Length: 1" + b"0" * 18,
            method=b"POST",
            path=b"/v1/datasets",
        ),
        TOO_LARGE,
    ),
    "one byte over the cap": (body(b" " * 1_048_577), TOO_LARGE),
    "chunks without end": (
        lambda api: answer_of(
            api.post("/v1/jobs", content=(b" " * 65_536 for _ in range(20)), headers=JSON)
        ),
        TOO_LARGE,
    ),
    "a hundred thousand arrays, open": (body(b"[" * NEST), MALFORMED),
    "a hundred thousand arrays": (body(b"[" * NEST + b"]" * NEST), MALFORMED),
    "the same for a dataset": (body(b"[" * NEST + b"]" * NEST, "/v1/datasets"), MALFORMED),
    "a hundred thousand objects": (body(b'{"a":' * NEST + b"1" + b"}" * NEST), MALFORMED),
    "half a thousand arrays in a setting": (
        body(
            json.dumps(JOB)[:-1].encode()
            + b', "config": {"alpha": '
            + b"[" * 500
            + b"]" * 500
            + b"}}"
        ),
        INVALID,
    ),
    "a compressed body": (
        body(b"\x1f\x8b\x08\x00", headers={**JSON, "Content-Encoding": "gzip"}),
        MALFORMED,
    ),
    "a body that breaks off": (body(b'{"a": '), MALFORMED),
    "a body that is not UTF-8": (body(b'{"name": "\xff"}'), MALFORMED),
    "a number of five thousand digits": (body(b'{"a": ' + b"9" * 5000 + b"}"), MALFORMED),
    "no body": (body(b""), INVALID),
    "null": (body(b"null"), INVALID),
    "a text for a body": (body(b'"x"'), INVALID),
    "another media type": (
        body(b"{}", headers={"Content-Type": "text/xml"}),
        (415, "unsupported_media_type"),
    ),
    "a media type that is none": (
        body(b"{}", "/v1/datasets", {"Content-Type": ";;;"}),
        (415, "unsupported_media_type"),
    ),
    "an unknown field": (job(colour="red"), INVALID),
    "NaN": (body(json.dumps({**JOB, "config": {"alpha": float("nan")}})), INVALID),
    "Infinity": (body(json.dumps({**JOB, "config": {"alpha": float("inf")}})), INVALID),
    "a number beyond all": (body(json.dumps(JOB)[:-1] + ', "config": {"alpha": 1e999}}'), INVALID),
    "a share that is NaN": (
        body(
            '{"source": {"kind": "folder", "path": "/x"}, "max_bad_fraction": NaN}', "/v1/datasets"
        ),
        INVALID,
    ),
    "a negative number": (job(config={"batch_size": -1}), INVALID),
    "a number far too large": (job(config={"train_epochs": 10**12}), INVALID),
    # Names
    "no class": (job(classes=[]), INVALID),
    "a class twice": (job(classes=["cat", "CAT"]), INVALID),
    "a class of 10 kB": (job(classes=["cat", "x" * 10_240]), INVALID),
    "10,001 classes": (job(classes=[f"c{i}" for i in range(10_001)]), INVALID),
    "a class with a NUL": (job(classes=["cat", "a\0"]), INVALID),
    "a class that runs backwards": (job(classes=["cat", "a\u202eb"]), INVALID),
    "a prompt with two places": (
        job(classes=["cat", {"name": "a", "prompts": ["{} {}"]}]),
        INVALID,
    ),
    "a template that reaches for more": (job(config={"templates": ["{0.__class__}"]}), INVALID),
    "a name with a line break": (job(name="a\nb"), INVALID),
    "a name of half a character": (job(name="\ud800"), INVALID),
    "an id with a NUL": (get("/v1/jobs/job_%00"), (404, "job_not_found")),
    "an id that is no UTF-8": (get("/v1/jobs/job_%FF"), (404, "job_not_found")),
    "an id of 20 kB": (get("/v1/jobs/job_" + "x" * 20_000), (404, "job_not_found")),
    # Folders and files of the server
    "a folder outside": (folder("/etc"), FORBIDDEN),
    "a folder outside by dots": (folder("{root}/../../.."), FORBIDDEN),
    "a folder that is not there": (folder("{root}/nothing"), FORBIDDEN),
    "a folder that is not there, outside": (folder("/nothing"), FORBIDDEN),
    "what processes show": (folder("/proc/self/root"), FORBIDDEN),
    "a relative folder": (folder("photos"), FORBIDDEN),
    "a folder with a NUL": (folder("{root}/\0"), FORBIDDEN),
    "a folder of half a character": (folder("{root}/\ud800"), INVALID),
    "a folder that no text can name": (folder("{root}/\udcff"), INVALID),
    "a path longer than any": (folder("/" + "x" * 4096), INVALID),
    "a source of no kind": (source(kind=None, path="/x"), INVALID),
    "a source on another machine": (source(kind="url", path="http://169.254.169.254/"), INVALID),
    "a folder inside another": (source(kind="folders", paths=["{root}", "{root}/"]), INVALID),
    "one folder of several outside": (source(kind="folders", paths=["{root}", "/etc"]), FORBIDDEN),
    "no folders": (source(kind="folders", paths=[]), INVALID),
    "101 folders": (source(kind="folders", paths=["{root}"] * 101), INVALID),
    "a listed file outside": (source(kind="list", paths=["/etc/passwd"]), FORBIDDEN),
    "a listed folder": (source(kind="list", paths=["{root}"]), FORBIDDEN),
    "a list outside": (source(kind="list", file="/etc/passwd"), FORBIDDEN),
    "a list that is a device": (source(kind="list", file="/dev/zero"), FORBIDDEN),
    "a list of both kinds": (source(kind="list", file="/x", paths=["/y"]), INVALID),
    # Archives
    "a tar": (archive(b"a.jpg".ljust(257, b"\0") + b"ustar\x0000"), UNSUPPORTED),
    "a compressed tar": (archive(b"\x1f\x8b\x08\x00"), UNSUPPORTED),
    "a rar": (archive(b"Rar!\x1a\x07\x01\x00"), UNSUPPORTED),
    "a 7z": (archive(b"7z\xbc\xaf\x27\x1c"), UNSUPPORTED),
    "an empty archive": (archive(b""), UNSUPPORTED),
    "a zip that is cut off": (archive(zipped(("a.jpg", b"x" * 100))[:-30]), REJECTED),
    "a name that leads outside": (archive(zipped(("../../x", b"x"))), REJECTED),
    "a name within that leads out": (archive(zipped(("a/../../x", b"x"))), REJECTED),
    "an absolute name": (archive(zipped(("/etc/passwd", b"x"))), REJECTED),
    "a name with a drive": (archive(zipped(("C:/x.jpg", b"x"))), REJECTED),
    "a name with a backslash": (archive(zipped(("..\\x.jpg", b"x"))), REJECTED),
    "a link": (archive(special(stat.S_IFLNK)), REJECTED),
    "a device": (archive(special(stat.S_IFCHR)), REJECTED),
    "a pipe": (archive(special(stat.S_IFIFO)), REJECTED),
    "an encrypted member": (archive(with_flags(1)), REJECTED),
    "bzip2": (archive(zipped(("a.jpg", b"x"), compression=zipfile.ZIP_BZIP2)), REJECTED),
    "lzma": (archive(zipped(("a.jpg", b"x"), compression=zipfile.ZIP_LZMA)), REJECTED),
    "a bomb": (
        archive(zipped(("a.jpg", bytes(10_000_000)), compression=zipfile.ZIP_DEFLATED)),
        REJECTED,
    ),
    "members that overlap": (archive(overlapping()), REJECTED),
    "101 members where 100 may be": (
        archive(zipped(*((f"{i}.jpg", b"") for i in range(101)))),
        REJECTED,
    ),
    # Multipart
    "no boundary": (body(b"", "/v1/datasets", {"Content-Type": "multipart/form-data"}), MALFORMED),
    "nothing between the boundaries": (body(b"nothing", "/v1/datasets", FORM), MALFORMED),
    "a form that breaks off": (form(PHOTO, end=b""), MALFORMED),
    "a form without files": (form((field("name"), b"a")), INVALID),
    "50,000 fields": (
        form(*((field(f"f{i}"), b"") for i in range(50_000)), PHOTO),
        (413, "body_too_large"),
    ),
    "a field twice": (form((field("name"), b"a"), (field("name"), b"b"), PHOTO), INVALID),
    "a field that is not UTF-8": (form((field("name"), b"\xff"), PHOTO), INVALID),
    "a field of 5 kB": (form((field("name"), b"x" * 5000), PHOTO), INVALID),
    "a head of a part of 1 MB": (form((field("files", "x" * 1_000_000), b"x")), MALFORMED),
    "a part with a thousand headers": (
        form((b"\r\n".join([b"X-A: 1"] * 1000 + [field("files", "a")]), b"x")),
        MALFORMED,
    ),
    "two megabytes before the first part": (
        body(b"\r\n" * 1_100_000, "/v1/datasets", FORM),
        TOO_LARGE,
    ),
    "both an archive and files": (form((field("archive", "a.zip"), b""), PHOTO), INVALID),
    # Pages and ranges
    "a page of none": (get("/v1/jobs", limit="0"), INVALID),
    "a page of a milliard": (get("/v1/jobs", limit="1000000000"), INVALID),
    "a page of 5,000 digits": (get("/v1/jobs", limit="9" * 5000), INVALID),
    "a page of NaN": (get("/v1/jobs", limit="nan"), INVALID),
    "a page of bytes": (head(path=b"/v1/jobs?limit=%FF%FE"), INVALID),
    "a cursor of our own making": (get("/v1/jobs", cursor="AAAA"), INVALID),
    "a cursor with a NUL": (get("/v1/jobs", cursor="\0"), INVALID),
    "a stage that is none": (on_job("", "GET", "/v1/jobs/{job}/labels?stage=best"), INVALID),
    "a range that is none": (on_weights("bytes=abc"), (400, "bad_range")),
    "a range backwards": (on_weights("bytes=9-2"), (400, "bad_range")),
    "a range past the end": (on_weights("bytes=99999999-"), (416, "range_not_satisfiable")),
    # States
    "labels before they are there": (
        on_job("debias", "GET", "/v1/jobs/{job}/labels"),
        (409, "not_ready"),
    ),
    "a student before it is there": (
        on_job("train", "GET", "/v1/students/{student}/weights"),
        (404, "student_not_found"),
    ),
    "a damaged student": (with_damaged_weights, (500, "artifact_corrupt")),
    "an artifact by dots": (
        on_job("score", "GET", "/v1/jobs/{job}/artifacts/..%2F..%2Frequest.json"),
        (404, "not_found"),
    ),
    "a cancel of what has ended": (
        on_job("score", "POST", "/v1/jobs/{job}/cancel"),
        (409, "job_finished"),
    ),
    "a cancel of what is not there": (ask("POST", "/v1/jobs/job_0/cancel"), (404, "job_not_found")),
    "a deleted dataset that a job reads": (dataset_of_a_job, (409, "dataset_in_use")),
    "a key with another body": (key_with_another_body, (422, "idempotency_key_reused")),
    "an empty key": (key(""), INVALID),
    "a key of 256 characters": (key("x" * 256), INVALID),
}


@pytest.mark.parametrize("row", TABLE)
def test_bad_input_gets_its_answer(api, row):
    send, (status, code) = TABLE[row]

    answer = send(api)

    assert (answer.status, answer.code) == (status, code), answer.body[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["status"], problem["type"]) == (status, f"/problems/{code}")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    assert "Traceback" not in problem["detail"]
    assert api.get("/livez").status_code == 200


def test_a_service_with_keys_answers_under_any_name_that_is_one(caller):
    """It may stand behind a proxy; who may come in, the key says."""
    assert hosts(b"Host: photos.example:443")(caller()).status == 200
    assert hosts(b"Host: a/?x=")(caller()).code == "bad_host"


def test_what_is_no_foreign_page_changes_things(api, caller):
    own = str(api.base_url).rstrip("/")
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    sent = [{}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]

    assert [api.post("/v1/jobs", json={}, headers=one).status_code for one in sent] == [422] * 3
    assert api.get("/v1/jobs", headers=foreign).status_code == 200
    with_key = caller(Scope.WRITE).post("/v1/jobs", json={}, headers=foreign)
    assert with_key.status_code == 422  # no page has the key


def test_the_table_has_no_gap():
    assert len(TABLE) >= 60


def test_thousands_of_ranges_get_the_whole_file(api):
    answer = on_weights("bytes=" + ",".join(f"{i}-" for i in range(3000)))(api)

    assert answer.status == 200
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_a_head_in_small_pieces_is_read_and_a_long_one_is_not(api):
    pieces = [bytes([byte]) for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    assert raw(*pieces)(api).status == 200

    endless = raw(b"GET /livez HTTP/1.1\r\n", *[b"X-A: " + b"x" * 1000 + b"\r\n"] * 80)
    assert endless(api).code == "head_too_large"
