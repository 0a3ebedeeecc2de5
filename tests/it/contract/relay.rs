//! Stands between a connector and its counterparty, and does to requests and answers what a network may do.
//!
//! Whole messages pass through it one by one. What it is ordered to do, it does to the next request.
#![cfg(test)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::kit::Speech;
use crate::support::raw_http::read_message;
use crate::support::sandbox::PATIENT;

/// What is done to a request and its answer.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// The answer comes twice. In a mail, every answer does, and the text is lost.
    Twice,
    /// The request is lost, and the connection ends.
    Lose,
    /// The request arrives; its answer is the last one that passed before.
    Earlier,
    /// The request arrives when it is let go, whoever may still wait for the answer.
    Late(Late),
}

/// A request that is on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Late {
    let_go: CancellationToken,
    arrived: CancellationToken,
}

impl Late {
    /// Lets it go on, and waits until the counterparty has answered it.
    pub(super) async fn arrive(&self) {
        self.let_go.cancel();
        let arrived = timeout(PATIENT, self.arrived.cancelled());
        arrived.await.expect("the request was on its way");
    }
}

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    orders: VecDeque<Order>,
    /// The last answer that passed.
    passed: Vec<u8>,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr, speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let line = Line {
            server,
            script: Arc::clone(&script),
        };
        let tracker = TaskTracker::new();
        tracker.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let line = line.clone();
                tracker.spawn(async move {
                    // Whoever hangs up ends its own connection and nothing else.
                    drop(match speech {
                        Speech::Words | Speech::Status => line.carry_http(client).await,
                        Speech::Smtp => line.carry_smtp(client).await,
                    });
                });
            }
        });
        Self { address, script }
    }

    /// Orders come one after the other, each for one request.
    pub(super) fn order(&self, order: Order) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.orders.push_back(order);
    }
}

#[derive(Clone)]
struct Line {
    server: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Line {
    fn with<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next_order(&self) -> Option<Order> {
        self.with(|script| script.orders.pop_front())
    }

    async fn carry_http(&self, client: TcpStream) -> io::Result<()> {
        let mut client = BufReader::new(client);
        let mut server = BufReader::new(TcpStream::connect(self.server).await?);
        while let Some(request) = read_message(&mut client).await {
            match self.next_order() {
                None => {
                    let answer = exchange(&mut server, &request).await?;
                    self.with(|script| script.passed.clone_from(&answer));
                    client.write_all(&answer).await?;
                }
                Some(Order::Twice) => {
                    let answer = exchange(&mut server, &request).await?;
                    client.write_all(&answer.repeat(2)).await?;
                }
                Some(Order::Lose) => return Ok(()),
                Some(Order::Earlier) => {
                    exchange(&mut server, &request).await?;
                    let passed = self.with(|script| script.passed.clone());
                    client.write_all(&passed).await?;
                }
                Some(Order::Late(late)) => {
                    late.let_go.cancelled().await;
                    exchange(&mut server, &request).await?;
                    late.arrived.cancel();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn carry_smtp(&self, client: TcpStream) -> io::Result<()> {
        let order = self.next_order();
        let mut client = BufReader::new(client);
        let mut server = BufReader::new(TcpStream::connect(self.server).await?);
        loop {
            let reply = read_reply(&mut server).await?;
            let copies = if matches!(order, Some(Order::Twice)) {
                2
            } else {
                1
            };
            client.write_all(reply.repeat(copies).as_bytes()).await?;
            if !reply.starts_with("354") {
                let command = read_line(&mut client).await?;
                server.write_all(command.as_bytes()).await?;
                continue;
            }
            let text = read_text(&mut client).await?;
            match &order {
                Some(Order::Twice | Order::Lose) => return Ok(()),
                Some(Order::Late(late)) => {
                    late.let_go.cancelled().await;
                    server.write_all(text.as_bytes()).await?;
                    read_reply(&mut server).await?;
                    late.arrived.cancel();
                    return Ok(());
                }
                None | Some(Order::Earlier) => server.write_all(text.as_bytes()).await?,
            }
        }
    }
}

async fn exchange(server: &mut BufReader<TcpStream>, request: &[u8]) -> io::Result<Vec<u8>> {
    server.write_all(request).await?;
    let answer = read_message(server).await;
    answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// All lines of an answer; the last one has a space behind its code.
async fn read_reply(server: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut reply = String::new();
    loop {
        let line = read_line(server).await?;
        reply.push_str(&line);
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(reply);
        }
    }
}

/// Everything up to the line with the dot.
async fn read_text(client: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n.\r\n") {
        text.push_str(&read_line(client).await?);
    }
    Ok(text)
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}
