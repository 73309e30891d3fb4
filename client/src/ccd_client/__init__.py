"""Python client of ccd-service: labels and a trained classifier from unlabelled images."""

from ccd_client._async.client import AsyncClient
from ccd_client._async.datasets import AsyncDataset
from ccd_client._async.evaluations import AsyncEvaluation
from ccd_client._async.exports import AsyncExport
from ccd_client._async.jobs import AsyncJob
from ccd_client._async.students import AsyncPrediction, AsyncStudent
from ccd_client._sync.client import Client
from ccd_client._sync.datasets import Dataset
from ccd_client._sync.evaluations import Evaluation
from ccd_client._sync.exports import Export
from ccd_client._sync.jobs import Job
from ccd_client._sync.students import Prediction, Student
from ccd_client.errors import (
    BadRequest,
    BadSetting,
    CcdError,
    Conflict,
    DownloadDamaged,
    Forbidden,
    Gone,
    InvalidRequest,
    NotFound,
    PackageMissing,
    PreconditionFailed,
    Problem,
    ServerFault,
    ServiceUnreachable,
    StorageFull,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    WaitTimedOut,
    WorkFailed,
)
from ccd_client.models import Event, LabelRow
from ccd_client.retries import Patience
from ccd_client.version import VERSION

__all__ = [
    "VERSION",
    "AsyncClient",
    "AsyncDataset",
    "AsyncEvaluation",
    "AsyncExport",
    "AsyncJob",
    "AsyncPrediction",
    "AsyncStudent",
    "BadRequest",
    "BadSetting",
    "CcdError",
    "Client",
    "Conflict",
    "Dataset",
    "DownloadDamaged",
    "Evaluation",
    "Event",
    "Export",
    "Forbidden",
    "Gone",
    "InvalidRequest",
    "Job",
    "LabelRow",
    "NotFound",
    "PackageMissing",
    "Patience",
    "PreconditionFailed",
    "Prediction",
    "Problem",
    "ServerFault",
    "ServiceUnreachable",
    "StorageFull",
    "Student",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimedOut",
    "WorkFailed",
]
