//! Routers that change while they serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire_codec::Json;
use polywire_core::rpc::LiveRouter;
use polywire_core::{
    CallError, Client, Code, ErrorKind, Listener, Memory, Publisher, Router, State,
};

/// A router with the method `price` and the state 7, and a client of it.
fn shop() -> (LiveRouter<Json, u32>, Client<Json, LiveRouter<Json, u32>>) {
    let router = Router::with_state(Json, 7).method("price", async |n: u32| Ok(n)).live();
    (router.clone(), Client::new(router, Json))
}

#[tokio::test]
async fn added_handlers_get_the_state_of_the_router() -> Result<(), CallError> {
    let (router, client) = shop();
    router.add_method("state", async |State(state): State<u32>, (): ()| Ok(state))?;
    assert_eq!(client.call::<u32>("state", &()).await?, 7);
    assert_eq!(router.methods(), ["price", "state"]);
    Ok(())
}

#[tokio::test]
async fn failed_change_leaves_the_router_as_it_was() -> Result<(), CallError> {
    let (router, client) = shop();
    let error = router.add_method("price", async |n: u32| Ok(2 * n)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.to_string(), "cannot add the method: two methods are named price");
    assert!(router.add_method("no name", async |n: u32| Ok(n)).is_err());
    router.add_method("tax.rate", async |n: u32| Ok(n))?;
    let taxes = Router::new(Json).method("rate", async |n: u32| Ok(n));
    let taxes = taxes.method("class", async |n: u32| Ok(n));
    assert!(router.nest("tax", taxes).is_err());
    assert_eq!(router.methods(), ["price", "tax.rate"]);
    assert_eq!(client.call::<u32>("price", &3).await?, 3);
    Ok(())
}

#[tokio::test]
async fn nested_methods_come_together_and_go_by_their_full_names() -> Result<(), CallError> {
    let (router, client) = shop();
    router.nest("tax", Router::new(Json).method("rate", async |n: u32| Ok(n + 1)))?;
    assert_eq!(client.call::<u32>("tax.rate", &3).await?, 4);
    assert!(!router.remove_method("rate"));
    assert!(router.remove_method("tax.rate"));
    let error = client.call::<u32>("tax.rate", &3).await.unwrap_err();
    assert_eq!(error.fault().map(|fault| fault.code), Some(Code::MethodNotFound));
    Ok(())
}

/// A handler that removes its own method, and the value that it holds is dropped by that.
#[tokio::test]
async fn handler_may_change_its_own_router() -> Result<(), CallError> {
    struct OnDrop(LiveRouter<Json, u32>, Arc<AtomicU32>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.1.store(u32::try_from(self.0.methods().len()).unwrap(), Ordering::SeqCst);
        }
    }

    let (router, client) = shop();
    let left = Arc::new(AtomicU32::new(99));
    let held = Arc::new(OnDrop(router.clone(), left.clone()));
    router.add_method("once", move |(): ()| {
        let held = held.clone();
        async move { Ok(held.0.remove_method("once")) }
    })?;
    assert!(client.call::<bool>("once", &()).await?);
    assert_eq!(left.load(Ordering::SeqCst), 1);
    assert!(client.call::<bool>("once", &()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn handlers_of_events_come_and_go_while_their_listener_runs() -> Result<(), CallError> {
    let transport = Memory::new();
    let router = Router::new(Json).live();
    let listener = Listener::bind(&transport, "orders", Json).filter("sent").await?;
    let (handle, filters) = (listener.handle(), listener.filters());
    tokio::spawn(listener.serve(router.clone()));
    let sum = Arc::new(AtomicU32::new(0));
    let add = |factor: u32| {
        let sum = sum.clone();
        move |n: u32| {
            sum.fetch_add(factor * n, Ordering::SeqCst);
            async { Ok(()) }
        }
    };
    router.add_event("paid", add(1))?;
    router.add_event("paid", add(10))?;
    filters.add("paid").await?;
    let publisher = Publisher::connect(&transport, "orders", Json).await?;
    let publish = async |n: u32, events: u64| {
        publisher.publish("paid", &n).await?;
        while handle.stats().done < events {
            tokio::task::yield_now().await;
        }
        Ok::<_, CallError>(sum.load(Ordering::SeqCst))
    };
    assert_eq!(publish(3, 1).await?, 33);
    assert_eq!(router.remove_events("paid")?, 2);
    assert_eq!(publish(4, 2).await?, 33);
    Ok(())
}
