#!/usr/bin/env bash
# NATS JetStream does what `wattle bench stream` does, on the same machine: see nats/README.md. Installs Debian's nats-server if there is none.
# What is given is passed on; `tests/peers/nats.sh --help` lists it. NATS_SERVER names another program.
set -euo pipefail
cd "$(dirname "$0")/nats"

server=${NATS_SERVER:-nats-server}
# Debian keeps it where only root looks.
[ -x "/usr/sbin/$server" ] && server="/usr/sbin/$server"
if ! command -v "$server" >/dev/null; then
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
  # RUNLEVEL keeps the package from starting a server of its own.
  if ! $sudo apt-get update -q >&2 || ! $sudo env RUNLEVEL=1 apt-get install -y -q --no-install-recommends nats-server >&2; then
    echo "tests/peers/nats.sh: nats-server is missing and cannot be installed here: NATS was not measured" >&2
    exit 1
  fi
  [ -x /usr/sbin/nats-server ] && server=/usr/sbin/nats-server
fi
cargo build --locked --release --quiet
# Nothing stands between a signal and the program, which stops what it started.
exec target/release/wattle-peer-nats --server "$server" "$@"
