# shellcheck shell=bash
# Sourced by the tools: runs the Python program of the same name in tools/lib. A fresh Debian has no
# Python, so that one package is installed from here.

run_python() {
  local program="$1"
  shift
  if [[ ! -x /usr/bin/python3 ]]; then
    if ((EUID != 0)); then
      echo "$0: python3 is missing; root has to run this first: apt-get install python3" >&2
      exit 1
    fi
    echo "installing python3 ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update && apt-get -qq install --yes --no-install-recommends python3 >/dev/null
  fi
  exec /usr/bin/python3 -B "$program" "$@"
}
