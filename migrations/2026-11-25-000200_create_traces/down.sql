DROP FUNCTION trace_usage;
DROP FUNCTION trace_index_put;
DROP TABLE trace_index;
DROP TABLE trace_blocks;
DROP SEQUENCE trace_blocks_id;
DROP FUNCTION journal_append_spans;
DROP TABLE trace_tails;
DROP TABLE trace_spool;
