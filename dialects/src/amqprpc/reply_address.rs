//! The way back of a reply, in the reply address of a request.

use bytes::{BufMut, BytesMut};
use polywire_core::message::ReplyTo;

use crate::request_id::RequestId;

/// Parts of a request that its reply needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyAddress {
    /// Name of the queue of the caller.
    pub(super) queue: String,
    /// Name of the method on the wire, which the reply repeats. Empty if the request has none.
    pub(super) method: String,
    /// The mark of the request among those of its caller.
    pub(super) id: RequestId,
}

impl ReplyAddress {
    /// Writes the address: whether there is a message id, the queue and the method, each after its
    /// length, and the message id or the number. The texts are short strings, of at most 255 bytes.
    pub(super) fn write(&self) -> ReplyTo {
        let mut bytes = BytesMut::new();
        bytes.put_u8(u8::from(matches!(self.id, RequestId::Given(_))));
        for text in [&self.queue, &self.method] {
            bytes.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(text.as_bytes());
        }
        match &self.id {
            RequestId::Given(id) => bytes.extend_from_slice(id.as_bytes()),
            RequestId::Numbered(number) => bytes.put_u64(*number),
        }
        ReplyTo::new(bytes)
    }

    /// Reads the address; `None` if another layout has written it.
    pub(super) fn read(address: &ReplyTo) -> Option<Self> {
        let (has_id, rest) = address.as_bytes().split_first()?;
        let (queue, rest) = short_text(rest)?;
        let (method, id) = short_text(rest)?;
        let id = match has_id {
            0 => RequestId::Numbered(u64::from_be_bytes(id.try_into().ok()?)),
            _ => RequestId::Given(String::from_utf8(id.to_vec()).ok()?),
        };
        Some(Self { queue, method, id })
    }
}

/// Splits a text off that stands after its length.
fn short_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_as_it_was_written() {
        for id in [
            RequestId::Numbered(7),
            RequestId::Given(String::new()),
            RequestId::Given("0".to_owned()),
        ] {
            for method in ["", "Peer.Add", &"m".repeat(255)] {
                let (queue, method) = ("q".repeat(255), method.to_owned());
                let address = ReplyAddress { queue, method, id: id.clone() };
                assert_eq!(ReplyAddress::read(&address.write()), Some(address));
            }
        }
        for bytes in [&b""[..], b"\x01", b"\0\0\0", b"\x01\x05abc", b"\x01\x01\xff\0", b"\0\0\0abc"]
        {
            assert_eq!(ReplyAddress::read(&ReplyTo::new(bytes)), None, "{bytes:?}");
        }
    }
}
