//! A TCP proxy that goes wrong when it is told to.
//!
//! One listener, one server behind it, any number of connections. A [`Mode`] holds for all of them until it is changed;
//! a [`Cut`] strikes one connection, once. Nothing is ever altered on the way: bytes arrive late, or not at all, or
//! the connection is reset, as networks do it.
#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::chance::Chance;
use super::postgres_frames::Frames;

/// As much as is read at once; a larger message is several chunks.
const CHUNK_BYTES: usize = 16 << 10;

/// How every connection fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Every chunk arrives this much later.
    Slow {
        least: Duration,
        most: Duration,
    },
    /// Nothing arrives while it lasts, and everything afterwards: a network that came back in time.
    Stall,
    /// What is sent is lost, new connections are accepted and never answered, and when it is over those that lost
    /// something are reset: a peer that came back and knows nothing of them.
    BlackHole,
}

/// What strikes one connection, and resets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The next connection on which the server answers, after so many bytes of its answers.
    AfterBytes(u64),
    /// The next connection that sends COMMIT to a Postgres: it arrives, is carried out, and its answer does not come
    /// back.
    AfterCommit,
}

/// What the proxy did.
#[derive(Debug, Default)]
pub(crate) struct Struck {
    pub(crate) bytes: AtomicU64,
    pub(crate) commits: AtomicU64,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    _stop: DropGuard,
}

struct Line {
    upstream: u16,
    mode: watch::Sender<Mode>,
    /// Grows whenever every connection is to be reset.
    resets: watch::Sender<u64>,
    armed: Mutex<Vec<Cut>>,
    struck: Struck,
    chance: Mutex<Chance>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// What both directions of a connection know.
#[derive(Default)]
struct Doom {
    /// The answer that comes next does not come.
    now: AtomicBool,
    /// So many bytes more; none when no cut was drawn.
    bytes_left: Mutex<Option<u64>>,
}

impl Proxy {
    /// Listens on a free port for the server on `upstream`, which need not be there.
    pub(crate) async fn start(upstream: u16, chance: Chance) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Line {
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            resets: watch::Sender::new(0),
            armed: Mutex::default(),
            struck: Struck::default(),
            chance: Mutex::new(chance),
        });
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (serving, stopping, connections) = (Arc::clone(&line), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopping.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                if let Ok((client, _)) = accepted {
                    let (line, stopping) = (Arc::clone(&serving), stopping.clone());
                    connections.spawn(async move {
                        stopping.run_until_cancelled(line.carry(client)).await;
                    });
                }
            }
        });
        Self {
            address,
            line,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.line.mode.send_replace(mode);
    }

    /// Resets every connection there is.
    pub(crate) fn reset_all(&self) {
        self.line.resets.send_modify(|resets| *resets += 1);
    }

    /// Lets this strike once.
    pub(crate) fn arm(&self, cut: Cut) {
        self.line.armed.lock().unwrap().push(cut);
    }

    /// All is well again: what was armed and has not struck does not.
    pub(crate) fn heal(&self) {
        self.line.armed.lock().unwrap().clear();
        self.set(Mode::Pass);
    }

    pub(crate) fn struck(&self) -> &Struck {
        &self.line.struck
    }
}

impl Line {
    async fn carry(&self, mut client: TcpStream) {
        let mut resets = self.resets.subscribe();
        resets.mark_unchanged();
        let end = tokio::select! {
            end = self.relay(&mut client) => end,
            _ = resets.changed() => End::Reset,
        };
        if end == End::Reset {
            // Dropped with unsent bytes thrown away, it is a reset and no orderly end.
            client.set_zero_linger().ok();
        }
    }

    async fn relay(&self, client: &mut TcpStream) -> End {
        if let Some(end) = self.pass_gate(client).await {
            return end;
        }
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream)).await else {
            return End::Reset;
        };
        for stream in [&*client, &server] {
            stream.set_nodelay(true).ok();
        }
        let doom = Doom::default();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut frames = Frames::default();
        let asking = self.pump(&mut from_client, &mut to_server, |bytes| {
            if frames.have_commit(bytes) && self.take(|cut| matches!(cut, Cut::AfterCommit)) {
                doom.now.store(true, Ordering::SeqCst);
            }
            Some(bytes.len())
        });
        let answering = self.pump(&mut from_server, &mut to_client, |bytes| {
            self.let_through(&doom, bytes.len())
        });
        let end = tokio::select! {
            end = asking => end,
            end = answering => end,
        };
        if end == End::Reset {
            server.set_zero_linger().ok();
        }
        end
    }

    /// Nobody is connected while nothing passes.
    async fn pass_gate(&self, client: &mut TcpStream) -> Option<End> {
        let mut mode = self.mode.subscribe();
        let now = *mode.borrow_and_update();
        match now {
            Mode::Pass | Mode::Slow { .. } => None,
            Mode::Stall => {
                mode.wait_for(|mode| *mode != Mode::Stall).await.ok()?;
                None
            }
            Mode::BlackHole => Some(swallow(client, &mut mode).await),
        }
    }

    /// Moves bytes one way. `look` says how many of a chunk go on; none or fewer than all: then the connection is cut.
    async fn pump(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        mut look: impl FnMut(&[u8]) -> Option<usize>,
    ) -> End {
        let mut mode = self.mode.subscribe();
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        loop {
            let length = match from.read(&mut chunk).await {
                Ok(0) => return End::Closed,
                Ok(length) => length,
                Err(_) => return End::Reset,
            };
            let now = *mode.borrow_and_update();
            match now {
                Mode::Pass => {}
                Mode::Slow { least, most } => {
                    let wait = self.draw(least, most);
                    tokio::time::sleep(wait).await;
                }
                Mode::Stall => {
                    if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
                        return End::Reset;
                    }
                }
                Mode::BlackHole => return swallow(from, &mut mode).await,
            }
            let bytes = &chunk[..length];
            let Some(passing) = look(bytes) else {
                return End::Reset;
            };
            if to.write_all(&bytes[..passing]).await.is_err() || passing < length {
                return End::Reset;
            }
        }
    }

    /// How many bytes of an answer still arrive; none when the connection is cut before them.
    fn let_through(&self, doom: &Doom, length: usize) -> Option<usize> {
        if doom.now.load(Ordering::SeqCst) {
            self.struck.commits.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let mut left = doom.bytes_left.lock().unwrap();
        if left.is_none() {
            *left = self.take_bytes();
        }
        let Some(bytes) = left.as_mut() else {
            return Some(length);
        };
        let passing = length.min(usize::try_from(*bytes).unwrap());
        *bytes -= u64::try_from(passing).unwrap();
        if passing < length {
            self.struck.bytes.fetch_add(1, Ordering::Relaxed);
        }
        Some(passing)
    }

    fn take(&self, is_it: impl Fn(&Cut) -> bool) -> bool {
        let mut armed = self.armed.lock().unwrap();
        let found = armed.iter().position(is_it);
        found.is_some_and(|at| {
            armed.remove(at);
            true
        })
    }

    fn take_bytes(&self) -> Option<u64> {
        let mut armed = self.armed.lock().unwrap();
        let bytes = |cut: &Cut| match cut {
            Cut::AfterBytes(bytes) => Some(*bytes),
            Cut::AfterCommit => None,
        };
        let at = armed.iter().position(|cut| bytes(cut).is_some())?;
        bytes(&armed.remove(at))
    }

    fn draw(&self, least: Duration, most: Duration) -> Duration {
        let spread = u64::try_from((most.saturating_sub(least)).as_millis()).unwrap();
        least + self.chance.lock().unwrap().millis(0, spread + 1)
    }
}

/// Reads and forgets until it is over or the sender has had enough.
async fn swallow(from: &mut (impl AsyncRead + Unpin), mode: &mut watch::Receiver<Mode>) -> End {
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    loop {
        tokio::select! {
            read = from.read(&mut chunk) => match read {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(_) => return End::Reset,
            },
            over = mode.wait_for(|mode| *mode != Mode::BlackHole) => {
                drop(over);
                return End::Reset;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every byte with itself, and counts what arrived.
    async fn echo() -> (u16, Arc<AtomicU64>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let arrived = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&arrived);
        let tracker = TaskTracker::new();
        let connections = tracker.clone();
        tracker.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                connections.spawn(async move {
                    let mut chunk = [0_u8; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                        counter.fetch_add(u64::try_from(length).unwrap(), Ordering::SeqCst);
                        if stream.write_all(&chunk[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (port, arrived)
    }

    async fn proxied() -> (Proxy, Arc<AtomicU64>) {
        let (port, arrived) = echo().await;
        (Proxy::start(port, Chance::new(1)).await, arrived)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .await
            .unwrap()
    }

    async fn ask(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(words).await?;
        let mut answer = vec![0_u8; words.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    /// Whether no answer comes for a moment; that it never does nobody can see.
    async fn is_unanswered(stream: &mut TcpStream, words: &[u8]) -> bool {
        let asked = ask(stream, words);
        tokio::time::timeout(Duration::from_millis(100), asked)
            .await
            .is_err()
    }

    fn simple_query(text: &str) -> Vec<u8> {
        let mut frame = vec![b'Q'];
        frame.extend(u32::try_from(text.len() + 5).unwrap().to_be_bytes());
        frame.extend(text.as_bytes());
        frame.push(0);
        frame
    }

    fn startup() -> Vec<u8> {
        let mut frame = 8_u32.to_be_bytes().to_vec();
        frame.extend(196_608_u32.to_be_bytes());
        frame
    }

    #[tokio::test]
    async fn what_passes_is_not_altered() {
        let (proxy, _) = proxied().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream, b"hello").await.unwrap(), b"hello");
        let long = vec![7_u8; 100_000];
        let (mut reading, mut writing) = stream.split();
        let mut answer = vec![0_u8; long.len()];
        let (written, read) =
            tokio::join!(writing.write_all(&long), reading.read_exact(&mut answer));
        written.unwrap();
        read.unwrap();
        assert_eq!(answer, long);
    }

    #[tokio::test]
    async fn a_stall_delivers_everything_when_it_is_over() {
        let (proxy, arrived) = proxied().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream, b"one").await.unwrap(), b"one");
        proxy.set(Mode::Stall);
        assert!(is_unanswered(&mut stream, b"two").await);
        assert_eq!(arrived.load(Ordering::SeqCst), 3);
        proxy.set(Mode::Pass);
        let mut answer = [0_u8; 3];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"two");
    }

    #[tokio::test]
    async fn a_black_hole_answers_nobody_and_resets_what_it_swallowed() {
        let (proxy, arrived) = proxied().await;
        let (mut busy, mut quiet) = (connect(&proxy).await, connect(&proxy).await);
        for stream in [&mut busy, &mut quiet] {
            assert_eq!(ask(stream, b"one").await.unwrap(), b"one");
        }
        proxy.set(Mode::BlackHole);
        let mut new = connect(&proxy).await;
        assert!(is_unanswered(&mut busy, b"two").await);
        assert!(is_unanswered(&mut new, b"three").await);
        proxy.set(Mode::Pass);
        for stream in [&mut busy, &mut new] {
            assert!(stream.read(&mut [0_u8; 1]).await.is_err(), "it is reset");
        }
        assert_eq!(ask(&mut quiet, b"four").await.unwrap(), b"four");
        assert_eq!(arrived.load(Ordering::SeqCst), 10);
    }

    #[tokio::test]
    async fn a_cut_after_bytes_strikes_one_connection_in_the_middle_of_an_answer() {
        let (proxy, _) = proxied().await;
        proxy.arm(Cut::AfterBytes(5));
        let mut stream = connect(&proxy).await;
        stream.write_all(b"hello world").await.unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0_u8; 16];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            answer.extend(&chunk[..length]);
        }
        // A reset may throw away what had arrived and was not read.
        assert!(b"hello".starts_with(&answer), "{answer:?}");
        let mut next = connect(&proxy).await;
        assert_eq!(
            ask(&mut next, b"hello world").await.unwrap(),
            b"hello world"
        );
        assert_eq!(proxy.struck().bytes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_cut_after_commit_lets_the_commit_arrive_and_its_answer_not() {
        let (proxy, arrived) = proxied().await;
        let mut stream = connect(&proxy).await;
        let start = startup();
        assert_eq!(ask(&mut stream, &start).await.unwrap(), start);
        proxy.arm(Cut::AfterCommit);
        let other = simple_query("SELECT 1");
        assert_eq!(ask(&mut stream, &other).await.unwrap(), other);
        let commit = simple_query("COMMIT");
        assert!(
            ask(&mut stream, &commit).await.is_err(),
            "no answer comes back"
        );
        let sent = start.len() + other.len() + commit.len();
        assert_eq!(arrived.load(Ordering::SeqCst), u64::try_from(sent).unwrap());
        assert_eq!(proxy.struck().commits.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn everybody_is_reset_at_once() {
        let (proxy, _) = proxied().await;
        let mut streams = [connect(&proxy).await, connect(&proxy).await];
        for stream in &mut streams {
            ask(stream, b"one").await.unwrap();
        }
        proxy.reset_all();
        for stream in &mut streams {
            assert!(stream.read(&mut [0_u8; 1]).await.is_err());
        }
    }
}
