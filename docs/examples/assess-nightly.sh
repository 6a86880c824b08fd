#!/usr/bin/env bash
# Assesses all machines and keeps the results by day. Quiet where nothing is new; what it prints, cron mails.
#   15 4 * * * migratekit /usr/local/bin/assess-nightly.sh
set -uo pipefail
umask 077
folder=${ASSESS_FOLDER:-/var/lib/migratekit/assess}
mkdir -p "$folder"
cd "$folder" || exit 1
day=$(date +%F)
touch accepted.yaml
[ -s accepted.yaml ] || printf 'schema: migratekit.assess-baseline/1\naccepted: []\n' >accepted.yaml

migratekit assess --all --baseline accepted.yaml --report "$day.html" --output json >"$day.json" 2>"$day.log"
code=$?
case $code in
  0) ;;
  3)
    echo "assess found blockers; report: $folder/$day.html"
    python3 -c '
import json, sys
for found in json.load(sys.stdin)["findings"]:
    if found["severity"] == "blocker":
        print(found["rule"], found["vm_path"], found["subject"], found["message"], sep="  ")
' <"$day.json"
    ;;
  *)
    echo "assess failed with exit code $code"
    cat "$day.log"
    ;;
esac
find . -maxdepth 1 \( -name '*.html' -o -name '*.json' -o -name '*.log' \) -mtime +30 -delete
exit $code
