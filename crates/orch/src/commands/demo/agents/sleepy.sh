# An agent that hangs until somebody ends it.
set -eu
echo "start $ORCH_RUN_ID $ORCH_TASK_ID" >> "$DEMO_DIR/ledger"
echo "sleepy works in $ORCH_RUN_ID"
sleep 300 &
echo "$$" >> "$DEMO_DIR/pids"
echo "$!" >> "$DEMO_DIR/pids"
wait
