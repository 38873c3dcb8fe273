env | cut -d= -f1 | sort | tr '\n' ' '
echo '{"log": {"level": "warning", "message": "hello", "fields": {"n": 1}}}' >&3
echo '{"progress": {"done": 2, "total": 4, "note": "half"}}' >&3
cat in/data > out/copy 2>/dev/null
cp parameters.json result.json
case "$(cat parameters.json)" in *fail*) echo '{"error": {"code": "no_paper", "message": "out of paper", "retryable": false}}' >&3; exit 9;; esac
