//! The way back of a reply, in the reply address of a request.

use bytes::{BufMut, BytesMut};
use polywire_core::message::ReplyTo;

use crate::format::Format;
use crate::request_id::RequestId;

/// Parts of a request that its reply needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyAddress {
    /// Format of the request, which that of the reply has to be.
    pub(super) format: Format,
    /// Routing key of the reply.
    pub(super) key: String,
    /// The mark of the request among those of its caller.
    pub(super) id: RequestId,
}

impl ReplyAddress {
    /// Writes the address: the format, whether there is a correlation id, the length of the key,
    /// the key, the correlation id or the number. Both texts are short strings, of at most 255
    /// bytes.
    pub(super) fn write(&self) -> ReplyTo {
        let mut bytes = BytesMut::new();
        bytes.put_u8(u8::from(self.format == Format::MessagePack));
        bytes.put_u8(u8::from(matches!(self.id, RequestId::Given(_))));
        bytes.put_u8(u8::try_from(self.key.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(self.key.as_bytes());
        match &self.id {
            RequestId::Given(id) => bytes.extend_from_slice(id.as_bytes()),
            RequestId::Numbered(number) => bytes.put_u64(*number),
        }
        ReplyTo::new(bytes)
    }

    /// Reads the address; `None` if another layout has written it.
    pub(super) fn read(address: &ReplyTo) -> Option<Self> {
        let [format, has_id, length, texts @ ..] = &address.as_bytes()[..] else { return None };
        let (key, id) = texts.split_at_checked(usize::from(*length))?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let format = if *format == 0 { Format::Json } else { Format::MessagePack };
        let id = match has_id {
            0 => RequestId::Numbered(u64::from_be_bytes(id.try_into().ok()?)),
            _ => RequestId::Given(text(id)?),
        };
        Some(Self { format, key: text(key)?, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_as_it_was_written() {
        for format in [Format::Json, Format::MessagePack] {
            for id in [
                RequestId::Numbered(7),
                RequestId::Given(String::new()),
                RequestId::Given("7efc".to_owned()),
            ] {
                let key = "k".repeat(255);
                let address = ReplyAddress { format, key, id };
                assert_eq!(ReplyAddress::read(&address.write()), Some(address));
            }
        }
        for bytes in [&b""[..], b"\0\0", b"\0\0\x05abc", b"\0\x01\x01a\xff", b"\0\0\x01abc"] {
            assert_eq!(ReplyAddress::read(&ReplyTo::new(bytes)), None, "{bytes:?}");
        }
    }
}
