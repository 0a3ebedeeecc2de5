//! The `clearday` binary.

fn main() {}
