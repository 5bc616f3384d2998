# One image for the parts of ours: the service, the PubNub emulator, Locust and the gate.
FROM python:3.12-slim

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
