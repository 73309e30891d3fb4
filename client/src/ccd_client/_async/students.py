"""Students, and what they say of new images."""

from collections.abc import Mapping
from pathlib import Path

from ccd_client._async.handles import AsyncHandle, AsyncLabels, AsyncPages, AsyncWork
from ccd_client._async.transport import AsyncTransport
from ccd_client.calls import Call, at, create, get, given
from ccd_client.downloads import OnBytes as OnReceived
from ccd_client.models import LabelRow, PredictionFields, StudentFields, Thresholds
from ccd_client.requests import DatasetLike, ServerFolders, images_body
from ccd_client.uploads import Files, OnBytes


class AsyncPrediction(AsyncWork, PredictionFields):
    """A student's answer on images."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("predictions", self.id)

    def labels(self, *, thresholds_version: int | None = None) -> AsyncLabels:
        """Its rows, once it has succeeded."""
        params = {"thresholds_version": thresholds_version}
        return AsyncLabels(self._transport, self.path, params, LabelRow.read)


class AsyncStudent(AsyncHandle, StudentFields):
    """A trained classifier."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("students", self.id)

    async def download(self, target: str | Path, *, on_progress: OnReceived | None = None) -> Path:
        """Save `student.safetensors`: whole or not at all, its digest compared."""
        return await self._transport.download(
            Call("GET", f"{self.path}/weights"), Path(target), sha256=None, on_progress=on_progress
        )

    async def predict(
        self,
        files: Files | None = None,
        *,
        dataset: DatasetLike | None = None,
        folder: ServerFolders | None = None,
        name: str | None = None,
        on_progress: OnBytes | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncPrediction:
        """Ask it about files of this machine, a dataset, or a folder of the server."""
        path = f"{self.path}/predictions"
        if files is None:
            body = {**images_body(dataset, folder, None), "name": name}
            content = await self._transport.json(create(path, body, idempotency_key))
        else:
            content = await self._transport.upload(
                path,
                files,
                fields=given({"name": name}),
                files_field="images",
                on_progress=on_progress,
                idempotency_key=idempotency_key,
            )
        return AsyncPrediction.of(content, self._transport)

    async def set_thresholds(
        self,
        thresholds: Mapping[str, float | None] | None = None,
        *,
        evaluation_id: str | None = None,
        version: int | None = None,
        if_version: int | None = None,
    ) -> Thresholds:
        """Give it other thresholds: these, the best of an evaluation, or those of a version.

        `if_version`: only if this version is in force still.
        """
        fields = {"thresholds": thresholds, "evaluation_id": evaluation_id, "version": version}
        headers = {} if if_version is None else {"If-Match": f'"v{if_version}"'}
        call = Call("PUT", f"{self.path}/thresholds", json=given(fields), headers=headers)
        return Thresholds.read(await self._transport.json(call))

    def thresholds_versions(self) -> AsyncPages[Thresholds]:
        """All thresholds that it had, newest first."""
        path = f"{self.path}/thresholds/versions"
        return AsyncPages(self._transport, path, {}, Thresholds.read)


class AsyncStudents:
    """The students of a service."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, student_id: str) -> AsyncStudent:
        """One student."""
        return self._student(await self._transport.json(get(at("students", student_id))))

    def list(self) -> AsyncPages[AsyncStudent]:
        """All students, newest first."""
        return AsyncPages(self._transport, at("students"), {}, self._student)

    def _student(self, content: object) -> AsyncStudent:
        return AsyncStudent.of(content, self._transport)


class AsyncPredictions:
    """The predictions of a service; a student makes them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, prediction_id: str) -> AsyncPrediction:
        """One prediction."""
        call = get(at("predictions", prediction_id), limit=1)
        return AsyncPrediction.of(await self._transport.json(call), self._transport)
