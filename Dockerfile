# One image for the parts of ours: the service, the PubNub emulator, Locust and the gate.
FROM python:3.12.14-slim-trixie@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /stormwatch
COPY requirements.txt ./
RUN pip install --require-hashes --requirement requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY harness harness
COPY scenarios scenarios
COPY service service
COPY fixtures fixtures
RUN pip install --no-deps --no-build-isolation --editable . \
    && useradd --create-home stormwatch \
    && install --directory --owner stormwatch reports

USER stormwatch
