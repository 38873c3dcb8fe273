# A result that never ends.
cat /dev/zero > result.json
