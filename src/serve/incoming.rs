//! Connections as they come in, and a stream that can be cut off from our side.
//!
//! A graceful stop waits for the client to agree, and one that is stopped itself, or does not read, never does. Its
//! connection would keep what the calls use, and with it the daemon, alive.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::connections::{Admitted, Connections, Peer};

/// The pause after the first failure to accept; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often the log may say that no connection can be accepted.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What connections come from.
pub(super) trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Option<IpAddr>)>>;
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(UnixStream, Option<IpAddr>)>> {
        self.poll_accept(context).map_ok(|(stream, _)| (stream, None))
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, Option<IpAddr>)>> {
        self.poll_accept(context).map_ok(|(stream, address)| {
            // It only makes answers quicker.
            let _ = stream.set_nodelay(true);
            (stream, Some(address.ip().to_canonical()))
        })
    }
}

/// The connections that are let in. Never fails and never ends: where the machine gives none, it waits.
pub(super) struct Incoming<L> {
    listener: L,
    connections: Arc<Connections>,
    rest: Option<Pin<Box<Sleep>>>,
    pause: Duration,
    said: Option<Instant>,
}

impl<L: Listener> Incoming<L> {
    pub(super) fn new(listener: L, connections: Arc<Connections>) -> Self {
        Self { listener, connections, rest: None, pause: FIRST_PAUSE, said: None }
    }

    /// Waits a while where descriptors or memory are short. To ask at once again would take a core and change nothing.
    fn back_off(&mut self, error: &io::Error) {
        self.rest = Some(Box::pin(tokio::time::sleep(self.pause)));
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(%error, "no connection can be accepted; it is tried again and again");
        }
    }
}

impl<L: Listener + Unpin> Stream for Incoming<L> {
    type Item = io::Result<Connection<L::Stream>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, address)) => {
                    self.pause = FIRST_PAUSE;
                    // One that is not let in is closed here.
                    if let Some(admitted) = self.connections.admit(address, Instant::now()) {
                        return Poll::Ready(Some(Ok(Connection::new(stream, admitted))));
                    }
                }
                // The client has gone meanwhile; accept(2) names more such errors of TCP.
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => self.back_off(&error),
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };

    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    )
}

/// A stream that fails from the moment it is severed.
pub(super) struct Connection<S> {
    stream: S,
    severed: Pin<Box<WaitForCancellationFutureOwned>>,
    admitted: Admitted,
}

impl<S> Connection<S> {
    fn new(stream: S, admitted: Admitted) -> Self {
        let severed = Box::pin(admitted.sever.clone().cancelled_owned());
        Self { stream, severed, admitted }
    }

    /// Fails where it is severed; otherwise wakes the caller when it will be.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.severed.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.admitted.peer()
    }
}
