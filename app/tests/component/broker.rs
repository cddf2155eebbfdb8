//! Components on RabbitMQ, in child processes.

use std::time::Duration;

use libtest_mimic::Trial;
use polywire::amqp::Amqp;
use polywire::app::{App, BoxError, Component, Exit, Settings};
use polywire::{AnyTransport, Client, MessagePack, Pusher};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::gates::work;
use crate::http::{free_address, get};
use crate::program::Program;
use crate::restarts::starts_again;
use crate::shop::{PATIENCE, add, adder};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker password_is_read_from_a_file_and_shown_nowhere,
        broker wrong_password_ends_with_77,
        broker final_refusal_ends_a_component_of_clients_with_77,
        broker signal_drains_a_handler_on_rabbitmq,
        broker component_over_rabbitmq_starts_again_after_its_stop,
        broker consuming_over_rabbitmq_stops_and_resumes,
    ]
}

/// Takes the password out of a URL, and returns both.
fn without_password(url: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (user.to_owned(), rest),
        None => ("guest:guest".to_owned(), rest),
    };
    let (user, password) = user.split_once(':').unwrap();
    (format!("{scheme}://{user}@{rest}"), password.to_owned())
}

async fn password_is_read_from_a_file_and_shown_nowhere(url: String) {
    let (url, password) = without_password(&url);
    let path = std::env::temp_dir().join(format!("polywire-app-amqp-{}", std::process::id()));
    std::fs::write(&path, format!("{password}\n")).unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    let from_file = format!("{url}{mark}password=file:{}", path.display());
    let from_variable = format!("{url}{mark}password=env:BROKER_PASSWORD");
    for url in [from_file, from_variable] {
        let variables = [("POLYWIRE_URL", &*url), ("BROKER_PASSWORD", &*password)];
        let mut program = Program::start("sleeper", &variables);
        program.line("bound").await;
        program.signal("TERM");
        assert_eq!(program.exit().await, (0, String::new()));
    }
    std::fs::write(&path, "hunter2").unwrap();
    let url = format!("{url}{mark}password=file:{}", path.display());
    let (code, text) = Program::start("sleeper", &[("POLYWIRE_URL", &url)]).exit().await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, 77, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

async fn wrong_password_ends_with_77(url: String) {
    let (url, _) = without_password(&url);
    let url = url.replacen('@', ":hunter2@", 1);
    let (code, text) = Program::start("sleeper", &[("POLYWIRE_URL", &url)]).exit().await;
    assert_eq!(code, 77, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

/// Connects as `polywire::connect` does, and gives up at the first refusal of a reconnect.
async fn impatient(url: &str) -> polywire::Result<AnyTransport> {
    let amqp = Amqp::builder(url)?.give_up_after(Duration::ZERO).build().await?;
    Ok(AnyTransport::new(amqp))
}

/// Passes connections on to `host`. Those that are open end when `cut` changes.
async fn relay(listener: TcpListener, host: String, cut: watch::Receiver<()>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let (host, mut cut) = (host.clone(), cut.clone());
        cut.mark_unchanged();
        tokio::spawn(async move {
            let mut broker = TcpStream::connect(host).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut broker) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn final_refusal_ends_a_component_of_clients_with_77(url: String) {
    let (url, password) = without_password(&url);
    let (user, rest) = url.split_once('@').unwrap();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:5672") };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, cuts) = watch::channel(());
    let relaying = tokio::spawn(relay(listener, host, cuts));

    let secret = std::env::temp_dir().join(format!("polywire-app-77-{}", std::process::id()));
    std::fs::write(&secret, password).unwrap();
    let mark = if path.contains('?') { '&' } else { '?' };
    let url = format!("{user}@{address}{path}{mark}password=file:{}", secret.display());
    let setup = async |app: Component| {
        Client::connect(app.transport(), "sleeper", MessagePack).await?;
        Ok::<_, BoxError>(())
    };
    let app = App::new(Settings::new("caller").url(url), impatient);
    let component = app.start(setup).await.unwrap();
    assert!(component.is_ready());
    std::fs::write(&secret, "hunter2").unwrap();
    cut.send_replace(());
    let exit = timeout(PATIENCE, component.ended()).await.expect("the component ends");
    std::fs::remove_file(&secret).unwrap();
    relaying.abort();
    assert!(matches!(exit, Exit::Refused(_)), "{exit}");
    assert_eq!(exit.code(), 77);
    assert!(!exit.to_string().contains("hunter2"), "{exit}");
}

async fn signal_drains_a_handler_on_rabbitmq(url: String) {
    let probe = free_address();
    let probe_variable = probe.to_string();
    let variables = [("POLYWIRE_URL", &*url), ("POLYWIRE_PROBE", &*probe_variable)];
    let mut program = Program::start("sleeper", &variables);
    program.line("bound").await;
    let transport = polywire::connect(&url).await.unwrap();
    let client = Client::connect(&transport, "sleeper", MessagePack).await.unwrap();
    let client = client.with_timeout(PATIENCE);
    let call = tokio::spawn(async move { client.call::<String>("nap", &()).await });
    program.line("begun").await;
    assert_eq!(get(probe, "/ready").await.0, 200);
    program.signal("TERM");
    program.line("stopping").await;
    assert_eq!(get(probe, "/ready").await.0, 503);
    program.release();
    assert_eq!(program.exit().await, (0, String::new()));
    assert_eq!(call.await.unwrap().unwrap(), "rested");
}

async fn component_over_rabbitmq_starts_again_after_its_stop(url: String) {
    starts_again(&url, "restarts.adder").await;
}

async fn consuming_over_rabbitmq_stops_and_resumes(url: String) {
    let (done, mut arrived) = mpsc::channel(1);
    let setup = async |component: Component| -> Result<(), BoxError> {
        component.serve("gates.adder", adder()).await?;
        work(&component, "gates.jobs", done.clone()).await
    };
    let app = App::new(Settings::new("gates").url(&url), polywire::connect);
    let component = app.start(setup).await.unwrap();
    component.stop_consuming().await.unwrap();
    assert!(!component.is_ready());
    // Both wait in their queues.
    let pusher = Pusher::connect(component.transport(), "gates.jobs", MessagePack).await.unwrap();
    pusher.push(&7_u32).await.unwrap();
    let caller = url.clone();
    let call = tokio::spawn(async move { add(&caller, "gates.adder").await });

    component.resume_consuming().await.unwrap();
    assert!(component.is_ready());
    assert_eq!(timeout(PATIENCE, arrived.recv()).await.unwrap(), Some(7));
    assert_eq!(call.await.unwrap().unwrap(), 5);
    component.serve("gates.late", adder()).await.unwrap();
    assert_eq!(add(&url, "gates.late").await.unwrap(), 5);
    assert!(matches!(component.stop().await, Exit::Drained));
}
