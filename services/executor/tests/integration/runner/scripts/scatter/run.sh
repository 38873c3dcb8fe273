# Files without end, in folders and beside out/.
mkdir a && cd a
n=0
while :; do n=$((n+1)); : > "$n"; done
