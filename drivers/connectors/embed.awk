# Makes of all manifests a C header that holds their texts.
FNR == 1 {
    if (n++)
        print ";"
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.json$/, "", name)
    names[n] = name
    printf "static const char manifest_%d[] =", n
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
