# Children until one is refused, at most 300, each counted when it is there.
n=0
while [ "$n" -lt 300 ]; do
    sleep 60 &
    n=$((n + 1))
    echo "$n"
done
wait
