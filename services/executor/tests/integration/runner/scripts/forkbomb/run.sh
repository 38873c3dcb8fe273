# A steady stream of processes that stay: what a bomb does, at a pace that a busy machine survives, too.
count=0
while [ "$count" -lt 2000 ]; do
    sleep 60 &
    count=$((count + 1))
    sleep 0.01
done
wait
