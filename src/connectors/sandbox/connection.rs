//! Connections that the sandbox can cut in the middle of a conversation.
//!
//! A handler that pulls the [`Cord`] answers as always; the answer never reaches the wire, because the first write
//! after that fails and the connection ends.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// With the orderly end of a server that has nothing to say.
    Close,
    /// With a reset, as when the host vanished.
    Reset,
}

/// Pulled by a handler to cut the connection its request came in on.
#[derive(Clone, Debug, Default)]
pub(super) struct Cord(Arc<OnceLock<Cut>>);

impl Cord {
    pub(super) fn pull(&self, cut: Cut) {
        self.0.get_or_init(|| cut);
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Cord {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().cord.clone()
    }
}

/// Accepts connections that have a [`Cord`].
#[derive(Debug)]
pub(super) struct CuttableListener(pub(super) TcpListener);

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CuttableStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let cord = Cord::default();
        (CuttableStream { stream, cord }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection whose cord may be pulled.
#[derive(Debug)]
pub(super) struct CuttableStream {
    stream: TcpStream,
    cord: Cord,
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        match self.cord.0.get() {
            None => return Ok(()),
            Some(Cut::Close) => {}
            Some(Cut::Reset) => self.stream.set_zero_linger()?,
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// A connection that was cut is not shut down politely: dropping it is the cut.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
