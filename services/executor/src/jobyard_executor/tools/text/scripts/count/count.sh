#!/bin/sh
# text.count: figures about the text in in/text, written to result.json.
# Words are runs of letters, digits, apostrophes and everything beyond ASCII, in lower case as far as ASCII goes.
set -eu

input=in/text
clean=$TMPDIR/clean

say() { # done note
  printf '{"progress":{"done":%d,"total":3,"note":"%s"}}\n' "$1" "$2" >&"$JOBYARD_CHANNEL_FD"
}

refuse() { # code message
  printf '{"error":{"code":"%s","message":"%s","retryable":false}}\n' "$1" "$2" >&"$JOBYARD_CHANNEL_FD"
  echo "$2" >&2
  exit 1
}

# The schema has made sure that "top" is a whole number, but JSON may write it as 5.0 or 1e1.
top=$(tr -d '\n' <parameters.json | sed -n 's/.*"top"[[:space:]]*:[[:space:]]*\([0-9.eE+-]*\).*/\1/p')
top=$(awk -v n="${top:-10}" 'BEGIN { printf "%d", n }')

iconv -f UTF-8 -t UTF-8 <"$input" >"$clean" 2>/dev/null || refuse not_text "The file is no text in UTF-8."
[ "$(tr -d '\000' <"$clean" | wc -c)" -eq "$(wc -c <"$clean")" ] || refuse not_text "The file holds NUL bytes: it is no text."
say 1 "read"

lines=$(awk 'END { print NR }' "$clean")
bytes=$(wc -c <"$clean")
# Without its continuation bytes, UTF-8 has one byte a character, whatever locales and awk are installed.
LC_ALL=C tr -d '\200-\277' <"$clean" >"$TMPDIR/characters"
characters=$(wc -c <"$TMPDIR/characters")
longest=$(LC_ALL=C awk '{ if (length($0) > longest) longest = length($0) } END { print longest + 0 }' "$TMPDIR/characters")
words=$(LC_ALL=C awk '{ words += NF } END { print words + 0 }' "$clean")
say 2 "counted"

# Continuation bytes stay inside words, so that a word is never cut in the middle of a character.
LC_ALL=C tr 'A-Z' 'a-z' <"$clean" | LC_ALL=C tr -cs "a-z0-9'\200-\377" '\n' |
  LC_ALL=C awk 'NF { count[$0]++ } END { for (word in count) print count[word] "\t" word }' |
  LC_ALL=C sort -t "$(printf '\t')" -k1,1nr -k2,2 >"$TMPDIR/words"
distinct=$(awk 'END { print NR }' "$TMPDIR/words")

{
  printf '{"lines":%d,"words":%d,"characters":%d,"bytes":%d,"longest_line":%d,"distinct_words":%d,"top":[' \
    "$lines" "$words" "$characters" "$bytes" "$longest" "$distinct"
  awk -F '\t' -v most="$top" 'NR > most { exit } { printf "%s{\"word\":\"%s\",\"count\":%d}", (NR > 1 ? "," : ""), $2, $1 }' \
    "$TMPDIR/words"
  printf ']}\n'
} >result.json
say 3 "done"
