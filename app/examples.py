"""An example of every body, by the name of its schema: one job on street scenes, told through."""

from typing import Any

_DAY = "2026-03-02T"
CREATED, STARTED, FINISHED = (f"{_DAY}{time}.000Z" for time in ("09:00:00", "09:00:04", "09:21:40"))
DATASET, JOB, STUDENT = "ds_01kjq2m4x8", "job_01kjq2n7c3", "stu_01kjq2n7c3"
PREDICTION, EVALUATION, EXPORT = "pred_01kjq4d9v1", "eval_01kjq4e2w5", "exp_01kjq4f6z7"
KEY = "key_01kjq1a0b2"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SECRET = f"{KEY}.the-secret-is-told-this-once"


def _progress(phase: str, count: int) -> dict[str, Any]:
    """Of work that is done."""
    return {
        "phase": phase,
        "phase_index": count - 1,
        "phase_count": count,
        "done": 1200,
        "total": 1200,
        "percent": 100.0,
        "rate_per_second": 61.5,
        "eta_seconds": 0.0,
        "updated_at": FINISHED,
    }


TIMES = {"created_at": CREATED, "started_at": STARTED, "finished_at": FINISHED}
CLASSES = [{"name": "bus", "prompts": []}, {"name": "dog", "prompts": ["a photo of a {}"]}]
FOLDER = {"kind": "folder", "path": "/data/street-scenes"}
SCORES, LABELS = {"bus": 0.91, "dog": 0.07}, ["bus"]


def _done(phase: str, count: int = 1) -> dict[str, Any]:
    return {
        "status": "succeeded",
        "terminal": True,
        "phase": phase,
        "progress": _progress(phase, count),
        "error": None,
        **TIMES,
    }


_FILE = {"name": "student.safetensors", "bytes": 19_328_012, "sha256": SHA256}
_ARTIFACT = {**_FILE, "media_type": "application/vnd.safetensors"}
_IMAGE = {
    "image_id": "img_4k2v9",
    "path": "north/0001.jpg",
    "sha256": SHA256,
    "bytes": 184_220,
    "width": 1280,
    "height": 720,
    "format": "JPEG",
    "notes": ["exif_rotated"],
}
_VIEW = {"class": "bus", "box_xyxy": [112, 64, 640, 420], "probs": {"bus": 0.97, "dog": 0.03}}
_ROW = {
    "image_id": "img_4k2v9",
    "path": "north/0001.jpg",
    "scores": SCORES,
    "labels": LABELS,
    "thresholds_version": 1,
}
_JOB = {
    "id": JOB,
    "name": "streets",
    "retry_of": None,
    "dataset_id": DATASET,
    "classes": CLASSES,
    "preset": "balanced",
    "config": {"student": "resnet50", "teacher": "open_clip:RN50", "alpha": 0.4},
    "metadata": {"ticket": "vision-42"},
    **_done("score", 7),
    "submitter": "default",
    "priority": "normal",
    "queue": None,
    "counts": {"images": 1200, "distinct": 1188},
    "warnings": [],
    "student_id": STUDENT,
    "metrics": {"selected_epoch": 9},
}
_KEY = {
    "id": KEY,
    "name": "nightly pipeline",
    "project": "street-scenes",
    "scopes": ["write"],
    "created_by": None,
    "created_at": CREATED,
    "expires_at": None,
    "rotated_at": None,
    "revoked_at": None,
    "last_used_at": FINISHED,
}
_EVALUATION = {
    "id": EVALUATION,
    "job_id": JOB,
    "name": None,
    "source": {"kind": "file", "path": "/data/instances.json"},
    "format": "coco",
    "split": None,
    "class_map": {"tvmonitor": None},
    **_done("evaluate"),
    "counts": {"matched": 1188},
    "map": {"global": 0.61, "student": 0.74},
    "warnings": [],
}
_EVENT = {
    "type": "job.state",
    "job_id": JOB,
    "at": STARTED,
    "seq": 1,
    "data": {"previous": "queued", "status": "running"},
}

REQUESTS: dict[str, Any] = {
    "DatasetCreate": {"name": "streets", "source": FOLDER},
    "JobCreate": {
        "source": FOLDER,
        "classes": ["bus", {"name": "dog", "prompts": ["a photo of a {}"]}],
        "preset": "balanced",
        "config": {"alpha": 0.4},
    },
    "PredictionCreate": {"source": {"kind": "list", "paths": ["/data/new/0001.jpg"]}},
    "EvaluationCreate": {"source": {"kind": "file", "path": "/data/instances.json"}},
    "ExportCreate": {"format": "yolo_cls", "policy": "top1"},
    "ThresholdsUpdate": {"thresholds": {"bus": 0.35, "dog": None}},
    "KeyCreate": {"name": "nightly pipeline", "scopes": ["write"], "project": "street-scenes"},
    "KeyRotate": {"grace_seconds": 3600},
}

RECORDS: dict[str, Any] = {
    "Dataset": {
        "id": DATASET,
        "name": "streets",
        "source": FOLDER,
        "status": "ready",
        "counts": {
            "found": 1204,
            "accepted": 1200,
            "skipped": 4,
            "distinct": 1188,
            "duplicates": 12,
            "ignored": 0,
        },
        "bytes": 221_064_000,
        "formats": {"JPEG": 1190, "PNG": 10},
        "images_digest": SHA256,
        "progress": _progress("register", 1),
        "error": None,
        **TIMES,
    },
    "Job": _JOB,
    "JobEstimate": {
        "images": 1188,
        "teacher_passes": 9504,
        "seconds": {"low": 840.0, "likely": 1300.0, "high": 2600.0},
        "disk_bytes": 480_000_000,
        "basis": "measured",
        "warnings": [],
    },
    "Student": {
        "id": STUDENT,
        "job_id": JOB,
        "name": "streets",
        "dataset_id": DATASET,
        "classes": CLASSES,
        "thresholds": {"bus": 0.42, "dog": None},
        "threshold_basis": "pseudo_f1",
        "thresholds_version": 1,
        "student": "resnet50",
        "teacher": "open_clip:RN50",
        "preset": "balanced",
        "metrics": {"selected_epoch": 9},
        "weights": _ARTIFACT,
        "created_at": FINISHED,
    },
    "ThresholdsReply": {
        "version": 2,
        "basis": "manual",
        "created_at": FINISHED,
        "evaluation_id": None,
        "copied_from": None,
        "thresholds": {"bus": 0.35, "dog": None},
    },
    "Prediction": {
        "id": PREDICTION,
        "student_id": STUDENT,
        "dataset_id": DATASET,
        "name": None,
        **_done("predict"),
        "data": [_ROW],
        "next_cursor": None,
    },
    "Evaluation": _EVALUATION,
    "EvaluationRead": {**_EVALUATION, "result": {"stages": {"student": {"map": 0.74}}}},
    "ExportRead": {
        "id": EXPORT,
        "job_id": JOB,
        "name": "for the labellers",
        "format": "csv",
        "stage": "student",
        "thresholds_version": 1,
        "policy": None,
        "image_prefix": None,
        "filters": {"class": ["car"], "min_score": 0.8},
        **_done("export_labels"),
        "counts": {"images": 310},
        "losses": {"images": 0, "labels": 0, "notes": []},
        "file": {**_FILE, "name": f"{JOB}-student-v1-csv-filtered.csv", "media_type": "text/csv"},
        "label_config": None,
    },
    "KeyRead": _KEY,
    "KeySecret": {**_KEY, "last_used_at": None, "secret": SECRET},
    "Usage": {
        "project": "street-scenes",
        "quotas": {
            "bytes": {"used": 221_064_000, "limit": 50_000_000_000},
            "images": {"used": 1200, "limit": None},
            "jobs": {"used": 1, "limit": 10},
        },
        "requests": {"per_second": 20.0, "burst": 100},
    },
    "AuditRow": {
        "at": CREATED,
        "key_id": KEY,
        "claimed_key_id": None,
        "project": "street-scenes",
        "operation": "create_job",
        "method": "POST",
        "path": "/v1/jobs",
        "record_id": JOB,
        "status": 202,
        "outcome": "done",
        "request_id": "req_5f0c1d2e3b4a5968",
        "address": "127.0.0.1",
    },
    "Deleted": {
        "id": JOB,
        "deleted": True,
        "records": [EXPORT],
        "bytes_freed": 480_000_000,
        "folders_shared": 1,
        "is_put_off": False,
    },
}

PARTS: dict[str, Any] = {
    "Image": _IMAGE,
    "SkippedFile": {
        "path": "north/notes.txt",
        "code": "unsupported_format",
        "message": "The file is no image of a kind that is read.",
    },
    "LabelRow": _ROW,
    "LabelPage": {"data": [{**_ROW, "views": [_VIEW]}], "next_cursor": None, "total": 1},
    "JobImage": {
        **_IMAGE,
        "scores": {"global": {"bus": 0.72, "dog": 0.28}, "student": SCORES},
        "labels": {"student": LABELS},
        "thresholds_version": 1,
        "views": [_VIEW],
    },
    "CamPending": {
        "image_id": "img_4k2v9",
        "class": "bus",
        "format": "png",
        "status": "queued",
    },
    "Artifact": _ARTIFACT,
    "JobEvent": _EVENT,
    "EventPage": {"data": [_EVENT], "last_seq": 1},
    "Metric": {
        "name": "loss",
        "points": [{"phase": "train", "epoch": 0, "at": STARTED, "value": 0.31}],
    },
    "LogLine": {
        "at": STARTED,
        "level": "info",
        "event": "unit.started",
        "phase": "check",
        "unit": 0,
        "attempt": 1,
        "fields": {"worker": "method@gpu-1"},
    },
    "WorkerReply": {
        "name": "method@gpu-1",
        "lane": "method",
        "host": "gpu-1",
        "pid": 4711,
        "version": "0.1.0",
        "method": 3,
        "device": "cpu",
        "memory_bytes": 16_000_000_000,
        "memory_used_bytes": None,
        "gpu_utilization": None,
        "draining": False,
        "unit": {"record_id": JOB, "phase": "train", "unit": 2},
        "images_per_second": 61.5,
        "started_at": CREATED,
        "heartbeat_at": STARTED,
    },
    "Health": {"status": "ok"},
    "ProblemExplained": {
        "code": "job_not_found",
        "status": 404,
        "title": "No such job",
        "explanation": "There is no job with this id.",
    },
}

_CLASS_HEALTH = {
    "name": "bus",
    "bias": {"factor": 1.2, "images": 240},
    "first_share": 0.4,
    "sightings": 260,
    "positives": 231,
    "labelled": 228,
    "threshold": 0.42,
    "agreement": 0.93,
    "histogram": [700, 90, *[20] * 17, 58],
}
HEALTH = {
    "format": {"name": "ccd-health", "version": 1},
    "job_id": JOB,
    "images": {"files": 1200, "distinct": 1188},
    "low_entropy": {"share": 0.6, "max_nats": 0.35},
    "sure": 0.94,
    "background_share": 0.05,
    "unseen_share": 0.1,
    "agreement": 0.91,
    "labels_per_image": [120, 980, 88],
    "classes": [_CLASS_HEALTH],
    "together": [{"classes": ["bus", "dog"], "overlap": 0.1, "images": 24, "region": 0.2}],
    "nearest_names": [{"classes": ["bus", "dog"], "distance": 0.3, "usual": 0.4}],
    "findings": [
        {
            "code": "background_share",
            "severity": "note",
            "classes": [],
            "message": "On 5 % of the images a background name comes first.",
            "advice": "Look whether a class is missing.",
        }
    ],
}

EXAMPLES: dict[str, Any] = {**REQUESTS, **RECORDS, **PARTS, "HealthReport": HEALTH}

#: Of answers that are text, by media type.
TEXTS = {
    "text/csv": "image_id,path,bus,dog\nimg_4k2v9,north/0001.jpg,0.91,0.07\n",
    "application/x-ndjson": '{"image_id": "img_4k2v9", "path": "north/0001.jpg"}\n',
    "text/event-stream": 'retry: 3000\n\nid: 1\nevent: job.state\ndata: {"seq": 1}\n\n',
    "text/html": "<!doctype html>\n<title>Health of job streets</title>\n",
    "text/plain": '# TYPE ccd_jobs gauge\nccd_jobs{status="running"} 1\n',
}
