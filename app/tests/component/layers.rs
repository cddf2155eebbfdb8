//! Layers around every endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;
use polywire::app::{BoxError, Component, Layers};
use polywire::middleware::{Middleware, TraceContext, layer};
use polywire::{
    CallError, Client, Fault, MessagePack, Publisher, Pusher, Reply, Request, Router, Service,
};
use tokio::sync::mpsc;

use crate::shop::{app, memory_url, peer};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone layer_of_the_program_is_put_around_each_endpoint,
        alone requests_are_traced_unless_the_layer_is_left_out,
    ]
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Middleware for Count {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.call(request).await
    }
}

async fn layer_of_the_program_is_put_around_each_endpoint() {
    let (url, count) = (memory_url(), Count::default());
    let app = app(&url).layers(Layers::new().layer(layer(count.clone())));
    let (done, mut arrived) = mpsc::channel(1);
    let setup = async |component: Component| {
        let handler = {
            let done = done.clone();
            move |number: u32| {
                let done = done.clone();
                async move {
                    done.send(number)
                        .await
                        .map_err(|_| Fault::new(polywire::Code::Internal, "gone"))
                }
            }
        };
        component.serve("adder", crate::shop::adder()).await?;
        component.work("jobs", MessagePack, handler.clone()).await?;
        // A service in place of a handler.
        let router = Router::new(MessagePack).method("tick", handler);
        component.listen("news", MessagePack, router).await?;
        Ok::<_, BoxError>(())
    };
    let component = app.start(setup).await.unwrap();
    assert_eq!(crate::shop::add(&url, "adder").await.unwrap(), 5);
    let pusher = Pusher::connect(&peer(&url), "jobs", MessagePack).await.unwrap();
    pusher.push(&7_u32).await.unwrap();
    assert_eq!(arrived.recv().await, Some(7));
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    // No method is named tick, so the router refuses the event; the layer sees it nevertheless.
    let news = Publisher::connect(&peer(&url), "news", MessagePack).await.unwrap();
    news.publish("a", &8_u32).await.unwrap();
    while count.0.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    component.stop().await;
}

async fn requests_are_traced_unless_the_layer_is_left_out() {
    for (layers, is_traced) in
        [(Layers::new(), true), (Layers::new().without_trace(), false), (Layers::none(), false)]
    {
        let url = memory_url();
        let app = app(&url).layers(layers);
        let component = app.start(async |component: Component| {
            let router = Router::new(MessagePack)
                .method("traced", async |(): ()| Ok(TraceContext::current().is_some()));
            Ok::<_, BoxError>(component.serve("tracer", router).await?)
        });
        let component = component.await.unwrap();
        let client = Client::connect(&peer(&url), "tracer", MessagePack).await.unwrap();
        assert_eq!(client.call::<bool>("traced", &()).await.unwrap(), is_traced);
        component.stop().await;
    }
}
