//! The description of a component, which it sends along with its messages.

use libtest_mimic::Trial;
use polywire::app::{App, BoxError, Component};
use polywire::{CallError, Client, Context, Instance, MessagePack, Router, Server};

use crate::shop::{app, memory_url, peer};

pub(crate) fn trials() -> Vec<Trial> {
    trials![alone component_sends_its_description_unless_it_is_turned_off]
}

async fn component_sends_its_description_unless_it_is_turned_off() {
    let url = memory_url();
    let server = Server::bind(&peer(&url), "names").await.unwrap();
    let router = Router::new(MessagePack).method("who", async |context: Context, (): ()| {
        Ok(context.sender().map(|sender| (sender.name().to_owned(), sender.id().to_owned())))
    });
    let serving = tokio::spawn(server.serve(router));
    let by_default = who(app(&url)).await.unwrap().unwrap();
    let restarted = who(app(&url)).await.unwrap().unwrap();
    assert!(!by_default.0.is_empty());
    assert_eq!(by_default.0, restarted.0);
    assert_ne!(by_default.1, restarted.1, "each start is another instance");
    let front = Instance::new("front").unwrap().with_id("front-7").unwrap();
    let described = who(app(&url).instance(front)).await.unwrap().unwrap();
    assert_eq!(described, ("front".to_owned(), "front-7".to_owned()));
    assert_eq!(who(app(&url).without_instance()).await.unwrap(), None);
    serving.abort();
}

/// Starts a component that asks the server who it is, and stops the component.
async fn who(app: App) -> Result<Option<(String, String)>, CallError> {
    let component = app.start(async |_: Component| Ok::<_, BoxError>(())).await.unwrap();
    let client = Client::connect(component.transport(), "names", MessagePack).await?;
    let seen = client.call("who", &()).await;
    component.stop().await;
    seen
}
