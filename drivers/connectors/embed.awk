# Makes of all manifests, and of their schema, a C header that holds their texts.
FNR == 1 {
    if (NR > 1)
        print ";"
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.json$/, "", name)
    if (name == "schema") {
        printf "static const char schema[] ="
    } else {
        names[++n] = name
        printf "static const char manifest_%d[] =", n
    }
}
{
    gsub(/\\/, "\\\\\\\\")
    gsub(/"/, "\\\\\"")
    printf "\n    \"%s\\n\"", $0
}
END {
    print ";"
    printf "enum { CONNECTORS = %d };\n", n
    print "static const struct { const char *name, *text; } connectors[] = {"
    for (i = 1; i <= n; i++)
        printf "    {\"%s\", manifest_%d},\n", names[i], i
    print "};"
}
