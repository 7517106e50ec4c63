-- From version 3 to 4: the tables that a run writes to compare their words one by one, where SQLite
-- sorted a list of them into a table of its own with each row. Nothing else is different. Foreign
-- keys are off meanwhile, and checked before it is kept.
DROP TRIGGER run_is_final;
DROP TRIGGER run_goes_with_its_task;
DROP TRIGGER task_outlives_its_run;
DROP TRIGGER event_is_final;
DROP TRIGGER event_stays;
DROP TRIGGER task_counted;
DROP TRIGGER task_uncounted;
DROP TRIGGER task_recounted;
DROP TRIGGER task_labelled;
DROP TRIGGER task_relabelled;
DROP TRIGGER task_unlabelled;

CREATE TABLE new_task (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status = 'todo' OR status = 'in_progress' OR status = 'retrying' OR status = 'review' OR status = 'done' OR status = 'failed' OR status = 'cancelled'),
    priority INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 4),
    agent TEXT,
    labels TEXT NOT NULL,
    lane TEXT NOT NULL,
    unmet INTEGER NOT NULL CHECK (unmet >= 0),
    hold_until INTEGER,
    failure_code TEXT CHECK (failure_code = 'agent_error' OR failure_code = 'auth_failed' OR failure_code = 'bad_request' OR failure_code = 'model_not_found' OR failure_code = 'overloaded' OR failure_code = 'provider_error' OR failure_code = 'connection_failed' OR failure_code = 'context_too_long' OR failure_code = 'refused' OR failure_code = 'answer_cut' OR failure_code = 'turn_limit' OR failure_code = 'budget_limit' OR failure_code = 'session_gone' OR failure_code = 'no_changes' OR failure_code = 'no_result' OR failure_code = 'exit_nonzero' OR failure_code = 'signaled' OR failure_code = 'timeout' OR failure_code = 'stalled' OR failure_code = 'output_limit' OR failure_code = 'rate_limit' OR failure_code = 'usage_limit' OR failure_code = 'cancelled_by_user' OR failure_code = 'interrupted' OR failure_code = 'command_not_found' OR failure_code = 'not_executable' OR failure_code = 'no_resources' OR failure_code = 'workspace_failed' OR failure_code = 'needs_consent' OR failure_code = 'spawn_failed' OR failure_code = 'supervisor_died_at_launch' OR failure_code = 'supervisor_died' OR failure_code = 'host_rebooted' OR failure_code = 'record_corrupt' OR failure_code = 'record_missing'),
    failure_message TEXT,
    failure_evidence TEXT CHECK (failure_evidence <> ''),
    current_run TEXT,
    review_wait TEXT CHECK (review_wait = 'person' OR review_wait = 'landing' OR review_wait = 'blocked' OR review_wait = 'lost'),
    review_message TEXT,
    review_files TEXT,
    workspace TEXT NOT NULL CHECK (workspace = 'worktree' OR workspace = 'shared'),
    review_mode TEXT NOT NULL CHECK (review_mode = 'manual' OR review_mode = 'auto'),
    on_lost TEXT NOT NULL CHECK (on_lost = 'default' OR on_lost = 'retry' OR on_lost = 'ask'),
    require TEXT CHECK (require = 'nothing' OR require = 'changes' OR require = 'commit'),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 0),
    runs INTEGER NOT NULL CHECK (runs >= 0),
    start_failures INTEGER NOT NULL CHECK (start_failures >= 0),
    timeout_ms INTEGER CHECK (timeout_ms >= 0),
    stall_ms INTEGER CHECK (stall_ms >= 0),
    last_run TEXT,
    landed TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    scope TEXT NOT NULL,
    attachments TEXT NOT NULL,
    feedback TEXT,
    result TEXT,
    description TEXT NOT NULL,

    -- Each status has what belongs to it, and nothing else.
    CHECK (hold_until IS NULL OR status IN ('todo', 'retrying')),
    CHECK (hold_until IS NOT NULL OR status <> 'retrying'),
    CHECK ((current_run IS NOT NULL) = (status = 'in_progress')),
    CHECK ((review_wait IS NOT NULL) = (status = 'review')),
    CHECK ((review_message IS NOT NULL) = (review_wait IS 'blocked')),
    CHECK ((review_files IS NOT NULL) = (review_wait IS 'blocked')),
    -- What did not succeed says why, with evidence.
    CHECK ((failure_code IS NULL) = (failure_message IS NULL)),
    CHECK ((failure_code IS NULL) = (failure_evidence IS NULL)),
    CHECK ((failure_code IS NOT NULL) = (hold_until IS NOT NULL
        OR status IN ('failed', 'cancelled') OR review_wait IS 'lost'))
) STRICT;
INSERT INTO new_task (
    seq, id, title, status, priority, agent, labels, lane, unmet, hold_until, failure_code,
    failure_message, failure_evidence, current_run, review_wait, review_message, review_files,
    workspace, review_mode, on_lost, require, attempts, max_attempts, runs, start_failures,
    timeout_ms, stall_ms, last_run, landed, created_at, updated_at, scope, attachments,
    feedback, result, description
) SELECT
    seq, id, title, status, priority, agent, labels, lane, unmet, hold_until, failure_code,
    failure_message, failure_evidence, current_run, review_wait, review_message, review_files,
    workspace, review_mode, on_lost, require, attempts, max_attempts, runs, start_failures,
    timeout_ms, stall_ms, last_run, landed, created_at, updated_at, scope, attachments,
    feedback, result, description
FROM task;
-- A number that was given out is never given out again, also of what was deleted.
DELETE FROM sqlite_sequence WHERE name = 'new_task';
UPDATE sqlite_sequence SET name = 'new_task' WHERE name = 'task';
DROP TABLE task;
ALTER TABLE new_task RENAME TO task;
CREATE INDEX task_ready ON task (lane, priority, seq)
    WHERE status = 'todo' AND hold_until IS NULL AND unmet = 0;
CREATE INDEX task_held ON task (hold_until, seq, id) WHERE hold_until IS NOT NULL;
CREATE INDEX task_landing ON task (seq, id) WHERE review_wait = 'landing';
CREATE INDEX task_person ON task (priority, seq) WHERE review_wait <> 'landing';
CREATE INDEX task_status ON task (status, seq);
CREATE INDEX task_agent ON task (agent, status, seq) WHERE agent IS NOT NULL;

CREATE TABLE new_run (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    adapter TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    status TEXT NOT NULL CHECK (status = 'starting' OR status = 'running' OR status = 'completed' OR status = 'failed' OR status = 'limited' OR status = 'timed_out' OR status = 'cancelled' OR status = 'not_started' OR status = 'lost'),
    stop TEXT CHECK (stop = 'cancel' OR stop = 'interrupt' OR stop = 'linger'),
    branch TEXT,
    boot TEXT,
    resumed_session TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    exit_code INTEGER,
    exit_signal INTEGER,
    exit_core INTEGER CHECK (exit_core IN (0, 1)),
    failure_code TEXT CHECK (failure_code = 'agent_error' OR failure_code = 'auth_failed' OR failure_code = 'bad_request' OR failure_code = 'model_not_found' OR failure_code = 'overloaded' OR failure_code = 'provider_error' OR failure_code = 'connection_failed' OR failure_code = 'context_too_long' OR failure_code = 'refused' OR failure_code = 'answer_cut' OR failure_code = 'turn_limit' OR failure_code = 'budget_limit' OR failure_code = 'session_gone' OR failure_code = 'no_changes' OR failure_code = 'no_result' OR failure_code = 'exit_nonzero' OR failure_code = 'signaled' OR failure_code = 'timeout' OR failure_code = 'stalled' OR failure_code = 'output_limit' OR failure_code = 'rate_limit' OR failure_code = 'usage_limit' OR failure_code = 'cancelled_by_user' OR failure_code = 'interrupted' OR failure_code = 'command_not_found' OR failure_code = 'not_executable' OR failure_code = 'no_resources' OR failure_code = 'workspace_failed' OR failure_code = 'needs_consent' OR failure_code = 'spawn_failed' OR failure_code = 'supervisor_died_at_launch' OR failure_code = 'supervisor_died' OR failure_code = 'host_rebooted' OR failure_code = 'record_corrupt' OR failure_code = 'record_missing'),
    failure_message TEXT,
    failure_evidence TEXT CHECK (failure_evidence <> ''),
    limited_until INTEGER CHECK (limited_until IS NULL OR status = 'limited'),
    input_tokens INTEGER CHECK (input_tokens >= 0),
    output_tokens INTEGER CHECK (output_tokens >= 0),
    cache_read_tokens INTEGER CHECK (cache_read_tokens >= 0),
    cache_write_tokens INTEGER CHECK (cache_write_tokens >= 0),
    cost_usd REAL,
    cost_estimated INTEGER CHECK (cost_estimated IN (0, 1)),
    session_id TEXT,
    commit_id TEXT,
    files_changed INTEGER CHECK (files_changed >= 0),
    commits_made INTEGER CHECK (commits_made >= 0),
    events INTEGER CHECK (events >= 0),
    warnings TEXT,
    result TEXT,

    -- A run has an end exactly when its status is final.
    CHECK ((finished_at IS NULL) = (status = 'starting' OR status = 'running')),
    CHECK ((events IS NULL) = (finished_at IS NULL)),
    CHECK ((warnings IS NULL) = (finished_at IS NULL)),
    -- Both are counted or neither is, and only of a run that is over.
    CHECK ((files_changed IS NULL) = (commits_made IS NULL)),
    CHECK (files_changed IS NULL OR finished_at IS NOT NULL),
    -- A cost is the agent's or an estimate.
    CHECK ((cost_estimated IS NULL) = (cost_usd IS NULL)),
    -- The kernel says one thing about how a process ended, and only about one that has.
    CHECK (exit_code IS NULL OR exit_signal IS NULL),
    CHECK ((exit_core IS NULL) = (exit_signal IS NULL)),
    CHECK (finished_at IS NOT NULL OR (exit_code IS NULL AND exit_signal IS NULL)),
    -- What did not succeed says why, with evidence.
    CHECK ((failure_code IS NULL) = (failure_message IS NULL)),
    CHECK ((failure_code IS NULL) = (failure_evidence IS NULL)),
    CHECK ((failure_code IS NULL) = (status = 'starting' OR status = 'running' OR status = 'completed'))
) STRICT;
INSERT INTO new_run (
    seq, id, task, agent, adapter, attempt, status, stop, branch, boot, resumed_session,
    created_at, started_at, finished_at, exit_code, exit_signal, exit_core, failure_code,
    failure_message, failure_evidence, limited_until, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, cost_usd, cost_estimated, session_id, commit_id,
    files_changed, commits_made, events, warnings, result
) SELECT
    seq, id, task, agent, adapter, attempt, status, stop, branch, boot, resumed_session,
    created_at, started_at, finished_at, exit_code, exit_signal, exit_core, failure_code,
    failure_message, failure_evidence, limited_until, input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, cost_usd, cost_estimated, session_id, commit_id,
    files_changed, commits_made, events, warnings, result
FROM run;
DELETE FROM sqlite_sequence WHERE name = 'new_run';
UPDATE sqlite_sequence SET name = 'new_run' WHERE name = 'run';
DROP TABLE run;
ALTER TABLE new_run RENAME TO run;
CREATE UNIQUE INDEX run_live ON run (task) WHERE finished_at IS NULL;
CREATE INDEX run_live_order ON run (seq) WHERE finished_at IS NULL;
CREATE INDEX run_task ON run (task, seq);
CREATE INDEX run_agent ON run (agent, seq);

CREATE TABLE new_event (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind = 'task_added' OR kind = 'task_edited' OR kind = 'task_deleted' OR kind = 'task_retry_asked' OR kind = 'task_resumed' OR kind = 'task_retrying' OR kind = 'task_limited' OR kind = 'task_interrupted' OR kind = 'task_hold_passed' OR kind = 'task_review' OR kind = 'task_approved' OR kind = 'task_rejected' OR kind = 'task_landing_blocked' OR kind = 'task_done' OR kind = 'task_failed' OR kind = 'task_cancelled' OR kind = 'run_starting' OR kind = 'run_running' OR kind = 'run_stop_asked' OR kind = 'run_ended'),
    task TEXT,
    run TEXT,
    agent TEXT,
    word TEXT,
    message TEXT
) STRICT;
INSERT INTO new_event (
    seq, time, kind, task, run, agent, word, message
) SELECT
    seq, time, kind, task, run, agent, word, message
FROM event;
DROP TABLE event;
ALTER TABLE new_event RENAME TO event;

CREATE TRIGGER run_is_final BEFORE UPDATE ON run WHEN OLD.finished_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a run that has ended is final');
END;
CREATE TRIGGER run_goes_with_its_task BEFORE DELETE ON run
    WHEN EXISTS (SELECT 1 FROM task WHERE id = OLD.task)
BEGIN
    SELECT RAISE(ABORT, 'a run is deleted only together with its task');
END;
CREATE TRIGGER task_outlives_its_run BEFORE DELETE ON task
    WHEN EXISTS (SELECT 1 FROM run WHERE task = OLD.id AND finished_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'a task with a run that has not ended cannot be deleted');
END;
CREATE TRIGGER event_is_final BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'a fact is never rewritten');
END;
CREATE TRIGGER event_stays BEFORE DELETE ON event
BEGIN
    SELECT RAISE(ABORT, 'a fact is never deleted');
END;
CREATE TRIGGER task_counted AFTER INSERT ON task
BEGIN
    UPDATE task_count SET number = number + 1 WHERE status = NEW.status;
END;
CREATE TRIGGER task_uncounted AFTER DELETE ON task
BEGIN
    UPDATE task_count SET number = number - 1 WHERE status = OLD.status;
END;
CREATE TRIGGER task_recounted AFTER UPDATE OF status ON task WHEN OLD.status <> NEW.status
BEGIN
    UPDATE task_count SET number = number - 1 WHERE status = OLD.status;
    UPDATE task_count SET number = number + 1 WHERE status = NEW.status;
END;
CREATE TRIGGER task_labelled AFTER INSERT ON task WHEN NEW.labels <> '[]'
BEGIN
    INSERT INTO label SELECT value, NEW.status, NEW.seq FROM json_each(NEW.labels);
END;
CREATE TRIGGER task_relabelled AFTER UPDATE OF labels, status ON task
    WHEN OLD.labels <> NEW.labels OR (NEW.labels <> '[]' AND OLD.status <> NEW.status)
BEGIN
    DELETE FROM label WHERE seq = OLD.seq;
    INSERT INTO label SELECT value, NEW.status, NEW.seq FROM json_each(NEW.labels);
END;
CREATE TRIGGER task_unlabelled AFTER DELETE ON task WHEN OLD.labels <> '[]'
BEGIN
    DELETE FROM label WHERE seq = OLD.seq;
END;
