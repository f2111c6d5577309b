# The server without PyTorch. How it is built and run: docs/serve.md#in-a-container
# The tag moves with Python's security fixes; to build the same bytes again, give BASE with a digest (python@sha256:…).
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
RUN python -m venv --without-pip /opt/mobilenets
COPY requirements-serve.lock ./
RUN python -m pip --python /opt/mobilenets/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m pip install --no-cache-dir setuptools==84.2.1 \
    && python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/mobilenets/bin/python install --no-cache-dir --no-deps /wheels/*.whl

FROM ${BASE}
# Nothing is installed in a container that runs.
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mobilenets
COPY --from=build /opt/mobilenets /opt/mobilenets
ENV PATH=/opt/mobilenets/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
# Unhealthy while it starts and while it stops, as the answer of /ready is.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=2); c.request('GET', '/ready'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["mobilenets", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--workers", "1"]
