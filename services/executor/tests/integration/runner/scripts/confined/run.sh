cat /etc/passwd >/dev/null 2>&1 && echo "read /etc/passwd"
echo x 2>/dev/null >/tmp/jobyard-escaped && echo "wrote outside"
ls .. >/dev/null 2>&1 && echo "listed neighbours"
echo fine >out/file
echo '"done"' >result.json
