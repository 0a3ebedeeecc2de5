//! reconciliations
