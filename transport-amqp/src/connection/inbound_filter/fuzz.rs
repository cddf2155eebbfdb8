//! Entry point for fuzzers. Built for fuzzing only.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_io::AsyncRead;

use crate::connection::inbound_filter::fatal_message_search::FatalMessageSearch;
use crate::connection::inbound_filter::filtered_stream::FilteredStream;
use crate::connection::inbound_filter::frame_head::{HEAD, Head};
use crate::connection::inbound_filter::{content_header, method_text_check};

/// The largest frame that the engine asks for.
const FRAME_MAX: usize = 4096;

/// Filters the bytes of a broker in parts, as a stream does, with and without careful reading. The
/// engine must get what [`reference`] makes of all frames at once.
///
/// The first two bytes are the sizes of a part and of the buffer, less one.
pub(crate) fn frames(bytes: &[u8]) {
    let [part, buffer, bytes @ ..] = bytes else { return };
    if matches!(bytes, [21 | 22, ..]) {
        // No broker.
        return;
    }
    let expected = reference(bytes);
    let (part, buffer) = (usize::from(*part) + 1, usize::from(*buffer) + 1);
    for ends in 0..2 {
        let search = FatalMessageSearch::default();
        for _ in 0..ends {
            drop(search.begin());
            search.note_end(Some(&lapin::ErrorKind::InvalidChannel(1).into()));
        }
        let stream = FilteredStream::new(Parts { bytes, part }, FRAME_MAX as u32);
        let read = read(stream.with_search(&search), buffer);
        // A frame that is cut off is held back, or passes as far as it has come.
        assert!(read.starts_with(&expected));
    }
}

/// A stream that yields a few bytes at a time.
///
/// A read is never pending, so no waker is needed.
struct Parts<'a> {
    bytes: &'a [u8],
    part: usize,
}

impl AsyncRead for Parts<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = self.part.min(buffer.len()).min(self.bytes.len());
        let (part, rest) = self.bytes.split_at(count);
        buffer[..count].copy_from_slice(part);
        self.bytes = rest;
        Poll::Ready(Ok(count))
    }
}

/// Reads a stream to its end, into a buffer of this size.
fn read(mut stream: FilteredStream<Parts<'_>>, buffer: usize) -> Vec<u8> {
    let (mut buffer, mut all) = (vec![0; buffer], Vec::new());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        assert!(stream.buffered() <= BUFFERED_MAX, "{} bytes are buffered", stream.buffered());
        match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
            Poll::Ready(Ok(0) | Err(_)) => return all,
            Poll::Ready(Ok(count)) => all.extend(&buffer[..count]),
            Poll::Pending => {}
        }
    }
}

/// Rewrites all complete frames. Returns them up to the first one that is cut off.
fn reference(mut bytes: &[u8]) -> Vec<u8> {
    let (mut frame_max, mut malformed, mut output) = (FRAME_MAX, Vec::new(), Vec::new());
    while let Some(head) = Head::of(bytes)
        && let Some((frame, rest)) = bytes.split_at_checked(head.total)
    {
        bytes = rest;
        let mut frame = frame.to_vec();
        let payload = HEAD..frame.len() - 1;
        let is_too_large = head.total > frame_max;
        let take = |malformed: &mut Vec<(u16, &'static str)>| {
            let at = malformed.iter().position(|(channel, _)| *channel == head.channel)?;
            Some(malformed.swap_remove(at).1)
        };
        match head.kind {
            1 if head.size >= 4 && !is_too_large => match frame[payload.clone()] {
                [0, 10, 0, 30, _, _, a, b, c, d, ..] if head.channel == 0 => {
                    let max = u32::from_be_bytes([a, b, c, d]);
                    if max != 0 {
                        frame_max = frame_max.min(max.max(4096) as usize);
                    }
                }
                [0, 10, 0, 10, ..] if head.channel == 0 => {}
                _ => {
                    if let Some(fault) = method_text_check::check(&mut frame[payload]) {
                        take(&mut malformed);
                        malformed.push((head.channel, fault));
                    }
                }
            },
            2 => {
                let fault = take(&mut malformed);
                let start = || frame[payload.start..][..content_header::CLASS_AND_SIZE].to_vec();
                let replaced = match is_too_large {
                    true if head.size > content_header::CLASS_AND_SIZE => {
                        Some(content_header::too_large(&start()))
                    }
                    _ => {
                        let start =
                            frame.get(payload.start..payload.start + 12).map(<[u8]>::to_vec);
                        let checked = content_header::check(&mut frame[payload], fault);
                        checked.map(|it| match head.frame(&it).len() > frame_max {
                            true => content_header::too_large(&start.unwrap_or_default()),
                            false => it,
                        })
                    }
                };
                if let Some(replaced) = replaced {
                    frame = head.frame(&replaced);
                }
            }
            _ => {}
        }
        output.extend(frame);
    }
    output
}

/// The most bytes that a filter may hold or have ready: a frame, its replacement, and a read.
const BUFFERED_MAX: usize = 3 * FRAME_MAX;
