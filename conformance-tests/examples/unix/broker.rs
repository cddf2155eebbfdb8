//! The broker: it opens an endpoint handle of `Memory` for each connection.

use std::io::{Error as IoError, ErrorKind::InvalidData, Result as IoResult};
use std::pin::pin;

use futures_util::stream::{StreamExt, unfold};
use polywire_core::message::CallId;
use polywire_core::transport::kit::{DeliveryTags, HeldDeliveries, OutcomeEnvelope};
use polywire_core::transport::{Delivery, Receipt};
use polywire_core::{Memory, Message, Result, Transport, Window};
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::wire::{Frame, Kind, PATIENCE, read, write};

/// Runs the broker, until the future is dropped or the process is out of file handles.
pub(crate) async fn accept(listener: UnixListener) {
    let (memory, mut connections) = (Memory::new(), JoinSet::new());
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(host(stream, memory.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves a connection until it ends. Its unsettled requests are requeued then, since their
/// receipts are dropped.
async fn host(stream: UnixStream, memory: Memory) -> IoResult<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let Frame { kind, number, message } = timeout(PATIENCE, read(&mut from)).await??;
    let (service, window) = (message.method.ok_or(InvalidData)?, Window::new(number as usize));
    let opened = match kind {
        Kind::Open(false) => memory.requester(&service).await,
        Kind::Open(true) => memory.responder(&service, window).await,
        _ => return Err(InvalidData.into()),
    };
    let (sender, mut receiver) = opened.map_err(IoError::other)?;
    let mut held: HeldDeliveries<Receipt> = HeldDeliveries::new(window, &DeliveryTags::new());
    // Keeps a frame that was read in part. No frame is read while one is written, which cannot
    // block both sides, as the client always reads.
    let mut frames = pin!(unfold(from, async |mut from| Some((read(&mut from).await.ok()?, from))));
    let mut answer = Frame { kind: Kind::Opened, number: 0, message: Message::default() };
    loop {
        write(&mut to, &answer).await?;
        answer = loop {
            tokio::select! {
                frame = frames.next() => {
                    let Some(Frame { kind, number, message }) = frame else { return Ok(()) };
                    let call = message.id;
                    match kind {
                        // Where the queue is full, the socket fills up behind it.
                        Kind::Send => match (sender.send(message).await, call) {
                            (Err(_), _) => break refused(call),
                            // No reply will show that it has arrived.
                            (Ok(()), None) => break Frame { kind: Kind::Accepted, ..refused(None) },
                            (Ok(()), Some(_)) => {}
                        },
                        // Not claimed, so core never sends it: its fault would have no bound.
                        Kind::Settle(OutcomeEnvelope::Decline(_)) => return Err(InvalidData.into()),
                        Kind::Settle(outcome) => {
                            if let Some(receipt) = held.release(number) {
                                receipt.settle(outcome.into_outcome());
                            }
                        }
                        Kind::Stop => receiver.stop(),
                        _ => return Err(InvalidData.into()),
                    }
                }
                Some(next) = receiver.next() => break frame_of(next, &mut held)?,
            }
        };
    }
}

/// The frame for the next item of a receiver. Holds the receipt of a request.
fn frame_of(next: Result<Delivery>, held: &mut HeldDeliveries<Receipt>) -> IoResult<Frame> {
    Ok(match next {
        Err(error) => refused(error.call()),
        Ok(Delivery { message, receipt, attempt, .. }) if receipt.is_some() => {
            let number = held.hold(receipt).map_err(|_| InvalidData)?;
            Frame { kind: Kind::Request(attempt), number, message: *message }
        }
        Ok(reply) => Frame { kind: Kind::Send, number: 0, message: *reply.message },
    })
}

fn refused(call: Option<CallId>) -> Frame {
    let mut message = Message::default();
    message.id = call;
    Frame { kind: Kind::Refused, number: 0, message }
}
