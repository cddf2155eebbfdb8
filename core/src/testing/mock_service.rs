//! A service with scripted replies, which records its calls.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dialect::Dialect;
use crate::error::{CallError, Error, Fault, Result};
use crate::message::Message;
use crate::service::{Reply, Request, Service};

/// A service with scripted replies. Each reply is used once, in order, for the calls of its method.
///
/// A call without a reply panics: in the test itself if a client calls the mock directly, and as a
/// fault if the mock is served. Clones share the script. The mock records the last 10,000 calls.
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
    /// Replies that are used once, by method.
    once: BTreeMap<String, VecDeque<ScriptedReply<D>>>,
    /// Replies for calls without another reply, by method.
    always: BTreeMap<String, ScriptedReply<D>>,
    /// The latest calls, at most [`CALLS_MAX`].
    calls: VecDeque<Message>,
}

/// A function that writes the reply to a request into a message.
type ScriptedReply<D> = Arc<dyn Fn(&D, &Message, &mut Message) -> Result<Answered> + Send + Sync>;

enum Answered {
    Yes,
    /// The call hangs.
    Never,
}

/// The maximum number of recorded calls.
const CALLS_MAX: usize = 10_000;

impl<D: Dialect> Mock<D> {
    /// Creates a mock that expects no call.
    pub fn new(dialect: D) -> Self {
        let script =
            Script { once: BTreeMap::new(), always: BTreeMap::new(), calls: VecDeque::new() };
        Self { dialect, script: Arc::new(Mutex::new(script)) }
    }

    /// Replies to the next call of `method` with `value`.
    #[must_use]
    pub fn answer<T: Serialize + Send + Sync + 'static>(self, method: &str, value: T) -> Self {
        self.once(method, move |dialect, _, reply| {
            dialect.encode_outcome(Ok(&value), reply).map(|()| Answered::Yes)
        })
    }

    /// Replies to the next call of `method` with `fault`.
    #[must_use]
    pub fn fault(self, method: &str, fault: Fault) -> Self {
        self.once(method, move |dialect, _, reply| {
            dialect.encode_outcome::<()>(Err(&fault), reply).map(|()| Answered::Yes)
        })
    }

    /// Fails the next call of `method` with a local error, such as a lost connection.
    #[must_use]
    pub fn error(self, method: &str, error: Error) -> Self {
        self.once(method, move |_, _, _| Err(error.clone()))
    }

    /// Lets the next call of `method` hang. The call ends by its deadline, if a layer or a server
    /// enforces the deadline.
    #[must_use]
    pub fn hang(self, method: &str) -> Self {
        self.once(method, |_, _, _| Ok(Answered::Never))
    }

    /// Replies to every call of `method` that has no other reply with the result of `function`.
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
        let answer: ScriptedReply<D> = Arc::new(move |dialect, request, reply| {
            let outcome = function(dialect.decode_call(request)?);
            dialect.encode_outcome(outcome.as_ref(), reply).map(|()| Answered::Yes)
        });
        self.lock().always.insert(method.to_owned(), answer);
        self
    }

    /// Returns the methods that were called, in order.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        self.lock().calls.iter().map(|call| name_of(call).to_owned()).collect()
    }

    /// Returns the requests with their headers, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Message> {
        self.lock().calls.iter().cloned().collect()
    }

    /// Decodes the arguments of each call of `method`, in order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if a call has arguments of another type.
    pub fn arguments<A: DeserializeOwned>(&self, method: &str) -> Result<Vec<A>> {
        let calls = self.calls();
        calls
            .iter()
            .filter(|call| name_of(call) == method)
            .map(|call| self.dialect.decode_call(call))
            .collect()
    }

    /// Asserts that every scripted reply was used.
    ///
    /// # Panics
    ///
    /// If a reply is left.
    #[track_caller]
    pub fn assert_used_up(&self) {
        let script = self.lock();
        let left: Vec<_> = script
            .once
            .iter()
            .filter(|(_, answers)| !answers.is_empty())
            .map(|(name, _)| name)
            .collect();
        assert!(left.is_empty(), "the mock has unused replies for {left:?}");
    }

    fn once(
        self,
        method: &str,
        answer: impl Fn(&D, &Message, &mut Message) -> Result<Answered> + Send + Sync + 'static,
    ) -> Self {
        self.lock().once.entry(method.to_owned()).or_default().push_back(Arc::new(answer));
        self
    }

    /// Records the call, and returns the reply for it.
    fn next_reply(&self, request: &Message) -> ScriptedReply<D> {
        let name = name_of(request);
        let mut script = self.lock();
        if script.calls.len() == CALLS_MAX {
            script.calls.pop_front();
        }
        script.calls.push_back(request.clone());
        let next = script.once.get_mut(name).and_then(VecDeque::pop_front);
        next.or_else(|| script.always.get(name).cloned()).unwrap_or_else(|| refuse(name, &script))
    }

    // A panic on another thread of the test leaves the script consistent.
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
        panic!("unexpected call of {name:?}: the mock has used all its replies for the method");
    }
    let known: Vec<_> = script.once.keys().chain(script.always.keys()).collect();
    panic!("unexpected call of {name:?}: the mock has replies for {known:?}")
}

impl<D: Dialect> Service for Mock<D> {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let answer = self.next_reply(&request.message);
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
