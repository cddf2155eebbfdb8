use std::time::Duration;

use super::*;

/// What the other side receives of what was published.
fn arrived(publishing: Publishing) -> Raw {
    let mut raw =
        Raw::mock(1, publishing.exchange, publishing.routing_key, false, publishing.body.to_vec());
    raw.properties = publishing.properties;
    raw
}

fn request() -> Message {
    let mut message = Message::request(
        Address::new("prüfen.检查").unwrap(),
        Deadline::after(Duration::from_secs(5)),
    );
    message.id = Some(CallId(42));
    message.content_type = Some("application/json".into());
    message.headers = [("größe", "目"), ("empty", "")].into_iter().collect();
    message.body = (&b"[1]"[..]).into();
    message
}

fn encoded(message: Message) -> Publishing {
    let queue = Native.request_queue(&Address::new("größen").unwrap()).unwrap();
    Native.encode_request(&queue, &"replies".into(), 7, message, true).unwrap()
}

#[test]
fn requests_arrive_as_they_left() {
    let publishing = encoded(request());
    assert_eq!(publishing.routing_key.as_str(), "polywire.größen");
    assert_eq!(publishing.properties.correlation_id().as_ref().unwrap().as_str(), "7-42");
    let came = Native.decode_request(&mut arrived(publishing), &Limits::default()).unwrap();
    let left = request();
    assert_eq!(
        (came.method, came.id, came.content_type),
        (left.method, left.id, left.content_type)
    );
    assert_eq!((came.headers.len(), came.headers.get("größe")), (2, Some("目")));
    assert_eq!(came.body, left.body);
    assert!((4_000..=5_000).contains(&came.deadline.unwrap().remaining_ms()));
}

#[test]
fn replies_go_where_the_request_says_and_name_its_call() {
    let request =
        Native.decode_request(&mut arrived(encoded(request())), &Limits::default()).unwrap();
    let mut reply = Message::new("done");
    reply.reply_to = request.reply_to;
    let publishing = Native.encode_reply(reply, true).unwrap();
    assert_eq!(publishing.routing_key.as_str(), "replies");
    let (correlation, reply) =
        Native.decode_reply(arrived(publishing), &Limits::default()).unwrap();
    assert_eq!(correlation, Correlation { requester: 7, call: CallId(42) });
    assert_eq!(reply.body.into_bytes(), "done");
}

#[test]
fn faults_cross_whole() {
    let fault = Fault::new(Code::Application, "nur 3 Stück")
        .with_kind("Épuisé")
        .with_details(&b"\x00\xff"[..]);
    let mut reply = Message::failed(fault.clone());
    reply.reply_to = ReturnAddress::read(
        &BasicProperties::default()
            .with_reply_to("replies".into())
            .with_correlation_id("1-2".into()),
    );
    let publishing = Native.encode_reply(reply, true).unwrap();
    let (_, reply) = Native.decode_reply(arrived(publishing), &Limits::default()).unwrap();
    assert_eq!(reply.fault.map(|fault| *fault), Some(fault));
    assert!(reply.headers.is_empty());
}

#[test]
fn foreign_correlation_ids_are_given_back_as_they_came() {
    let properties = BasicProperties::default()
        .with_type("add".into())
        .with_reply_to("theirs".into())
        .with_correlation_id("a6002743-aa77-42b9-b0ae-5c9b46ceabeb".into());
    let mut raw = Raw::mock(1, "".into(), "polywire.x".into(), false, Vec::new());
    raw.properties = properties;
    let request = Native.decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!((request.id, request.deadline), (None, None));
    let mut reply = Message::new("5");
    reply.reply_to = request.reply_to;
    let publishing = Native.encode_reply(reply, true).unwrap();
    let id = publishing.properties.correlation_id().as_ref().unwrap().as_str().to_owned();
    assert_eq!(
        (publishing.routing_key.as_str(), &*id),
        ("theirs", "a6002743-aa77-42b9-b0ae-5c9b46ceabeb")
    );
}

#[test]
fn garbled_requests_keep_where_to_answer() {
    let spoiled: [fn(BasicProperties) -> BasicProperties; 2] =
        [|good| good.with_type("two words".into()), |good| good.with_expiration("soon".into())];
    for spoil in spoiled {
        let mut raw = arrived(encoded(request()));
        raw.properties = spoil(raw.properties);
        let garbled = Native.decode_request(&mut raw, &Limits::default()).unwrap_err();
        assert!(garbled.message.reply_to.is_some(), "{garbled:?}");
        assert_eq!(garbled.correlation, Some(Correlation { requester: 7, call: CallId(42) }));
    }
}

#[test]
fn messages_over_the_limit_are_garbled() {
    let limits = Limits { body_max: 2, ..Limits::default() };
    let garbled = Native.decode_request(&mut arrived(encoded(request())), &limits).unwrap_err();
    assert_eq!(garbled.error.kind(), ErrorKind::TooLarge);
}

#[test]
fn replies_of_nobody_are_garbled() {
    for id in ["", "1", "1-", "-1", "a-b", "1-2-3", "99999999999999999999-1"] {
        let mut raw = Raw::mock(1, "".into(), "q".into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_correlation_id(id.into());
        assert!(
            Native.decode_reply(raw, &Limits::default()).unwrap_err().correlation.is_none(),
            "{id}"
        );
    }
}

#[test]
fn what_has_no_room_in_a_short_string_is_refused() {
    let mut message = request();
    message.content_type = Some("x".repeat(256).into());
    let error = Native.encode_request(&"q".into(), &"r".into(), 1, message, true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true));
}

#[test]
fn reserved_headers_are_refused() {
    let mut message = request();
    message.headers.insert("polywire.fault", "Internal");
    let error = Native.encode_request(&"q".into(), &"r".into(), 1, message, true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
    assert_eq!(error.detail("header"), Some("polywire.fault"));
}

#[test]
fn garbled_replies_keep_whose_they_are() {
    let mut raw = arrived(encoded(request()));
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString(b"\xff".to_vec().into()));
    raw.properties = raw.properties.with_headers(headers);
    let garbled = Native.decode_reply(raw, &Limits::default()).unwrap_err();
    assert_eq!(garbled.error.kind(), ErrorKind::Codec);
    assert_eq!(garbled.correlation, Some(Correlation { requester: 7, call: CallId(42) }));
}

#[test]
fn headers_that_are_no_text_are_left_out() {
    let mut raw = arrived(encoded(request()));
    let mut headers = raw.properties.headers().clone().unwrap();
    headers.insert("x-death".into(), AMQPValue::LongInt(1));
    raw.properties = raw.properties.with_headers(headers);
    let came = Native.decode_request(&mut raw, &Limits::default()).unwrap();
    assert_eq!(came.headers.iter().len(), 2);
}

#[test]
fn what_need_not_persist_says_so() {
    let transient = Native.encode_request(&"q".into(), &"r".into(), 1, request(), false).unwrap();
    assert_eq!(transient.properties.delivery_mode(), &Some(1));
    assert_eq!(encoded(request()).properties.delivery_mode(), &Some(2));
}

fn job_message() -> Message {
    let mut message = request();
    (message.method, message.id, message.deadline) = (None, None, None);
    // They come in the order of their names.
    message.headers = [("empty", ""), ("größe", "目")].into_iter().collect();
    message
}

fn topic(text: &str) -> Address {
    Address::new(text).unwrap()
}

/// What the other side receives of what is given back.
fn arrived_again(raw: Raw, topic: Option<Address>) -> Raw {
    let attempt = Native.attempt(&raw) + 1;
    let again = Again::new(raw.properties, topic, raw.data.into(), attempt);
    let queue = "polywire.jobs.j".into();
    arrived(Native.encode_again(&queue, &queue, again).unwrap())
}

#[test]
fn queues_for_what_waits_and_what_is_dead_name_whose_they_are() {
    let pause = std::time::Duration::from_millis(1500);
    let group = Native.group_queue(&topic("orders.new"), &topic("billing")).unwrap();
    for (of, dead, retry) in [
        (
            ShortString::from("polywire.jobs.a.b"),
            "polywire.dead.jobs.a.b",
            "polywire.retry.jobs.a.b..1500",
        ),
        (
            group,
            "polywire.dead.events.orders.new..group.billing",
            "polywire.retry.events.orders.new..group.billing..1500",
        ),
    ] {
        let (dead_queue, retry_queue) =
            (Native.dead_queue(&of).unwrap(), Native.retry_queue(&of, pause).unwrap());
        assert_eq!((dead_queue.as_str(), retry_queue.as_str()), (dead, retry));
    }
}

#[test]
fn jobs_arrive_as_they_left() {
    let queue = Native.job_queue(&topic("bilder.größe")).unwrap();
    let publishing = Native.encode_job(&queue, "1-2", job_message(), true).unwrap();
    assert!(publishing.mandatory);
    assert_eq!(publishing.routing_key.as_str(), "polywire.jobs.bilder.größe");
    assert_eq!(publishing.properties.message_id().as_ref().unwrap().as_str(), "1-2");
    assert_eq!(publishing.properties.expiration(), &None);
    let came = Native.decode_job(&mut arrived(publishing), &Limits::default()).unwrap();
    assert_eq!(
        (came.method, came.headers, came.body),
        (None, job_message().headers, job_message().body)
    );
    assert_eq!(came.content_type.as_deref(), Some("application/json"));
}

#[test]
fn events_have_the_routing_key_for_their_topic() {
    let mut message = job_message();
    message.topic = Some(topic("paris.größe"));
    let exchange = Native.event_exchange(&topic("weather")).unwrap();
    let publishing = Native.encode_event(&exchange, message, true).unwrap();
    assert_eq!(
        (publishing.exchange.as_str(), publishing.mandatory),
        ("polywire.events.weather", false)
    );
    let came = Native.decode_event(&mut arrived(publishing), &Limits::default()).unwrap();
    assert_eq!(came.topic, Some(topic("paris.größe")));
    assert_eq!(came.headers, job_message().headers);
}

#[test]
fn events_without_a_topic_are_refused() {
    let error = Native.encode_event(&"e".into(), job_message(), true).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
}

#[test]
fn what_is_given_back_counts_on_and_keeps_its_topic() {
    let mut message = job_message();
    message.topic = Some(topic("paris.wind"));
    let first = arrived(Native.encode_event(&"e".into(), message, true).unwrap());
    assert_eq!(Native.attempt(&first), 1);
    let second = arrived_again(first, Some(topic("paris.wind")));
    assert_eq!((second.routing_key.as_str(), Native.attempt(&second)), ("polywire.jobs.j", 2));
    let mut third = arrived_again(second, Some(topic("paris.wind")));
    assert_eq!(Native.attempt(&third), 3);
    third.redelivered = true;
    assert_eq!(Native.attempt(&third), 4);
    let came = Native.decode_event(&mut third, &Limits::default()).unwrap();
    assert_eq!((came.topic, came.headers), (Some(topic("paris.wind")), job_message().headers));
    assert_eq!(came.body, job_message().body);
}

#[test]
fn what_we_send_is_signed_and_what_is_signed_has_a_sender() {
    let mut event = job_message();
    event.topic = Some(topic("paris"));
    let laid_out = [
        encoded(request()),
        Native.encode_job(&"q".into(), "1-2", job_message(), true).unwrap(),
        Native.encode_event(&"x".into(), event, true).unwrap(),
    ];
    assert!(laid_out.iter().all(|publishing| publishing.signed));
    let [mut asked, mut pushed, mut published] = laid_out.map(|mut publishing| {
        let unsigned = publishing.header_len();
        publishing.sign("alice".into());
        assert_eq!(publishing.header_len(), unsigned + 6);
        arrived(publishing)
    });
    let limits = Limits::default();
    let came = [
        Native.decode_request(&mut asked, &limits).unwrap(),
        Native.decode_job(&mut pushed, &limits).unwrap(),
        Native.decode_event(&mut published, &limits).unwrap(),
    ];
    assert!(
        came.iter().all(|message| message.peer.as_deref() == Some(&Identity::User("alice".into())))
    );
    let mut unsigned = arrived(Native.encode_job(&"q".into(), "1-2", job_message(), true).unwrap());
    assert_eq!(Native.decode_job(&mut unsigned, &limits).unwrap().peer, None);
}

/// Its user is not ours, and the broker would send it to more queues than this one.
#[test]
fn what_is_given_back_leaves_out_its_user_and_copies() {
    let mut raw = arrived(Native.encode_job(&"q".into(), "1-2", job_message(), true).unwrap());
    let mut headers = raw.properties.headers().clone().unwrap();
    headers.insert("CC".into(), AMQPValue::LongString("elsewhere".into()));
    headers.insert("x-odd".into(), AMQPValue::Boolean(true));
    let given =
        raw.properties.with_user_id("somebody".into()).with_priority(3).with_headers(headers);
    raw.properties = given.with_timestamp(7).with_app_id("theirs".into());
    let again = Again::new(raw.properties.clone(), None, raw.data.clone().into(), 1);
    assert!(!Native.encode_again(&"q".into(), &"q".into(), again).unwrap().signed);
    assert!(!Native.encode_revived(&"q".into(), &raw).unwrap().signed);
    let again = arrived_again(raw, None).properties;
    assert_eq!((again.user_id(), again.priority(), again.timestamp()), (&None, &Some(3), &Some(7)));
    assert_eq!(again.app_id().as_ref().unwrap().as_str(), "theirs");
    assert_eq!(again.message_id().as_ref().unwrap().as_str(), "1-2");
    assert_eq!(again.delivery_mode(), &Some(2));
    let headers = again.headers().as_ref().unwrap().inner();
    assert!(!headers.contains_key("CC") && headers.contains_key("x-odd"));
}

#[test]
fn attempts_are_counted_by_whoever_counts() {
    let attempt = |redelivered, headers: &[(&'static str, AMQPValue)]| {
        let mut raw = Raw::mock(1, "".into(), "q".into(), redelivered, Vec::new());
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        raw.properties = BasicProperties::default().with_headers(table);
        Native.attempt(&raw)
    };
    assert_eq!((attempt(false, &[]), attempt(true, &[])), (1, 2));
    assert_eq!(attempt(true, &[("x-delivery-count", AMQPValue::LongLongInt(3))]), 4);
    assert_eq!(attempt(true, &[("x-delivery-count", AMQPValue::ShortShortUInt(0))]), 2);
    assert_eq!(attempt(false, &[("polywire.attempt", AMQPValue::ShortShortInt(5))]), 5);
    // What another system wrote there is no reason to fail.
    assert_eq!(attempt(false, &[("polywire.attempt", AMQPValue::LongString("five".into()))]), 1);
    assert_eq!(attempt(true, &[("polywire.attempt", AMQPValue::LongLongInt(-5))]), 2);
    assert_eq!(attempt(true, &[("polywire.attempt", AMQPValue::LongUInt(u32::MAX))]), u32::MAX);
}

#[test]
fn events_that_cannot_be_read_say_why() {
    let read = |key: &str, headers: FieldTable| {
        let mut raw = Raw::mock(1, "e".into(), key.into(), false, Vec::new());
        raw.properties = BasicProperties::default().with_headers(headers);
        Native.decode_event(&mut raw, &Limits::default()).unwrap_err()
    };
    assert_eq!(read("two words", FieldTable::default()).kind(), ErrorKind::Codec);
    assert_eq!(read("", FieldTable::default()).kind(), ErrorKind::Codec);
    for name in ["note", "polywire.topic"] {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), AMQPValue::LongString(b"\xff".to_vec().into()));
        assert_eq!(read("a.b", headers).kind(), ErrorKind::Codec, "{name}");
    }
}

#[test]
fn names_are_never_those_of_another() {
    let names = [
        Native.group_queue(&topic("a.group.b"), &topic("c")),
        Native.group_queue(&topic("a"), &topic("b.group.c")),
        Native.group_queue(&topic("a"), &topic("group.b")),
        Native.group_queue(&topic("a.own"), &topic("b")),
        Native.own_queue(&topic("a"), 11),
        Native.own_queue(&topic("a.group"), 11),
        Native.group_queue(&topic("a"), &topic(&format!("own.{:032x}", 11))),
        Native.event_exchange(&topic("a")),
        Native.job_queue(&topic("a")),
        Native.request_queue(&topic("a")),
    ];
    let names: std::collections::BTreeSet<_> =
        names.iter().map(|name| name.as_ref().unwrap().as_str()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    for service in ["jobs.a", "events.a", "reply", "reply.a"] {
        assert_eq!(Native.request_queue(&topic(service)).unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(Native.request_queue(&topic("jobsite")).is_ok());
}

#[test]
fn names_have_room_or_say_so() {
    let longest = topic(&"x".repeat(Address::MAX));
    assert!(Native.job_queue(&longest).is_ok());
    assert!(Native.event_exchange(&longest).is_ok());
    assert!(Native.own_queue(&longest, u128::MAX).is_ok());
    let error = Native.group_queue(&longest, &longest).unwrap_err();
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true));
    let mut message = job_message();
    message.topic = Some(longest.clone());
    let publishing = Native.encode_event(&"e".into(), message, true).unwrap();
    assert_eq!(publishing.routing_key.as_str(), longest.as_str());
}
