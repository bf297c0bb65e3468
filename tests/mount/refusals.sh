#!/bin/bash
# Every edit that must be refused, through the tools people use: exit code, words of the errno, the
# old text in force, the refused text in NAME.rej, and `error` with place, line and caret.
. "$(dirname "$0")/../lib/mount.sh"

cat > "$DATA/people.csv" <<'END'
id,email,name
1,a@x.org,Ann
2,b@x.org,Bob
END

mount_start || exit 1
cat > "$DATA/config.json" <<END
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people", "create": true },
  "identifier":  ["id"]
}
END
printf 'column,field\nid,id\nemail,email_id\n' > "$DATA/mappings.csv"
echo upsert > "$DATA/mode"
echo "{\"driver\": \"csv\", \"path\": \"$DATA/people.csv\"}" > "$DATA/files.json"
echo "{\"driver\": \"sqlite\", \"path\": \"$DATA/lite.db\"}" > "$DATA/lite.json"

expect_ok 'connections by cp' cp "$DATA/files.json" "$DATA/lite.json" "$MNT/connections/"
expect_ok 'mkdir makes a sync' mkdir "$MNT/syncs/p"
expect_ok 'files by cp' cp "$DATA/config.json" "$DATA/mappings.csv" "$DATA/mode" "$MNT/syncs/p/"
cd "$MNT/syncs/p" || exit 1

# ---- the writers: each is called with FILE NEW, NEW being a file outside that holds the text ----

writers='bash_echo dash_echo bin_echo cat_into tee_into cp_over cp_p mv_from_outside
install_over cp_mv_within sed_i dd_into dd_small python_with python_replace perl_i
rsync_default rsync_inplace tar_x vim_default ed_w git_apply'

bash_echo() { bash -c 'echo "$1" > "$2"' bash "$(cat "$2")" "$1"; }
dash_echo() { dash -c 'printf "%s\n" "$1" > "$2"' dash "$(cat "$2")" "$1"; }
bin_echo() { bash -c '/bin/echo "$1" > "$2"' bash "$(cat "$2")" "$1"; }
cat_into() { cat "$2" > "$1"; }
tee_into() { tee "$1" < "$2" > /dev/null; }
cp_over() { cp "$2" "$1"; }
cp_p() { cp -p "$2" "$1"; }
mv_from_outside() { cp "$2" "$TMP/moved" && mv "$TMP/moved" "$1"; }
install_over() { install -m 644 "$2" "$1"; }
cp_mv_within() { cp "$2" "draft.tmp" && mv "draft.tmp" "$1"; local code=$?; rm -f draft.tmp; return $code; }
sed_i() { sed -i -e "1{r $2" -e 'd;}' -e d "$1"; }
dd_into() { dd if="$2" of="$1" status=none; }
dd_small() { dd if="$2" of="$1" bs=7 status=none; }
python_with() { python3 -c 'import sys
with open(sys.argv[1], "w") as f: f.write(open(sys.argv[2]).read())' "$1" "$2"; }
python_replace() { python3 -c 'import os, sys
with open(sys.argv[1] + ".tmp", "w") as f: f.write(open(sys.argv[2]).read())
try: os.replace(sys.argv[1] + ".tmp", sys.argv[1])
except OSError: os.unlink(sys.argv[1] + ".tmp"); raise' "$1" "$2"; }
perl_i() { NEW=$2 perl -i -ne 'BEGIN { open F, "<", $ENV{NEW}; $t = join "", <F> } print $t if $. == 1' "$1"; }
rsync_default() { rsync --ignore-times "$2" "$1"; }
rsync_inplace() { rsync --inplace --ignore-times "$2" "$1"; }
tar_x() { mkdir -p "$TMP/tar" && cp "$2" "$TMP/tar/$1" && tar -C "$TMP/tar" -cf - "$1" | tar xf -; }
vim_default() { vim -es -u NONE -N -c "silent %!cat $2" -c 'w' -c 'q' "$1" < /dev/null > "$TMP/vim.out" 2>&1
    local code=$?; [ $code -ne 0 ] && cat "$TMP/vim.out" && echo 'vim: E514'; rm -f ".$1.swp" "$1~"; return $code; }
ed_w() { printf '1,$d\n0r %s\nw\nq\n' "$2" | ed -s "$1"; }
git_apply() { mkdir -p "$TMP/git" && (cd "$TMP/git" && git init -q . 2>/dev/null && cp "$2" "$1" && git add "$1" &&
    git -c user.name=t -c user.email=t@t commit -q --allow-empty -m t) >/dev/null &&
    git --git-dir="$TMP/git/.git" --work-tree=. checkout -f HEAD -- "$1"; }

tool_of() {
    case $1 in
    ed_w) echo ed ;; vim_default) echo vim ;; rsync_*) echo rsync ;; git_apply) echo git ;; perl_i) echo perl ;;
    dash_echo) echo dash ;; *) echo sh ;;
    esac
}

words_of() {
    case $1 in
    dash_echo) echo 'I/O error|Invalid argument' ;;
    cp_mv_within | python_replace | sed_i | rsync_default) echo 'Bad message' ;;
    perl_i) echo 'Bad message|rename' ;;
    git_apply) echo 'unable to write file|Invalid argument' ;;
    vim_default) echo 'E514|E512|E667' ;;
    *) echo 'Invalid argument' ;;
    esac
}

# kept WRITER REJ NEW: the refused text is there; of a writer that writes piece by piece, as much
# of it as came before the refusal.
kept() {
    case $1 in
    bash_echo | dd_small) [ -s "$2" ] && cmp -s -n "$(stat -c %s "$2")" "$2" "$3" ;;
    *) cmp -s "$2" "$3" ;;
    esac
}

# refused FILE NAME ERROR-REGEX [except WRITERS]: the text on stdin is bad, whoever writes it.
refused() {
    local file=$1 name=$2 words=$3 except=" ${4:-} "
    local new=$TMP/new.$file w said code why
    cat > "$new"
    for w in $writers; do
        case $except in *" $w "*) continue ;; esac
        command -v "$(tool_of "$w")" > /dev/null || continue
        rm -f "$file.rej"
        said=$("$w" "$file" "$new" 2>&1)
        code=$?
        why=
        [ $code -ne 0 ] || why="exit 0"
        grep -qE "$(words_of "$w")" <<<"$said" || why="$why, said: $said"
        [[ $said != *subdirectory* ]] || why="$why, said: $said"
        cmp -s "$file" "$DATA/$file" || why="$why, the old text is gone"
        kept "$w" "$file.rej" "$new" || why="$why, $file.rej: $(head -c 300 "$file.rej" 2>&1)"
        grep -qE "^$file:[0-9]+(:[0-9]+)?: error: .*$words" error || why="$why, error: $(cat error)"
        case $words in *'(file)'*) ;; *) grep -q '^ *\^' error || why="$why, no caret: $(cat error)" ;; esac
        [ -z "$why" ]
        ok $? "$file: $name by $w${why:+: $why}"
    done
    # A run is refused as long as the refused text lies there, and possible again without it.
    [ -e "$file.rej" ] || cp "$new" "$file" 2> /dev/null
    expect_errno "$file: $name: no run beside $file.rej" 'Exec format error' bash -c 'echo run > trigger'
    expect_text "$file: $name: status names it" status "$file"
    expect_ok "$file: $name: rm $file.rej" rm "$file.rej"
    expect_ok "$file: $name: runs again" bash -c 'echo run > trigger'
}

# ---- mode ----

refused mode 'a word that is no mode' 'bogus' <<<'bogus'
expect_text 'the modes are listed' "$MNT/error_log" 'upsert.*mirror'
refused mode 'an audience mode for a table' 'add' <<<'add'
expect_ok 'a mode without newline' bash -c 'printf upsert > mode'
cp "$DATA/mode" mode

# ---- config.json ----

refused config.json 'a missing colon' "expected ':'" <<'END'
{
  "source":      { "connection" "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  ["id"]
}
END
expect_text 'the place is exact' "$MNT/error_log" 'config.json:2:33'
refused config.json 'an unknown key' 'unknown key "identifer"' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifer":  ["id"]
}
END
expect_text 'the known keys are listed' "$MNT/error_log" 'identifier'
refused config.json 'an unknown key within destination' 'objekt' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "objekt": "people" },
  "identifier":  ["id"]
}
END
refused config.json 'a wrong type' 'create' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people", "create": "yes" },
  "identifier":  ["id"]
}
END
refused config.json 'a wrong type for identifier' 'identifier' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  7
}
END
refused config.json 'a bad share' 'max_deletes' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  ["id"],
  "max_deletes": "200%"
}
END
refused config.json 'a bad choice' 'foreign' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  ["id"],
  "foreign":     "maybe"
}
END
refused config.json 'a key twice' 'duplicate key' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  ["id"],
  "identifier":  ["email"]
}
END
refused config.json 'both table and query' 'table|query' <<'END'
{
  "source":      { "connection": "files", "table": "a", "query": "SELECT 1" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  ["id"]
}
END
refused config.json 'something after the end' 'after|end' <<'END'
{
  "source":      { "connection": "files" },
  "destination": { "connection": "lite", "object": "people" },
  "identifier":  ["id"]
}
[]
END

# Truncated JSON: shells and git do not see errors of close; the text is kept and blocks the run.
printf '{\n  "source": { "connection": "files" },\n' > "$TMP/cut"
for w in cat_into tee_into cp_over cp_p mv_from_outside install_over cp_mv_within sed_i dd_into python_with \
    rsync_default rsync_inplace tar_x; do
    command -v "$(tool_of $w)" > /dev/null || continue
    rm -f config.json.rej
    expect_errno "truncated config.json by $w" "$(words_of $w)" $w config.json "$TMP/cut"
    expect_file "truncated by $w: old text in force" config.json "$DATA/config.json"
    expect_file "truncated by $w: kept" config.json.rej "$TMP/cut"
done
for shell in bash dash; do
    rm -f config.json.rej
    $shell -c "echo '{\"source\":' > config.json" 2> /dev/null
    expect_file "truncated by $shell's echo: old text in force" config.json "$DATA/config.json"
    expect_text "truncated by $shell's echo: kept" config.json.rej '"source"'
    expect_errno "truncated by $shell's echo: no run" 'Exec format error|I/O error' $shell -c 'echo run > trigger'
done
expect_ok 'a good edit takes the .rej away' cp "$DATA/config.json" config.json
check_that 'config.json.rej is gone' [ ! -e config.json.rej ]
expect_ok 'it runs' bash -c 'echo run > trigger'
check_that 'error is empty' [ ! -s error ]

# ---- mappings.csv ----

refused mappings.csv 'no header' 'header|column,field' <<<'id,id'
refused mappings.csv 'a field twice' 'email_id' <<'END'
column,field
id,id
email,email_id
name,email_id
END
refused mappings.csv 'neither column nor expression' 'column|expression' <<'END'
column,field,expression
id,id,
,name,
END
refused mappings.csv 'both column and expression' 'expression' <<'END'
column,field,expression
id,id,
name,name,upper(name)
END
refused mappings.csv 'no field' 'field' <<'END'
column,field
id,id
name,
END
refused mappings.csv 'a broken expression' 'syntax|incomplete' <<'END'
column,field,expression
id,id,
,name,upper(name
END
refused mappings.csv 'a subquery' 'subquer|SELECT|not allowed|not authorized|prohibited' <<'END'
column,field,expression
id,id,
,name,(SELECT 1)
END
refused mappings.csv 'a column too many' 'more cells' <<'END'
column,field
id,id
email,email_id,upper(email),more
END
expect_errno 'a bad line appended by echo' 'Invalid argument' bash -c 'echo name,email_id >> mappings.csv'
expect_file 'appending refused: the old text is in force' mappings.csv "$DATA/mappings.csv"
rm -f mappings.csv.rej
expect_ok 'a good line appended by echo' bash -c 'echo name,name >> mappings.csv'
expect_text 'it is there' mappings.csv '^name,name$'
cp "$DATA/mappings.csv" mappings.csv

# ---- connections ----

cd "$MNT/connections" || exit 1
conn() {
    local name=$1 words=$2 new=$TMP/new.json
    cat > "$new"
    for w in bash_echo dash_echo cp_over mv_from_outside cp_mv_within tee_into; do
        expect_errno "connection: $name by $w" "$(words_of $w)" $w lite.json "$new"
        expect_file "connection: $name by $w: old text in force" lite.json "$DATA/lite.json"
    done
    expect_text "connection: $name: error_log" "$MNT/error_log" "$words"
    check_that "connection: $name: kept" [ -s lite.json.rej ]
    rm -f lite.json.rej
}
conn 'a driver that does not exist' 'driver' <<<'{"driver": "sqllite", "path": "/x"}'
conn 'an unknown key' 'pth' <<<"{\"driver\": \"sqlite\", \"pth\": \"$DATA/lite.db\"}"
conn 'a plain password' 'password' <<<'{"driver": "postgres", "dsn": "host=x", "password": "hunter2"}'
conn 'a password in the dsn' 'password' <<<'{"driver": "postgres", "dsn": "host=x password=hunter2"}'
conn 'a password in the URL' 'password' <<<'{"driver": "postgres", "dsn": "postgresql://u:hunter2@x/db"}'
check_that 'the password is nowhere in the log' bash -c "! grep -r hunter2 '$MNT/error_log' '$MNT/status' '$TMP/stderr'"
cd "$MNT/syncs/p" || exit 1

# ---- limits ----

head -c 2000000 /dev/zero | tr '\0' ' ' > "$TMP/large"
expect_errno 'a config.json of 2 MB by cp' 'File too large' cp "$TMP/large" config.json
expect_file 'too large: the old text is in force' config.json "$DATA/config.json"
rm -f config.json.rej
{ echo column,field; echo id,id; seq -f 'name,field_%g' 1 90000; } > "$TMP/wide.csv"
expect_ok 'mappings.csv of over 1 MB by cp' cp "$TMP/wide.csv" mappings.csv
expect_file 'it is the same' mappings.csv "$TMP/wide.csv"
echo name,field_1 >> "$TMP/wide.csv"
expect_errno 'the fault in its second MiB' 'Invalid argument' cp "$TMP/wide.csv" mappings.csv
expect_text 'its line is told' error '^mappings.csv:90003'
cp "$DATA/mappings.csv" mappings.csv
expect_errno 'a bad name for a sync' 'Invalid argument' mkdir "$MNT/syncs/bad name"
expect_errno 'no directory in the root' 'not permitted' mkdir "$MNT/mine"
expect_errno 'no file in the root' 'not permitted|denied' bash -c "echo > '$MNT/mine'"

# ---- the engine's files ----

for f in status status.json error log modes pending/summary; do
    expect_errno "write to $f" 'Permission denied' bash -c "echo x > '$f'"
    expect_errno "append to $f" 'Permission denied' bash -c "echo x >> '$f'"
    expect_errno "cp over $f" 'Permission denied' cp "$DATA/mode" "$f"
    expect_errno "rm $f" 'not permitted' rm -f "$f"
    expect_errno "mv $f" 'not permitted' mv -T "$f" other
done
for f in trigger runs pending; do
    expect_errno "rename $f" 'not permitted' mv -T "$f" other
done
expect_errno 'rm trigger' 'not permitted' rm -f trigger
for f in README status; do
    expect_errno "write to /$f" 'Permission denied' bash -c "echo x > '$MNT/$f'"
done
expect_errno 'write to a driver README' 'Permission denied' bash -c "echo x > '$MNT/drivers/csv/README'"
expect_errno 'hard link' 'not permitted' ln mode mode2
expect_errno 'rmdir of a sync with files' 'not empty' rmdir "$MNT/syncs/p"

# ---- trigger ----

expect_errno 'an unknown verb' 'Invalid argument' bash -c 'echo rnu > trigger'
expect_text 'the verb is named' error 'rnu'
expect_text 'the verbs are listed' error 'run.*plan|plan.*run'
check_that 'reading trigger gives comments only' bash -c '! grep -qv "^#" trigger'
n=$(readlink runs/last)
expect_ok 'cp over trigger' cp trigger "$TMP/t"
expect_ok 'a comment is no verb' cp "$TMP/t" trigger
expect_ok 'touch starts nothing' touch trigger
check_that 'no run was made' [ "$(readlink runs/last)" = "$n" ]
mkdir "$MNT/syncs/draft"
expect_errno 'a draft does not run' 'Exec format error' bash -c "echo run > '$MNT/syncs/draft/trigger'"
expect_text 'its status lists what is missing' "$MNT/syncs/draft/status" 'config.json'
expect_text 'and the mappings' "$MNT/syncs/draft/status" 'mappings.csv'
expect_text 'and the mode' "$MNT/syncs/draft/status" 'mode'
expect_ok 'rmdir of a draft' rmdir "$MNT/syncs/draft"

# ---- what depends on other files is not refused but makes the sync not ready ----

sed 's/"lite"/"nowhere"/' "$DATA/config.json" > "$TMP/elsewhere"
expect_ok 'a connection that does not exist yet' cp "$TMP/elsewhere" config.json
expect_text 'status says so' status 'nowhere'
expect_errno 'and a run does not start' 'Exec format error' bash -c 'echo run > trigger'
cp "$DATA/config.json" config.json
printf 'column,field\nid,id\nnope,nope\n' > mappings.csv
expect_errno 'a column that the model lacks: the run fails' 'write error' bash -c 'echo run > trigger'
expect_text 'and says which' error 'nope'
expect_text 'and which there are' error 'email'
cp "$DATA/mappings.csv" mappings.csv

# ---- edits that overlap ----

exec 5> config.json
head -c 40 "$DATA/config.json" >&5
expect_file 'a reader sees the accepted text during a slow write' config.json "$DATA/config.json"
tail -c +41 "$DATA/config.json" >&5
exec 5>&-
expect_file 'a write in two pieces' config.json "$DATA/config.json"
# shellcheck disable=SC2094
expect_ok 'a group of two writers' bash -c '{ head -1 "$1"; tail -n +2 "$1"; } > config.json' bash "$DATA/config.json"
check_that 'no .rej' [ ! -e config.json.rej ]

# ---- acceptance: the same tools with good texts leave nothing behind ----

sed 's/"people"/"folk"/' "$DATA/config.json" > "$TMP/good.json"
for w in $writers; do
    command -v "$(tool_of "$w")" > /dev/null || continue
    cp "$DATA/config.json" config.json
    expect_ok "good config.json by $w" "$w" config.json "$TMP/good.json"
    expect_file "good by $w: in force" config.json "$TMP/good.json"
    left=$(find . -maxdepth 1 \( -name '*.rej' -o -name '*.tmp' -o -name '*~' -o -name '.*.sw?' -o -name 'sed*' \))
    check_that "good by $w: nothing left behind${left:+: $left}" [ -z "$left" ]
done
cd / || exit 1
finish
