//! The table of permissions in `docs/rabbitmq.md`: each role works with the rights of its row, and
//! not without one of them.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::types::AMQPValue;
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::transport::Transport;
use polywire_core::{
    Address, Code, DeadLetters, Fault, Group, Retries, Router, Server, Subscriber, Worker,
};
use polywire_rabbitmq_node::Node;
use serde_json::json;
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{acked_job, next_event, publisher, puller, pusher, serve, subscriber};
use crate::engine::{channel, consume_one, until_declared};

pub(crate) fn trials() -> Vec<Trial> {
    trials![node documented_permissions_suffice_and_are_needed]
}

/// Time for a role without a right to fail. A role with all of its rights needs far less.
const ATTEMPT: Duration = Duration::from_secs(15);

/// Delay of a retry, long enough for a queue of its own.
const DELAY: Duration = Duration::from_millis(64);

type Outcome = Result<(), Box<dyn Error>>;

async fn documented_permissions_suffice_and_are_needed() {
    let node = Node::start().unwrap();
    let admin = Amqp::connect(&node.url()).await.unwrap();
    let roles = documented_roles();
    let names: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
    let all = "client, server, pusher, worker, publisher, subscriber, group member, dead letters";
    assert_eq!(names.join(", "), all);
    let users: Vec<_> = roles.iter().flat_map(Role::users).enumerate().collect();
    import_users(&node, &users);
    let attempts = users.iter().map(|(number, user)| attempt(&node, &admin, *number, user));
    // Some of them wait for their deadline, and all of them together would be slow to connect.
    let attempts = futures_util::stream::iter(attempts).buffer_unordered(12);
    let wrong: Vec<_> = attempts.filter_map(async |wrong| wrong).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A user that has the rights of a role, or all but one.
struct User<'r> {
    role: &'r Role,
    /// The column and the right that the user does not have.
    without: Option<(usize, &'r Right)>,
}

impl User<'_> {
    /// Returns the regular expression of what the user may do. The names in it end in `number`.
    fn expression(&self, column: usize, number: usize) -> String {
        let rights = self.role.rights[column].iter();
        let is_kept = |right: &&Right| {
            !self
                .without
                .is_some_and(|(of, without)| of == column && without.pattern == right.pattern)
        };
        let kept = rights.filter(is_kept).map(|right| expression_of(&right.pattern, number));
        format!("^({})$", kept.collect::<Vec<_>>().join("|"))
    }
}

/// Adds the users to a node, all at once.
fn import_users(node: &Node, users: &[(usize, User<'_>)]) {
    let accounts = users.iter().map(
        |(number, _)| json!({ "name": format!("user{number}"), "password": "secret", "tags": "" }),
    );
    let permissions = users.iter().map(|(number, user)| {
        let [configure, write, read] = [0, 1, 2].map(|column| user.expression(column, *number));
        let name = format!("user{number}");
        json!({ "user": name, "vhost": "/", "configure": configure, "write": write, "read": read })
    });
    let definitions = json!({
        "users": accounts.collect::<Vec<_>>(),
        "permissions": permissions.collect::<Vec<_>>(),
    });
    node.import_definitions(&definitions.to_string()).unwrap();
}

/// A row of the table.
struct Role {
    name: String,
    /// The patterns to configure, to write and to read.
    rights: [Vec<Right>; 3],
}

impl Role {
    /// Returns a user with all rights, and for each right one without it.
    fn users(&self) -> impl Iterator<Item = User<'_>> {
        let columns = self.rights.iter().enumerate();
        let each =
            columns.flat_map(|(column, rights)| rights.iter().map(move |right| (column, right)));
        let without = each.map(|it| User { role: self, without: Some(it) });
        std::iter::once(User { role: self, without: None }).chain(without)
    }
}

struct Right {
    pattern: String,
    /// Marked by a star: the role works without the right, and does less.
    is_optional: bool,
}

/// Returns the rows of the table in the documentation.
fn documented_roles() -> Vec<Role> {
    let page = include_str!("../../../docs/rabbitmq.md");
    let lines = page.lines().skip_while(|line| !line.starts_with("| role | configure |")).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let role = |row: &str| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, rights @ ..] = &cells[..] else { panic!("{row}") };
        let rights = <[_; 3]>::try_from(rights.to_vec()).unwrap();
        Role { name: (*name).to_owned(), rights: rights.map(parse_rights) }
    };
    rows.map(role).collect()
}

/// Returns the patterns between backticks. A star after one marks it as optional.
fn parse_rights(cell: &str) -> Vec<Right> {
    let words = cell.split_whitespace().filter(|word| word.starts_with('`'));
    let right = |word: &str| Right {
        pattern: word.trim_end_matches('*').trim_matches('`').to_owned(),
        is_optional: word.ends_with("`*"),
    };
    words.map(right).collect()
}

/// Does what a role does as this user. Returns the difference to the table.
async fn attempt(node: &Node, admin: &Amqp, number: usize, user: &User<'_>) -> Option<String> {
    let url = format!("amqp://user{number}:secret@127.0.0.1:{}", node.port());
    // All users connect at once, to a node that has just started.
    let amqp = Amqp::builder(&url).unwrap().connect_timeout(PATIENCE).build().await.unwrap();
    let (name, url_of_admin) = (format!("name{number}"), node.url());
    let acting = act(&user.role.name, &amqp, admin, &url_of_admin, &name);
    let outcome = timeout(ATTEMPT, acting).await.unwrap_or_else(|late| Err(late.into()));
    amqp.close().await.unwrap();
    let is_expected = user.without.is_none_or(|(_, right)| right.is_optional);
    let without = user.without.map(|(column, right)| {
        format!(" without {} {}", ["configure", "write", "read"][column], right.pattern)
    });
    (outcome.is_ok() != is_expected)
        .then(|| format!("{}{}: {outcome:?}", user.role.name, without.unwrap_or_default()))
}

/// Returns the regular expression of a pattern of the documentation.
fn expression_of(pattern: &str, number: usize) -> String {
    let named = ["SERVICE", "QUEUE", "CHANNEL", "GROUP"].iter();
    let name = format!("name{number}");
    let pattern = named.fold(pattern.to_owned(), |it, word| it.replace(word, &name));
    pattern.replace('.', r"\.").replace('*', ".*")
}

async fn act(role: &str, amqp: &Amqp, admin: &Amqp, url: &str, name: &str) -> Outcome {
    match role {
        "client" => {
            let _server = serve(admin, name).await;
            call(amqp, name).await
        }
        "server" => {
            let server = Server::bind(amqp, Address::new(name)?).await?;
            let router =
                Router::new(MessagePack).method("double", |n: u32| async move { Ok(2 * n) });
            let serving = server.serve(router);
            tokio::select! {
                ended = serving => Err(format!("the server ended: {ended:?}").into()),
                called = call(admin, name) => called,
            }
        }
        "pusher" => {
            let pusher = polywire_core::Pusher::connect(amqp, name, MessagePack).await?;
            pusher.push(&1).await?;
            acked_job(&mut puller(admin, name, 1).await).await;
            Ok(())
        }
        "worker" => {
            let retries = Retries::new(3).backoff(DELAY, DELAY);
            let worker = Worker::bind(amqp, name, MessagePack).retries(retries).await?;
            pusher(admin, name).await.push(&1).await?;
            until_dead(worker.work(fail), &format!("jobs.{name}"), url, 3).await
        }
        "publisher" => {
            let publisher = polywire_core::Publisher::connect(amqp, name, MessagePack).await?;
            let mut events = subscriber(admin, name, &["#"]).await;
            publisher.publish("topic", &1).await?;
            next_event(&mut events).await;
            Ok(())
        }
        "subscriber" => {
            let mut events = Subscriber::<u32>::bind(amqp, name, MessagePack).filter("a.#").await?;
            events.filters().add("b.#").await?;
            publisher(admin, name).await.publish("b.c", &1).await?;
            events.next().await.ok_or("the subscriber ended")??;
            Ok(())
        }
        "group member" => {
            let group = Group::new(name)?;
            let mut events = Subscriber::<u32>::bind(amqp, name, MessagePack).group(group).await?;
            publisher(admin, name).await.publish("a", &1).await?;
            let event = events.next().await.ok_or("the subscriber ended")??;
            event.retry_after(DELAY, "later")?;
            let event = events.next().await.ok_or("the subscriber ended")??;
            event.dead_letter("never")?;
            let queue = format!("events.{name}..group.{name}");
            until_dead(std::future::pending::<()>(), &queue, url, 2).await
        }
        "dead letters" => {
            pusher(admin, name).await.push(&1).await?;
            let mut jobs = puller(admin, name, 1).await;
            crate::endpoints::next_job(&mut jobs).await.dead_letter("never")?;
            drop(jobs);
            crate::endpoints::dead_letters(admin, name, 1).await;
            let dead = DeadLetters::of_queue(amqp, name)?;
            dead.redrive(10, |_| true).await?;
            acked_job(&mut puller(admin, name, 1).await).await;
            Ok(())
        }
        other => panic!("no such role: {other}"),
    }
}

async fn call(amqp: &Amqp, service: &str) -> Outcome {
    let client = polywire_core::Client::connect(amqp, Address::new(service)?, MessagePack).await?;
    let doubled = client.request("double").timeout(ATTEMPT).call::<u32>(&4).await?;
    assert_eq!(doubled, 8);
    Ok(())
}

async fn fail(_: u32) -> Result<(), Fault> {
    Err(Fault::new(Code::Application, "it always fails"))
}

/// Waits for the first dead letter, while a worker works, and compares the number of its attempts.
async fn until_dead<T: Debug>(
    working: impl IntoFuture<Output = T>,
    queue: &str,
    url: &str,
    attempts: u32,
) -> Outcome {
    let queue = format!("polywire.dead.{queue}");
    tokio::select! {
        ended = working.into_future() => return Err(format!("the worker ended: {ended:?}").into()),
        () = until_declared(url, &queue) => {}
    }
    let dead = consume_one(&channel(url).await, &queue).await;
    let headers = dead.headers().clone().unwrap_or_default();
    match headers.inner().get("polywire.dead.attempts") {
        Some(AMQPValue::LongLongInt(counted)) if *counted == i64::from(attempts) => Ok(()),
        other => Err(format!("{other:?} attempts in place of {attempts}").into()),
    }
}
