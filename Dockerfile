# The pipeline with its packages from the lock file: docs/gpu.md says how to build and run it.
# docker build -t pipeline .                                              # CPU
# docker build -t pipeline --build-arg LOCK=requirements-gpu.lock .       # NVIDIA GPU
# Python with make and git. CUDA's libraries are packages of the lock file; the driver is that of the host.
FROM python:3.11-bookworm@sha256:94c2dca43c9c127e42dfd021039cc83d8399752097612b49bdc7b00716b6d826

RUN useradd --create-home --home-dir /pipeline --uid 1000 pipeline
USER pipeline
WORKDIR /pipeline

# make takes the lock from here, and not from the GPUs that it sees.
ARG LOCK=requirements.lock
ENV MAKEFLAGS="LOCK=${LOCK}"

# Packages come first: they are installed again only when a lock file changes.
COPY --chown=pipeline Makefile requirements.lock requirements-gpu.lock ./
RUN make setup
COPY --chown=pipeline . .

# A fresh clone's lock file is newer than packages from Docker's cache, and make would install them again.
# Volumes belong to the user only if their folders do.
RUN touch .venv/.installed-${LOCK} && mkdir -p cache outputs
VOLUME ["/pipeline/cache", "/pipeline/outputs"]
CMD ["make", "repro"]
