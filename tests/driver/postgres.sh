#!/bin/bash
# The PostgreSQL driver against a server of its own: postgres.sh TEST-PROGRAM
set -u
. "$(dirname "$0")/../lib/postgres.sh"

dir=$(mktemp -d) || exit 1
chmod 755 "$dir"
trap 'pg_stop "$dir/server"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

why=$(pg_start "$dir/server" 2>&1)
case $? in
0) pg_start_again=0 ;;
77)
    echo "1..0 # SKIP $why"
    exit 77
    ;;
*)
    echo "Bail out! $why"
    exit 1
    ;;
esac
"$1"
