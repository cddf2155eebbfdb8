//! Publishing and consuming, stopped apart.

use libtest_mimic::Trial;
use polywire::app::{BoxError, Component, Exit};
use polywire::{CallError, Client, ErrorKind, MessagePack, Publisher, Pusher};
use tokio::sync::{mpsc, watch};

use crate::shop::{add, adder, app, memory_url};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone clients_publish_while_consuming_is_stopped,
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
