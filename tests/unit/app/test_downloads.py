"""What a download is called."""

import pytest

from app.downloads import StoredFile


@pytest.mark.parametrize(
    ("name", "plain", "quoted"),
    [
        ("img_0-cat.png", "img_0-cat.png", "img_0-cat.png"),
        ("img_0-../../etc.png", "img_0-.._.._etc.png", "img_0-..%2F..%2Fetc.png"),
        ('é;"\r\n.png', "_____.png", "%C3%A9%3B%22%0D%0A.png"),
    ],
)
def test_a_file_name_leads_out_of_no_folder_and_no_header(name, plain, quoted):
    stored = StoredFile(name, bytes=0, sha256="", parts=())

    assert stored.disposition("inline") == (
        f"inline; filename=\"{plain}\"; filename*=utf-8''{quoted}"
    )
