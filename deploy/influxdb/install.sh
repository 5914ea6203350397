#!/usr/bin/env bash
# Build influxd 2.7 from its Go module, with the Flux compiler that it links (Rust), into ~/.cache/rahdar/bin. Needs go 1.23 or newer,
# cargo, gcc and pkg-config; some ten minutes on two cores, and nothing when it is there. Where a package of InfluxDB 2 can be had,
# that is as good: the tests take whatever `influxd` is on the PATH.
set -euo pipefail
version=v2.7.12
bin="$HOME/.cache/rahdar/bin"
[ -x "$bin/influxd" ] && exit 0
command -v influxd >/dev/null 2>&1 && exit 0
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir -p "$bin"
echo "influxd: building $version (some ten minutes)"

go mod download "github.com/influxdata/influxdb/v2@$version"
cp -r "$(go env GOMODCACHE)/github.com/influxdata/influxdb/v2@$version" "$work/influxdb"
chmod -R u+w "$work/influxdb"
cd "$work/influxdb"
go mod download github.com/influxdata/flux
flux=$(go list -m -f '{{.Dir}}' github.com/influxdata/flux)
mkdir "$work/flux"
cp -r "$flux/libflux" "$flux/stdlib" "$work/flux/"  # libflux compiles the standard library that lies beside it
chmod -R u+w "$work/flux"
rm -f "$work/flux/libflux/rust-toolchain.toml"      # any newer compiler will do, if its newer lints only warn
(
  cd "$work/flux/libflux"
  RUSTFLAGS="--cap-lints warn" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=2 CARGO_TARGET_DIR="$work/target" \
    cargo build --quiet --release --locked -p flux 2>"$work/cargo.log" || { tail -30 "$work/cargo.log" >&2; exit 1; }
)
mkdir "$work/lib"
cp "$work/target/release/libflux.a" "$work/lib/"    # alone, or the linker would take the shared one beside it
cat >"$work/flux.pc" <<PC
Name: flux
Version: 0.196.1
Description: the Flux compiler
Cflags: -I$work/flux/libflux/include
Libs: -L$work/lib -l:libflux.a -ldl -lm -lpthread
PC
PKG_CONFIG_PATH="$work" CGO_ENABLED=1 go build -tags 'sqlite_foreign_keys,sqlite_json' \
  -ldflags "-s -w -X main.version=$version" -o "$bin/influxd.new" ./cmd/influxd
mv "$bin/influxd.new" "$bin/influxd"
"$bin/influxd" version
