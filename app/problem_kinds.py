"""The codes of errors: what each means, and what helps."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProblemKind:
    """What one code means."""

    status: int
    title: str
    explanation: str


KINDS: dict[str, ProblemKind] = {
    "archive_rejected": ProblemKind(
        422,
        "The archive was rejected",
        "A member of the zip file has a name that leads outside, is a link, is encrypted, or the "
        "archive is over the limits on size or count. The detail names the member.",
    ),
    "artifact_corrupt": ProblemKind(
        500,
        "A stored file is damaged",
        "The file no longer has the checksum it was written with, so it is not served. "
        "Run the job again; where it is a version of thresholds, put another one in force.",
    ),
    "artifact_not_found": ProblemKind(
        404,
        "No such artifact",
        "The job has no file of this name, or not yet. GET .../artifacts lists what is there.",
    ),
    "bad_host": ProblemKind(
        400,
        "The Host header is not this service's",
        "It must name one host. A service that asks for no keys answers to `localhost` and to "
        "loopback addresses alone, so that no page of another host can speak to it.",
    ),
    "bad_range": ProblemKind(
        400,
        "The Range header cannot be read",
        "Write it as `bytes=first-last`, `bytes=first-` or `bytes=-count`.",
    ),
    "body_too_large": ProblemKind(
        413,
        "The request is too large",
        "A JSON body may have 1 MiB; an upload may have what the setting CCD_MAX_UPLOAD_BYTES "
        "allows.",
    ),
    "cam_failed": ProblemKind(
        500,
        "The map could not be made",
        "The worker that was to make it failed. The detail says why; after a minute it is tried "
        "again.",
    ),
    "dataset_failed": ProblemKind(
        409,
        "The dataset could not be registered",
        "No job or prediction can run on a dataset whose registration failed. Its `error` says "
        "why; make a new dataset.",
    ),
    "dataset_deleted": ProblemKind(
        410,
        "The dataset was deleted",
        "The rows of this answer belong to a dataset that has been deleted since.",
    ),
    "dataset_in_use": ProblemKind(
        409,
        "The dataset is in use",
        "A job or prediction that has not finished reads this dataset. Wait for it or cancel it.",
    ),
    "dataset_not_found": ProblemKind(
        404, "No such dataset", "There is no dataset with this id, or it was deleted."
    ),
    "disk_full": ProblemKind(
        507,
        "The disk is full",
        "The data folder has no room for this. Nothing was kept of the request; free some space "
        "and send it again.",
    ),
    "foreign_page": ProblemKind(
        403,
        "A page of another address sends this",
        "A service that asks for no keys takes changes from programs and its own pages alone, and "
        "the browser's Sec-Fetch-Site or Origin names another. Use a program, or keys.",
    ),
    "idempotency_in_flight": ProblemKind(
        409,
        "The same request is being answered",
        "A request with this Idempotency-Key has not been answered yet. Send it again after "
        "Retry-After seconds: it is answered as the first one then.",
    ),
    "idempotency_key_reused": ProblemKind(
        422,
        "The key belongs to another request",
        "This Idempotency-Key was sent in the last 24 hours with another body or to another "
        "address. Send that request unchanged, or give this one a key of its own.",
    ),
    "head_too_large": ProblemKind(
        431,
        "The head of the request is too large",
        "Target and headers together may have 64 KiB. Send less of them; what is long belongs "
        "into the body.",
    ),
    "image_not_found": ProblemKind(
        404,
        "No such image",
        "The job has no image with this id. GET .../labels lists the ids of its images.",
    ),
    "evaluation_running": ProblemKind(
        409, "The evaluation has not ended", "Wait until it has ended; then it can be deleted."
    ),
    "evaluation_not_found": ProblemKind(
        404, "No such evaluation", "There is no evaluation with this id."
    ),
    "export_not_found": ProblemKind(
        404, "No such export", "There is no export with this id, or it was deleted."
    ),
    "export_running": ProblemKind(
        409, "The export has not ended", "Wait until it has ended; then it can be deleted."
    ),
    "input_changed": ProblemKind(
        409,
        "The image is not the one that was registered",
        "Its file was changed, moved or deleted since. Put it back, or register the images again.",
    ),
    "internal_error": ProblemKind(
        500,
        "Something went wrong inside",
        "A fault of the service. Its log has the details under the request id.",
    ),
    "invalid_request": ProblemKind(
        422,
        "The request has wrong fields",
        "Each entry of `errors` points at one field and says what is wrong and what is allowed.",
    ),
    "job_in_use": ProblemKind(
        409,
        "Something of the job has not ended",
        "Evaluations, predictions or exports of it go on; a job is deleted with what was made of "
        "it. Wait until they have ended.",
    ),
    "job_not_retryable": ProblemKind(
        409,
        "The job is not to be tried again",
        "Only a job that failed or was cancelled is. Start a new one with POST /v1/jobs.",
    ),
    "job_running": ProblemKind(
        409, "The job has not ended", "Cancel it or wait until it has ended; then delete it."
    ),
    "job_finished": ProblemKind(409, "The job has finished", "A finished job cannot be cancelled."),
    "job_not_found": ProblemKind(404, "No such job", "There is no job with this id."),
    "malformed_request": ProblemKind(
        400,
        "The request cannot be read",
        "The body breaks off or breaks the rules of its media type.",
    ),
    "method_not_allowed": ProblemKind(
        405, "Not a method of this address", "The header Allow lists the methods there are."
    ),
    "not_found": ProblemKind(404, "No such address", "See /openapi.json for all calls."),
    "not_ready": ProblemKind(
        409,
        "Not there yet",
        "What was asked for is made by a phase that has not finished. The detail names it.",
    ),
    "path_not_allowed": ProblemKind(
        403,
        "The path is not allowed",
        "The path is outside the folders of CCD_ALLOWED_ROOTS, leads out of them, does not exist "
        "or cannot be read. Which of these is not told.",
    ),
    "precondition_failed": ProblemKind(
        412,
        "It is another version by now",
        "If-Match names another version than the present one, whose ETag the header tells. Read "
        "it again, and repeat the call if it is still what you want.",
    ),
    "prediction_running": ProblemKind(
        409, "The prediction has not ended", "Wait until it has ended; then it can be deleted."
    ),
    "prediction_in_use": ProblemKind(
        409,
        "Something of the prediction has not ended",
        "Images that were uploaded for it are still being registered; they are deleted with it. "
        "Wait until that has ended, or cancel it.",
    ),
    "prediction_not_found": ProblemKind(
        404, "No such prediction", "There is no prediction with this id."
    ),
    "range_not_satisfiable": ProblemKind(
        416, "The range is outside the file", "The header Content-Range tells the file's size."
    ),
    "redis_unavailable": ProblemKind(
        503,
        "The job store does not answer",
        "Redis is down, restarting or out of memory, or it cannot write its disk, which the detail "
        "then says. Nothing is lost; try again.",
    ),
    "redis_unsafe": ProblemKind(
        503,
        "The job store may lose records",
        "Redis has an eviction policy other than noeviction, under which it deletes records of "
        "jobs when its memory is full. Nothing is accepted until that is changed.",
    ),
    "rate_limited": ProblemKind(
        429,
        "Too many calls",
        "The key has made more calls than it may (CCD_RATE_REQUESTS, CCD_RATE_BURST), or the "
        "address too many with a wrong key (CCD_RATE_FAILURES), or the key has too many event "
        "streams open (CCD_MAX_STREAMS_PER_KEY). The header Retry-After says when to call again.",
    ),
    "quota_exceeded": ProblemKind(
        429,
        "The project has used what it may",
        "The detail names the quota: CCD_QUOTA_BYTES, CCD_QUOTA_IMAGES or CCD_QUOTA_JOBS. Delete "
        "what is no longer needed, or let jobs finish. GET /v1/usage tells what is used.",
    ),
    "scope_missing": ProblemKind(
        403,
        "The key may not do that",
        "Reading needs the scope read, everything else write, what concerns the service itself "
        "admin. Use another key, or have one made with that scope.",
    ),
    "unauthorized": ProblemKind(
        401,
        "No key, or none that holds",
        "Send the header `Authorization: Bearer ID.SECRET` with a key that was not revoked and "
        "whose time is not over. `ccd serve` shows the first one; `ccd keys create` makes more.",
    ),
    "key_not_found": ProblemKind(404, "No such key", "There is no key with this id."),
    "key_ended": ProblemKind(
        409,
        "The key has ended",
        "It was revoked or its time is over: it gets no new secret. Make another key.",
    ),
    "request_refused": ProblemKind(
        400, "The request was refused", "The status and the detail say why."
    ),
    "service_not_ready": ProblemKind(
        503,
        "The service is not ready",
        "Redis does not answer, or the data folder cannot be written. The detail says which.",
    ),
    "student_not_found": ProblemKind(
        404,
        "No such student",
        "There is no student with this id, or its job has not succeeded.",
    ),
    "thresholds_changed": ProblemKind(
        412,
        "The thresholds have changed",
        "If-Match names another version than the one in force: somebody was faster. The header "
        "ETag tells the present version; read it, and repeat the change on it.",
    ),
    "too_many_cams": ProblemKind(
        503,
        "Too many maps wait",
        "Maps are made one after the other, and only so many may wait. Try again a little later; "
        "if it stays so, no worker of the lane io runs.",
    ),
    "unsupported_archive": ProblemKind(415, "Not a zip file", "Only zip archives are taken."),
    "unsupported_media_type": ProblemKind(
        415,
        "Not a media type of this call",
        "Send application/json, or multipart/form-data where files are uploaded.",
    ),
    "upload_stalled": ProblemKind(
        408, "The upload stalled", "No byte of the body came for too long. Send it again."
    ),
}
