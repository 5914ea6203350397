# Rahdar's stages, from Debian slim and the install script that CI runs. `docker compose build` is all that is needed. Where Debian's
# packages can be had but Python's cannot: lay a bundle's wheels into ./wheels and build with --build-arg PIP_NO_INDEX=1.
ARG DEBIAN=debian:12.12-slim

FROM ${DEBIAN} AS build
ARG PIP_NO_INDEX=
ENV PIP_FIND_LINKS=/opt/rahdar/wheels PIP_NO_CACHE_DIR=1
WORKDIR /opt/rahdar
COPY . .
RUN mkdir -p wheels \
 && deploy/install packages \
 && if [ -n "$PIP_NO_INDEX" ]; then export PIP_NO_INDEX=1; fi \
 && deploy/install python \
 && .venv/bin/python -m compileall -q pipeline agents simulators \
 && rm -rf wheels

FROM ${DEBIAN}
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3.11 tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rahdar \
 && install -d -o 10001 -g 10001 /var/lib/rahdar
COPY --from=build /opt/rahdar /opt/rahdar
WORKDIR /opt/rahdar
ENV PATH=/opt/rahdar/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
ENTRYPOINT ["rahdar"]
CMD ["--help"]
