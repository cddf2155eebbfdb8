//! One trait for calls, jobs and events, and the options of its methods.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire::{
    CallError, Client, Code, Context, Deadline, Fault, Json, Listener, Memory, MessagePack, Reply,
    Request, Router, Server, Service, Worker, service, service_fn,
};
use tokio::sync::mpsc;

use crate::backends::Backend;

/// A log of entries.
#[service(call, push, publish)]
trait Diary {
    /// Adds an entry.
    #[method(topic = "noted.down")]
    async fn note(&self, line: String, #[arg(default = 1)] times: u32) -> Result<u32, Fault>;

    /// Adds an entry without a reply.
    #[method(oneway)]
    async fn whisper(&self, line: String);
}

/// An implementation that sends each entry to the test.
struct Book(mpsc::UnboundedSender<String>);

impl Diary for Book {
    async fn note(&self, line: String, times: u32) -> Result<u32, Fault> {
        if line.is_empty() {
            return Err(Fault::new(Code::Application, "nothing to note"));
        }
        self.0.send(format!("{times} {line}")).unwrap();
        Ok(times)
    }

    async fn whisper(&self, line: String) {
        self.0.send(format!("pst {line}")).unwrap();
    }
}

fn diary() -> (DiaryServer<Book, MessagePack>, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    (DiaryServer::new(Book(tell), MessagePack), told)
}

#[tokio::test]
async fn one_server_takes_calls_jobs_and_events() -> Result<(), CallError> {
    for backend in Backend::all() {
        one_server_of_three_patterns(&backend).await?;
        backend.close().await?;
    }
    Ok(())
}

async fn one_server_of_three_patterns(backend: &Backend) -> Result<(), CallError> {
    let ((server, mut told), name) = (diary(), backend.name("diary"));
    let (server, name) = (Arc::new(server), &*name);
    let (calls, jobs) = (backend.open("calls").await?, backend.open("jobs").await?);
    let events = backend.open("events").await?;
    tokio::spawn(Server::bind(&calls, name).await?.serve(server.clone()));
    tokio::spawn(Worker::bind(&jobs, name, MessagePack).await?.serve(server.clone()));
    // First: over ZeroMQ, a listener connects to the publishers that are there.
    let publisher = DiaryPublisher::connect(&events, name, MessagePack).await?;
    let listener = Listener::bind(&events, name, MessagePack).filter("noted.*").await?;
    tokio::spawn(listener.serve(server));

    let client = DiaryClient::connect(&calls, name, MessagePack).await?;
    assert_eq!(client.note("called".into(), 2).await?, 2);
    let pusher = DiaryPusher::connect(&jobs, name, MessagePack).await?;
    pusher.note("pushed".into(), 3).await?;
    pusher.clone().whisper("pushed".into()).await?;
    publisher.note("published".into(), 4).await?;
    // A topic outside of the listener's filter.
    publisher.whisper("published".into()).await?;
    publisher.note("again".into(), 5).await?;

    let mut lines = Vec::new();
    for _ in 0..5 {
        lines.push(told.recv().await.unwrap());
    }
    lines.sort_unstable();
    assert_eq!(lines, ["2 called", "3 pushed", "4 published", "5 again", "pst pushed"]);
    Ok(())
}

#[tokio::test]
async fn oneway_calls_resolve_without_a_reply() -> Result<(), CallError> {
    let (server, mut told) = diary();
    let transport = Memory::new();
    let bound = Server::bind(&transport, "diary").await?;
    let client = DiaryClient::connect(&transport, "diary", MessagePack).await?;
    // No server is bound yet.
    client.whisper("early".into()).await?;
    let handle = bound.handle();
    tokio::spawn(bound.serve(server));
    assert_eq!(told.recv().await.unwrap(), "pst early");
    // A later call of the same client is answered, so every earlier message was processed.
    client.note("later".into(), 1).await?;
    assert_eq!(handle.stats().answered, 1);
    assert_eq!(client.as_ref().stats().late_replies, 0);
    Ok(())
}

#[tokio::test]
async fn oneway_call_without_a_server_is_unroutable() -> Result<(), CallError> {
    let client = DiaryClient::connect(&Memory::new(), "diary", MessagePack).await?;
    let error = client.whisper("hello?".into()).await.unwrap_err();
    assert_eq!(error.kind(), Some(polywire::ErrorKind::Unroutable));
    Ok(())
}

#[tokio::test]
async fn missing_arguments_have_their_defaults() -> Result<(), CallError> {
    /// A method with every kind of default.
    #[service]
    trait Search {
        async fn find(
            &self,
            #[arg()] words: String,
            color: Option<String>,
            #[arg(default = 10)] limit: u32,
            #[arg(default)] page: u32,
            #[arg(default = "name")] order: String,
        ) -> Result<String, Fault>;

        async fn all(&self, #[arg(default = 7)] limit: u32) -> Result<u32, Fault>;
    }
    struct Index;
    impl Search for Index {
        async fn find(
            &self,
            words: String,
            color: Option<String>,
            limit: u32,
            page: u32,
            order: String,
        ) -> Result<String, Fault> {
            Ok(format!("{words} {color:?} {limit} {page} {order}"))
        }
        async fn all(&self, limit: u32) -> Result<u32, Fault> {
            Ok(limit)
        }
    }

    let client =
        SearchClient::from(Client::new(SearchServer::new(Index, MessagePack), MessagePack));
    let defaults = r#"hat None 10 0 name"#;
    let by_name = BTreeMap::from([("words", "hat")]);
    assert_eq!(client.as_ref().call::<String>("find", &by_name).await?, defaults);
    assert_eq!(client.as_ref().call::<String>("find", &["hat"]).await?, defaults);
    assert_eq!(client.find("hat".into(), None, 3, 2, "size".into()).await?, "hat None 3 2 size");
    assert_eq!(client.as_ref().call::<u32>("all", &()).await?, 7);
    assert_eq!(client.as_ref().call::<u32>("all", &[0; 0]).await?, 7);
    let missing = client.as_ref().call::<String>("find", &BTreeMap::<String, String>::new()).await;
    assert!(missing.unwrap_err().fault().unwrap().message.contains("missing field `words`"));
    Ok(())
}

/// The fields of a request as a layer sees them.
type Seen = Arc<Mutex<Vec<(bool, bool, u64, u64)>>>;

fn spy() -> (Seen, impl Service + Clone) {
    let seen = Seen::default();
    let spy = service_fn({
        let seen = seen.clone();
        move |request: Request| {
            let left = request.wait_until().map_or(0, Deadline::remaining_ms);
            let message = &request.message;
            let ttl = message.deadline.filter(|_| request.oneway).map_or(0, Deadline::remaining_ms);
            assert_eq!(message.keep_expired, ttl > 30_000, "only where it is said");
            seen.lock().unwrap().push((request.idempotent, request.oneway, left, ttl));
            async { Ok(Reply::new("null")) }
        }
    });
    (seen, spy)
}

#[tokio::test]
async fn layers_see_what_a_method_was_said_to_be() -> Result<(), CallError> {
    #[service]
    trait Lamp {
        #[method(idempotent, timeout = "5s")]
        async fn on(&self) -> Result<(), Fault>;
        #[method(timeout = "2m")]
        async fn dim(&self) -> Result<(), Fault>;
        #[method(oneway, idempotent)]
        async fn off(&self) -> Result<(), Fault>;
        #[method(oneway, ttl = "1h", keep_expired)]
        async fn repair(&self) -> Result<(), Fault>;
    }
    let (seen, spy) = spy();
    let lamp = LampClient::from(Client::new(spy, Json));
    lamp.on().await?;
    lamp.dim().await?;
    lamp.off().await?;
    // The client's own timeout overrides the timeout of the method.
    lamp.with_timeout(Duration::from_secs(1)).dim().await?;
    lamp.repair().await?;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(matches!(seen[0], (true, false, 1..=5_000, 0)), "{seen:?}");
    assert!(matches!(seen[1], (false, false, 30_001..=120_000, 0)), "{seen:?}");
    assert!(matches!(seen[2], (true, true, 5_001..=30_000, 0)), "{seen:?}");
    assert!(matches!(seen[3], (false, false, 1..=1_000, 0)), "{seen:?}");
    assert!(matches!(seen[4], (false, true, 5_001..=30_000, 3_000_000..=3_600_000)), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn calls_of_a_service_run_at_most_once_unless_they_are_idempotent() -> Result<(), CallError> {
    #[service(at_most_once)]
    trait Till {
        async fn charge(&self, cents: u64) -> Result<(), Fault>;
        #[method(idempotent)]
        async fn total(&self) -> Result<(), Fault>;
    }
    #[service]
    trait Lamp {
        #[method(at_most_once)]
        async fn toggle(&self) -> Result<(), Fault>;
        async fn look(&self) -> Result<(), Fault>;
    }
    let seen = Arc::<Mutex<Vec<bool>>>::default();
    let spy = service_fn({
        let seen = seen.clone();
        move |request: Request| {
            seen.lock().unwrap().push(request.at_most_once);
            async { Ok(Reply::new("null")) }
        }
    });
    let till = TillClient::from(Client::new(spy.clone(), Json));
    till.charge(5).await?;
    till.total().await?;
    let lamp = LampClient::from(Client::new(spy, Json));
    lamp.toggle().await?;
    lamp.look().await?;
    assert_eq!(*seen.lock().unwrap(), [true, false, true, false]);
    Ok(())
}

#[tokio::test]
async fn marked_method_of_a_typed_server_begins_once_for_callers_that_mark_nothing()
-> Result<(), CallError> {
    #[service]
    trait Till {
        #[method(at_most_once)]
        async fn charge(&self) -> Result<(), Fault>;
    }
    /// A till that notes each charge that begins, and ends none.
    struct Stuck(mpsc::UnboundedSender<()>);

    impl Till for Stuck {
        async fn charge(&self) -> Result<(), Fault> {
            self.0.send(()).unwrap();
            pending().await
        }
    }
    let (begun, mut charges) = mpsc::unbounded_channel();
    let transport = Memory::new();
    let serve = async || {
        let server = Server::bind(&transport, "till").await?;
        let till = TillServer::new(Stuck(begun.clone()), MessagePack);
        Ok::<_, CallError>(tokio::spawn(server.serve(till)))
    };
    let (dying, client) = (serve().await?, Client::connect(&transport, "till", MessagePack).await?);
    let call = client.request("charge").start::<()>(&())?;
    charges.recv().await.unwrap();
    let _other = serve().await?;
    dying.abort();
    let ended = call.await.unwrap_err();
    assert_eq!(ended.fault().map(|fault| fault.code), Some(Code::Interrupted));
    assert!(charges.try_recv().is_err(), "the other server began the call again");
    Ok(())
}

#[tokio::test]
async fn services_nest_and_clients_follow() -> Result<(), CallError> {
    let (server, mut told) = diary();
    let office = Router::new(MessagePack)
        .method("name", |context: Context, (): ()| async move {
            Ok(context.method.unwrap().to_string())
        })
        .nest("private", Router::new(MessagePack).nest("diary", server.into_router()));
    assert_eq!(office.methods(), ["name", "private.diary.note", "private.diary.whisper"]);
    let client = Client::new(Arc::new(office), MessagePack);
    let diary = DiaryClient::from(client.nested("private")?.nested("diary")?);
    assert_eq!(diary.note("deep".into(), 1).await?, 1);
    assert_eq!(told.recv().await.unwrap(), "1 deep");
    assert_eq!(client.call::<String>("name", &()).await?, "name");
    assert!(client.nested("a..b").is_err());
    Ok(())
}
