#!/usr/bin/env python3
"""What identifies people goes out normalised and hashed: a file of customers as it comes, with the hashes that
Google and Meta publish for their examples; values that cannot be are rejected with a reason, or left out."""

import errno
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from retlfs import MountTest, main

CUSTOMERS = """id,email,phone,first,country
1, John_Smith@gmail.com,(650)555-1212,Mary,US
2,62A14E44F765419D10FEA99367361A727C12365E2520F32218D505ED9AA0F62F,0049 (0)30 123456,Val\u00e9ry,DE
3,john_smith.gmail.com,030 123456,\uc815,DE
4,,,,
"""
SMITH = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"


class Normalize(MountTest):
    def make(self, *expressions):
        path = self.mount.data / (self.name + ".csv")
        path.write_text(CUSTOMERS)
        self.mount.connect(self.name, {"driver": "csv", "path": str(path)})
        return self.sync(
            config={"source": {"connection": self.name}, "identifier": "id",
                    "destination": {"connection": "lite", "object": self.name, "create": True}},
            mappings=[("id", "id", ""), *(("", field, text) for field, text in expressions)], mode="upsert")

    def rows(self, fields):
        return self.sqlite.sql("SELECT %s FROM %s ORDER BY id" % (fields, self.name))

    def test_rejected(self):
        sync = self.make(("em", "sha256_once(normalize_email(email))"),
                         ("ph", "normalize_phone_e164(phone, country)"), ("fn", "sha256(normalize_name(first))"))
        sync.run(want=errno.EIO)
        self.assertEqual(self.rows("id, em, ph, fn"), [
            ["1", SMITH, "+16505551212", "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec"],
            ["2", SMITH, "+4930123456", "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"],
            ["4", None, None, None]])
        [row] = sync.rejected()
        self.assertEqual(row["id"], {"id": "3"})
        self.assertIn("no e-mail address: it has no @", str(row))

    def test_left_out(self):
        sync = self.make(("em", "sha256_once(try_normalize_email(email))"),
                         ("ph", "sha256(try_normalize_phone_digits(phone))"))
        sync.run()
        self.assertEqual(self.rows("id, em, ph IS NULL"), [["1", SMITH, 1], ["2", SMITH, 0], ["3", None, 1], ["4", None, 1]])

    def test_misspelt(self):
        """A function that is not there is refused when it is written."""
        sync = self.make(("em", "normalize_email(email)"))
        self.expect_errno(errno.EINVAL, sync.write, "mappings.csv",
                          "column,field,expression\nid,id,\n,em,normalise_email(email)\n")
        self.assertIn("normalise_email", sync.read("error"))


if __name__ == "__main__":
    main()
