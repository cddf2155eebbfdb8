//! Components that are started again in the same process.

use libtest_mimic::Trial;
use polywire::app::{BoxError, Component, Exit, Settings};
use polywire::{Address, App, CallError, Client, ErrorKind, MessagePack, Transport};

use crate::http::{free_address, get};
use crate::shop::{add, adder, memory_url};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone component_over_memory_starts_again_after_its_stop,
        alone component_over_zeromq_starts_again_after_its_stop,
        alone component_of_clients_is_ready_with_the_servers_that_it_uses,
        alone transports_without_endpoints_leave_the_component_ready,
        alone health_of_a_name_is_that_of_its_own_transport,
        alone endpoints_are_added_while_the_component_runs,
    ]
}

async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("adder", adder()).await?)
}

/// Starts and stops a component several times, with its probe port. Its service is `name`.
pub(crate) async fn starts_again(url: &str, name: &str) {
    let probe = free_address();
    let app = App::new(Settings::new(name).url(url).probe(probe), polywire::connect);
    for _ in 0..3 {
        let setup = async |component: Component| -> Result<(), BoxError> {
            Ok(component.serve(name, adder()).await?)
        };
        let component = app.start(setup).await.unwrap();
        assert!(component.is_ready());
        assert_eq!(get(probe, "/ready").await.0, 200);
        assert_eq!(add(url, name).await.unwrap(), 5);
        let exit = component.stop().await;
        assert!(matches!(exit, Exit::Drained), "{exit}");
        assert!(!component.is_ready());
        assert!(matches!(component.stop().await, Exit::Drained), "a second stop has no effect");
    }
}

async fn component_over_memory_starts_again_after_its_stop() {
    let url = memory_url();
    starts_again(&url, "adder").await;
    let error = add(&url, "adder").await.unwrap_err();
    assert!(matches!(&error, CallError::Failed(error) if error.kind() == ErrorKind::Unroutable));
}

async fn component_over_zeromq_starts_again_after_its_stop() {
    starts_again(&format!("zmq+tcp://{}", free_address()), "adder").await;
}

async fn component_of_clients_is_ready_with_the_servers_that_it_uses() {
    let (used, unused) = (free_address(), free_address());
    let url = format!("zmq+tcp://{used}");
    let settings = Settings::new("caller")
        .url_of("adder", &url)
        .url_of("payments", format!("zmq+tcp://{unused}"));
    let caller = App::new(settings, polywire::connect)
        .start(async |component: Component| {
            let client = Client::connect(component.transport(), "adder", MessagePack).await?;
            let lives_on = component.clone();
            component.spawn("client", async move {
                lives_on.stopping().await;
                drop(client);
                Ok(())
            });
            Ok(())
        })
        .await
        .unwrap();
    assert!(!caller.is_ready(), "the server is missing");
    let adder = App::new(Settings::new("adder").url(&url), polywire::connect);
    let adder = adder.start(setup).await.unwrap();
    // The client finds the server after a pause of its own.
    let mut health = caller.transport().health().changes();
    while !caller.is_ready() {
        health.next().await.unwrap();
    }
    assert!(matches!(caller.stop().await, Exit::Drained));
    assert!(matches!(adder.stop().await, Exit::Drained));
}

async fn transports_without_endpoints_leave_the_component_ready() {
    let url = |name| (name, format!("zmq+tcp://{}", free_address()));
    let settings = [url("adder"), url("payments"), url("mails")]
        .into_iter()
        .fold(Settings::new("adder"), |settings, (name, url)| settings.url_of(name, url));
    let app = App::new(settings, polywire::connect);
    let component = app
        .start(async |component: Component| {
            // Nothing listens there.
            let transport = component.transport();
            let _payments = Client::connect(transport, "payments", MessagePack).await?;
            setup(component).await
        })
        .await
        .unwrap();
    assert!(component.is_ready(), "{component:?}");
    component.stop_consuming().await.unwrap();
    assert!(!component.is_ready());
    assert!(matches!(component.stop().await, Exit::Drained));
}

async fn health_of_a_name_is_that_of_its_own_transport() {
    let url = || format!("zmq+tcp://{}", free_address());
    let settings = Settings::new("adder").url_of("unused", url()).url_of("adder", url());
    let component = App::new(settings, polywire::connect).start(setup).await.unwrap();
    let name = |name: &'static str| Address::new(name).unwrap();
    let transport = component.transport();
    assert!(!transport.health().current().is_ready(), "the first transport has no handle");
    assert!(!transport.health_of(&name("unused")).current().is_ready());
    assert!(transport.health_of(&name("adder")).current().is_ready());
    assert!(!transport.health_of(&name("without_url")).current().is_known());
    assert!(matches!(component.stop().await, Exit::Drained));
}

async fn endpoints_are_added_while_the_component_runs() {
    let url = memory_url();
    let component = crate::shop::app(&url).start(setup).await.unwrap();
    component.serve("late", adder()).await.unwrap();
    assert_eq!(add(&url, "late").await.unwrap(), 5);
    assert!(matches!(component.stop().await, Exit::Drained));
    let error = component.serve("later", adder()).await.unwrap_err();
    assert_eq!((error.kind(), error.detail("endpoint")), (ErrorKind::Closed, Some("later")));
    assert!(add(&url, "late").await.is_err());
}
