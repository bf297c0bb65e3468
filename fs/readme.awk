# Turns a text file into a C string: readme.txt → readme.h.
BEGIN { print "/* Made from readme.txt by the build. */"; print "#pragma once"; print "static const char readme_text[] =" }
{ gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); print "    \"" $0 "\\n\"" }
END { print "    ;" }
