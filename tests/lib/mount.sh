# A real mount for shell tests: `. tests/lib/mount.sh`, then
#   mount_start [retlfs options]   daemon in the foreground on $MNT, state in $STATE, files in $DATA
#   mount_stop                     fusermount3 -u, clean end, stderr scanned
#   check NAME / expect_* …        one TAP line each; the test ends with `finish`
# Everything is below $TMP and is removed at exit, also after Ctrl-C.
# shellcheck shell=bash

set -u
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TMP=$(mktemp -d /tmp/retlfs-test.XXXXXX)
chmod 755 "$TMP"
MNT=$TMP/mnt STATE=$TMP/state DATA=$TMP/data
mkdir "$MNT" "$DATA"
DEADLINE=${RETLFS_TEST_DEADLINE:-60}
daemon=
tap_count=0 tap_failed=0
mount_expected='^retlfs: (error|warning): sync='  # runs that fail are logged

skip() {
    echo "skip: $*"
    exit 77
}

retlfs_binary() {
    if [ -n "${RETLFS:-}" ]; then
        echo "$RETLFS"
        return
    fi
    # shellcheck disable=SC2012
    ls -t "$ROOT"/build*/fs/retlfs 2>/dev/null | head -1
}

RETLFS=$(retlfs_binary)
[ -r /dev/fuse ] && [ -w /dev/fuse ] || skip '/dev/fuse is not there for this user'
[ -x "$RETLFS" ] || skip 'no retlfs built: run meson setup build && ninja -C build'

# wait_for WHAT COMMAND…: polls until the command succeeds.
wait_for() {
    local what=$1 end=$((SECONDS + DEADLINE))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "# waited in vain for $what"
            return 1
        fi
        sleep 0.02
    done
}

mount_up() {
    kill -0 "$daemon" 2>/dev/null || return 0
    mountpoint -q "$MNT" && [ -d "$MNT/syncs" ]
}

mount_start() {
    # A session of its own, so that Ctrl-C at a test does not end the daemon before its clean-up.
    setsid "$RETLFS" -f -o "state=$STATE" "$@" "$MNT" 2>"$TMP/stderr" &
    daemon=$!
    wait_for 'the mount' mount_up && kill -0 "$daemon" 2>/dev/null && return 0
    echo "# retlfs did not start:"
    sed 's/^/# /' "$TMP/stderr"
    return 1
}

mount_stop() {
    local code
    [ -n "$daemon" ] || return 0
    wait_for 'fusermount3 -u' fusermount3 -u "$MNT"
    wait "$daemon"
    code=$?
    daemon=
    mount_scan
    check_that "the daemon ended with $code" [ "$code" = 0 ]
}

# Fails for every line on the daemon's stderr that no test expects.
mount_scan() {
    local lines
    lines=$(grep -E 'Sanitizer|runtime error:|Assertion' "$TMP/stderr"
        grep -vE '^retlfs: (info|debug): ' "$TMP/stderr" | grep -iE '\b(error|warning)\b' | grep -vE "$mount_expected")
    check_that 'nothing unexpected on stderr' [ -z "$lines" ]
    if [ -n "$lines" ]; then
        sed 's/^/# /' "$TMP/stderr" | tail -40
    fi
}

cleanup() {
    if [ -n "$daemon" ]; then
        fusermount3 -uz "$MNT" 2>/dev/null
        kill "$daemon" 2>/dev/null
        wait "$daemon" 2>/dev/null
    fi
    fusermount3 -uz "$MNT" 2>/dev/null
    rm -rf --one-file-system "$TMP"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# ---- asserts: one TAP line each ----

# ok STATUS NAME
ok() {
    tap_count=$((tap_count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $tap_count - $2"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_count - $2"
    fi
}

# check_that NAME COMMAND…
check_that() {
    local name=$1
    shift
    "$@"
    ok $? "$name"
}

# expect_errno NAME REGEX COMMAND…: the command must fail and say so in words like REGEX.
expect_errno() {
    local name=$1 words=$2 said code
    shift 2
    said=$("$@" 2>&1)
    code=$?
    if [ $code -eq 0 ]; then
        ok 1 "$name: should have failed"
    elif ! grep -qE "$words" <<<"$said"; then
        ok 1 "$name: failed, but not with \"$words\""
        sed 's/^/#   /' <<<"$said"
    else
        ok 0 "$name"
    fi
}

# expect_ok NAME COMMAND…: exit 0 and nothing said.
expect_ok() {
    local name=$1 said code
    shift
    said=$("$@" 2>&1)
    code=$?
    ok $code "$name"
    [ $code -eq 0 ] || sed 's/^/#   /' <<<"$said"
}

# expect_file NAME FILE EXPECTED-FILE: the same bytes.
expect_file() {
    cmp -s "$2" "$3"
    ok $? "$1"
    cmp -s "$2" "$3" || diff "$3" "$2" 2>&1 | head -20 | sed 's/^/#   /'
}

# expect_text NAME FILE REGEX
expect_text() {
    if grep -qE -- "$3" "$2" 2>/dev/null; then
        ok 0 "$1"
    else
        ok 1 "$1: no \"$3\" in ${2#"$MNT"/}"
        head -20 "$2" 2>&1 | sed 's/^/#   /'
    fi
}

finish() {
    mount_stop
    echo "1..$tap_count"
    [ "$tap_failed" -eq 0 ]
    exit
}
