-- Payloads are compressed already, and the first bytes of one are read without the rest.
ALTER TABLE blocks ALTER COLUMN payload SET STORAGE EXTERNAL;
