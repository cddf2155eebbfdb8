//! Where a request is in its trace.

use std::future::Future;

use bytestring::ByteString;

use super::state;
use crate::context::Context;
use crate::message::Headers;

/// A place in a trace, as the W3C's [Trace Context](https://www.w3.org/TR/trace-context/) has it: which trace, which span
/// in it, whether it is recorded, and what vendors add.
///
/// What is called, pushed and published goes on where the [`Context`] says, which
/// [`Trace`](super::Trace) keeps up to date on serving ends. Outside of a handler,
/// [`scope`](Self::scope) says it:
///
/// ```
/// use polywire_core::middleware::TraceContext;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let trace = TraceContext::begin();
/// let within = trace.scope(async {
///     // … call, push, publish …
///     TraceContext::current()
/// });
/// assert_eq!(within.await, Some(trace));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    trace: u128,
    /// Not zero.
    span: u64,
    is_sampled: bool,
    /// What vendors add, checked.
    state: ByteString,
}

impl TraceContext {
    /// The header with the trace and the span.
    pub const PARENT: &str = "traceparent";

    /// The header with what vendors add.
    pub const STATE: &str = "tracestate";

    /// A new trace, to be recorded.
    #[must_use]
    pub fn begin() -> Self {
        let trace = fastrand::u128(1..);
        Self { trace, span: fresh_span(), is_sampled: true, state: ByteString::new() }
    }

    /// A new span in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: fresh_span(), ..self.clone() }
    }

    /// The place that the [`Context`] of the running handler is at, or of a [`scope`](Self::scope).
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::current().and_then(|context| Self::of(&context.headers))
    }

    /// Runs `future` at this place.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let mut context = Context::current().unwrap_or_else(|| Context::outside(Headers::new()));
        self.inject(&mut context.headers);
        context.carry(future)
    }

    /// The place that the headers speak of. What is malformed is ignored: a trace without state is
    /// a trace, a state without a trace is nothing.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        let parent = Self::parse(headers.get(Self::PARENT)?)?;
        let state =
            headers.get(Self::STATE).filter(|state| state::is_valid(state)).unwrap_or_default();
        Some(Self { state: state.into(), ..parent })
    }

    /// Reads the text of a `traceparent`, to the letter: lower case, no zero numbers, and of a
    /// later version as much as this one knows.
    #[must_use]
    pub fn parse(parent: &str) -> Option<Self> {
        let (text, rest) = parent.as_bytes().split_at_checked(LENGTH)?;
        let [version, trace, span, flags] = fields(text)?;
        let may_go_on = version != 0 && rest.first() == Some(&b'-');
        let is_whole = rest.is_empty() || may_go_on;
        if version == 0xff || trace == 0 || span == 0 || !is_whole {
            return None;
        }
        let is_sampled = flags & 1 == 1;
        Some(Self { trace, span: u64::try_from(span).ok()?, is_sampled, state: ByteString::new() })
    }

    /// Writes the place into headers, in place of what they spoke of.
    pub fn inject(&self, headers: &mut Headers) {
        headers.insert(Self::PARENT, self.parent());
        if self.state.is_empty() {
            headers.remove(Self::STATE);
        } else {
            headers.insert(ByteString::from_static(Self::STATE), self.state.clone());
        }
    }

    /// The text of the `traceparent`.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }

    /// The number of the trace, in 32 digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The number of the span, in 16 digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

/// The length of what every version has.
const LENGTH: usize = 55;

fn fresh_span() -> u64 {
    fastrand::u64(1..)
}

/// Version, trace, span and flags.
fn fields(text: &[u8]) -> Option<[u128; 4]> {
    let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
    let hex = |from: usize, to: usize| text.get(from..to).and_then(number);
    if dashes { Some([hex(0, 2)?, hex(3, 35)?, hex(36, 52)?, hex(53, 55)?]) } else { None }
}

/// A number in lower case hexadecimal, of at most 32 digits.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_recommendation_is_read_and_written() {
        let trace = TraceContext::parse(SOUND).unwrap();
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.span_id(), "00f067aa0ba902b7");
        assert!(trace.is_sampled());
        assert_eq!(trace.parent(), SOUND);
        assert!(!TraceContext::parse(&SOUND.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_known_and_written_as_ours() {
        for later in ["", "-", "-what-the-future-brings"] {
            let trace = TraceContext::parse(&format!("cc{}{later}", &SOUND[2..])).unwrap();
            assert_eq!(trace.parent(), SOUND);
        }
        // Flags that are not known are not passed on.
        assert_eq!(TraceContext::parse(&SOUND.replace("-01", "-ff")).unwrap().parent(), SOUND);
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        let zero_trace = SOUND.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = SOUND.replace("00f067aa0ba902b7", &"0".repeat(16));
        let spaced = format!(" {SOUND}");
        for malformed in [
            "",
            "00",
            &SOUND[..54],
            &SOUND.to_uppercase(),
            &SOUND.replacen("00-", "ff-", 1),
            &SOUND.replacen("00-", "0g-", 1),
            &SOUND.replacen('-', "_", 1),
            &SOUND.replace("4bf9", "4bfé").replace("e0e4736", "e0e473"),
            &format!("{SOUND}-"),
            &format!("{SOUND}0"),
            &format!("cc{}x", &SOUND[2..]),
            &zero_trace,
            &zero_span,
            &spaced,
        ] {
            assert_eq!(TraceContext::parse(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_bad_state_is_dropped_and_a_good_one_goes_on() {
        let headers = |state| Headers::from_iter([("traceparent", SOUND), ("tracestate", state)]);
        let good = TraceContext::of(&headers("rojo=1,congo=2")).unwrap();
        let mut passed_on = Headers::new();
        good.child().inject(&mut passed_on);
        assert_eq!(passed_on.get("tracestate"), Some("rojo=1,congo=2"));
        TraceContext::of(&headers("rojo")).unwrap().inject(&mut passed_on);
        assert_eq!(passed_on.get("tracestate"), None);
        assert_eq!(TraceContext::of(&Headers::from_iter([("tracestate", "rojo=1")])), None);
    }

    #[tokio::test]
    async fn a_scope_is_where_its_future_runs() {
        let (outer, inner) = (TraceContext::begin(), TraceContext::begin());
        assert_ne!(outer.trace_id(), inner.trace_id());
        outer
            .scope(async {
                assert_eq!(TraceContext::current(), Some(outer.clone()));
                inner
                    .scope(async { assert_eq!(TraceContext::current(), Some(inner.clone())) })
                    .await;
                assert_eq!(TraceContext::current(), Some(outer.clone()));
            })
            .await;
        assert_eq!(TraceContext::current(), None);
    }
}
