//! Names of queues, exchanges and routing keys.
//!
//! No two functions return the same name within one exchange. Every name but that of a request
//! queue begins with a reserved word, and no address holds an empty word, so `..` separates an
//! address from the rest.
//!
//! The functions that return a name fail with [`ErrorKind::TooLarge`], unsent, if the name exceeds
//! 255 bytes.

use std::borrow::Cow;
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::{Address, Error, ErrorKind, Result};

use super::short_string::short_string;

/// Exchange for cancels. Every virtual host has it, so it need not be declared.
pub(crate) const CANCEL_EXCHANGE: &str = "amq.direct";

/// Exchange for notices to the subscribers of a channel; their routing key is the channel's
/// exchange.
pub(crate) const NOTICE_EXCHANGE: &str = "amq.direct";
/// Type of the notice that the exchange of a channel was missing.
pub(crate) const LOST_EXCHANGE: &str = "polywire.lost";

/// Prefix that no name of the program's own has.
const PREFIX: &str = "polywire.";
const JOBS: &str = "polywire.jobs.";
const EVENTS: &str = "polywire.events.";
const DEAD_LETTERS: &str = "polywire.dead.";
/// Prefix of the reply queues of callers that answer the questions of servers.
const ASKED: &str = "polywire.reply.ask.";
const RETRIES: &str = "polywire.retry.";
/// First words of names other than those of request queues.
const RESERVED: [&str; 5] = ["reply", "jobs", "events", "dead", "retry"];

/// Returns the queue for the requests of a service: `polywire.SERVICE`.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the service name begins with a reserved word.
pub(crate) fn request_queue(service: &Address) -> Result<ShortString> {
    if service.words().next().is_some_and(|word| RESERVED.contains(&word)) {
        let error = Error::new(
            ErrorKind::Config,
            "cannot name the request queue: the first word of the service name is reserved",
        );
        return Err(error.with("service", service).unsent());
    }
    short_string("service", format!("{PREFIX}{service}"))
}

/// Returns the queue for jobs: `polywire.jobs.QUEUE`.
pub(crate) fn job_queue(queue: &Address) -> Result<ShortString> {
    short_string("queue", format!("{JOBS}{queue}"))
}

/// Returns the name of a queue or an exchange of the program's own.
///
/// # Errors
///
/// [`ErrorKind::Config`] for an empty name, or one with a prefix of polywire or of the broker.
pub(crate) fn own_name(name: &str) -> Result<ShortString> {
    if name.is_empty() || name.starts_with(PREFIX) || name.starts_with("amq.gen") {
        let text = "cannot use the name: it is empty, or begins with polywire. or amq.gen";
        return Err(Error::new(ErrorKind::Config, text).with("name", name).unsent());
    }
    short_string("name", name)
}

/// Returns whether a queue or an exchange has a name of the program's own.
pub(crate) fn is_own(name: &ShortString) -> bool {
    !name.as_str().starts_with(PREFIX)
}

/// Returns the dead-letter queue of a queue: `polywire.dead.ORIGIN`, where `ORIGIN` is the name of
/// the queue without `polywire.`, or a dot and a name of the program's own. No address begins with
/// a dot.
pub(crate) fn dead_letter_queue(origin: &ShortString) -> Result<ShortString> {
    short_string("dead-letter queue", format!("{DEAD_LETTERS}{}", without_prefix(origin)))
}

/// Returns the queue for the suspects of a queue: `ORIGIN..suspects`.
pub(crate) fn suspects_queue(origin: &ShortString) -> Result<ShortString> {
    short_string("queue of suspects", format!("{origin}..suspects"))
}

/// Returns the queue for batches of the calls in a queue: `ORIGIN..batches`.
pub(crate) fn batches_queue(origin: &ShortString) -> Result<ShortString> {
    short_string("queue of batches", format!("{origin}..batches"))
}

/// Returns the queue where messages wait for `delay` before the broker moves them to `origin`:
/// `polywire.retry.ORIGIN..MILLISECONDS`.
pub(crate) fn retry_queue(origin: &ShortString, delay: Duration) -> Result<ShortString> {
    let name = format!("{RETRIES}{}..{}", without_prefix(origin), delay.as_millis());
    short_string("retry queue", name)
}

/// Returns the exchange for the events of a channel: `polywire.events.CHANNEL`.
pub(crate) fn event_exchange(channel: &Address) -> Result<ShortString> {
    short_string("channel", format!("{EVENTS}{channel}"))
}

/// Returns the exchange that the broker deletes together with the exchange of a channel:
/// `polywire.events.CHANNEL..mark`.
pub(crate) fn mark_of_exchange(exchange: &ShortString) -> Result<ShortString> {
    short_string("mark of an exchange", format!("{exchange}..mark"))
}

/// Returns the queue of a group of subscribers to a channel:
/// `polywire.events.CHANNEL..group.GROUP`.
pub(crate) fn group_queue(channel: &Address, group: &Address) -> Result<ShortString> {
    short_string("channel and group", format!("{EVENTS}{channel}..group.{group}"))
}

/// Returns the exchange that says that a member of a group has removed a filter:
/// `QUEUE..removed`.
pub(crate) fn removal_mark(queue: &ShortString) -> Result<ShortString> {
    short_string("mark of a group", format!("{queue}..removed"))
}

/// Returns the queue of one subscriber to a channel, which has a unique number:
/// `polywire.events.CHANNEL..own.NUMBER`, with 32 hexadecimal digits.
pub(crate) fn subscriber_queue(channel: &Address, number: u128) -> Result<ShortString> {
    short_string("channel", format!("{EVENTS}{channel}..own.{number:032x}"))
}

/// Returns the routing key of the cancels for a service: `polywire.abandoned.SERVICE`.
pub(crate) fn cancel_key(service: &Address) -> Result<ShortString> {
    short_string("service", format!("polywire.abandoned.{service}"))
}

/// Returns the reply queue of a transport with a unique number: `polywire.reply.ask.NUMBER`. The
/// name says that the transport answers servers that ask before they begin a call.
pub(crate) fn reply_queue(number: u128) -> ShortString {
    // 112 bits are unique, and the name is as long as it was before it said so.
    format!("{ASKED}{:028x}", number >> 16).into()
}

/// Returns the reply queue of a client that keeps its name: `polywire.reply.ask..NAME`. It meets no
/// queue with a number.
pub(crate) fn named_reply_queue(client: &Address) -> Result<ShortString> {
    short_string("client name", format!("{ASKED}.{client}"))
}

/// Returns whether the caller with this reply queue answers servers that ask.
pub(super) fn can_answer(reply_queue: &str) -> bool {
    reply_queue.starts_with(ASKED)
}

/// Returns whether a queue with a name of polywire holds requests, as opposed to jobs or to the
/// events of a group.
pub(super) fn is_request_queue(queue: &ShortString) -> bool {
    !is_own(queue) && ![JOBS, EVENTS].iter().any(|prefix| queue.as_str().starts_with(prefix))
}

/// Returns whether a broker can be asked for a queue or an exchange that may be missing.
///
/// RabbitMQ answers with a text that holds the name. From some 4.x version on (4.3.6 does, 3.10
/// does not) it shortens the text to 255 characters and not to 255 bytes, and ends the whole
/// connection if more bytes are left. That concerns long names with letters outside of ASCII. A
/// virtual host with a longer name than `/` lowers the limit further, which is not considered.
pub(crate) fn can_be_reported_missing(name: &ShortString) -> bool {
    name.as_str().is_ascii() || name.as_str().len() <= REPORTED_MAX
}

/// Longest name, in bytes, that fits into the text of an error of the broker.
const REPORTED_MAX: usize = 255 - "NOT_FOUND - no exchange '' in vhost '/'".len();

/// Returns the part of a name that the names of its retry and dead-letter queues contain.
fn without_prefix(queue: &ShortString) -> Cow<'_, str> {
    let name = queue.as_str();
    name.strip_prefix(PREFIX).map_or_else(|| Cow::Owned(format!(".{name}")), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::new(text).unwrap()
    }

    #[test]
    fn dead_letter_and_retry_queues_name_their_origin() {
        let delay = Duration::from_millis(1500);
        let group = group_queue(&address("orders.new"), &address("billing")).unwrap();
        for (origin, dead_letters, retries) in [
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
            let names = (dead_letter_queue(&origin).unwrap(), retry_queue(&origin, delay).unwrap());
            assert_eq!((names.0.as_str(), names.1.as_str()), (dead_letters, retries));
        }
    }

    /// The exchange of the longest channel can be asked for, its mark cannot.
    #[test]
    fn long_names_outside_of_ascii_cannot_be_reported_missing() {
        let channel = address(&"ß".repeat(Address::MAX / 2));
        let exchange = event_exchange(&channel).unwrap();
        assert!(can_be_reported_missing(&exchange));
        assert!(!can_be_reported_missing(&mark_of_exchange(&exchange).unwrap()));
        assert!(!can_be_reported_missing(&subscriber_queue(&channel, 1).unwrap()));
        let ascii = subscriber_queue(&address(&"s".repeat(Address::MAX)), 1).unwrap();
        assert!(can_be_reported_missing(&ascii));
    }

    #[test]
    fn names_of_the_programs_own_meet_no_others() {
        let own = own_name("orders").unwrap();
        let (dead, service) = (
            dead_letter_queue(&own).unwrap(),
            dead_letter_queue(&request_queue(&address("orders")).unwrap()).unwrap(),
        );
        assert_eq!(
            (dead.as_str(), service.as_str()),
            ("polywire.dead..orders", "polywire.dead.orders")
        );
        let retry = retry_queue(&own, Duration::from_millis(5)).unwrap();
        assert_eq!(retry.as_str(), "polywire.retry..orders..5");
        assert!(!is_request_queue(&own) && is_own(&own));
        for name in ["", "polywire.orders", "amq.gen-1"] {
            assert_eq!(own_name(name).unwrap_err().kind(), ErrorKind::Config, "{name}");
        }
        assert!(own_name("amq.topic").is_ok());
    }

    #[test]
    fn names_are_unique() {
        let names = [
            group_queue(&address("a.group.b"), &address("c")),
            group_queue(&address("a"), &address("b.group.c")),
            group_queue(&address("a"), &address("group.b")),
            group_queue(&address("a.own"), &address("b")),
            subscriber_queue(&address("a"), 11),
            subscriber_queue(&address("a.group"), 11),
            group_queue(&address("a"), &address(&format!("own.{:032x}", 11))),
            event_exchange(&address("a")),
            job_queue(&address("a")),
            request_queue(&address("a")),
            suspects_queue(&"polywire.jobs.a".into()),
            request_queue(&address("jobs-a.suspects")),
        ];
        let names: std::collections::BTreeSet<_> =
            names.iter().map(|name| name.as_ref().unwrap().as_str()).collect();
        assert_eq!(names.len(), 12, "{names:?}");
        for service in ["jobs.a", "events.a", "reply", "reply.a"] {
            let error = request_queue(&address(service)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
        }
        assert!(request_queue(&address("jobsite")).is_ok());
    }

    #[test]
    fn names_over_255_bytes_are_refused() {
        let longest = address(&"x".repeat(Address::MAX));
        assert!(job_queue(&longest).is_ok());
        assert!(event_exchange(&longest).is_ok());
        assert!(subscriber_queue(&longest, u128::MAX).is_ok());
        let error = group_queue(&longest, &longest).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true));
    }

    #[test]
    fn request_queues_differ_from_those_of_jobs_and_events() {
        let (service, group) = (address("orders"), address("billing"));
        assert!(is_request_queue(&request_queue(&service).unwrap()));
        assert!(!is_request_queue(&job_queue(&service).unwrap()));
        assert!(!is_request_queue(&group_queue(&service, &group).unwrap()));
    }
}
