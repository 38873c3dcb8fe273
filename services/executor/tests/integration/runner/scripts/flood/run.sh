# Two gibibytes on stdout, and as many bytes without a line's end on descriptor 3.
head -c 2147483648 /dev/zero
head -c 67108864 /dev/zero >&3
