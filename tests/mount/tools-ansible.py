#!/usr/bin/env python3
"""Ansible's own modules (copy, template, lineinfile, file) on a mount: the first run changes, the
second changes nothing, a bad value fails the task and leaves the accepted text in force.

ansible-core comes from PyPI into a temporary environment, unless ansible-playbook is installed;
$RETLFS_TEST_ANSIBLE may name one."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import python_env
from retlfs import MountTest, main, skip

CONFIG = json.dumps({"source": {"connection": "in"}, "identifier": "id", "destination": {"connection": "lite", "object": "p"}})
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: directory
      ansible.builtin.file: {path: "{{ sync }}", state: directory, mode: "0755"}
    - name: copied
      ansible.builtin.copy: {src: config.json, dest: "{{ sync }}/config.json", mode: "0640"}
    - name: templated
      ansible.builtin.template: {src: mappings.j2, dest: "{{ sync }}/mappings.csv", mode: "0644"}
    - name: content without newline
      ansible.builtin.copy: {content: upsert, dest: "{{ sync }}/mode"}
    - name: a line
      ansible.builtin.lineinfile: {path: "{{ sync }}/mappings.csv", line: "b,field_b", regexp: "^b,"}
"""
BAD = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: bad json
      ansible.builtin.copy: {content: '{"source" 1}', dest: "{{ sync }}/config.json", mode: "0640"}
      ignore_errors: true
    - name: bad mode
      ansible.builtin.lineinfile: {path: "{{ sync }}/mode", line: "bogus", regexp: "upsert"}
      ignore_errors: true
    - name: bad mapping
      ansible.builtin.lineinfile: {path: "{{ sync }}/mappings.csv", line: "c,field_a"}
"""
ABSENT = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.file: {path: "{{ sync }}", state: absent}
"""


def ansible(folder):
    """The path of ansible-playbook, installed if need be."""
    found = os.environ.get("RETLFS_TEST_ANSIBLE") or shutil.which("ansible-playbook")
    if found:
        return found
    try:
        return str(python_env.install(folder, "ansible-core", timeout=120) / "ansible-playbook")
    except python_env.Missing as e:
        return skip(str(e))


class Ansible(MountTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="retlfs-ansible.")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.playbook = ansible(Path(cls.folder) / "env")
        super().setUpClass()

    def play(self, text, sync):
        """Exit code, what was said, and the counts of the recap."""
        with open(self.folder + "/play.yml", "w") as file:
            file.write(text)
        done = subprocess.run(
            [self.playbook, "-c", "local", "-i", "localhost,", "-e", "sync=%s" % sync,
             "-e", "ansible_python_interpreter=" + sys.executable, "play.yml"],
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            env={**os.environ, "HOME": self.folder, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_LOCALHOST_WARNING": "0"})
        said = done.stdout + done.stderr
        return done.returncode, said, dict(re.findall(r"(ok|changed|failed|ignored)=(\d+)", said))

    def test_modules(self):
        for name, text in ("config.json", CONFIG), ("mappings.j2", "column,field\n{% for c in ['id', 'a'] %}\n{{ c }},field_{{ c }}\n"
                                                    "{% endfor %}\nb,field_b\n"):
            with open("%s/%s" % (self.folder, name), "w") as file:
                file.write(text)
        made = self.mount.sync("ansible")
        code, said, recap = self.play(PLAY, made.path)
        self.assertEqual((code, recap["changed"], recap["failed"]), (0, "4", "0"), said)
        mappings = "column,field\nid,field_id\na,field_a\nb,field_b\n"
        texts = {"config.json": CONFIG, "mappings.csv": mappings, "mode": "upsert"}
        self.assertEqual({n: made.read(n) for n in texts}, texts)
        self.assertEqual(os.stat(made.path / "config.json").st_mode & 0o777, 0o640)
        before = sorted(os.listdir(made.path))

        code, said, recap = self.play(PLAY, made.path)
        self.assertEqual((code, recap["changed"]), (0, "0"), said)

        code, said, recap = self.play(BAD, made.path)
        self.assertEqual((code, recap["failed"], recap["ignored"]), (2, "1", "2"), said)
        self.assertIn("Bad message", said)
        self.assertEqual({n: made.read(n) for n in texts}, texts)
        self.assertEqual(sorted(set(os.listdir(made.path)) - set(before)), sorted(n + ".rej" for n in texts))
        self.assertEqual(made.read("config.json.rej"), '{"source" 1}')

        code, said, recap = self.play(PLAY.replace("copied", "again").replace("upsert", "update"), made.path)
        self.assertEqual((code, recap["changed"]), (0, "1"), said)
        self.assertEqual((made.read("mode"), made.exists("mode.rej")), ("update", False))
        code, said, recap = self.play(ABSENT, made.path)
        self.assertEqual((code, recap["changed"]), (0, "1"), said)
        self.assertFalse(made.exists(""))


main()
