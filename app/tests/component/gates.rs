//! Publishing and consuming, stopped apart.

use libtest_mimic::Trial;
use polywire::app::{App, BoxError, Component, Exit, Settings};
use polywire::{CallError, Client, ErrorKind, MessagePack, Publisher, Pusher};
use tokio::sync::{mpsc, watch};

use crate::http::free_address;
use crate::shop::{add, adder, app, memory_url};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone clients_publish_while_consuming_is_stopped,
        alone endpoints_over_zeromq_are_bound_again_by_the_resume,
        paused handlers_of_an_unfinished_stop_are_waited_for_by_the_resume,
        alone stopped_publishing_refuses_calls_jobs_and_events,
    ]
}

async fn setup(app: Component) -> Result<(), BoxError> {
    app.serve("adder", adder()).await?;
    Ok(app.work("jobs", MessagePack, async |_: u32| Ok(())).await?)
}

fn kind(error: &CallError) -> ErrorKind {
    match error {
        CallError::Failed(error) => error.kind(),
        error => panic!("another failure: {error}"),
    }
}

async fn clients_publish_while_consuming_is_stopped() {
    let (url, other_url) = (memory_url(), memory_url());
    let component = app(&url).start(setup).await.unwrap();
    let elsewhere = app(&other_url).start(setup).await.unwrap();
    let client = Client::connect(elsewhere.transport(), "adder", MessagePack).await.unwrap();

    component.stop_consuming().await.unwrap();
    assert!(!component.is_ready());
    assert_eq!(kind(&add(&url, "adder").await.unwrap_err()), ErrorKind::Unroutable);
    let pusher = Pusher::connect(component.transport(), "jobs", MessagePack).await.unwrap();
    pusher.push(&7_u32).await.unwrap();
    assert_eq!(client.call::<i64>("add", &(2, 3)).await.unwrap(), 5);
    component.serve("late", adder()).await.unwrap();
    assert_eq!(kind(&add(&url, "late").await.unwrap_err()), ErrorKind::Unroutable);

    component.resume_consuming().await.unwrap();
    assert!(component.is_ready());
    assert_eq!(add(&url, "adder").await.unwrap(), 5);
    assert_eq!(add(&url, "late").await.unwrap(), 5);
    assert!(matches!(component.stop().await, Exit::Drained));
    let error = component.resume_consuming().await.map(|()| component.is_ready());
    assert!(!error.unwrap());
}

/// Works on the queue `name`: each job goes to the channel.
pub(crate) async fn work(
    component: &Component,
    name: &str,
    done: mpsc::Sender<u32>,
) -> Result<(), BoxError> {
    let handler = move |job: u32| {
        let done = done.clone();
        async move {
            // The test may have ended.
            let _ = done.send(job).await;
            Ok(())
        }
    };
    Ok(component.work(name, MessagePack, handler).await?)
}

async fn endpoints_over_zeromq_are_bound_again_by_the_resume() {
    let (adder_url, jobs_url) =
        (format!("zmq+tcp://{}", free_address()), format!("zmq+tcp://{}", free_address()));
    // One server after the other shares the socket of a transport.
    let settings = Settings::new("adder").url(&adder_url).url_of("jobs", &jobs_url);
    let (done, mut arrived) = mpsc::channel(1);
    let setup = async |component: Component| -> Result<(), BoxError> {
        component.serve("adder", adder()).await?;
        work(&component, "jobs", done.clone()).await
    };
    let component = App::new(settings, polywire::connect).start(setup).await.unwrap();
    assert_eq!(add(&adder_url, "adder").await.unwrap(), 5);
    component.stop_consuming().await.unwrap();
    assert!(!component.is_ready());

    component.resume_consuming().await.unwrap();
    assert!(component.is_ready());
    assert_eq!(add(&adder_url, "adder").await.unwrap(), 5);
    let pushing = polywire::connect(&jobs_url).await.unwrap();
    let pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    pusher.push(&7_u32).await.unwrap();
    assert_eq!(arrived.recv().await, Some(7));
    component.serve("late", adder()).await.unwrap();
    assert_eq!(add(&adder_url, "late").await.unwrap(), 5);
    assert!(matches!(component.stop().await, Exit::Drained));
}

async fn handlers_of_an_unfinished_stop_are_waited_for_by_the_resume() {
    let url = memory_url();
    let (begins, mut begun) = mpsc::channel(1);
    let (release, released) = watch::channel(false);
    let setup = async |component: Component| {
        let (begins, released) = (begins.clone(), released.clone());
        let handler = move |is_slow: bool| {
            let (begins, mut released) = (begins.clone(), released.clone());
            async move {
                begins.send(()).await.unwrap();
                if is_slow {
                    released.wait_for(|released| *released).await.unwrap();
                }
                Ok(())
            }
        };
        Ok::<_, BoxError>(component.work("jobs", MessagePack, handler).await?)
    };
    let component = app(&url).start(setup).await.unwrap();
    let jobs = Pusher::connect(component.transport(), "jobs", MessagePack).await.unwrap();
    jobs.push(&true).await.unwrap();
    begun.recv().await.unwrap();
    let late = ErrorKind::DeadlineExceeded;
    assert_eq!(component.stop_consuming().await.unwrap_err().kind(), late);
    assert!(!component.is_ready());
    assert_eq!(component.resume_consuming().await.unwrap_err().kind(), late);
    assert!(!component.is_ready());

    release.send_replace(true);
    component.resume_consuming().await.unwrap();
    assert!(component.is_ready());
    jobs.push(&false).await.unwrap();
    begun.recv().await.unwrap();
    assert!(matches!(component.stop().await, Exit::Drained));
}

async fn stopped_publishing_refuses_calls_jobs_and_events() {
    let url = memory_url();
    let component = app(&url).start(setup).await.unwrap();
    let transport = component.transport();
    let client = Client::connect(transport, "adder", MessagePack).await.unwrap();
    let pusher = Pusher::connect(transport, "jobs", MessagePack).await.unwrap();
    let publisher = Publisher::connect(transport, "news", MessagePack).await.unwrap();

    component.stop_publishing();
    let errors = [
        match client.call::<i64>("add", &(2, 3)).await.unwrap_err() {
            CallError::Failed(error) => error,
            error => panic!("another failure: {error}"),
        },
        pusher.push(&7_u32).await.unwrap_err(),
        publisher.publish("a", &7_u32).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Closed, true), "{error}");
        assert!(error.to_string().contains("stopped publishing"), "{error}");
    }
    // The server still answers.
    assert_eq!(add(&url, "adder").await.unwrap(), 5);

    component.resume_publishing();
    assert_eq!(client.call::<i64>("add", &(2, 3)).await.unwrap(), 5);
    pusher.push(&7_u32).await.unwrap();
    publisher.publish("a", &7_u32).await.unwrap();
    assert!(matches!(component.stop().await, Exit::Drained));
}
