//! Reading of confirms and of returned messages.

use crate::connection::confirm_listeners::{ConfirmFrame, ConfirmListeners};
use crate::connection::inbound_filter::content_header;

/// The reader of the frames that answer published messages. It changes none of them.
#[derive(Default)]
pub(super) struct ConfirmFrames {
    listeners: ConfirmListeners,
    /// Channels whose next content header belongs to a returned message, with its routing key. The
    /// broker sends the header right behind the method, so there is one entry at most per channel.
    returning: Vec<(u16, String)>,
}

impl ConfirmFrames {
    /// Creates the reader that calls `listeners`.
    pub(super) fn new(listeners: ConfirmListeners) -> Self {
        Self { listeners, returning: Vec::new() }
    }

    /// Returns whether a method is a confirm. `id` holds its class and its number.
    pub(super) fn is_confirm(id: [u8; 4]) -> bool {
        [ACK, NACK].contains(&id)
    }

    /// Reads the payload of a method whose texts are UTF-8.
    pub(super) fn method(&mut self, channel: u16, payload: &[u8]) {
        let Some((id, arguments)) = payload.split_first_chunk::<4>() else { return };
        if Self::is_confirm(*id) {
            let Some((tag, [flags, ..])) = arguments.split_first_chunk::<8>() else { return };
            if let Some(listener) = self.listeners.get(channel) {
                let (tag, multiple) = (u64::from_be_bytes(*tag), flags & 1 != 0);
                listener.confirmed(ConfirmFrame { tag, multiple, is_ack: *id == ACK });
            }
        } else if *id == RETURN && self.listeners.get(channel).is_some() {
            self.returning.retain(|(other, _)| *other != channel);
            if let Some(routing_key) = returned_key(arguments) {
                self.returning.push((channel, routing_key.to_owned()));
            }
        }
    }

    /// Reads the payload of a content header.
    pub(super) fn header(&mut self, channel: u16, payload: &[u8]) {
        let Some(at) = self.returning.iter().position(|(other, _)| *other == channel) else {
            return;
        };
        let (_, routing_key) = self.returning.swap_remove(at);
        if let (Some(listener), Some(id)) =
            (self.listeners.get(channel), content_header::id(payload))
        {
            listener.returned(&routing_key, &id);
        }
    }
}

/// Returns the routing key in the arguments of `basic.return`: a code, a text, the exchange, and
/// the routing key.
fn returned_key(arguments: &[u8]) -> Option<&str> {
    let (_, rest) = arguments.split_first_chunk::<2>()?;
    let (_, rest) = short_string(rest)?;
    let (_, rest) = short_string(rest)?;
    std::str::from_utf8(short_string(rest)?.0).ok()
}

/// Splits a short string off.
fn short_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Class and number of `basic.return`.
const RETURN: [u8; 4] = [0, 60, 0, 50];
/// Class and number of `basic.ack`, which
/// [confirms](https://www.rabbitmq.com/docs/confirms) messages if the broker sends it.
const ACK: [u8; 4] = [0, 60, 0, 80];
/// Class and number of `basic.nack`, an extension of RabbitMQ.
const NACK: [u8; 4] = [0, 60, 0, 120];

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::tests::short;
    use super::*;
    use crate::connection::confirm_listeners::ConfirmListener;
    use crate::lock::lock;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl ConfirmListener for Log {
        fn confirmed(&self, ConfirmFrame { tag, multiple, is_ack }: ConfirmFrame) {
            lock(&self.0).push(format!("{tag} {multiple} {is_ack}"));
        }

        fn returned(&self, routing_key: &str, id: &str) {
            lock(&self.0).push(format!("{routing_key} {id}"));
        }
    }

    /// A content header with these properties: correlation id, reply address, message id.
    fn header(correlation_id: &[u8], reply_to: &[u8], message_id: &[u8]) -> Vec<u8> {
        let texts = [(1 << 10, correlation_id), (1 << 9, reply_to), (1 << 7, message_id)];
        let mut flags = 0_u16;
        let mut properties = Vec::new();
        for (flag, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            flags |= flag;
            properties.extend(short(text));
        }
        [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &flags.to_be_bytes(), &properties].concat()
    }

    #[test]
    fn listener_learns_of_the_confirms_and_returns_of_its_channel() {
        let (listeners, log) = (ConfirmListeners::default(), Arc::new(Log::default()));
        listeners.add(2, log.clone());
        let mut frames = ConfirmFrames::new(listeners.clone());
        let confirm =
            |id: [u8; 4], tag: u64, flags: u8| [&id[..], &tag.to_be_bytes(), &[flags]].concat();
        let returned = [&RETURN[..], &[1, 56], &short(b"NO_ROUTE"), &short(b""), &short(b"key")];
        frames.method(2, &confirm(ACK, 7, 1));
        frames.method(1, &confirm(ACK, 8, 0));
        frames.method(2, &returned.concat());
        // The header of another channel may come in between.
        frames.header(1, &header(b"3-4", b"replies", b""));
        frames.header(2, &header(b"1-2", b"replies", b"line-1"));
        frames.method(2, &returned.concat());
        frames.header(2, &header(b"1-2", b"", b"line-1"));
        frames.header(2, &header(b"5-6", b"", b"line-2"));
        frames.method(2, &confirm(NACK, 9, 0));
        let expected = ["7 true true", "key 1-2", "key line-1", "9 false false"];
        assert_eq!(*lock(&log.0), expected);
        let listener: Arc<dyn ConfirmListener> = log.clone();
        listeners.remove(&listener);
        frames.method(2, &confirm(ACK, 10, 0));
        assert_eq!(lock(&log.0).len(), expected.len());
    }

    #[test]
    fn frames_that_are_cut_off_are_ignored() {
        let (listeners, log) = (ConfirmListeners::default(), Arc::new(Log::default()));
        listeners.add(1, log.clone());
        let mut frames = ConfirmFrames::new(listeners);
        frames.method(1, &ACK[..3]);
        frames.method(1, &[&ACK[..], &[0; 8]].concat());
        frames.method(1, &[&RETURN[..], &[1, 56, 200, b'x']].concat());
        frames.header(1, &[0; 3]);
        assert!(lock(&log.0).is_empty());
    }
}
