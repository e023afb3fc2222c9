# Usage: run.sh PYTHON TARGET
# Pipes the tap into the target, as Singer does.
set -e
here=$(dirname "$0")
printf '{"path": "%s", "default_target_schema": "crm"}' "$BENCH_DATABASE" > target.json
export TAP_CRM_URL="$BENCH_URL" TAP_CRM_EMAIL="$BENCH_EMAIL" TAP_CRM_API_KEY="$BENCH_API_KEY"
"$1" "$here/tap_crm.py" --config=ENV | "$2" --config target.json
