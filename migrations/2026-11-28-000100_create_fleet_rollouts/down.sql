DROP TABLE policy_rollouts;
DROP TABLE policy_override_ends;
DROP TABLE policy_overrides;
DROP TABLE policy_warmings;
DROP TABLE policy_invalidations;
DROP TABLE policy_instances;
DROP TABLE policy_changes;
