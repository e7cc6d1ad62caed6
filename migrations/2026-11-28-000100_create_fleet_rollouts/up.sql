CREATE TABLE policy_changes (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL DEFAULT 0,
    invalidation bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE policy_changes IS 'Grows with every change that an instance may have to be told of. Its row is locked by whoever changes something, so that who sees a number sees all before it.';
COMMENT ON COLUMN policy_changes.revision IS 'Of policies, rollouts, overrides, invalidations and warmings together.';
COMMENT ON COLUMN policy_changes.invalidation IS 'The last invalidation; they are numbered without gaps.';
INSERT INTO policy_changes DEFAULT VALUES;

CREATE TABLE policy_instances (
    service text NOT NULL,
    instance text NOT NULL,
    session text NOT NULL,
    replica text NOT NULL,
    version text NOT NULL,
    labels jsonb NOT NULL,
    sdk text NOT NULL,
    connected boolean NOT NULL,
    lease_ms bigint NOT NULL,
    invalidation bigint NOT NULL,
    running jsonb NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, instance)
);
COMMENT ON TABLE policy_instances IS 'The fleet: instances of services that watch policies, or did within a week.';
COMMENT ON COLUMN policy_instances.session IS 'The stream that writes this row. A later stream of the instance takes it over.';
COMMENT ON COLUMN policy_instances.replica IS 'The server that it is connected to, as in replicas.';
COMMENT ON COLUMN policy_instances.lease_ms IS 'For how long after a Pong its memory may be read.';
COMMENT ON COLUMN policy_instances.invalidation IS 'The last one that it has acknowledged.';
COMMENT ON COLUMN policy_instances.running IS 'By policy: the revision that it runs, the override, why it refused another.';
COMMENT ON COLUMN policy_instances.last_seen_at IS 'When it last changed, or was lost.';
CREATE INDEX policy_instances_seen ON policy_instances (last_seen_at);

CREATE TABLE policy_invalidations (
    sequence bigint PRIMARY KEY,
    service text NOT NULL,
    service_like text NOT NULL,
    key_space text NOT NULL,
    targets jsonb NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    committed_at timestamptz,
    applied boolean NOT NULL DEFAULT false,
    converged_at timestamptz
);
COMMENT ON TABLE policy_invalidations IS 'The newest invalidations of cached entries, in order and without gaps.';
COMMENT ON COLUMN policy_invalidations.service IS 'Whose caches; a * stands for any characters, and nothing for every service.';
COMMENT ON COLUMN policy_invalidations.service_like IS 'The same for LIKE.';
COMMENT ON COLUMN policy_invalidations.targets IS 'keys, tags, prefixes, all.';
COMMENT ON COLUMN policy_invalidations.committed_at IS 'Some moment at which it was certainly there for every reader.';
COMMENT ON COLUMN policy_invalidations.applied IS 'An instance that has such a cache has acknowledged it: it is in their Redis.';
COMMENT ON COLUMN policy_invalidations.converged_at IS 'From then on nobody reads an entry from before.';
CREATE INDEX policy_invalidations_open ON policy_invalidations (sequence) WHERE converged_at IS NULL;

CREATE TABLE policy_warmings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch text NOT NULL,
    service text NOT NULL,
    instance text NOT NULL,
    key_space text NOT NULL,
    keys jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    loaded bigint,
    failed bigint
);
COMMENT ON TABLE policy_warmings IS 'Keys that an instance is to load before they are asked for.';
COMMENT ON COLUMN policy_warmings.batch IS 'Those asked for together.';
COMMENT ON COLUMN policy_warmings.loaded IS 'What it reported; null until then.';
CREATE INDEX policy_warmings_batch ON policy_warmings (batch);

CREATE TABLE policy_overrides (
    id text PRIMARY KEY,
    policy_id text NOT NULL REFERENCES policies (id),
    adjustment jsonb NOT NULL,
    lease_ms bigint NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    rule_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE policy_overrides IS 'Temporary changes of policies, each for as long as its lease.';
COMMENT ON COLUMN policy_overrides.adjustment IS 'model::Adjustment as JSON.';
COMMENT ON COLUMN policy_overrides.rule_id IS 'The rule that holds it, when one does.';
CREATE INDEX policy_overrides_policy ON policy_overrides (policy_id);

CREATE TABLE policy_override_ends (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    override_id text NOT NULL,
    policy_id text NOT NULL,
    adjustment jsonb NOT NULL,
    rule_id text,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now(),
    end_author text NOT NULL,
    end_reason text NOT NULL
);
COMMENT ON TABLE policy_override_ends IS 'The audit of overrides: who held one, from when to when, and why it ended.';
CREATE INDEX policy_override_ends_policy ON policy_override_ends (policy_id, ended_at);

CREATE TABLE policy_rollouts (
    id text PRIMARY KEY,
    policy_id text NOT NULL REFERENCES policies (id),
    from_revision bigint NOT NULL,
    to_revision bigint NOT NULL,
    stages jsonb NOT NULL,
    guards jsonb NOT NULL,
    state text NOT NULL,
    stage integer NOT NULL,
    reach jsonb NOT NULL,
    readings jsonb NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    stage_started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    driver text,
    driven_until timestamptz
);
COMMENT ON TABLE policy_rollouts IS 'Revisions on their way through the fleet, stage by stage.';
COMMENT ON COLUMN policy_rollouts.state IS 'running, paused, done, rolled_back.';
COMMENT ON COLUMN policy_rollouts.stage IS 'Counted from 0.';
COMMENT ON COLUMN policy_rollouts.reach IS 'By stage that was reached: the share of the fleet, from 0 to 100, that it means; at least one instance.';
COMMENT ON COLUMN policy_rollouts.readings IS 'The last look at each guard.';
COMMENT ON COLUMN policy_rollouts.reason IS 'Why it is where it is.';
COMMENT ON COLUMN policy_rollouts.driver IS 'The server that looks at its guards, until driven_until.';
CREATE UNIQUE INDEX policy_rollouts_open ON policy_rollouts (policy_id) WHERE state IN ('running', 'paused');
