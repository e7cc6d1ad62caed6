CREATE TABLE policies (
    id text PRIMARY KEY,
    definition jsonb NOT NULL,
    revision bigint NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE policies IS 'Policies as they stand; a deleted one stays for its history.';
COMMENT ON COLUMN policies.id IS 'Names it for ever.';
COMMENT ON COLUMN policies.definition IS 'model::Policy as JSON.';
COMMENT ON COLUMN policies.revision IS 'Grows by one at each accepted change.';
COMMENT ON COLUMN policies.deleted IS 'Gone, but for its history.';
COMMENT ON COLUMN policies.author IS 'Who made this revision.';
COMMENT ON COLUMN policies.reason IS 'Why it was made.';
COMMENT ON COLUMN policies.created_at IS 'First saved.';
COMMENT ON COLUMN policies.updated_at IS 'Last changed.';

CREATE TABLE policy_revisions (
    policy_id text NOT NULL REFERENCES policies (id),
    revision bigint NOT NULL,
    definition jsonb NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (policy_id, revision)
);
COMMENT ON TABLE policy_revisions IS 'Every revision that a policy had: the audit of who changed what, and why.';
COMMENT ON COLUMN policy_revisions.policy_id IS 'Which policy.';
COMMENT ON COLUMN policy_revisions.revision IS 'Its number.';
COMMENT ON COLUMN policy_revisions.definition IS 'model::Policy as JSON.';
COMMENT ON COLUMN policy_revisions.deleted IS 'It was the end of the policy.';
COMMENT ON COLUMN policy_revisions.author IS 'Who made it.';
COMMENT ON COLUMN policy_revisions.reason IS 'Why it was made.';
COMMENT ON COLUMN policy_revisions.created_at IS 'When it was accepted.';
