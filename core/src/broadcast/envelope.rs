//! The headers by which broadcasts, their outcomes and announcements are laid out in events.
//!
//! The header `broadcast` holds the version 1, the kind of the event, and its numbers, separated
//! by spaces. `docs/wire-native.md` describes all of it.

use bytestring::ByteString;

use crate::error::{Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, Body, CallId, Headers, Instance, Message, MessageId, ReplyTo};

/// The header of the kind.
const KIND: &str = "broadcast";
/// The header of the instance that sent an outcome or an announcement.
const INSTANCE: &str = "broadcast-instance";
const FAULT_KIND: &str = "broadcast-fault-kind";
const FAULT_MESSAGE: &str = "broadcast-fault-message";
/// The largest text of a fault, so that an outcome stays below the bound on headers.
const FAULT_TEXT_MAX: usize = 4 << 10;

/// The topic of calls, cancels and queries.
pub(super) const CALL_TOPIC: &str = "call";
/// The topic of announcements.
pub(super) const PRESENCE_TOPIC: &str = "presence";

/// Returns the channel of the broadcasts of a service.
pub(super) fn channel(service: &Address) -> Result<Address> {
    service.join(&Address::from_static("broadcast")?)
}

/// Returns the topic of the outcomes for an inbox.
pub(super) fn outcome_topic(inbox: &str) -> Result<Address> {
    Address::new(format!("outcome.{inbox}"))
}

/// The kind of an event that callers send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallerEvent {
    Call {
        inbox: String,
        call: u64,
    },
    OneWay,
    Cancel {
        inbox: String,
        call: u64,
    },
    /// The question which instances are there.
    Query,
}

impl CallerEvent {
    /// Writes the kind into a message, and makes it an event.
    pub(super) fn write(&self, message: &mut Message) -> Result<()> {
        let kind = match self {
            Self::Call { inbox, call } => format!("1 call {inbox} {call}"),
            Self::OneWay => "1 one-way".to_owned(),
            Self::Cancel { inbox, call } => format!("1 cancel {inbox} {call}"),
            Self::Query => "1 query".to_owned(),
        };
        write_event(message, Address::from_static(CALL_TOPIC)?, kind);
        Ok(())
    }

    /// Returns the event of a query.
    pub(super) fn query() -> Result<Message> {
        let mut query = Message::default();
        Self::Query.write(&mut query)?;
        query.transient = true;
        Ok(query)
    }

    /// Takes the kind out of an event. The event becomes a request.
    pub(super) fn take(message: &mut Message) -> Result<Self> {
        let kind = take_kind(message)?;
        message.topic = None;
        let mut words = kind.split(' ').skip(1);
        let event = match (words.next(), words.next(), words.next()) {
            (Some("call"), Some(inbox), Some(call)) => {
                let (inbox, call) = (inbox.to_owned(), number(call)?);
                message.id = Some(CallId(call));
                message.reply_to = Some(ReplyTo::new(inbox.clone()));
                Self::Call { inbox, call }
            }
            (Some("cancel"), Some(inbox), Some(call)) => {
                Self::Cancel { inbox: inbox.to_owned(), call: number(call)? }
            }
            (Some("one-way"), None, None) => Self::OneWay,
            (Some("query"), None, None) => Self::Query,
            _ => return Err(unreadable("its kind is unknown").with("kind", kind.escape_debug())),
        };
        Ok(event)
    }
}

/// The state that an instance announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PresenceState {
    /// The first announcement of an instance that has just been bound.
    Joined,
    /// The instance receives broadcasts.
    Present,
    /// The instance receives no more broadcasts, and finishes those that it runs.
    Draining,
    /// The instance has ended.
    Left,
}

impl PresenceState {
    const NAMES: [(Self, &str); 4] = [
        (Self::Joined, "joined"),
        (Self::Present, "present"),
        (Self::Draining, "draining"),
        (Self::Left, "left"),
    ];
}

/// The kind of an event that instances send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InstanceEvent {
    /// The outcome of a call is in the message, as that of a reply.
    Outcome { call: u64 },
    /// The state, and the milliseconds between two announcements.
    Presence { state: PresenceState, heartbeat_ms: u64 },
}

impl InstanceEvent {
    /// Returns an announcement.
    pub(super) fn presence(
        state: PresenceState,
        heartbeat_ms: u64,
        instance: &ByteString,
    ) -> Result<Message> {
        let mut message = Message::default();
        let name = PresenceState::NAMES.iter().find(|(known, _)| *known == state);
        let name = name.map_or("present", |(_, name)| name);
        let kind = format!("1 {name} {heartbeat_ms}");
        write_event(&mut message, Address::from_static(PRESENCE_TOPIC)?, kind);
        message.headers.insert(ByteString::from_static(INSTANCE), instance.clone());
        Ok(message)
    }

    /// Makes the event of an outcome from the reply to a call.
    pub(super) fn outcome(
        mut reply: Message,
        (inbox, call): (&str, CallId),
        instance: &ByteString,
    ) -> Result<Message> {
        let kind = match reply.fault.take() {
            None => format!("1 reply {}", call.0),
            Some(fault) => {
                let headers = &mut reply.headers;
                headers.insert(ByteString::from_static(FAULT_KIND), excerpt(&fault.kind));
                headers.insert(ByteString::from_static(FAULT_MESSAGE), excerpt(&fault.message));
                reply.body = Body::from(fault.details.clone());
                let mark = if fault.is_permanent() { " permanent" } else { "" };
                format!("1 fault {} {}{mark}", call.0, fault.code.as_str())
            }
        };
        (reply.id, reply.reply_to) = (None, None);
        write_event(&mut reply, outcome_topic(inbox)?, kind);
        reply.headers.insert(ByteString::from_static(INSTANCE), instance.clone());
        Ok(reply)
    }

    /// Takes the kind and the instance out of an event. An outcome becomes a reply.
    pub(super) fn take(message: &mut Message) -> Result<(Self, Instance)> {
        let kind = take_kind(message)?;
        let instance = message.headers.remove(INSTANCE);
        let instance = instance.ok_or_else(|| unreadable("it names no instance"))?;
        let instance: Instance = instance.parse()?;
        let words: Vec<_> = kind.split(' ').skip(1).take(4).collect();
        let event = match *words {
            ["reply", call] => Self::Outcome { call: number(call)? },
            ["fault", call, code, ref mark @ ..] => {
                let call = number(call)?;
                let text = |name: &str, headers: &mut Headers| {
                    headers.remove(name).map(|text| text.to_string()).unwrap_or_default()
                };
                let fault_kind = text(FAULT_KIND, &mut message.headers);
                let fault =
                    Fault::new(Code::from_name(code), text(FAULT_MESSAGE, &mut message.headers));
                let details = std::mem::take(&mut message.body).into_bytes();
                let fault = fault.with_kind(fault_kind).with_details(details);
                let is_permanent = mark.first() == Some(&"permanent");
                message.fault =
                    Some(Box::new(if is_permanent { fault.permanent() } else { fault }));
                Self::Outcome { call }
            }
            [name, heartbeat_ms] => {
                let state = PresenceState::NAMES.iter().find(|(_, known)| *known == name);
                let (state, _) = state.ok_or_else(|| unreadable("its kind is unknown"))?;
                Self::Presence { state: *state, heartbeat_ms: number(heartbeat_ms)? }
            }
            _ => return Err(unreadable("its kind is unknown").with("kind", kind.escape_debug())),
        };
        Ok((event, instance))
    }
}

fn write_event(message: &mut Message, topic: Address, kind: String) {
    message.topic = Some(topic);
    message.message_id.get_or_insert_with(MessageId::unique);
    message.headers.insert(ByteString::from_static(KIND), kind);
}

/// Takes the header of the kind out of an event, if this version can read it.
fn take_kind(message: &mut Message) -> Result<ByteString> {
    let kind = message.headers.remove(KIND);
    let kind = kind.ok_or_else(|| unreadable("it has no header broadcast"))?;
    if kind.starts_with("1 ") {
        return Ok(kind);
    }
    Err(unreadable("its version is unknown").with("kind", kind.escape_debug()))
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| unreadable("a number is malformed"))
}

fn unreadable(cause: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("cannot read the event of a broadcast: {cause}"))
}

/// Returns the beginning of a text, with whole characters.
fn excerpt(text: &str) -> String {
    text[..text.floor_char_boundary(FAULT_TEXT_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_callers_are_read_back() {
        let inbox = || "0a-1".to_owned();
        for event in [
            CallerEvent::Call { inbox: inbox(), call: 7 },
            CallerEvent::Cancel { inbox: inbox(), call: u64::MAX },
            CallerEvent::OneWay,
            CallerEvent::Query,
        ] {
            let mut message = Message::new("body").with_header("tenant", "acme");
            event.write(&mut message).unwrap();
            assert_eq!(message.topic.as_ref().unwrap().as_str(), CALL_TOPIC);
            assert_eq!(CallerEvent::take(&mut message).unwrap(), event);
            assert_eq!(message.headers, [("tenant", "acme")].into_iter().collect());
        }
    }

    #[test]
    fn outcomes_and_announcements_are_read_back() {
        let shop = Instance::new("shop").unwrap();
        let header = shop.to_header();
        for state in PresenceState::NAMES.map(|(state, _)| state) {
            let mut message = InstanceEvent::presence(state, 250, &header).unwrap();
            let taken = InstanceEvent::take(&mut message).unwrap();
            assert_eq!(taken, (InstanceEvent::Presence { state, heartbeat_ms: 250 }, shop.clone()));
        }
        let fault = Fault::new(Code::Application, "sold\nout").with_kind("OutOfStock");
        let fault = fault.with_details(&b"\x03"[..]).permanent();
        for reply in [Message::new("12"), Message::failed(fault)] {
            let sent = reply.clone();
            let mut event = InstanceEvent::outcome(sent, ("0a-1", CallId(7)), &header).unwrap();
            assert_eq!(event.topic.as_ref().unwrap().as_str(), "outcome.0a-1");
            let taken = InstanceEvent::take(&mut event).unwrap();
            assert_eq!(taken, (InstanceEvent::Outcome { call: 7 }, shop.clone()));
            assert_eq!((event.fault, event.body), (reply.fault, reply.body));
            assert!(event.headers.is_empty());
        }
    }

    #[test]
    fn malformed_events_are_errors() {
        for kind in ["", "1", "2 query", "1 what", "1 call x", "1 call x y", "1 reply", "1 reply x"]
        {
            let shop = Instance::new("shop").unwrap().to_header();
            let event = || Message::default().with_header(KIND, kind);
            assert!(CallerEvent::take(&mut event()).is_err(), "{kind}");
            let mut event = event().with_header(INSTANCE, shop);
            assert!(InstanceEvent::take(&mut event).is_err(), "{kind}");
        }
        let mut event = Message::default().with_header(KIND, "1 reply 7");
        assert!(InstanceEvent::take(&mut event).is_err(), "no instance");
    }

    #[test]
    fn long_texts_of_faults_are_cut_at_a_character() {
        let fault = Fault::new(Code::Internal, "é".repeat(FAULT_TEXT_MAX));
        let header = Instance::new("shop").unwrap().to_header();
        let event =
            InstanceEvent::outcome(Message::failed(fault), ("0a", CallId(1)), &header).unwrap();
        assert_eq!(event.headers.get(FAULT_MESSAGE).unwrap().len(), FAULT_TEXT_MAX);
    }
}
