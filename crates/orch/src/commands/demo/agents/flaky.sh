# An agent that fails the first time and does its work the second time.
set -eu
echo "start $ORCH_RUN_ID $ORCH_TASK_ID" >> "$DEMO_DIR/ledger"
echo "flaky works in $ORCH_RUN_ID"
if [ ! -e "$DEMO_DIR/failed-once" ]; then
    : > "$DEMO_DIR/failed-once"
    echo "the network went away" >&2
    echo "end $ORCH_RUN_ID 1" >> "$DEMO_DIR/ledger"
    exit 1
fi
echo "made in $ORCH_RUN_ID" > "$ORCH_TASK_ID.txt"
echo "end $ORCH_RUN_ID 0" >> "$DEMO_DIR/ledger"
