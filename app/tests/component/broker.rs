//! Components on RabbitMQ, in child processes.

use libtest_mimic::Trial;
use polywire::{Client, MessagePack};

use crate::http::{free_address, get};
use crate::program::Program;
use crate::shop::PATIENCE;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker password_is_read_from_a_file_and_shown_nowhere,
        broker wrong_password_ends_with_77,
        broker signal_drains_a_handler_on_rabbitmq,
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
