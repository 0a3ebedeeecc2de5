//! A statement as a value: one text for both databases, with the locks that only Postgres takes.

use sqlx::{Postgres, Sqlite};

/// One SQL text, on Postgres with what locks rows (`FOR UPDATE SKIP LOCKED`); seldom a text of its own.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The text both databases run.
    pub sqlite: &'static str,
    /// The same text with Postgres' locks, or another that does the same.
    pub postgres: &'static str,
}

/// Which of a statement's texts a database runs.
pub(crate) trait Dialect {
    /// The text for this database.
    fn text(statement: Statement) -> &'static str;
}

impl Dialect for Postgres {
    fn text(statement: Statement) -> &'static str {
        statement.postgres
    }
}

impl Dialect for Sqlite {
    fn text(statement: Statement) -> &'static str {
        statement.sqlite
    }
}

impl Statement {
    /// The text for database `D`.
    #[expect(private_bounds, reason = "only the store names databases")]
    pub fn text<D: Dialect>(self) -> &'static str {
        D::text(self)
    }
}

/// Declares the statements of a file and the list that the prepare-everything test walks.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr $(, postgres $tail:literal)? $(, postgres_instead $instead:expr)?;)*) => {
        $($(#[$doc])* const $name: $crate::store::Statement = $crate::store::Statement {
            sqlite: concat!($text),
            postgres: $crate::store::statement::statements!(@postgres $text, $($tail)?, $($instead)?),
        };)*

        /// Every fixed statement of this file.
        pub const STATEMENTS: &[(&str, $crate::store::Statement)] =
            &[$((stringify!($name), $name)),*];
    };
    // With a tail, or as a text of its own: where the locks stand in its middle, or it has a better way.
    (@postgres $text:expr, $($tail:literal)?,) => { concat!($text $(, $tail)?) };
    (@postgres $text:expr, , $instead:expr) => { $instead };
}
pub(crate) use statements;
