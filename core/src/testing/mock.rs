//! A service that answers as it was told to, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dialect::Dialect;
use crate::error::{CallError, Error, Fault, Result};
use crate::message::Message;
use crate::service::{Reply, Request, Service};

/// A service made of scripted answers: each is given once, in order, to the calls of its method.
///
/// A call that no answer is left for is a panic that says so: in the test itself if a client calls
/// the mock directly, and a fault if it is served. Clones are the same mock. It remembers the last
/// 10,000 calls.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Code, Fault};
/// use polywire_core::testing::Mock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// let mock = Mock::new(MessagePack)
///     .answer("add", 5)
///     .fault("add", Fault::new(Code::Application, "too large"))
///     .always("double", |n: i64| Ok(n * 2));
/// let client = Client::new(mock.clone(), MessagePack);
///
/// assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
/// assert!(client.call::<i64>("add", &(1, 1)).await.is_err());
/// assert_eq!(client.call::<i64>("double", &4).await?, 8);
///
/// assert_eq!(mock.methods(), ["add", "add", "double"]);
/// assert_eq!(mock.arguments::<(i64, i64)>("add")?, [(2, 3), (1, 1)]);
/// mock.assert_used_up();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mock<D> {
    dialect: D,
    script: Arc<Mutex<Script<D>>>,
}

struct Script<D> {
    once: BTreeMap<String, VecDeque<Answer<D>>>,
    always: BTreeMap<String, Answer<D>>,
    calls: VecDeque<Message>,
}

/// Writes the reply to a request into a message; nothing for one that is never answered.
type Answer<D> = Arc<dyn Fn(&D, &Message, &mut Message) -> Result<Answered> + Send + Sync>;

enum Answered {
    Yes,
    Never,
}

const CALLS_MAX: usize = 10_000;

impl<D: Dialect> Mock<D> {
    /// A mock that expects no call.
    pub fn new(dialect: D) -> Self {
        let script =
            Script { once: BTreeMap::new(), always: BTreeMap::new(), calls: VecDeque::new() };
        Self { dialect, script: Arc::new(Mutex::new(script)) }
    }

    /// Answers the next call of `method` with `value`.
    #[must_use]
    pub fn answer<T: Serialize + Send + Sync + 'static>(self, method: &str, value: T) -> Self {
        self.once(method, move |dialect, _, reply| {
            dialect.encode_outcome(Ok(&value), reply).map(|()| Answered::Yes)
        })
    }

    /// Answers the next call of `method` with `fault`.
    #[must_use]
    pub fn fault(self, method: &str, fault: Fault) -> Self {
        self.once(method, move |dialect, _, reply| {
            dialect.encode_outcome::<()>(Err(&fault), reply).map(|()| Answered::Yes)
        })
    }

    /// Fails the next call of `method` on our side, as a lost connection would.
    #[must_use]
    pub fn error(self, method: &str, error: Error) -> Self {
        self.once(method, move |_, _, _| Err(error.clone()))
    }

    /// Never answers the next call of `method`: it ends by its deadline, where a layer or a server
    /// keeps one.
    #[must_use]
    pub fn hang(self, method: &str) -> Self {
        self.once(method, |_, _, _| Ok(Answered::Never))
    }

    /// Answers every call of `method` that has no other answer with what `function` makes of its
    /// arguments.
    #[must_use]
    pub fn always<A, T>(
        self,
        method: &str,
        function: impl Fn(A) -> Result<T, Fault> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned,
        T: Serialize,
    {
        let answer: Answer<D> = Arc::new(move |dialect, request, reply| {
            let outcome = function(dialect.decode_call(request)?);
            dialect.encode_outcome(outcome.as_ref(), reply).map(|()| Answered::Yes)
        });
        self.lock().always.insert(method.to_owned(), answer);
        self
    }

    /// The methods that were called, in order.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        self.lock().calls.iter().map(|call| name_of(call).to_owned()).collect()
    }

    /// The requests that came, in order, with their headers.
    #[must_use]
    pub fn calls(&self) -> Vec<Message> {
        self.lock().calls.iter().cloned().collect()
    }

    /// The arguments of each call of `method`, in order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if one has arguments of another type.
    pub fn arguments<A: DeserializeOwned>(&self, method: &str) -> Result<Vec<A>> {
        let calls = self.calls();
        calls
            .iter()
            .filter(|call| name_of(call) == method)
            .map(|call| self.dialect.decode_call(call))
            .collect()
    }

    /// Checks that every scripted answer was given.
    ///
    /// # Panics
    ///
    /// If one was not.
    #[track_caller]
    pub fn assert_used_up(&self) {
        let script = self.lock();
        let left: Vec<_> = script
            .once
            .iter()
            .filter(|(_, answers)| !answers.is_empty())
            .map(|(name, _)| name)
            .collect();
        assert!(
            left.is_empty(),
            "the mock was not asked for all its answers; some are left for {left:?}"
        );
    }

    fn once(
        self,
        method: &str,
        answer: impl Fn(&D, &Message, &mut Message) -> Result<Answered> + Send + Sync + 'static,
    ) -> Self {
        self.lock().once.entry(method.to_owned()).or_default().push_back(Arc::new(answer));
        self
    }

    /// Remembers the call, and finds its answer.
    fn take(&self, request: &Message) -> Answer<D> {
        let name = name_of(request);
        let mut script = self.lock();
        if script.calls.len() == CALLS_MAX {
            script.calls.pop_front();
        }
        script.calls.push_back(request.clone());
        let next = script.once.get_mut(name).and_then(VecDeque::pop_front);
        next.or_else(|| script.always.get(name).cloned()).unwrap_or_else(|| refuse(name, &script))
    }

    /// A panic of another test's thread leaves the script whole.
    fn lock(&self) -> MutexGuard<'_, Script<D>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(message: &Message) -> &str {
    message.method.as_ref().map_or("", |method| method.as_str())
}

#[allow(clippy::panic, reason = "a mock fails its test, as documented")]
fn refuse<D>(name: &str, script: &Script<D>) -> ! {
    if script.once.contains_key(name) {
        panic!(
            "unexpected call of {name:?}: the mock has given all the answers that it had for it"
        );
    }
    let known: Vec<_> = script.once.keys().chain(script.always.keys()).collect();
    panic!("unexpected call of {name:?}: the mock has answers for {known:?}")
}

impl<D: Dialect> Service for Mock<D> {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let answer = self.take(&request.message);
        let mut reply =
            Message { content_type: request.message.content_type.clone(), ..Message::default() };
        match answer(&self.dialect, &request.message, &mut reply)? {
            Answered::Yes => Ok(reply.into()),
            Answered::Never => std::future::pending().await,
        }
    }
}

impl<D> fmt::Debug for Mock<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mock")
    }
}
