# A throw-away PostgreSQL server: `. tests/lib/postgres.sh`, then
#   pg_start DIR   makes a server below DIR and starts it on a free port of 127.0.0.1 and on a
#                  socket in DIR; exports PGHOST, PGPORT, PGUSER. 77: no server on this machine
#   pg_stop DIR    stops it at once and removes its data
# As root everything runs as the user postgres, because the server refuses to run as root.
# shellcheck shell=bash

pg_bin() {
    local dir
    for dir in /usr/lib/postgresql/15/bin /usr/lib/postgresql/*/bin "$(command -v pg_ctl | xargs -r dirname)"; do
        if [ -n "$dir" ] && [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then
            echo "$dir"
            return
        fi
    done
    return 1
}

# pg_as COMMAND…: as the user who may run a server, away from directories it cannot read.
pg_as() {
    if [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- "$@")
    else
        (cd / && "$@")
    fi
}

pg_start() {
    local dir=$1 bin try
    bin=$(pg_bin) || {
        echo 'no PostgreSQL server is installed (postgresql-15)'
        return 77
    }
    mkdir -p "$dir"
    if [ "$(id -u)" = 0 ]; then
        id postgres > /dev/null 2>&1 || {
            echo 'root cannot run a server and there is no user postgres'
            return 77
        }
        chown postgres: "$dir"
    fi
    pg_as "$bin/initdb" -N -U postgres -A trust -E UTF8 --locale=C.UTF-8 -D "$dir/data" > "$dir.initdb" 2>&1 || {
        cat "$dir.initdb"
        return 1
    }
    rm -f "$dir.initdb"
    for try in 1 2 3 4 5 6 7 8 9 10; do
        PGPORT=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        # Nothing here must survive a power cut, so nothing waits for the disk.
        pg_as "$bin/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/log" -s -o "-p $PGPORT -k $dir
            -c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off -c full_page_writes=off
            -c max_connections=60 -c shared_buffers=128MB -c max_wal_size=2GB -c timezone=UTC" start > /dev/null 2>&1 && break
        [ "$try" -lt 10 ] || {
            pg_as cat "$dir/log"
            return 1
        }
    done
    PGHOST=$dir PGUSER=postgres
    export PGHOST PGPORT PGUSER
}

pg_stop() {
    local bin
    [ -d "$1/data" ] || return 0
    bin=$(pg_bin) || return 0
    pg_as "$bin/pg_ctl" -D "$1/data" -w -m immediate -s stop > /dev/null 2>&1
    rm -rf "${1:?}/data"
}
