//! Log lines about what fails for good, and about states that are logged once.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::health::{ConnectionState, EndpointRole};
use polywire_core::message::MessageId;
use polywire_core::transport::{Delivery, OnSettled, Outcome, Receipt, Settle, Settled, Suspect};
use polywire_core::{
    Address, Code, Error, ErrorKind, Fault, Memory, Message, Pusher, Retries, Router, Server,
    Worker,
};

use crate::scripted::{Scripted, sent};
use crate::watching::{Fields, Seen, watch};

const DEAD_LETTERED: &str = "failed for good: dead-lettered";
const DISCARDED: &str = "failed for good: discarded";

fn no() -> Fault {
    Fault::new(Code::Application, "no")
}

/// Returns the fields of the only event with this message.
fn event_of(seen: &Seen, message: &str) -> Fields {
    let mut events = seen.said(message);
    assert_eq!(events.len(), 1, "{message}: {:?}", seen.events());
    events.remove(0)
}

#[tokio::test(start_paused = true)]
async fn chosen_discards_are_warnings_of_which_ten_have_a_line() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack)
        .retries(Retries::new(1).then_discard())
        .await
        .unwrap();
    let handle = worker.handle();
    tokio::spawn(worker.work(async |(): ()| Err::<(), _>(no())));
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    let fail = async |jobs: u64| {
        let until = handle.stats().discarded + jobs;
        for _ in 0..jobs {
            pusher.push(&()).await.unwrap();
        }
        while handle.stats().discarded < until {
            tokio::task::yield_now().await;
        }
    };
    fail(100).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    fail(1).await;
    let lines = seen.said(DISCARDED);
    let counts: Vec<_> = lines.iter().map(|line| &*line["count"]).collect();
    assert_eq!(counts, [&["1"; 10][..], &["91"]].concat());
    assert!(lines.iter().all(|line| line["level"] == "WARN"), "{lines:?}");
}

/// A backend that carries out each outcome in this way.
struct Settling(Settled);

impl Settle for Settling {
    fn settle(&self, _: u64, outcome: Outcome) {
        panic!("{outcome:?}");
    }

    fn settle_then(&self, _: u64, _: Outcome, settled: OnSettled) {
        settled(self.0);
    }
}

fn delivery(settled: Settled) -> Delivery {
    let id = MessageId::new("order-7").unwrap();
    let message = Message::new(&b"\x01"[..]).with_message_id(id);
    Delivery::new(message, Receipt::new(Arc::new(Settling(settled)), 1))
}

#[tokio::test]
async fn job_that_the_backend_does_not_keep_for_its_retry_is_named() {
    for (settled, message) in [
        (Settled::DeadLettered, Some(DEAD_LETTERED)),
        (Settled::Discarded, Some(DISCARDED)),
        (Settled::Done, None),
        (Settled::Requeued, None),
    ] {
        let (seen, _guard) = watch();
        let (mut transport, script) = Scripted::new(sent);
        (transport.can.settlement, transport.can.attempts) = (true, true);
        (transport.can.delayed_retries, transport.can.dead_letters) = (true, true);
        script.deliver(delivery(settled));
        drop(script.incoming);
        let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
        worker.work(async |_: u32| Err::<(), _>(no())).await.unwrap();
        assert_eq!(seen.said("failed; retrying").len(), 1, "{settled:?}");
        let Some(message) = message else {
            assert!(seen.said(DEAD_LETTERED).is_empty() && seen.said(DISCARDED).is_empty());
            continue;
        };
        let event = event_of(&seen, message);
        assert_eq!((&*event["level"], &*event["attempt"]), ("ERROR", "1"));
        assert_eq!(event["why"], "the transport could not keep it for its next attempt");
        let span = seen.span_of(&event);
        assert_eq!((&*span["name"], &*span["message_id"]), ("polywire.delivery", "order-7"));
    }
}

#[tokio::test]
async fn request_that_is_lost_as_a_dead_letter_is_named() {
    let (seen, _guard) = watch();
    let (mut transport, script) = Scripted::new(sent);
    (transport.can.attempts, transport.can.dead_letters) = (true, true);
    script.deliver(delivery(Settled::Discarded).suspect(Suspect::isolated(9)));
    drop(script.incoming);
    let server = Server::bind(&transport, "shop").await.unwrap();
    server.serve(Router::new(MessagePack)).await.unwrap();
    let event = event_of(&seen, "discarded a request: it exceeded the delivery limit");
    assert_eq!((&*event["level"], &*event["service"]), ("ERROR", "shop"));
    assert_eq!(seen.span_of(&event)["message_id"], "order-7");
}

#[tokio::test]
async fn dropped_dead_letters_name_their_queue() {
    let (seen, _guard) = watch();
    let transport = Memory::new();
    let worker = Worker::bind(&transport, "thumbnails", MessagePack).attempts(1).await.unwrap();
    let handle = worker.handle();
    tokio::spawn(worker.work(async |(): ()| Err::<(), _>(no())));
    let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await.unwrap();
    for _ in 0..1_025 {
        pusher.push(&()).await.unwrap();
    }
    while handle.stats().dead_lettered < 1_025 {
        tokio::task::yield_now().await;
    }
    let event = event_of(&seen, "dropped the oldest dead letters: the dead-letter queue is full");
    assert_eq!(event["dead_letters_of"], "the queue thumbnails");
}

/// The transport logs the refusal of a connection, once for all its handles.
#[tokio::test]
async fn refused_connection_is_no_error_of_each_handle() {
    let error = || Error::new(ErrorKind::Denied, "the password was refused");
    for (connection, level) in [
        (ConnectionState::Refused { error: error() }, "DEBUG"),
        (ConnectionState::Connected, "ERROR"),
    ] {
        let (seen, _guard) = watch();
        let (mut transport, script) = Scripted::new(sent);
        transport.health.set_connection(connection);
        let name = Address::new("shop").unwrap();
        transport.endpoint = Some(transport.health.endpoint(EndpointRole::Responder, &name, None));
        let server = Server::bind(&transport, "shop").await.unwrap();
        script.fail(error().fatal());
        server.serve(Router::new(MessagePack)).await.unwrap_err();
        assert_eq!(event_of(&seen, "cannot receive any more; draining")["level"], level);
    }
}

#[cfg(unix)]
#[test]
fn file_of_secrets_that_others_can_read_is_one_warning() {
    use std::os::unix::fs::PermissionsExt;

    const OPEN: &str = "other users can read or change a file of secrets";
    let (seen, _guard) = watch();
    for (mode, is_open) in [
        (0o600, false),
        (0o440, false),
        (0o640, false),
        (0o644, true),
        (0o604, true),
        (0o660, true),
    ] {
        let name = format!("polywire-open-secret-{}-{mode:o}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "hunter2").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let source: polywire_core::secret::SecretSource =
            format!("file:{}", path.display()).parse().unwrap();
        for _ in 0..3 {
            assert_eq!(source.read().unwrap().reveal(), "hunter2");
        }
        std::fs::remove_file(&path).unwrap();
        let (file, said) = (path.display().to_string(), seen.said(OPEN));
        let lines: Vec<_> = said.iter().filter(|event| event["file"] == file).collect();
        assert_eq!(lines.len(), usize::from(is_open), "{mode:o}");
        assert!(lines.iter().all(|event| event["level"] == "WARN"));
    }
}
