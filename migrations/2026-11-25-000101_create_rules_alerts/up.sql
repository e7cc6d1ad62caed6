CREATE TABLE rules (
    id text PRIMARY KEY,
    definition jsonb NOT NULL,
    origin text NOT NULL CHECK (origin IN ('default', 'api', 'file')),
    revision bigint NOT NULL DEFAULT 1,
    deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rules IS 'Rules as they stand; a deleted one stays for its history and to resolve its alerts.';
COMMENT ON COLUMN rules.definition IS 'model::Rule as JSON.';
COMMENT ON COLUMN rules.origin IS 'default: shipped and untouched; api: a person''s; file: applied from a file. A default never replaces the others.';
COMMENT ON COLUMN rules.revision IS 'Grows by one at each accepted change.';

CREATE TABLE rule_revisions (
    rule_id text NOT NULL REFERENCES rules (id),
    revision bigint NOT NULL,
    definition jsonb NOT NULL,
    origin text NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (rule_id, revision)
);
COMMENT ON TABLE rule_revisions IS 'Every revision that a rule had.';

CREATE TABLE rule_states (
    rule_id text PRIMARY KEY REFERENCES rules (id),
    epoch bigint NOT NULL DEFAULT 0,
    evaluated_at timestamptz,
    health text NOT NULL DEFAULT 'unknown',
    error text,
    duration_seconds double precision NOT NULL DEFAULT 0,
    left_out integer NOT NULL DEFAULT 0,
    known jsonb NOT NULL DEFAULT '[]',
    run_kind text NOT NULL DEFAULT '',
    run_since timestamptz,
    run_evaluations bigint NOT NULL DEFAULT 0,
    run_worst double precision
) WITH (fillfactor = 50);
COMMENT ON TABLE rule_states IS 'What evaluation remembers of a rule.';
COMMENT ON COLUMN rule_states.epoch IS 'Grows by one with every write; a writer names the one it read, and writes nothing when it has passed. This fences a replica that slept.';
COMMENT ON COLUMN rule_states.evaluated_at IS 'Time of the last evaluation, a multiple of the rule''s interval.';
COMMENT ON COLUMN rule_states.health IS 'ok, no_data, error or unknown: of the evaluation, not of the alerts.';
COMMENT ON COLUMN rule_states.left_out IS 'New alerts beyond the rule''s limit at the last evaluation.';
COMMENT ON COLUMN rule_states.known IS 'Label sets seen, for rules that fire when a series is missing.';
COMMENT ON COLUMN rule_states.run_kind IS 'How the last evaluations decided, all alike since run_since: no_breach, breach, no_data, error. Finished runs are in decisions.';
COMMENT ON COLUMN rule_states.run_worst IS 'The value nearest to a breach, or furthest in it, in this run.';

CREATE TABLE alert_instances (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id text NOT NULL REFERENCES rules (id),
    fingerprint text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'firing', 'resolved', 'inactive')),
    severity text NOT NULL,
    alert jsonb NOT NULL,
    machine jsonb NOT NULL,
    chart jsonb NOT NULL DEFAULT '[]',
    acknowledged jsonb,
    suppressed jsonb NOT NULL DEFAULT '[]',
    group_keys text[] NOT NULL DEFAULT '{}',
    settled boolean NOT NULL DEFAULT false,
    pending_since timestamptz NOT NULL,
    starts_at timestamptz,
    ended_at timestamptz,
    CHECK ((ended_at IS NULL) = (state IN ('pending', 'firing')))
);
CREATE UNIQUE INDEX alert_instances_open ON alert_instances (rule_id, fingerprint) WHERE ended_at IS NULL;
CREATE INDEX alert_instances_group_keys ON alert_instances USING gin (group_keys) WHERE NOT settled;
CREATE INDEX alert_instances_ended_at ON alert_instances (ended_at);
CREATE INDEX alert_instances_rule ON alert_instances (rule_id, id);
CREATE INDEX alert_instances_fingerprint ON alert_instances (fingerprint, id);
COMMENT ON TABLE alert_instances IS 'Alerts: one rule and one label set, in one life from pending to resolved. At most one is open.';
COMMENT ON COLUMN alert_instances.state IS 'pending, firing, resolved; inactive: it ended before it fired.';
COMMENT ON COLUMN alert_instances.alert IS 'model::Alert as JSON, as of the last evaluation that wrote it.';
COMMENT ON COLUMN alert_instances.machine IS 'What the state machine and telling remember.';
COMMENT ON COLUMN alert_instances.chart IS 'Pairs of Unix milliseconds and value up to the last change of state.';
COMMENT ON COLUMN alert_instances.acknowledged IS 'Who took it, when, and a note.';
COMMENT ON COLUMN alert_instances.suppressed IS 'What keeps it from being told, as of the last dispatch.';
COMMENT ON COLUMN alert_instances.group_keys IS 'The groups it is told with.';
COMMENT ON COLUMN alert_instances.settled IS 'Ended, and nothing more is to be told of it.';

CREATE TABLE alert_transitions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alert_instances (id) ON DELETE CASCADE,
    at timestamptz NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    severity text NOT NULL,
    value double precision,
    reason text NOT NULL,
    UNIQUE (alert_id, at)
);
COMMENT ON TABLE alert_transitions IS 'Each change of state with the value and the evaluation time that caused it.';

CREATE TABLE alert_groups (
    key text PRIMARY KEY,
    policy jsonb NOT NULL,
    state jsonb NOT NULL DEFAULT '{}',
    next_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alert_groups_next_at ON alert_groups (next_at);
COMMENT ON TABLE alert_groups IS 'Alerts told together, and what each receiver was told of them. The row''s lock makes one replica at a time decide.';
COMMENT ON COLUMN alert_groups.policy IS 'model::GroupPolicy as JSON, as of the last alert that joined.';
COMMENT ON COLUMN alert_groups.state IS 'Cooldown clocks, waits, the chain of escalation.';
COMMENT ON COLUMN alert_groups.next_at IS 'When to decide again though nothing happens.';

CREATE TABLE decisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id text NOT NULL,
    fingerprint text NOT NULL DEFAULT '',
    kind text NOT NULL,
    detail text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
);
CREATE INDEX decisions_rule ON decisions (rule_id, fingerprint, until);
CREATE INDEX decisions_until ON decisions (until);
COMMENT ON TABLE decisions IS 'Why something fired, did not fire, was told or was not: what explain answers from.';
COMMENT ON COLUMN decisions.fingerprint IS 'Of the alert, or empty for the rule as a whole.';
COMMENT ON COLUMN decisions.since IS 'Evaluations from here to until decided alike.';

CREATE TABLE replicas (
    id text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE replicas IS 'Processes that live, for spreading work over them. Nothing relies on it to be right.';

CREATE TABLE alerting_changes (
    kind text PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE alerting_changes IS 'Grows with every change of a kind of thing, so that replicas know when to read it anew.';
INSERT INTO alerting_changes (kind) VALUES ('rules'), ('routing');
