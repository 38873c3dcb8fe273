# Doubles every 50 ms and every process stays, twelve times the limit in the end: a bomb that the machine survives.
depth=${1:-0}
sleep 0.05
if [ "$depth" -lt 8 ]; then
    sh "$0" $((depth + 1)) &
    sh "$0" $((depth + 1)) &
fi
sleep 60 &
wait
