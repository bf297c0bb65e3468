"""How people's tools bring a new text into a file: one table, used on checked files, where the
text may be refused, and on plain ones, where it may not.

A writer is a line of bash. It runs in the file's directory with $f the file, $new a file outside
that holds the text, and $tmp a scratch directory outside.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

EINVAL = r"Invalid argument"
GIT = "GIT_DIR=$tmp/repo GIT_WORK_TREE=. git -c user.name=t -c user.email=t@t "
# The accepted text is what is committed and checked out, the new one what comes next.
GIT_READY = (
    "git init -q --bare $tmp/repo; %(g)s add $f; %(g)s commit -qm old; old=$(%(g)s rev-parse HEAD);"
    "blob=$(%(g)s hash-object -w $new); %(g)s update-index --cacheinfo 100644,$blob,$f;"
    "%(g)s commit -qm new; new_commit=$(%(g)s rev-parse HEAD); %(g)s reset -q --soft $old; %(g)s reset -q;"
    % {"g": GIT})


@dataclass(frozen=True)
class Writer:
    name: str
    line: str
    says: str = EINVAL  # what a person sees of a refusal
    needs: tuple = ()
    # "close": close(2) tells of a text that was cut short; "silent": nobody looks at that
    # error, so the text is kept, refused, and blocks the run.
    cut: str = "close"
    whole: bool = True  # the refused text is kept whole, also if it is written in pieces
    plain: bool = True  # makes sense for a file of any kind

    def missing(self):
        return [tool for tool in self.needs if not shutil.which(tool)]


def python(code):
    return "python3 - $f $new <<'END'\nimport os, sys\nf = sys.argv[1]\nt = open(sys.argv[2]).read()\n%s\nEND" % code


WRITERS = [
    Writer("bash echo >", 'bash -c \'echo "$(cat $new)" > $f\'', cut="silent", whole=False),
    Writer("bash printf >", 'bash -c \'printf "%s\\n" "$(cat $new)" > $f\'', cut="silent", whole=False),
    Writer("dash echo >", 'dash -c \'printf "%s\\n" "$(cat $new)" > $f\'', says="I/O error|Invalid argument",
           needs=("dash",), cut="silent"),
    Writer("/bin/echo >", '/bin/echo "$(cat $new)" > $f'),
    Writer("cat >", "cat $new > $f"),
    Writer("cat < >", "cat < $new > $f"),
    Writer("tee", "tee $f < $new > $tmp/tee"),
    Writer("printf | tee", 'printf "%s\\n" "$(cat $new)" | tee $f > $tmp/tee'),
    Writer("group in two pieces", "{ head -1 $new; tail -n +2 $new; } > $f", cut="silent", whole=False),
    Writer("group with a pause", '(printf "%s\\n" "$(head -1 $new)"; sleep 0.01; tail -n +2 $new) > $f',
           cut="silent", whole=False),
    Writer("awk >", "awk 1 $new > $f"),
    Writer("cp", "cp $new $f"),
    Writer("cp -p", "cp -p $new $f"),
    Writer("cp -a", "cp -a $new $f"),
    Writer("cp --reflink=auto", "cp --reflink=auto $new $f"),
    Writer("cp --remove-destination", "cp --remove-destination $new $f"),
    Writer("cp within, then mv", "cp $new $f.new && { mv $f.new $f || { rm $f.new; exit 1; }; }", says="Bad message"),
    Writer("mv from outside", "cp $new $tmp/moved && mv $tmp/moved $f"),
    Writer("install -m", "install -m 640 $new $f"),
    Writer("sed -i", "sed -i -e '1{r '$new -e 'd;}' -e d $f", says="Bad message", needs=("sed",)),
    Writer("perl -i", 'NEW=$new perl -i -ne \'BEGIN { open F, "<", $ENV{NEW}; $t = join "", <F> }'
           ' print $t if $. == 1\' $f', says="Bad message|rename", needs=("perl",)),
    Writer("ed", "printf '1,$d\\n0r %s\\nw\\nq\\n' $new | ed -s $f", needs=("ed",)),
    Writer("sponge", "cat $new | sponge $f", says="Invalid argument|error", needs=("sponge",)),
    Writer("tmp && mv", "cat $new > $f.tmp && { mv $f.tmp $f || { rm $f.tmp; exit 1; }; }", says="Bad message"),
    Writer("rsync -a", "rsync -a -I $new $f", says=r"Bad message \(74\)", needs=("rsync",)),
    Writer("rsync --inplace", "rsync -a -I --inplace $new $f", needs=("rsync",)),
    Writer("rsync --temp-dir", "rsync -a -I --temp-dir=$tmp $new $f", needs=("rsync",)),
    Writer("rsync --delay-updates", "rsync -a -I --delay-updates $new $f; c=$?; rm -rf .~tmp~; exit $c",
           says="Bad message", needs=("rsync",)),
    Writer("rsync from a directory", "mkdir $tmp/d; cp $new $tmp/d/$f; rsync -a -I $tmp/d/ ./",
           says=r"Bad message \(74\)", needs=("rsync",)),
    Writer("patch", "diff -u --label $f --label $f $f $new > $tmp/p; patch -s --no-backup-if-mismatch -i $tmp/p $f;"
           " c=$?; rm -f $f.orig; exit $c", says="Bad message", needs=("patch",)),
    Writer("tar x", "mkdir $tmp/d; cp $new $tmp/d/$f; tar -C $tmp/d -cf - $f | tar xf -"),
    Writer("tar x --overwrite", "mkdir $tmp/d; cp $new $tmp/d/$f; tar -C $tmp/d -cf - $f | tar xf - --overwrite"),
    Writer("unzip -o", "mkdir $tmp/d; cp $new $tmp/d/$f; (cd $tmp/d && zip -q a.zip $f); unzip -qo $tmp/d/a.zip",
           says="write error|error|cannot", needs=("zip", "unzip"), cut="unzip"),
    Writer("dd", "dd if=$new of=$f status=none"),
    Writer("dd bs=7", "dd if=$new of=$f bs=7 status=none", whole=False),
    Writer("dd conv=fsync", "dd if=$new of=$f bs=64k conv=fsync status=none"),
    Writer("sort -o", "sort -s -k 1,1.0 -o $f $new 2> $tmp/e || { cat $tmp/e >&2; exit 1; }", cut="skip",
           plain=False, says=EINVAL),
    Writer("split by bash", "SHELL=$(which bash) split -b 1M -a 1 --filter='cat > $f' $new"),
    # dash opens the file and lets a child write it, so nobody hears of a text cut short.
    Writer("split by dash", "SHELL=$(which dash) split -b 1M -a 1 --filter='cat > $f' $new", cut="silent",
           needs=("dash",)),
    Writer("curl -o", "curl -s -S -o $f file://$new || { echo \"curl: $?\" >&2; exit 1; }",
           says="curl: 23|Failed", needs=("curl",)),
    Writer("node", "node -e 'const fs = require(\"fs\"); fs.writeFileSync(process.argv[1],"
           " fs.readFileSync(process.argv[2]))' $f $new", says="EINVAL", needs=("node",)),
    Writer("python with open", python('with open(f, "w") as out:\n    out.write(t)'), says=r"\[Errno 22\]"),
    Writer("python r+", python('with open(f, "r+") as out:\n    out.write(t)\n    out.truncate()'), says=r"\[Errno 22\]"),
    Writer("python os.replace", python(
        'with open(f + ".tmp", "w") as out:\n    out.write(t)\n'
        'try:\n    os.replace(f + ".tmp", f)\nexcept OSError:\n    os.unlink(f + ".tmp")\n    raise'),
        says="Bad message"),
    Writer("Chef and Puppet", python(
        'import tempfile\n'
        'fd, name = tempfile.mkstemp(prefix=".chef-" + f, dir=".")\n'
        'os.write(fd, t.encode())\nos.fsync(fd)\nos.fchmod(fd, 0o644)\nos.fsync(fd)\nos.close(fd)\n'
        'os.mkdir(f + "-1.lock")\nos.rmdir(f + "-1.lock")\n'
        'try:\n    os.rename(name, f)\nexcept OSError:\n    os.unlink(name)\n    raise'), says="Bad message"),
    Writer("Emacs", python(  # what it does, where it is not installed: lock link, backup, fsync
        'os.symlink("me@host.1:2", ".#" + f)\nos.rename(f, f + "~")\n'
        'try:\n'
        '    fd = os.open(f, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)\n'
        '    try:\n        os.write(fd, t.encode())\n        os.fsync(fd)\n'
        '    finally:\n        os.close(fd)\n'
        '    os.unlink(f + "~")\n'
        'except OSError:\n    os.rename(f + "~", f)\n    raise\n'
        'finally:\n    os.unlink(".#" + f)'), says=r"\[Errno 22\]"),
    Writer("git checkout -f", GIT_READY + GIT + "checkout -qf $new_commit", says="unable to write file",
           needs=("git",), cut="silent"),
    Writer("git checkout FILE", GIT_READY + GIT + "checkout -q $new_commit -- $f", says="unable to write file",
           needs=("git",), cut="silent"),
    Writer("git reset --hard", GIT_READY + GIT + "reset -q --hard $new_commit", says="unable to write file",
           needs=("git",), cut="silent"),
    Writer("git restore", GIT_READY + GIT + "restore --source=$new_commit $f", says="unable to write file",
           needs=("git",), cut="silent"),
    Writer("git merge", GIT_READY + GIT + "merge -q --ff-only $new_commit", says="unable to write file",
           needs=("git",), cut="silent"),
    Writer("git stash apply", GIT_READY + "mkdir $tmp/w; cp $new $tmp/w/$f; (cd $tmp/w && " + GIT + "stash -q); " + GIT +
           "update-index -q --refresh; " + GIT + "stash apply -q", says="unable to write file|unable to",
           needs=("git",), cut="silent"),
    Writer("git apply", "diff -u --label a/$f --label b/$f $f $new > $tmp/p; " + GIT_READY + GIT + "apply $tmp/p",
           says="unable to write|Invalid argument", needs=("git",), cut="silent"),
]


def run(line, cwd, file, text, limit=60):
    """Runs a writer's line; the CompletedProcess with stdout and stderr in one text."""
    with tempfile.TemporaryDirectory(prefix="retlfs-tool.") as tmp:
        os.makedirs(tmp + "/in")
        new = tmp + "/in/new"
        with open(new, "wb") as out:
            out.write(text.encode() if isinstance(text, str) else text)
        return subprocess.run(
            ["bash", "-c", line], cwd=cwd, text=True, errors="replace", timeout=limit, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "f": file, "new": new, "tmp": tmp, "LC_ALL": "C", "HOME": tmp})


class Terminal:
    """A program on a terminal of its own: wait for what it shows, press keys."""

    def __init__(self, args, cwd, home):
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8", HOME=home, LINES="24", COLUMNS="200")
            os.execvp(args[0], args)

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def _more(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.shown += re.sub(r"\x1b(\[[0-9;?>]*[A-Za-z]|[()][A-Z0-9]|[=>])", "", data.decode(errors="replace"))
        return bool(data)

    def wait(self, pattern, limit=10):
        """Until the pattern was shown; returns what it matched, and forgets what came before."""
        end = time.monotonic() + limit
        while True:
            found = re.search(pattern, self.shown)
            if found:
                self.shown = self.shown[found.end():]
                return found.group()
            if time.monotonic() > end or not self._more(0.2):
                raise AssertionError("the terminal never showed %r but %r" % (pattern, self.shown[-2000:]))

    def end(self, limit=10, pressing=""):
        """The exit code. pressing: what is pressed once a second until then."""
        begin, pressed = time.monotonic(), 0
        while self._more(0.05):
            waited = time.monotonic() - begin
            if pressing and waited > pressed:
                self.press(pressing)
                pressed += 1
            if waited > limit:
                os.kill(self.pid, 9)
        os.close(self.fd)
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self):
        """For addCleanup: what a failed test left running."""
        if self.pid:
            os.kill(self.pid, 9)
            self.end()
