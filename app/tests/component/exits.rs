//! Exit codes of child processes.

use libtest_mimic::Trial;
use polywire::{Client, MessagePack};

use crate::http::free_address;
use crate::program::Program;
use crate::shop::{PATIENCE, memory_url};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone malformed_setting_ends_with_78_and_names_the_variable,
        alone second_endpoint_on_a_port_ends_with_78_and_names_the_variable_of_its_url,
        alone secrets_of_zeromq_are_read_from_a_variable_and_a_file,
        alone missing_broker_ends_with_69_after_the_start_wait,
        alone silent_broker_ends_with_69_and_its_address,
        alone failed_task_ends_with_70,
        alone failed_setup_ends_with_1,
    ]
}

async fn malformed_setting_ends_with_78_and_names_the_variable() {
    let url = memory_url();
    let rows: [(&[(&str, &str)], &str); 6] = [
        (&[], "POLYWIRE_URL"),
        (&[("POLYWIRE_URL", &url), ("POLYWIRE_GRACE", "hunter2")], "POLYWIRE_GRACE"),
        (&[("POLYWIRE_URL", &url), ("POLYWIRE_START_WAIT", "hunter2")], "POLYWIRE_START_WAIT"),
        (&[("POLYWIRE_URL", &url), ("POLYWIRE_PROBE", "hunter2")], "POLYWIRE_PROBE"),
        (&[("POLYWIRE_URL", "env:POLYWIRE_NO_SUCH")], "POLYWIRE_NO_SUCH"),
        (&[("POLYWIRE_URL", "amqp://a@127.0.0.1?password=hunter2")], "password"),
    ];
    for (variables, name) in rows {
        let (code, text) = Program::start("sleeper", variables).exit().await;
        assert_eq!(code, 78, "{text}");
        assert!(text.contains(name), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

async fn second_endpoint_on_a_port_ends_with_78_and_names_the_variable_of_its_url() {
    let url = format!("zmq+tcp://{}", free_address());
    let (code, text) = Program::start("two-endpoints", &[("POLYWIRE_URL", &url)]).exit().await;
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("in use") && text.contains("POLYWIRE_URL_NAPS_EU"), "{text}");
}

async fn secrets_of_zeromq_are_read_from_a_variable_and_a_file() {
    let address = free_address();
    let url = format!("zmq+tcp://{address}?plain_users=env:SHOP_USERS");
    let variables = [("POLYWIRE_URL", &*url), ("SHOP_USERS", "alice hunter2\n")];
    let mut program = Program::start("sleeper", &variables);
    program.line("bound").await;
    program.release();
    let path = std::env::temp_dir().join(format!("polywire-app-plain-{}", std::process::id()));
    std::fs::write(&path, "hunter2\n").unwrap();
    let url =
        format!("zmq+tcp://{address}?plain_user=alice&plain_password=file:{}", path.display());
    let transport = polywire::connect(&url).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let client = Client::connect(&transport, "sleeper", MessagePack).await.unwrap();
    let rested = client.with_timeout(PATIENCE).call::<String>("nap", &()).await;
    assert_eq!(rested.unwrap(), "rested");
    program.signal("TERM");
    assert_eq!(program.exit().await, (0, String::new()));
}

async fn missing_broker_ends_with_69_after_the_start_wait() {
    let address = free_address();
    let url = format!("amqp://{address}");
    let variables = [("POLYWIRE_URL", &*url), ("POLYWIRE_START_WAIT", "300ms")];
    let (code, text) = Program::start("sleeper", &variables).exit().await;
    assert_eq!(code, 69, "{text}");
    assert!(text.contains(&address.ip().to_string()), "{text}");
}

async fn silent_broker_ends_with_69_and_its_address() {
    // The system accepts the connection, and nothing answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("amqp://user:hunter2@{address}");
    let variables = [("POLYWIRE_URL", &*url), ("POLYWIRE_START_WAIT", "300ms")];
    let (code, text) = Program::start("sleeper", &variables).exit().await;
    assert_eq!(code, 69, "{text}");
    assert!(text.contains(&address.to_string()) && !text.contains("hunter2"), "{text}");
}

async fn failed_task_ends_with_70() {
    let url = memory_url();
    let (code, text) = Program::start("failing-task", &[("POLYWIRE_URL", &url)]).exit().await;
    assert_eq!((code, &*text), (70, "importer failed: no disk\n"));
}

async fn failed_setup_ends_with_1() {
    let url = memory_url();
    let (code, text) = Program::start("failing-setup", &[("POLYWIRE_URL", &url)]).exit().await;
    assert_eq!((code, &*text), (1, "cannot set up: no database\n"));
}
