# Two images from one file: `api` without torch, `worker` with it.
#   docker build --target api    -t ccd-service:api .
#   docker build --target worker -t ccd-service:worker .

FROM python:3.11-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    CCD_DATA=/data
# A named volume mounted here takes over the owner of the folder.
RUN useradd --system --uid 10001 --home-dir /data --create-home ccd
WORKDIR /data

FROM base AS build
WORKDIR /src
RUN python -m venv /venv
COPY requirements/api.txt requirements/api.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/api.txt

FROM build AS build-api
COPY . .
RUN pip install --no-cache-dir --no-deps ./client .

FROM build AS build-worker
COPY requirements/worker.txt requirements/worker.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/worker.txt
COPY . .
RUN pip install --no-cache-dir --no-deps ./client .

FROM base AS api
COPY --from=build-api /venv /venv
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
# Inside a container every address is reached from outside; what is published decides who may.
CMD ["ccd", "api", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
COPY --from=build-worker /venv /venv
USER 10001
# Unhealthy once the worker was silent for a lease; one whose Redis is away is not to blame.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s \
    CMD ["ccd", "worker", "--lane", "method", "--check"]
CMD ["ccd", "worker", "--lane", "method"]
