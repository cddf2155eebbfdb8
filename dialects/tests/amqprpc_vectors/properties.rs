//! Properties: what the format can express survives both ways.

use polywire_amqp::{AmqpLayout, AmqpMessage};
use polywire_core::message::CallId;
use polywire_core::{Code, Dialect, Fault, Message};
use polywire_dialects::Amqprpc;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use crate::json_values::values;
use crate::{address, replied};

fn formats() -> impl Strategy<Value = Amqprpc> {
    prop_oneof![
        Just(Amqprpc::new()),
        Just(Amqprpc::new().message_pack()),
        Just(Amqprpc::new().object("Peer")),
    ]
}

/// Sends a request with one argument through both halves of the format.
fn through(wire: &Amqprpc, id: u64, argument: &Value) -> Message {
    let mut message = Message::default().with_method(address("Add")).with_id(CallId(id));
    wire.encode_call(&(argument,), &mut message).unwrap();
    let request = wire.encode_request(&address("peer"), message, "unique").unwrap();
    wire.decode_request(&address("peer"), request).unwrap()
}

proptest! {
    #[test]
    fn request_survives(wire in formats(), id in any::<u64>(), argument in values()) {
        let request = through(&wire, id, &argument);
        prop_assert_eq!(&request.fault, &None);
        prop_assert_eq!(&request.method, &Some(address("Add")));
        prop_assert_eq!(&wire.decode_call::<Value>(&request).unwrap(), &argument);
        prop_assert_eq!(wire.decode_call::<(Value,)>(&request).unwrap().0, argument);
        wire.decode_call::<()>(&request).unwrap();
    }

    #[test]
    fn outcome_survives(
        wire in formats(),
        id in any::<u64>(),
        result in values(),
        code in 0..Code::ALL.len(),
        kind in "[A-Z][a-z]{1,8}",
        message in any::<String>(),
    ) {
        let request = through(&wire, id, &json!(null));
        let reply = |outcome: polywire_core::Result<&Value, &Fault>| {
            let reply = wire.decode_reply(replied(&wire, &request, outcome)).unwrap();
            assert_eq!(reply.id, Some(CallId(id)));
            reply
        };
        let read = wire.decode_outcome::<Value>(&mut reply(Ok(&result))).unwrap();
        prop_assert_eq!(read, Ok(result));
        let fault = Fault::new(Code::ALL[code], message).with_kind(kind);
        let read = wire.decode_outcome::<Value>(&mut reply(Err(&fault))).unwrap().unwrap_err();
        prop_assert_eq!(read, fault);
    }

    #[test]
    fn no_body_makes_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for wire in [Amqprpc::new(), Amqprpc::new().message_pack()] {
            let message = AmqpMessage::new("peer").unwrap().with_body(body.clone());
            let message = message.with_properties(crate::properties("Peer.Add", "1"));
            let request = wire.decode_request(&address("peer"), message.clone()).unwrap();
            let _ = wire.decode_call::<Value>(&request);
            let _ = wire.decode_call::<(i64,)>(&request);
            let mut reply = wire.decode_reply(message).unwrap();
            let _ = wire.decode_outcome::<Value>(&mut reply);
        }
    }
}
