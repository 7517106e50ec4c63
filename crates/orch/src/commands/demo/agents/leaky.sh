# An agent that ends and leaves a child behind, which holds its output open.
set -eu
echo "start $ORCH_RUN_ID $ORCH_TASK_ID" >> "$DEMO_DIR/ledger"
echo "leaky works in $ORCH_RUN_ID"
echo "made in $ORCH_RUN_ID" > "$ORCH_TASK_ID.txt"
sleep 300 &
echo "$!" >> "$DEMO_DIR/pids"
echo "end $ORCH_RUN_ID 0" >> "$DEMO_DIR/ledger"
