//! `clearday healthcheck`: asks a daemon on this machine whether it is alive, for images that hold nothing but the
//! binary.
//!
//! Alive is not ready: a database that is away is no reason to start the daemon again, so `/healthz` is asked.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::exit::{CliError, Exit};
use crate::config::Settings;

/// Below the patience of whoever runs the check.
const PATIENCE: Duration = Duration::from_secs(3);

/// As much of an answer as is looked at.
const ALIVE: &[u8] = b"HTTP/1.1 200 ";

/// Runs the verb: 0 when the daemon says that it is alive, 1 when it does not.
pub(super) async fn run(
    settings: &Settings,
    out: &mut (dyn Write + Send),
) -> Result<Exit, CliError> {
    let address = reachable(settings.http.listen);
    let (word, exit) = match tokio::time::timeout(PATIENCE, ask(address)).await {
        Ok(Ok(true)) => ("alive".to_owned(), Exit::Fine),
        Ok(Ok(false)) => (
            "answers, but not that it is alive".to_owned(),
            Exit::Finding,
        ),
        Ok(Err(error)) => (format!("no answer: {error}"), Exit::Finding),
        Err(_) => (
            format!("no answer within {} s", PATIENCE.as_secs()),
            Exit::Finding,
        ),
    };
    writeln!(out, "{address}: {word}").map_err(CliError::output)?;
    Ok(exit)
}

/// Who listens on every address of this machine is asked on the one that no other machine has.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

async fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; ALIVE.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == ALIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
