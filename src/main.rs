//! The `clearday` binary.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clearday::cli::exit::Exit;
use clearday::cli::{self, Outside};
use clearday::clock::Clock;
use clearday::connectors::install_tls_provider;

/// What may still run in the background when the answer is told; it is not waited for longer.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    install_tls_provider();
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return Exit::Unavailable.into();
    };
    let exit = runtime.block_on(run());
    runtime.shutdown_timeout(LINGER);
    exit.into()
}

async fn run() -> Exit {
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
    cli::main(std::env::args_os(), &mut outside).await
}
