# A well-behaved agent: writes one file. Builders that are to work together leave the room at the
# same instant, all three of them.
set -eu
echo "start $ORCH_RUN_ID $ORCH_TASK_ID" >> "$DEMO_DIR/ledger"
prompt=$(cat)
echo "builder works in $ORCH_RUN_ID"
echo "made in $ORCH_RUN_ID" > "$ORCH_TASK_ID.txt"
case $prompt in
*together*)
    : > "$DEMO_DIR/meeting/$ORCH_RUN_ID"
    looks=0
    while [ "$(ls "$DEMO_DIR/meeting" | wc -l)" -lt 3 ] && [ "$looks" -lt 1000 ]; do
        sleep 0.01
        looks=$((looks + 1))
    done
    ;;
esac
echo "end $ORCH_RUN_ID 0" >> "$DEMO_DIR/ledger"
