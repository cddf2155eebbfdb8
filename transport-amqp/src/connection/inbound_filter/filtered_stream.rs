//! The stream that the engine reads from and writes to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use crate::connection::broker_version::CurrentVersion;
use crate::connection::confirm_listeners::ConfirmListeners;
use crate::connection::inbound_filter::fatal_message_search::FatalMessageSearch;
use crate::connection::inbound_filter::frame_filter::FrameFilter;
use crate::connection::inbound_filter::unexpected_tls::check_first;
use crate::connection::outbound_filter::{OutboundFilter, Run};

/// A stream whose inbound frames are checked. Outbound frames pass, but those of closed channels.
///
/// The engine owns the stream and polls it on its own thread.
pub(crate) struct FilteredStream<S> {
    stream: S,
    filter: FrameFilter,
    outbound: OutboundFilter,
    /// Set after the first byte was checked.
    has_begun: bool,
}

impl<S> FilteredStream<S> {
    /// Wraps a stream on which nothing was read yet, behind TLS. `frame_max` is the largest frame
    /// that the engine asks for.
    pub(crate) fn new(stream: S, frame_max: u32) -> Self {
        Self {
            stream,
            filter: FrameFilter::new(frame_max),
            outbound: OutboundFilter::default(),
            has_begun: false,
        }
    }

    /// Sets the place for the version that the broker states.
    pub(crate) fn with_version(self, version: CurrentVersion) -> Self {
        Self { filter: self.filter.with_version(version), ..self }
    }

    /// Sets the listeners to the confirms of the connection.
    pub(crate) fn with_confirms(self, listeners: ConfirmListeners) -> Self {
        Self { filter: self.filter.with_confirms(listeners), ..self }
    }

    /// Takes part in the search for messages over which the engine fails.
    pub(in crate::connection) fn with_search(self, search: &FatalMessageSearch) -> Self {
        Self { filter: self.filter.with_search(search), ..self }
    }

    /// Returns the number of bytes that are buffered.
    #[cfg(fuzzing)]
    pub(super) fn buffered(&self) -> usize {
        self.filter.buffered()
    }

    /// Lets content headers pass unchecked, for tests of the engine's failures.
    pub(crate) fn unchecked(self, is_unchecked: bool) -> Self {
        Self { filter: self.filter.unchecked(is_unchecked), ..self }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FilteredStream<S> {
    /// Reads checked bytes. Most bytes go from the socket into `buffer` and are checked there; only
    /// held and rewritten frames are copied.
    ///
    /// A first byte that is no AMQP is an error of the kind `InvalidData`. An end of the stream
    /// within a held frame discards the frame.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, filter, has_begun, .. } = &mut *self;
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let count = filter.take_ready(buffer);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if filter.pauses() {
                // The engine handles what it has read, and reads again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(lacking) = filter.lacking() else {
                let limit = filter.read_limit(buffer.len());
                let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer[..limit]);
                let count = ready!(read)?;
                if count > 0 && !std::mem::replace(has_begun, true) {
                    check_first(buffer[0])?;
                }
                let passed = filter.scan(&mut buffer[..count]);
                if count == 0 || passed > 0 {
                    return Poll::Ready(Ok(passed));
                }
                continue;
            };
            let mut rest = [0; CHUNK];
            let limit = lacking.min(CHUNK);
            let count = ready!(Pin::new(&mut *stream).poll_read(cx, &mut rest[..limit]))?;
            if count == 0 {
                // The stream ended within a frame.
                return Poll::Ready(Ok(0));
            }
            filter.complete(&rest[..count]);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FilteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, outbound, .. } = &mut *self;
        let parts = [IoSlice::new(buffer)];
        let Run { count, is_dropped } = outbound.next_run(&parts);
        let done = match is_dropped {
            true => count,
            false => ready!(Pin::new(stream).poll_write(cx, &buffer[..count]))?,
        };
        outbound.advance(&parts, done);
        Poll::Ready(Ok(done))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, outbound, .. } = &mut *self;
        // The engine's buffer is a ring, so that it writes two parts.
        let parts = [0, 1].map(|index| buffers.get(index).map_or(&[][..], |part| part));
        let slices = parts.map(IoSlice::new);
        let Run { count, is_dropped } = outbound.next_run(&slices);
        let done = match is_dropped {
            true => count,
            false => {
                let first = count.min(parts[0].len());
                let run = [&parts[0][..first], &parts[1][..count - first]].map(IoSlice::new);
                ready!(Pin::new(stream).poll_write_vectored(cx, &run))?
            }
        };
        outbound.advance(&slices, done);
        Poll::Ready(Ok(done))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Bytes of one read for a held frame.
const CHUNK: usize = 4096;
