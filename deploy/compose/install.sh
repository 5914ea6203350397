#!/usr/bin/env bash
# Build docker compose's client from its Go module into ~/.cache/rahdar/bin: it checks docker-compose.yml where there is no Docker.
# Needs go 1.24 or newer; two minutes, and nothing when it is there.
set -euo pipefail
version=v2.39.4
bin="$HOME/.cache/rahdar/bin"
[ ! -x "$bin/docker-compose-$version" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$bin"
echo "compose: building $version (some two minutes)"
cd "$work"
go mod init scratch 2>/dev/null
go get -tool "github.com/docker/compose/v2/cmd@$version"
go build -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$version" -o "$bin/docker-compose.new" github.com/docker/compose/v2/cmd
mv "$bin/docker-compose.new" "$bin/docker-compose-$version"
"$bin/docker-compose-$version" version
