#!/usr/bin/env bash
# The tests that need a browser. Installs Debian's chromium and its driver if they are missing, and says so if it cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
  if ! $sudo apt-get update -q || ! $sudo apt-get install -y -q --no-install-recommends chromium chromium-driver; then
    echo "tests/browser.sh: chromium and chromium-driver are missing and cannot be installed here: the tests with a browser did not run" >&2
    exit 1
  fi
fi
cargo test --locked --profile sim -p wattle-tests --test explain -- --ignored --nocapture --test-threads 1
