//! Runs the command line inside the test: the same code as the binary, without its process.
#![cfg(test)]

use std::sync::Arc;

use clearday::cli::exit::Exit;
use clearday::cli::{self, Outside};
use clearday::clock::{Clock, Ids};
use clearday::engine::{Engine, NoBell};
use clearday::store::Store;
use serde_json::Value;

use super::servers::{ScratchFolder, TestDatabase};
use super::world::POLICY;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The answer of a command that must have worked.
    pub(crate) fn fine(self) -> String {
        assert_eq!((self.exit, self.stderr.as_str()), (Exit::Fine, ""));
        self.stdout
    }

    /// The same, as JSON.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.fine()).unwrap()
    }

    /// What was said by a command that must have refused.
    pub(crate) fn refused(self) -> String {
        assert_eq!((self.exit, self.stdout.as_str()), (Exit::Refused, ""));
        self.stderr.trim_end().to_owned()
    }
}

/// A command line with its own environment, folder and clock, which stands still.
#[derive(Debug)]
pub(crate) struct CommandLine {
    environment: Vec<(String, String)>,
    folder: ScratchFolder,
    pub(crate) clock: Clock,
}

impl CommandLine {
    /// One without any setting.
    pub(crate) fn bare() -> Self {
        Self {
            environment: vec![("USER".to_owned(), "wang".to_owned())],
            folder: ScratchFolder::new("command"),
            clock: Clock::manual("2026-03-02T12:00:00Z".parse().unwrap()),
        }
    }

    /// One that works on this database.
    pub(crate) async fn on(database: &TestDatabase) -> Self {
        let mut line = Self::bare();
        line.set("CLEARDAY_DATABASE__URL", database.url());
        line.run("migrate").await.fine();
        line
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file that commands can name.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// A daemon's engine on the same database, by the same clock.
    pub(crate) async fn engine(&self, database: &TestDatabase) -> Engine {
        Engine::new(
            Store::connect(database.url(), 4).await.unwrap(),
            self.clock.clone(),
            Ids::random(self.clock.clone()),
            POLICY,
            "worker".to_owned(),
            Arc::new(NoBell),
        )
    }

    /// Runs one command, its words split at blanks.
    pub(crate) async fn run(&self, words: &str) -> Ran {
        self.run_with(words, "").await
    }

    /// The same with this text on standard input.
    pub(crate) async fn run_with(&self, words: &str, stdin: &str) -> Ran {
        let words = ["clearday"].into_iter().chain(words.split_whitespace());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut outside = Outside {
            environment: self.environment.clone(),
            stdin: &mut stdin.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            clock: self.clock.clone(),
        };
        let exit = cli::main(words.map(Into::into), &mut outside).await;
        Ran {
            exit,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}
