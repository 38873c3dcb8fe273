# Who runs, in which groups, and what of the others is within reach.
printf '{"uid": %s, "groups": "%s"}' "$(id -u)" "$(id -G)" >result.json
echo "by name" >/dev/stdout
echo kept >out/file
victim=$(sed -n 's/.*"victim": *\([0-9]*\).*/\1/p' parameters.json)
former=$(sed -n 's/.*"former": *"\([^"]*\)".*/\1/p' parameters.json)
[ -n "$victim" ] && kill -0 "$victim" 2>/dev/null && echo "may signal"
[ -n "$former" ] && cat "$former" >/dev/null 2>&1 && echo "may read"
ls .. >/dev/null 2>&1 && echo "may list"
exit 0
