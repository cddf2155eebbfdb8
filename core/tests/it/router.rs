//! Routers: values that handlers ask for, and several handlers for one event.

use std::sync::{Arc, Mutex};

use polywire_codec::Json;
use polywire_core::rpc::{Extract, FromState};
use polywire_core::worker::WorkHandle;
use polywire_core::{
    CallError, Client, Code, Context, Deadline, Fault, Group, Headers, Listener, Memory, Publisher,
    Request, Router, State,
};

/// The state of the handlers.
#[derive(Clone)]
struct Shop {
    name: &'static str,
    stock: Arc<Mutex<u32>>,
}

impl FromState<Shop> for Arc<Mutex<u32>> {
    fn from_state(shop: &Shop) -> Self {
        shop.stock.clone()
    }
}

/// The user who calls; required in the headers.
struct User(String);

impl<S> Extract<S> for User {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        let user = request.message.headers.get("user");
        let user = user.ok_or_else(|| {
            Fault::new(Code::Application, "no user in the headers").with_kind("Anonymous")
        })?;
        Ok(Self(user.to_owned()))
    }
}

async fn order(
    User(user): User,
    headers: Headers,
    State(shop): State<Shop>,
    State(stock): State<Arc<Mutex<u32>>>,
    count: u32,
) -> Result<String, Fault> {
    *stock.lock().unwrap() -= count;
    Ok(format!("{user} {} {} {}", headers.len(), shop.name, stock.lock().unwrap()))
}

async fn method(
    deadline: Option<Deadline>,
    context: Context,
    (): (),
) -> Result<(bool, String), Fault> {
    Ok((deadline.is_some(), context.method.unwrap().to_string()))
}

fn shop() -> Client<Json, Router<Json>> {
    let shop = Shop { name: "corner", stock: Arc::new(Mutex::new(10)) };
    let shop = Router::with_state(Json, shop).method("order", order).method("method", method);
    Client::new(Router::new(Json).method("method", method).nest("shop", shop), Json)
}

#[tokio::test]
async fn handlers_get_what_they_ask_for_in_any_order() -> Result<(), CallError> {
    let ordered = shop().request("shop.order").header("user", "ada").call::<String>(&3).await?;
    assert_eq!(ordered, "ada 1 corner 7");
    assert_eq!(shop().call::<(bool, String)>("method", &()).await?, (true, "method".into()));
    assert_eq!(
        shop().call::<(bool, String)>("shop.method", &()).await?,
        (true, "shop.method".into())
    );
    Ok(())
}

#[tokio::test]
async fn failed_extraction_is_the_fault_of_the_call() {
    let error = shop().call::<String>("shop.order", &3).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind, "Anonymous");
}

#[tokio::test]
#[should_panic(expected = "two methods are named shop.method")]
async fn duplicate_names_panic_when_the_router_is_built() {
    let inner = Router::new(Json).method("method", method);
    let _ = Router::with_state(Json, 7).method("shop.method", method).nest("shop", inner);
}

#[test]
#[should_panic(expected = "two methods are named add")]
fn methods_with_one_name_are_refused() {
    let add = |n: i64| async move { Ok(n) };
    let _ = Router::new(Json).method("add", add).method("add", add);
}

/// The handlers that ran.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, handler: &str, context: &Context) {
        self.0.lock().unwrap().push(format!(
            "{handler} {} {}",
            context.topic.as_ref().unwrap(),
            context.attempt
        ));
    }

    fn take(&self) -> Vec<String> {
        let mut notes = std::mem::take(&mut *self.0.lock().unwrap());
        notes.sort_unstable();
        notes
    }
}

fn orders(notes: &Notes) -> Router<Json, Notes> {
    Router::with_state(Json, notes.clone())
        .on("*.paid", async |State(notes): State<Notes>, context: Context, _: u32| {
            notes.note("billing", &context);
            Ok(())
        })
        .on("#", async |State(notes): State<Notes>, context: Context, failure: u32| {
            tokio::task::yield_now().await;
            notes.note("audit", &context);
            match (context.attempt, failure) {
                (1, 1) => Err(Fault::new(Code::Application, "not yet")),
                (1, 2) => panic!("not like this"),
                _ => Ok(()),
            }
        })
}

async fn listening(notes: &Notes) -> Result<(Publisher<Json>, WorkHandle), polywire_core::Error> {
    let transport = Memory::new();
    let listener = Listener::bind(&transport, "orders", Json).group(Group::new("all")?).await?;
    let handle = listener.handle();
    tokio::spawn(listener.serve(orders(notes)));
    Ok((Publisher::connect(&transport, "orders", Json).await?, handle))
}

async fn until_done(handle: &WorkHandle, events: u64) {
    let waiting = async {
        while handle.stats().done < events {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.unwrap();
}

#[tokio::test]
async fn every_matching_handler_is_run() -> Result<(), CallError> {
    let notes = Notes::default();
    let (publisher, handle) = listening(&notes).await?;
    publisher.publish("7.paid", &0).await?;
    publisher.publish("7.sent", &0).await?;
    until_done(&handle, 2).await;
    assert_eq!(notes.take(), ["audit 7.paid 1", "audit 7.sent 1", "billing 7.paid 1"]);
    Ok(())
}

#[tokio::test]
async fn event_succeeds_when_all_its_handlers_succeed() -> Result<(), CallError> {
    for failure in [1, 2] {
        let notes = Notes::default();
        let (publisher, handle) = listening(&notes).await?;
        publisher.publish("7.paid", &failure).await?;
        until_done(&handle, 1).await;
        assert_eq!(
            notes.take(),
            ["audit 7.paid 1", "audit 7.paid 2", "billing 7.paid 1", "billing 7.paid 2"]
        );
        assert_eq!((handle.stats().retried, handle.stats().panicked), (1, u64::from(failure == 2)));
    }
    Ok(())
}

#[tokio::test]
async fn event_without_a_matching_handler_succeeds() -> Result<(), CallError> {
    let transport = Memory::new();
    let listener = Listener::bind(&transport, "orders", Json).await?;
    let handle = listener.handle();
    tokio::spawn(listener.serve(Router::new(Json).on("*.paid", async |_: u32| Ok(()))));
    Publisher::connect(&transport, "orders", Json).await?.publish("7.sent", &0).await?;
    until_done(&handle, 1).await;
    assert_eq!(handle.stats().discarded, 0);
    Ok(())
}
