//! Check of the broker's methods that carry texts of other programs.

use crate::connection::inbound_filter::fields::{Fields, Malformed};

/// Checks the payload of a method. Returns the fault of the message that follows the method, if its
/// exchange or routing key is not UTF-8.
///
/// The broker cuts its reasons at 255 bytes, also within a character.
///
/// Each replaced byte is overwritten in place, so that the method keeps its length. The fault of a
/// method that precedes no message is not reported: the replaced text is good enough.
pub(super) fn check(payload: &mut [u8]) -> Option<&'static str> {
    let (id, arguments) = payload.split_first_chunk_mut::<4>()?;
    if !has_texts(*id) {
        return None;
    }
    let [_, class, _, method] = *id;
    let layout: &[Field] = match (class, method) {
        DELIVER => &[Field::Text, Field::Fixed(9), Field::Text, Field::Text],
        GET_OK => &[Field::Fixed(9), Field::Text, Field::Text],
        RETURN => &[Field::Fixed(2), Field::Text, Field::Text, Field::Text],
        CONNECTION_CLOSE | CHANNEL_CLOSE => &[Field::Fixed(2), Field::Text],
        CONNECTION_BLOCKED | CANCEL | DECLARE_OK => &[Field::Text],
        _ => return None,
    };
    let mut fields = Fields::new(arguments);
    // A method that is cut off is the broker's fault, which the engine reports.
    let _ = walk(&mut fields, layout);
    let is_message = matches!((class, method), DELIVER | GET_OK);
    (is_message && fields.is_replaced).then_some("its routing key or exchange is not UTF-8")
}

/// Returns whether a method has texts to check. `id` holds its class and its number.
pub(super) fn has_texts(id: [u8; 4]) -> bool {
    let [high, class, upper, method] = id;
    (high, upper) == (0, 0)
        && matches!(
            (class, method),
            DELIVER
                | GET_OK
                | RETURN
                | CONNECTION_CLOSE
                | CHANNEL_CLOSE
                | CONNECTION_BLOCKED
                | CANCEL
                | DECLARE_OK
        )
}

/// A field of a method.
enum Field {
    /// A short string.
    Text,
    /// Numbers and flags of this size.
    Fixed(usize),
}

fn walk(fields: &mut Fields<'_>, layout: &[Field]) -> Result<(), Malformed> {
    layout.iter().try_for_each(|field| match field {
        Field::Text => fields.text(),
        Field::Fixed(size) => fields.skip(*size),
    })
}

const CONNECTION_CLOSE: (u8, u8) = (10, 50);
/// Class and number of `connection.blocked`, an
/// [extension](https://www.rabbitmq.com/docs/connection-blocked) of RabbitMQ.
const CONNECTION_BLOCKED: (u8, u8) = (10, 60);
const CHANNEL_CLOSE: (u8, u8) = (20, 40);
const DECLARE_OK: (u8, u8) = (50, 11);
/// Class and number of `basic.cancel`, with the consumer tag. RabbitMQ
/// [sends it](https://www.rabbitmq.com/docs/consumer-cancel) as an extension, for instance when the
/// queue was deleted.
const CANCEL: (u8, u8) = (60, 30);
const RETURN: (u8, u8) = (60, 50);
const DELIVER: (u8, u8) = (60, 60);
const GET_OK: (u8, u8) = (60, 71);
