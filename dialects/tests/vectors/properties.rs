//! Properties: what the format can express survives both ways.

use std::collections::BTreeMap;

use polywire_amqp::AmqpLayout;
use polywire_core::message::CallId;
use polywire_core::{Code, Dialect, Fault, Message};
use polywire_dialects::Nameko;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use crate::json_values::values;
use crate::{address, replied};

/// Names of arguments, none of which is a position.
fn names() -> impl Strategy<Value = String> {
    "[a-zé_][a-z0-9_]{0,8}"
}

fn formats() -> impl Strategy<Value = Nameko> {
    prop_oneof![Just(Nameko::new()), Just(Nameko::new().message_pack())]
}

/// Sends a request through both halves of the format.
fn through(nameko: &Nameko, args: &Value) -> Message {
    let mut message = Message::default().with_method(address("add")).with_id(CallId(1));
    nameko.encode_call(args, &mut message).unwrap();
    let request = nameko.encode_request(&address("peer_math"), message, "unique").unwrap();
    // A server reads both formats.
    Nameko::new().decode_request(&address("peer_math"), request).unwrap()
}

proptest! {
    #[test]
    fn request_survives(
        nameko in formats(),
        positional in prop::collection::vec(values(), 0..5),
        named in prop::collection::btree_map(names(), values(), 0..5),
    ) {
        let positions: BTreeMap<_, _> =
            positional.iter().enumerate().map(|(at, value)| (at.to_string(), value.clone())).collect();
        // A list, a map, or a map with positions.
        let args = match named.is_empty() {
            true => Value::from(positional),
            false => Value::from(serde_json::Map::from_iter(positions.into_iter().chain(named))),
        };
        let request = through(&nameko, &args);
        prop_assert_eq!(&request.fault, &None);
        prop_assert_eq!(Nameko::new().decode_call::<Value>(&request).unwrap(), args);
    }

    #[test]
    fn outcome_survives(
        nameko in formats(),
        result in values(),
        code in 0..Code::ALL.len(),
        kind in "[A-Z][a-z]{1,8}",
        message in any::<String>(),
        details in prop::option::of(values()),
    ) {
        let request = through(&nameko, &json!([]));
        let reply = |outcome: Result<&Value, &Fault>| {
            let mut reply = replied(&Nameko::new(), &request, outcome);
            reply.properties = reply.properties.with_correlation_id("unique-1".into());
            nameko.decode_reply(reply).unwrap()
        };
        let read = nameko.decode_outcome::<Value>(&mut reply(Ok(&result))).unwrap();
        prop_assert_eq!(read, Ok(result));
        let fault = Fault::new(Code::ALL[code], message).with_kind(kind);
        let sent = match &details {
            Some(details) => fault.clone().with_value(details.clone()),
            None => fault.clone(),
        };
        let mut failed = reply(Err(&sent));
        let read = nameko.decode_outcome::<Value>(&mut failed).unwrap().unwrap_err();
        prop_assert_eq!((read.code, &read.kind, &read.message), (fault.code, &fault.kind, &fault.message));
        if let Some(details) = details {
            prop_assert_eq!(nameko.decode_details::<Value>(&read, &failed).unwrap(), details);
        }
    }

    #[test]
    fn no_body_makes_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for properties in [crate::json_properties(), crate::msgpack_properties()] {
            let properties = properties.with_reply_to("key".into()).with_correlation_id("a-1".into());
            let message = polywire_amqp::AmqpMessage::new("peer_math.add").unwrap();
            let message = message.with_properties(properties).with_body(body.clone());
            let nameko = Nameko::new();
            if let Ok(request) = nameko.decode_request(&address("peer_math"), message.clone()) {
                let _ = nameko.decode_call::<Value>(&request);
            }
            if let Ok(mut reply) = nameko.decode_reply(message) {
                let _ = nameko.decode_outcome::<Value>(&mut reply);
            }
        }
    }
}
