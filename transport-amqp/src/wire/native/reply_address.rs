//! The reply address of a request.

use lapin::BasicProperties;
use lapin::types::ShortString;
use polywire_core::message::ReplyTo;

/// Prefix of the queue names that the broker makes up for direct replies.
const DIRECT: &str = "amq.rabbitmq.reply-to";

/// Returns the reply address of a request, in the opaque form that core carries.
///
/// The form is the length of the queue name in one byte, the queue name, and the correlation id.
/// Replies repeat the correlation id unchanged, also one of another program.
pub(crate) fn reply_address(properties: &BasicProperties) -> Option<ReplyTo> {
    let queue = properties.reply_to().as_ref()?.as_str();
    let id = properties.correlation_id().as_ref().map_or("", ShortString::as_str);
    let length = u8::try_from(queue.len()).ok()?;
    let address = [&[length][..], queue.as_bytes(), id.as_bytes()].concat();
    Some(ReplyTo::new(address))
}

/// Returns the queue and the correlation id of a reply address; `None` for an address of another
/// form.
pub(crate) fn split_reply_address(address: &ReplyTo) -> Option<(&str, &str)> {
    let (length, rest) = address.as_bytes().split_first()?;
    let (queue, id) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(queue).ok()?, std::str::from_utf8(id).ok()?))
}

/// Returns the part of a reply address that is the same for all calls of a requester: the queue and
/// the number of the requester. `None` for a call of another program.
///
/// A client that keeps its name keeps its queue, and each of its processes has other numbers.
pub(crate) fn requester_part(address: &ReplyTo) -> Option<&[u8]> {
    let (queue, id) = split_reply_address(address)?;
    let (requester, _) = id.split_once('-')?;
    address.as_bytes().get(..1 + queue.len() + requester.len())
}

/// A reply address, taken apart.
pub(super) struct ReplyAddress {
    pub(super) queue: ShortString,
    /// The correlation id that the reply must carry.
    pub(super) correlation_id: Option<ShortString>,
}

impl ReplyAddress {
    /// Parses an address of [`reply_address`].
    ///
    /// `None` for an address of another form.
    pub(super) fn parse(address: &ReplyTo) -> Option<Self> {
        let (queue, id) = split_reply_address(address)?;
        let (queue, id) = (ShortString::try_new(queue).ok()?, ShortString::try_new(id).ok()?);
        Some(Self { queue, correlation_id: (!id.as_str().is_empty()).then_some(id) })
    }

    /// Returns whether the reply goes back over the channel of the request, without a queue.
    pub(super) fn is_direct(&self) -> bool {
        self.queue.as_str().starts_with(DIRECT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_addresses_parse_as_they_were_written() {
        for (queue, id) in
            [("replies", Some("1-2")), ("größe", Some("a6002743-aa77")), ("replies", None)]
        {
            let mut properties = BasicProperties::default().with_reply_to(queue.into());
            if let Some(id) = id {
                properties = properties.with_correlation_id(id.into());
            }
            let parsed = ReplyAddress::parse(&reply_address(&properties).unwrap()).unwrap();
            let parsed_id = parsed.correlation_id.as_ref().map(ShortString::as_str);
            assert_eq!((parsed.queue.as_str(), parsed_id), (queue, id));
        }
        assert!(reply_address(&BasicProperties::default()).is_none());
    }

    #[test]
    fn addresses_of_another_form_do_not_parse() {
        for address in [&b""[..], b"\x05four", b"\x02\xff\xffid"] {
            assert!(ReplyAddress::parse(&ReplyTo::new(address.to_vec())).is_none(), "{address:?}");
        }
    }
}
