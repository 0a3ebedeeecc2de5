//! The contract of clearday.
