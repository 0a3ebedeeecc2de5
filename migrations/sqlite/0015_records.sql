-- Which reconciliation run found that a record and its line agree. A newer version of the run, or a change of
-- the record itself, takes the mark away where that no longer holds. No foreign key: a run marks a million
-- records, and runs are never deleted.

ALTER TABLE records ADD COLUMN reconciled_run_id BLOB;

-- What a superseded run marked is found without reading what nobody marked.
CREATE INDEX records_by_reconciled_run ON records (reconciled_run_id, kind, record_no)
    WHERE reconciled_run_id IS NOT NULL;
