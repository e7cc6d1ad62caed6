DROP TABLE policy_revisions;
DROP TABLE policies;
