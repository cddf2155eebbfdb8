//! Limits of the kit for backends at the edges of their types.

use polywire_core::message::ReplyTo;
use polywire_core::transport::kit::{Envelope, EnvelopeLimits};
use polywire_core::{Code, Fault, Message};

use super::extremes::{Extreme, Row, good_or_too_little, row};

/// Takes a message through an envelope under these limits.
fn crosses(extreme: Extreme, limits: EnvelopeLimits, message: &Message) -> Result<(), String> {
    let room = limits.encoded_max();
    let came = limits.check(message).and_then(|()| Envelope::of(message).into_message("", &limits));
    if room < EnvelopeLimits::default().message.header_bytes_max {
        return Err(format!("an envelope has room for {room} bytes"));
    }
    good_or_too_little(extreme, came, "TooLarge")
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("transport::kit::EnvelopeLimits.fault_max", async |x| {
            let limits = EnvelopeLimits { fault_max: x.usize(), ..EnvelopeLimits::default() };
            crosses(x, limits, &Message::failed(Fault::new(Code::Internal, "no")))
        }),
        row("transport::kit::EnvelopeLimits.content_type_max", async |x| {
            let limits =
                EnvelopeLimits { content_type_max: x.usize(), ..EnvelopeLimits::default() };
            let content_type = bytestring::ByteString::from_static("text/plain");
            crosses(x, limits, &Message::default().with_content_type(content_type))
        }),
        row("transport::kit::EnvelopeLimits.reply_to_max", async |x| {
            let limits = EnvelopeLimits { reply_to_max: x.usize(), ..EnvelopeLimits::default() };
            crosses(x, limits, &Message::default().with_reply_to(ReplyTo::new("caller")))
        }),
    ]
}
