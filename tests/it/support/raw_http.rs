//! HTTP by hand: a server that answers the same bytes to everybody, and a client without manners.
#![cfg(test)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// Answers every connection with the same bytes and closes it.
pub(crate) struct RawServer {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl RawServer {
    /// `answer` may depend on the address it is served at.
    pub(crate) async fn start(answer: impl FnOnce(SocketAddr) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&served);
        let bytes = answer(address);
        TaskTracker::new().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                drop(read_message(&mut BufReader::new(&mut stream)).await);
                // Err means that the asker had enough, which is its right.
                drop(stream.write_all(&bytes).await);
                drop(stream.shutdown().await);
            }
        });
        Self { address, served }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections it has seen.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// An answer with a status line, a length and a body.
pub(crate) fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Asks once and gives the status and the body as text.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// One whole request or answer: its head, and as much body as the head says; `None` where the connection ends before.
pub(crate) async fn read_message(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut body_length = 0;
    loop {
        let start = message.len();
        if stream.read_until(b'\n', &mut message).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&message[start..]).to_ascii_lowercase();
        if line == "\r\n" {
            break;
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            body_length = length.trim().parse().ok()?;
        }
    }
    let head_length = message.len();
    message.resize(head_length + body_length, 0);
    stream.read_exact(&mut message[head_length..]).await.ok()?;
    Some(message)
}
