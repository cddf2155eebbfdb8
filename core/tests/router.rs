//! Routers: what handlers may ask for, and several handlers for one event.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by them")]

use std::sync::{Arc, Mutex};

use polywire_codec::Json;
use polywire_core::rpc::{Extract, FromState};
use polywire_core::worker::WorkHandle;
use polywire_core::{
    CallError, Client, Code, Context, Deadline, Fault, Group, Headers, Listener, Memory, Publisher,
    Request, Router, State,
};

/// What all handlers share.
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

/// Who calls, of whom strangers are refused.
struct User(String);

impl<S> Extract<S> for User {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        let user = request.message.headers.get("user");
        let user = user
            .ok_or_else(|| Fault::new(Code::Application, "who are you?").with_kind("Stranger"))?;
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
async fn what_is_missing_is_the_fault_that_was_said() {
    let error = shop().call::<String>("shop.order", &3).await.unwrap_err();
    assert_eq!(error.fault().unwrap().kind, "Stranger");
}

#[tokio::test]
#[should_panic(expected = "two methods are named shop.method")]
async fn names_that_clash_are_found_when_the_router_is_made() {
    let inner = Router::new(Json).method("method", method);
    let _ = Router::with_state(Json, 7).method("shop.method", method).nest("shop", inner);
}

/// Notes who ran, and fails the first time if that is asked for.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, who: &str, context: &Context) {
        self.0.lock().unwrap().push(format!(
            "{who} {} {}",
            context.topic.as_ref().unwrap(),
            context.attempt
        ));
    }

    fn taken(&self) -> Vec<String> {
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
        .on("#", async |State(notes): State<Notes>, context: Context, how: u32| {
            tokio::task::yield_now().await;
            notes.note("audit", &context);
            match (context.attempt, how) {
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
async fn every_handler_that_wants_an_event_is_run() -> Result<(), CallError> {
    let notes = Notes::default();
    let (publisher, handle) = listening(&notes).await?;
    publisher.publish("7.paid", &0).await?;
    publisher.publish("7.sent", &0).await?;
    until_done(&handle, 2).await;
    assert_eq!(notes.taken(), ["audit 7.paid 1", "audit 7.sent 1", "billing 7.paid 1"]);
    Ok(())
}

#[tokio::test]
async fn an_event_is_done_when_all_its_handlers_are() -> Result<(), CallError> {
    for how in [1, 2] {
        let notes = Notes::default();
        let (publisher, handle) = listening(&notes).await?;
        publisher.publish("7.paid", &how).await?;
        until_done(&handle, 1).await;
        assert_eq!(
            notes.taken(),
            ["audit 7.paid 1", "audit 7.paid 2", "billing 7.paid 1", "billing 7.paid 2"]
        );
        assert_eq!((handle.stats().retried, handle.stats().panicked), (1, u64::from(how == 2)));
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_no_handler_wants_is_done() -> Result<(), CallError> {
    let transport = Memory::new();
    let listener = Listener::bind(&transport, "orders", Json).await?;
    let handle = listener.handle();
    tokio::spawn(listener.serve(Router::new(Json).on("*.paid", async |_: u32| Ok(()))));
    Publisher::connect(&transport, "orders", Json).await?.publish("7.sent", &0).await?;
    until_done(&handle, 1).await;
    assert_eq!(handle.stats().discarded, 0);
    Ok(())
}
