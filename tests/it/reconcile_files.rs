//! `reconcile` on plain files.
