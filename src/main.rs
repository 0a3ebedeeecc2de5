//! The `clearday` binary.

use std::io;
use std::process::ExitCode;

use clearday::cli::{self, Outside};
use clearday::clock::Clock;

#[tokio::main]
async fn main() -> ExitCode {
    let environment = std::env::vars_os().map(|(name, value)| {
        // What is not Unicode is no setting; it is kept, so that a name of ours is still refused.
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        (text(name), text(value))
    });
    let mut outside = Outside {
        environment: environment.collect(),
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        clock: Clock::system(),
    };
    cli::main(std::env::args_os(), &mut outside).await.into()
}
