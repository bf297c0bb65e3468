#!/bin/bash
# Runs a test program against a PostgreSQL server of its own: postgres.sh PROGRAM
set -u
. "$(dirname "$0")/../lib/postgres.sh"

dir=$(mktemp -d) || exit 1
chmod 755 "$dir"
trap 'pg_stop "$dir/server"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

pg_start "$dir/server" > "$dir/why" 2>&1
case $? in
0) ;;
77)
    echo "1..0 # SKIP $(cat "$dir/why")"
    exit 77
    ;;
*)
    echo "Bail out! $(cat "$dir/why")"
    exit 1
    ;;
esac
# shellcheck disable=SC2086
${RETLFS_WRAPPER:-} "$1"
