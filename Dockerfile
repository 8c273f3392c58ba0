# Postroom's image. As it is: a worker, with the command line and the gateway. With --build-arg REQUIREMENTS=demo: Flower and the
# sandbox too. Everything that is installed is pinned by hash and installed from wheels.
FROM python:3.13-slim AS base
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
ARG REQUIREMENTS=worker
COPY requirements requirements
RUN python -m venv --without-pip /venv \
    && /usr/local/bin/pip install --require-hashes --target /build -r requirements/build.txt \
    && /usr/local/bin/pip --python /venv/bin/python install --require-hashes -r "requirements/${REQUIREMENTS}.txt"
COPY . .
# Editable, so that the image has one copy of the code: the one under the working directory, beside celeryconfig.py.
RUN PYTHONPATH=/build /usr/local/bin/pip --python /venv/bin/python install \
    --no-deps --no-build-isolation --editable .

FROM base AS run
RUN useradd --system --uid 10001 --no-create-home postroom
COPY --from=build /venv /venv
COPY . .
USER postroom
# Celery's warm shutdown: what is on its way to SendGrid is finished first.
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "worker", "worker", "--loglevel", "INFO"]
