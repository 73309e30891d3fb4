"""Bodies of the calls about datasets, and of sources of images on the server."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.schemas import Failure, ProgressReply, Reply, Request
from app.text import Name, refused

#: Bytes of the longest path that Linux knows.
MAX_PATH_CHARACTERS = 4096
#: Folders of one dataset.
MAX_FOLDERS = 100
#: Files that one request may list; a file on the server may list any number.
MAX_LISTED = 1000


#: Absolute, below one of CCD_ALLOWED_ROOTS.
ServerPath = Annotated[str, Field(min_length=1, max_length=MAX_PATH_CHARACTERS)]


class FolderSource(Request):
    """A folder on the server."""

    kind: Literal["folder"] = Field(description="A folder that the service can read.")
    path: ServerPath = Field(
        description="Absolute path below one of CCD_ALLOWED_ROOTS; sub-folders are walked.",
        examples=["/data/street-scenes"],
    )


class FoldersSource(Request):
    """Several folders on the server as one dataset."""

    kind: Literal["folders"] = Field(description="Folders that the service can read.")
    paths: Annotated[list[ServerPath], Field(min_length=1, max_length=MAX_FOLDERS)] = Field(
        description="Absolute paths below CCD_ALLOWED_ROOTS, none inside another; names of images "
        "begin below the deepest folder that holds them all.",
        examples=[["/data/2025", "/data/2026"]],
    )


class ListSource(Request):
    """Files on the server, one by one."""

    kind: Literal["list"] = Field(description="Files that the service can read.")
    paths: Annotated[list[ServerPath], Field(min_length=1, max_length=MAX_LISTED)] | None = Field(
        default=None, description="Absolute paths below CCD_ALLOWED_ROOTS; or give `file`."
    )
    file: ServerPath | None = Field(
        default=None,
        description="A text file on the server with one path a line; a relative one begins where "
        "the file lies. Of these, files that may not be read are listed as skipped.",
        examples=["/data/night-scenes.txt"],
    )

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.paths is None) == (self.file is None):
            raise refused("needs either paths or file, and not both")
        return self


#: Images on the server: where they are, and which.
ServerSource = Annotated[FolderSource | FoldersSource | ListSource, Field(discriminator="kind")]


MaxBadFraction = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        strict=True,
        description="Share of unusable files above which the dataset fails; "
        "null: the service's own setting.",
    ),
]


class DatasetCreate(Request):
    """Register images that lie on the server."""

    name: Name | None = None
    source: ServerSource
    max_bad_fraction: MaxBadFraction | None = None


def check_one_source(dataset_id: str | None, source: ServerSource | None) -> None:
    if (dataset_id is None) == (source is None):
        raise refused("needs either dataset_id or source, and not both")


class Counts(Reply):
    """Files of a dataset."""

    found: int = Field(description="Files looked at.")
    accepted: int = Field(description="Images that can be used.")
    skipped: int = Field(description="Files that cannot, each with its reason in /skipped.")
    distinct: int = Field(description="Accepted images that differ in their bytes.")
    duplicates: int = Field(description="Accepted files that repeat another's bytes.")
    ignored: int = Field(description="Entries of an archive that are no files to look at.")


class Dataset(Reply):
    """Registered images."""

    id: str
    name: str | None
    source: dict[str, Any]
    status: Literal["registering", "ready", "failed"]
    counts: Counts | None = Field(description="Null until the files were looked at.")
    bytes: int | None = Field(description="Size of the accepted files.")
    formats: dict[str, int] | None = Field(description="Accepted files by format.")
    images_digest: str | None = Field(description="The same for the same images.")
    progress: ProgressReply
    error: Failure | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class DatasetPage(Reply):
    """Datasets, newest first."""

    data: list[Dataset]
    next_cursor: str | None


class Image(Reply):
    """One accepted file."""

    image_id: str
    path: str = Field(description="Relative to the source; bytes that are no UTF-8 are escaped.")
    sha256: str
    bytes: int
    width: int = Field(description="Pixels, upright.")
    height: int = Field(description="Pixels, upright.")
    format: str
    notes: list[str] = Field(description="What the decoder had to do, e.g. `exif_rotated`.")


class ImagePage(Reply):
    """Images in the order of the manifest."""

    data: list[Image]
    next_cursor: str | None


class SkippedFile(Reply):
    """One file that cannot be used."""

    path: str
    code: str
    message: str


class SkippedPage(Reply):
    """Unusable files."""

    data: list[SkippedFile]
    next_cursor: str | None
