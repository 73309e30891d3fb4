"""Datasets over HTTP: folders, uploads, lists, deletion."""

import io
import json
import zipfile

import pytest

from workers.jobs import Kind, Lane

FILES = [
    ("files", ("cat.jpg", b"cat bytes")),
    ("files", ("../../evil<img>.jpg", b"\x00" * 70_000)),
    ("files", ("/", b"nameless")),
]


def zip_of(members):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return archive.getvalue()


def staged(api):
    """What uploads left in staging."""
    return list(api.folder.staging_root.glob("upload-*"))


def test_a_folder_is_registered_and_then_ready(api):
    reply = api.post(
        "/v1/datasets",
        json={"name": "holiday", "source": {"kind": "folder", "path": str(api.root)}},
    )
    dataset = reply.json()
    api.register(dataset["id"])
    ready = api.get(f"/v1/datasets/{dataset['id']}").json()

    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert (dataset["status"], dataset["counts"]) == ("registering", None)
    assert (ready["status"], ready["name"]) == ("ready", "holiday")
    assert ready["counts"].items() >= {"found": 6, "accepted": 5, "skipped": 1}.items()
    assert ready["formats"] == {"JPEG": 4, "PNG": 1}


def test_several_folders_and_a_list_are_taken_as_they_were_asked_for(api):
    (api.root / "one").mkdir(exist_ok=True)
    (api.root / "two").mkdir(exist_ok=True)
    (api.root / "list.txt").write_text("one/a.jpg\n")
    folders = {"kind": "folders", "paths": [str(api.root / "one"), str(api.root / "two")]}
    listed = {"kind": "list", "file": str(api.root / "list.txt")}
    given = {"kind": "list", "paths": [str(api.root / "list.txt")]}

    replies = [
        api.post("/v1/datasets", json={"source": source}) for source in (folders, listed, given)
    ]

    assert [reply.status_code for reply in replies] == [202] * 3, replies[0].text
    shown = [reply.json()["source"] for reply in replies]
    assert shown == [folders, listed, {"kind": "list", "count": 1}]
    requests = [api.store.get(reply.json()["id"]).request for reply in replies]
    assert [request["source"] for request in requests] == [folders, listed, given]


def test_uploaded_files_lie_on_disk_under_names_of_our_own(api):
    reply = api.post("/v1/datasets", files=FILES, data={"name": "up", "max_bad_fraction": "0.5"})

    assert reply.status_code == 202, reply.text
    dataset = reply.json()
    own = api.folder.of(Kind.DATASET, dataset["id"])
    names = (own / "upload" / "names.ndjson").read_text()
    rows = [json.loads(line) for line in names.splitlines()]
    contents = [(own / "upload" / row["file"]).read_bytes() for row in rows]
    request = api.store.get(dataset["id"]).request
    assert contents == [b"cat bytes", b"\x00" * 70_000, b"nameless"]
    assert [row["name"] for row in rows][:2] == ["cat.jpg", "../../evil<img>.jpg"]
    assert rows[2]["name"]
    assert request["source"] == {"kind": "files", "path": "upload", "count": 3}
    assert (request["name"], request["max_bad_fraction"]) == ("up", 0.5)
    assert dataset["source"] == {"kind": "files", "count": 3}
    assert json.loads((own / "request.json").read_text())["request"] == request
    assert staged(api) == []


def test_an_archive_lies_on_disk_as_it_was_sent(api):
    content = zip_of({"a.jpg": b"1", "b/c.jpg": b"2"})

    reply = api.post("/v1/datasets", files={"archive": ("pets.zip", content)})

    assert reply.status_code == 202, reply.text
    dataset = reply.json()
    own = api.folder.of(Kind.DATASET, dataset["id"])
    source = api.store.get(dataset["id"]).request["source"]
    assert (own / source["path"]).read_bytes() == content
    assert dataset["source"] == {"kind": "archive", "filename": "pets.zip"}
    assert staged(api) == []


@pytest.mark.parametrize(
    ("member", "reason"),
    [("../x.jpg", "leads outside"), ("/etc/x.jpg", "absolute"), ("a\\b.jpg", "backslash")],
)
def test_an_archive_with_an_evil_member_is_rejected_by_name(api, member, reason):
    reply = api.post(
        "/v1/datasets", files={"archive": ("x.zip", zip_of({"ok.jpg": b"1", member: b"2"}))}
    )

    assert (reply.status_code, reply.json()["code"]) == (422, "archive_rejected")
    assert reason in reply.json()["detail"]
    assert "x.jpg" in reply.json()["detail"] or "b.jpg" in reply.json()["detail"]
    assert api.get("/v1/datasets").json()["data"] == []
    assert staged(api) == []


def test_an_archive_with_too_many_members_is_rejected(api):
    members = {f"{i}.jpg": b"" for i in range(api.settings.max_archive_members + 1)}

    reply = api.post("/v1/datasets", files={"archive": ("x.zip", zip_of(members))})

    assert (reply.status_code, reply.json()["code"]) == (422, "archive_rejected")


@pytest.mark.parametrize("content", [b"", b"Rar!\x1a\x07", b"\x1f\x8b tar.gz", b"PK"])
def test_what_is_no_zip_is_refused(api, content):
    reply = api.post("/v1/datasets", files={"archive": ("x.zip", content)})

    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_archive")


def test_more_than_a_thousand_files_are_taken(api):
    files = [("files", (f"{i}.jpg", b"x")) for i in range(1500)]

    reply = api.post("/v1/datasets", files=files)

    assert reply.status_code == 202
    assert reply.json()["source"]["count"] == 1500


@pytest.mark.parametrize("is_declared", [True, False])
def test_an_upload_over_the_cap_is_refused_while_it_comes(api, is_declared):
    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(4):
            yield b"\x00" * 1_000_000
        yield b"\r\n--x--\r\n"

    body = b"".join(chunks()) if is_declared else chunks()
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    reply = api.post("/v1/datasets", content=body, headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    assert staged(api) == []


def test_uploaded_files_are_held_to_the_free_space(api, monkeypatch):
    monkeypatch.setattr("workers.files.free_bytes", lambda _: 1000)

    reply = api.post("/v1/datasets", files=FILES)

    assert (reply.status_code, reply.json()["code"]) == (507, "disk_full")
    assert staged(api) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nbroken off',
        b"--x\r\nContent-Disposition form-data\r\n\r\n",
    ],
)
def test_a_broken_multipart_body_is_refused(api, body):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    reply = api.post("/v1/datasets", content=body, headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_request")
    assert staged(api) == []


def test_images_are_listed_page_by_page(api):
    dataset_id = api.new_dataset()
    images = f"/v1/datasets/{dataset_id}/images"

    first = api.get(images, params={"limit": 3}).json()
    rest = api.get(images, params={"limit": 3, "cursor": first["next_cursor"]}).json()

    rows = [*first["data"], *rest["data"]]
    assert [row["image_id"] for row in rows] == [f"img_{i}" for i in range(5)]
    assert rows[0] == {
        "image_id": "img_0",
        "path": "a.jpg",
        "sha256": "0" * 64,
        "bytes": 10,
        "width": 20,
        "height": 10,
        "format": "JPEG",
        "notes": [],
    }
    assert rest["next_cursor"] is None


def test_skipped_files_are_listed_page_by_page(api):
    skipped = f"/v1/datasets/{api.new_dataset()}/skipped"

    first = api.get(skipped, params={"limit": 2}).json()
    rest = api.get(skipped, params={"limit": 2, "cursor": first["next_cursor"]}).json()

    row = {"path": "e.txt", "code": "unsupported_format", "message": "no image"}
    assert (first["data"], rest["data"], rest["next_cursor"]) == ([row] * 2, [row], None)


@pytest.mark.parametrize("part", ["images", "skipped"])
def test_a_dataset_has_no_rows_while_it_is_registered(api, part):
    source = {"kind": "folder", "path": str(api.root)}
    dataset_id = api.post("/v1/datasets", json={"source": source}).json()["id"]

    reply = api.get(f"/v1/datasets/{dataset_id}/{part}")

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")


def test_a_dataset_in_use_is_not_deleted(api):
    job_id = api.new_job()
    dataset_id = api.store.get(job_id).request["dataset_id"]
    dataset = f"/v1/datasets/{dataset_id}"

    refused = api.delete(dataset)
    api.post(f"/v1/jobs/{job_id}/cancel")
    deleted = api.delete(dataset)

    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_in_use")
    assert job_id in refused.json()["detail"]
    assert (deleted.status_code, deleted.json()["deleted"]) == (200, True)
    assert api.get(dataset).json()["code"] == "dataset_not_found"
    assert not api.folder.of(Kind.DATASET, dataset_id).exists()
    assert api.delete(dataset).status_code == 404


def test_a_dataset_that_is_being_registered_is_not_deleted(api):
    source = {"kind": "folder", "path": str(api.root)}
    dataset_id = api.post("/v1/datasets", json={"source": source}).json()["id"]

    reply = api.delete(f"/v1/datasets/{dataset_id}")

    assert (reply.status_code, reply.json()["code"]) == (409, "dataset_in_use")


def test_a_dataset_is_not_sent_again_until_it_changed(api):
    source = {"kind": "folder", "path": str(api.root)}
    dataset_id = api.post("/v1/datasets", json={"source": source}).json()["id"]
    dataset = f"/v1/datasets/{dataset_id}"
    etag = {"If-None-Match": api.get(dataset).headers["etag"]}

    same = api.get(dataset, headers=etag)
    api.store.claim(Lane.IO, worker="w", nonce="n1")
    later = api.get(dataset, headers=etag)

    assert (same.status_code, later.status_code) == (304, 200)
