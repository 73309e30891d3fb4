"""Jobs: runs of the method over a dataset with a class list."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ccd_client._async.evaluations import AsyncEvaluation
from ccd_client._async.exports import AsyncExport
from ccd_client._async.following import AsyncFollower
from ccd_client._async.handles import AsyncLabels, AsyncPages, AsyncWhole, AsyncWork
from ccd_client._async.logs import AsyncLogs
from ccd_client._async.students import AsyncStudent
from ccd_client._async.transport import AsyncTransport
from ccd_client._async_io import Stream, closing
from ccd_client.calls import Call, at, create, get, given
from ccd_client.downloads import OnBytes
from ccd_client.errors import WorkFailed
from ccd_client.events import DONE
from ccd_client.models import (
    Artifact,
    Event,
    JobEstimate,
    JobFields,
    LabelRow,
    LogLine,
    Metric,
    Receipt,
)
from ccd_client.requests import (
    ClassLike,
    DatasetLike,
    ServerFolders,
    images_body,
    job_body,
    labels_params,
)
from ccd_client.uploads import Files


class AsyncJob(AsyncWork, JobFields):
    """One run of the method."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("jobs", self.id)

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the synchronous client
        on_change: Callable[[Self], None] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Self:
        """This job, once it has ended, well or not; `check()` tells them apart.

        `on_event` is told every event once, also where the connection breaks meanwhile.

        Raises:
            WaitTimedOut: it goes on still after `timeout` seconds.
        """
        if on_event is None:
            return await super().wait(timeout=timeout, on_change=on_change)
        async with closing(self.events(timeout=timeout)) as events:
            async for event in events:
                on_event(event)
                if event.type == DONE and event.data:
                    self.become(event.data)
        return self if self.is_over else await self.refresh()

    def events(self, *, after: int | None = None, timeout: float | None = None) -> Stream[Event]:
        """What happens to it, up to `job.done`; `after` is the `seq` of the last one seen."""
        follower = AsyncFollower(self._transport, self.path, after=after, timeout=timeout)
        return follower.events()

    async def cancel(self) -> Self:
        """Stop it; what is done is kept."""
        return self.become(await self._transport.json(Call("POST", f"{self.path}/cancel")))

    async def retry(self, *, idempotency_key: str | None = None) -> "AsyncJob":
        """A new job that goes on where this one failed or was cancelled."""
        content = await self._transport.json(create(f"{self.path}/retry", {}, idempotency_key))
        return AsyncJob.of(content, self._transport)

    async def delete(self) -> Receipt:
        """Delete it and its files, once it has ended."""
        content = await self._transport.json(Call("DELETE", self.path))
        return Receipt.read({"id": self.id, **content})

    def labels(
        self,
        stage: str | None = None,
        *,
        class_: str | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
        label_count: int | None = None,
        disagree: Sequence[str] | None = None,
        sort: str | None = None,
        views: bool | None = None,
        thresholds_version: int | None = None,
    ) -> AsyncLabels:
        """Its labels at one stage: global, debiased, local, pseudo or student (the usual one).

        Filters: rows whose score of `class_` lies between `min_score` and `max_score`; with
        `label_count` labels; on which two stages `disagree`. `sort`: `path`, `uncertainty` or
        `score:NAME`, a `-` before it turns the order round.
        """
        filters = {
            "stage": stage,
            "class_": class_,
            "min_score": min_score,
            "max_score": max_score,
            "label_count": label_count,
            "disagree": None if disagree is None else list(disagree),
            "sort": sort,
            "views": views,
            "thresholds_version": thresholds_version,
        }
        params = labels_params(filters)
        return AsyncLabels(self._transport, f"{self.path}/labels", params, LabelRow.read)

    async def curves(self, name: str | None = None) -> Sequence[Metric]:
        """Its figures over time, e.g. the loss of each epoch."""
        content = await self._transport.json(get(f"{self.path}/metrics", name=name))
        return [Metric.read(row) for row in content.get("data") or ()]

    def logs(self, *, level: str | None = None) -> AsyncLogs:
        """The lines of its log."""
        return AsyncLogs(self._transport, f"{self.path}/logs", {"level": level}, LogLine.read)

    def artifacts(self) -> AsyncPages[Artifact]:
        """The files that it made so far."""
        return AsyncWhole(self._transport, f"{self.path}/artifacts", {}, Artifact.read)

    async def download(
        self, name: str, target: str | Path, *, on_progress: OnBytes | None = None
    ) -> Path:
        """Save one of its files: whole or not at all, its digest compared."""
        call = Call("GET", f"{self.path}/artifacts/{at(name).removeprefix('/v1/')}")
        return await self._transport.download(
            call, Path(target), sha256=None, on_progress=on_progress
        )

    async def health(self) -> dict[str, Any]:
        """What its figures say of its labels, without knowing the truth."""
        return await self._transport.json(get(f"{self.path}/health"))

    async def student(self) -> AsyncStudent:
        """The classifier that it trained."""
        if self.student_id is None:
            raise WorkFailed(f"{self.id} is {self.status} and has no student", self)
        content = await self._transport.json(get(at("students", self.student_id)))
        return AsyncStudent.of(content, self._transport)

    async def export(
        self,
        format: str,
        *,
        class_: Sequence[str] | str | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
        label_count: int | None = None,
        disagree: Sequence[str] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncExport:
        """Write its labels for other tools: csv, parquet, coco, label_studio, ...

        Filters: as those of `labels`. `options`: `stage`, and whatever else the format asks for,
        e.g. `policy`.
        """
        filters = given(
            {
                "class": [class_] if isinstance(class_, str) else class_,
                "min_score": min_score,
                "max_score": max_score,
                "label_count": label_count,
                "disagree": disagree,
            }
        )
        body = {"format": format, "filters": filters or None, **options}
        call = create(f"{self.path}/exports", body, idempotency_key)
        content = await self._transport.json(call)
        return AsyncExport.of(content, self._transport)

    async def evaluate(
        self, truth: Files, *, idempotency_key: str | None = None, **options: Any
    ) -> AsyncEvaluation:
        """Compare its labels with a truth of this machine: one file, e.g. a CSV.

        `options`: `format`, `split`, `name`.
        """
        content = await self._transport.upload(
            f"{self.path}/evaluations",
            [Path(truth)] if isinstance(truth, str | Path) else truth,
            fields={name: str(value) for name, value in given(options).items()},
            files_field="truth",
            on_progress=None,
            idempotency_key=idempotency_key,
        )
        return AsyncEvaluation.of(content, self._transport)

    def evaluations(self) -> AsyncPages[AsyncEvaluation]:
        """The evaluations of this job, newest first."""
        return AsyncPages(
            self._transport,
            f"{self.path}/evaluations",
            {},
            lambda content: AsyncEvaluation.of(content, self._transport),
        )


class AsyncJobs:
    """The jobs of a service."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        classes: Sequence[ClassLike],
        dataset: DatasetLike | None = None,
        folder: ServerFolders | None = None,
        source: Mapping[str, Any] | None = None,
        preset: str | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Look for classes in a dataset, or in a folder of the server that is registered first."""
        body = job_body(
            images_body(dataset, folder, source),
            classes,
            preset=preset,
            config=config,
            name=name,
            metadata=metadata,
            priority=priority,
        )
        return self._job(await self._transport.json(create(at("jobs"), body, idempotency_key)))

    async def estimate(
        self,
        *,
        classes: Sequence[ClassLike],
        dataset: DatasetLike | None = None,
        folder: ServerFolders | None = None,
        source: Mapping[str, Any] | None = None,
        preset: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> JobEstimate:
        """What such a job would take; nothing is created."""
        images = images_body(dataset, folder, source)
        body = job_body(images, classes, preset=preset, config=config, dry_run=True)
        return JobEstimate.read(await self._transport.json(create(at("jobs"), body)))

    async def get(self, job_id: str) -> AsyncJob:
        """One job."""
        return self._job(await self._transport.json(get(at("jobs", job_id))))

    def list(self) -> AsyncPages[AsyncJob]:
        """All jobs, newest first."""
        return AsyncPages(self._transport, at("jobs"), {}, self._job)

    def _job(self, content: object) -> AsyncJob:
        return AsyncJob.of(content, self._transport)
