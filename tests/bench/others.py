"""What tests/bench/peers sets beside the engine: other ways to make a table in one PostgreSQL
database follow a table in another. Each is installed by itself, below build-peers/, and run as its
own documentation asks for speed; `how` says what that came to."""

import glob
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import python_env
from cases import COLUMNS, TABLE, shell
from python_env import Missing
from retlfs import ROOT, Mount, command

KEPT = ROOT / "build-peers"
COPIED, REST = ", ".join(COLUMNS), ", ".join(COLUMNS[1:])


class Peer:
    """One way to do the job, with a destination table of its own."""

    deletes = True
    version = ""

    def __init__(self, pg, folder):
        self.pg, self.folder = pg, Path(folder) / self.name.replace(" ", "-")
        self.table = "target_" + "".join(c if c.isalnum() else "_" for c in self.name)

    def install(self):
        pass

    def make(self, table, key=", PRIMARY KEY (id)"):
        self.pg.sql("DROP TABLE IF EXISTS %s" % table)
        self.pg.sql(TABLE % (table, key))

    def fresh(self):
        """An empty destination with a primary key, and nothing known of earlier runs."""
        self.make(self.table)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def close(self):
        pass

    def program(self, *args, **env):
        """Runs the whole command in the peer's folder, with no one's settings but its own."""
        command(*map(str, args), cwd=self.folder, env={**os.environ, "HOME": str(self.folder), **env})

    @property
    def url(self):
        """Over TCP: not every driver takes a socket's directory in an address."""
        return "postgresql://%s:none@127.0.0.1:%s/%s" % (self.pg.user, self.pg.port, self.pg.database)


# ---- the engine itself, through its mount ----


class Retlfs(Peer):
    name, how = "retlfs", "mode mirror; echo run > trigger"
    options = {}

    def install(self):
        self.version = command(os.environ["RETLFS"], "--version").stdout.split()[1]
        self.mount = Mount()
        self.mount.connect("pg", {**self.pg.connection, **self.options})
        self.sync = self.mount.sync("bench")

    def fresh(self):
        super().fresh()
        self.sync.define(config={"source": {"connection": "pg", "table": "model"}, "identifier": "id",
                                 "destination": {"connection": "pg", "object": self.table}},
                         mappings=[(c, c) for c in COLUMNS], mode="mirror")
        self.sync.run("reset")

    def run(self):
        shell('echo run > "$1"', self.sync.path / "trigger")

    def close(self):
        self.mount.close()


class RetlfsTwo(Retlfs):
    name, how = "retlfs with two readers", "the same with \"readers\": 2 in the connection"
    options = {"readers": 2}


# ---- by hand ----


class ByHand(Peer):
    """As binary COPY ends with a trailer, a reader that dies half-way is an error here, not the
    end of the rows; the staging table is unlogged, and nothing is written to rows that do not differ."""

    name = "by hand"
    how = "psql binary COPY into an unlogged table, INSERT … ON CONFLICT DO UPDATE WHERE it differs, DELETE, one transaction"
    changed = "SELECT %s FROM staging" % COPIED
    where = "WHERE (%s) IS DISTINCT FROM (%s)"

    def run(self):
        of = lambda table: ", ".join("%s.%s" % (table, c) for c in COLUMNS[1:])
        upsert = "INSERT INTO %s AS t (%s) %s ON CONFLICT (id) DO UPDATE SET (%s) = ROW (%s) %s" % (
            self.table, COPIED, self.changed.replace("TARGET", self.table), REST, of("excluded"),
            self.where and self.where % (of("t"), of("excluded")))
        gone = "DELETE FROM %s t WHERE NOT EXISTS (SELECT FROM staging s WHERE s.id = t.id)" % self.table
        shell('psql -Xqd "$1" -c "COPY (SELECT %s FROM model) TO STDOUT (FORMAT binary)" |'
              ' psql -Xqd "$1" -v ON_ERROR_STOP=1 -c "SET work_mem = \'256MB\'" -c BEGIN'
              ' -c "CREATE UNLOGGED TABLE staging (LIKE $2)" -c "COPY staging FROM STDIN (FORMAT binary)"'
              ' -c "$3" -c "$4" -c "DROP TABLE staging" -c COMMIT' % COPIED, self.pg.dsn, self.table, upsert, gone)

    def install(self):
        self.version = command("psql", "--version").stdout.split()[2]


class ByHandJoined(ByHand):
    """ON CONFLICT locks each row that is there already, and so writes to its page: a join first."""

    name = "by hand after a join"
    how = "the same, only rows that a join with the destination finds to differ being upserted"
    changed = "SELECT %s FROM staging s LEFT JOIN TARGET t USING (id) WHERE t.id IS NULL OR (%s) IS DISTINCT FROM (%s)" % (
        "id, " + ", ".join("s." + c for c in COLUMNS[1:]), ", ".join("s." + c for c in COLUMNS[1:]),
        ", ".join("t." + c for c in COLUMNS[1:]))
    where = ""


# ---- programs in Python ----


class Python(Peer):
    """Installed by pip into a virtual environment of its own."""

    def install(self):
        self.python = python_env.install(KEPT / self.name, *self.packages) / "python"
        self.version = self.packages[0].rpartition("==")[2]


class Drt(Python):
    name = "drt"
    packages = ["drt-core[postgres]==1.2.1"]
    how = ("mode mirror by snapshot diff (incremental_strategy and mirror.strategy: diff), no rate limit,"
           " batch_size and fetch_size 10000")

    def fresh(self):
        super().fresh()
        self.pg.sql("DROP SCHEMA IF EXISTS _drt CASCADE")
        place = {"type": "postgres", "host": self.pg.host, "port": int(self.pg.port), "dbname": self.pg.database,
                 "user": self.pg.user, "password": "none"}
        # JSON is YAML too.
        self.write(".drt/profiles.yml", {"bench": {**place, "fetch_size": 10000}})
        self.write("drt_project.yml", {"name": "bench", "version": "0.1", "profile": "bench"})
        self.write("syncs/bench.yml", {
            "name": "bench", "model": "SELECT %s FROM model" % COPIED,
            "destination": {**place, "table": "public." + self.table, "upsert_key": ["id"]},
            "sync": {"mode": "mirror", "incremental_strategy": "diff", "mirror": {"strategy": "diff"},
                     "batch_size": 10000, "rate_limit": {"requests_per_second": 0}}})

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")

    def run(self):
        self.program(self.python.parent / "drt", "run", DO_NOT_TRACK="1")


class Dlt(Python):
    """Its staging table is made beforehand too, with the destination's types: left to itself it
    takes a uuid for text, and then cannot merge one into the other."""

    name = "dlt"
    deletes = False
    packages = ["dlt[postgres,sql-database]==1.31.0", "connectorx==0.4.6", "pyarrow==26.0.1"]
    how = ("sql_table by connectorx, csv files loaded by COPY; append at first, then merge (upsert) of what its"
           " cursor column says is newer")
    pipeline = """
import sys
import dlt
from dlt.sources.sql_database import sql_table

url, table, place = sys.argv[1:]
pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(url), dataset_name="dlt", pipelines_dir=place)
rows = sql_table(
    url.replace("postgresql:", "postgresql+psycopg2:"), "model", "public", incremental=dlt.sources.incremental("seen"),
    backend="connectorx", backend_kwargs={"return_type": "arrow_stream"}, primary_key="id",
    write_disposition="append" if pipeline.first_run else {"disposition": "merge", "strategy": "upsert"})
pipeline.run(rows, table_name=table, loader_file_format="csv").raise_on_failed_jobs()
"""

    def fresh(self):
        super().fresh()
        self.pg.sql("DROP TABLE " + self.table)
        self.table = self.table.rpartition(".")[2]
        for schema, key in ("dlt_staging", ""), ("dlt", ", PRIMARY KEY (id)"):
            self.pg.sql("DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s" % (schema, schema))
            self.make(schema + "." + self.table, key)
        self.table = "dlt." + self.table
        (self.folder / "pipeline.py").write_text(self.pipeline)

    def run(self):
        self.program(self.python, "pipeline.py", self.url, self.table.rpartition(".")[2], self.folder / "state",
                     RUNTIME__DLTHUB_TELEMETRY="false")


# ---- pg_comparator ----


class Comparator(Peer):
    """Unpacked from its Debian packages, not installed: its functions are made from the files."""

    name = "pg_comparator"
    packages = "postgresql-comparator", "libdbd-pg-perl", "libdbi-perl"
    how = "--synchronize --use-key --max-ratio=2, checksums in C; --pg-copy of 2.3.2 ends with an error of its own"

    def install(self):
        place = KEPT / self.name
        major = self.pg.value("SHOW server_version_num")[:-4]
        if not (place / "usr").exists():
            place.mkdir(parents=True, exist_ok=True)
            try:
                command("apt-get", "download", *self.packages, cwd=place)
                for package in place.glob("*.deb"):
                    command("dpkg-deb", "-x", str(package), str(place))
            except (AssertionError, OSError) as e:
                shutil.rmtree(place)
                raise Missing("apt-get: " + str(e).strip().splitlines()[-1]) from e
        self.binary = place / "usr/bin/pg_comparator"
        library = place / "usr/lib/postgresql" / major / "lib/pgcmp.so"
        if not library.exists() or not self.pg.own:
            raise Missing("its functions are not for PostgreSQL %s, or for a server of someone else's" % major)
        modules = glob.glob(str(place / "usr/lib/*/perl5/*")) + [str(place / "usr/share/perl5")]
        self.perl = {"PERL5LIB": ":".join(modules)}
        self.version = command("perl", str(self.binary), "--version", env={**os.environ, **self.perl}).stdout.split()[3]
        shutil.copy(library, self.pg.own)  # where the server may read it
        made = next(place.glob("usr/share/postgresql/%s/extension/pgcmp--*.sql" % major)).read_text()
        lines = [line for line in made.splitlines() if not line.startswith("\\")]
        self.pg.sql("\n".join(lines).replace("MODULE_PATHNAME", self.pg.own + "/pgcmp.so"))

    def run(self):
        place = "pgsql://%s@127.0.0.1:%s/%s/" % (self.pg.user, self.pg.port, self.pg.database)
        self.program("perl", self.binary, "--synchronize", "--do-it", "--no-report", "--use-key", "--max-ratio=2",
                     place + "model?id:" + REST.replace(" ", ""), place + self.table, **self.perl)


ALL = [Retlfs, RetlfsTwo, ByHand, ByHandJoined, Drt, Dlt, Comparator]
