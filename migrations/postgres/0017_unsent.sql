-- When the call of an instruction last failed before anything left; NULL once it may have left. What did not leave is
-- not shown to a merchant as submitted.
ALTER TABLE payout_instructions ADD COLUMN unsent_at TIMESTAMPTZ;
