//! Trace context of W3C.

use std::future::Future;

use bytestring::ByteString;

use super::tracestate_syntax;
use crate::context::Context;
use crate::message::{Headers, copy_short};

/// Trace context of W3C: trace id, span id, sampling flag and vendor state. See the
/// [recommendation](https://www.w3.org/TR/trace-context/).
///
/// Calls, pushed jobs and published events of a handler continue the trace of the handler's
/// [`Context`], which [`Trace`](super::Trace) maintains. Outside of a handler,
/// [`scope`](Self::scope) sets the trace:
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
    /// Trace id, not zero.
    trace: u128,
    /// Span id, not zero.
    span: u64,
    is_sampled: bool,
    /// Valid `tracestate`, or empty.
    state: ByteString,
}

impl TraceContext {
    /// Name of the header with trace id and span id.
    pub const PARENT: &str = "traceparent";

    /// Name of the header with the vendor state.
    pub const STATE: &str = "tracestate";

    /// Begins a new trace, with the sampling flag set.
    #[must_use]
    pub fn begin() -> Self {
        let trace = fastrand::u128(1..);
        Self { trace, span: new_span_id(), is_sampled: true, state: ByteString::new() }
    }

    /// Returns the context of a new span in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: new_span_id(), ..self.clone() }
    }

    /// Returns the trace context of the running handler or [`scope`](Self::scope).
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::with_current(|context| Self::of(&context.headers)).flatten()
    }

    /// Runs `future` with this trace context.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let mut context = Context::current().unwrap_or_else(|| Context::outside(Headers::new()));
        self.inject(&mut context.headers);
        context.carry(future)
    }

    /// Reads the trace context of headers.
    ///
    /// A malformed `traceparent` is ignored together with its state. A malformed `tracestate` is
    /// ignored alone.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        let parent = Self::parse(headers.get(Self::PARENT)?)?;
        let state = headers
            .get(Self::STATE)
            .filter(|state| tracestate_syntax::is_valid(state))
            .unwrap_or_default();
        Some(Self { state: state.into(), ..parent })
    }

    /// Returns whether headers have a valid `traceparent`.
    pub(super) fn is_in(headers: &Headers) -> bool {
        headers.get(Self::PARENT).is_some_and(is_valid)
    }

    /// Parses a `traceparent` strictly: lower case, and no id that is zero. Of a later version, the
    /// known fields are read.
    #[must_use]
    pub fn parse(parent: &str) -> Option<Self> {
        let (text, rest) = parent.as_bytes().split_at_checked(LENGTH)?;
        let [version, trace, span, flags] = fields(text)?;
        let may_continue = version != 0 && rest.first() == Some(&b'-');
        let is_whole = rest.is_empty() || may_continue;
        if version == 0xff || trace == 0 || span == 0 || !is_whole {
            return None;
        }
        let is_sampled = flags & 1 == 1;
        Some(Self { trace, span: u64::try_from(span).ok()?, is_sampled, state: ByteString::new() })
    }

    /// Writes the trace context into headers and replaces a previous one.
    pub fn inject(&self, headers: &mut Headers) {
        // One allocation, also when clones share it.
        let parent = ByteString::try_from(copy_short(&self.parent_text())).unwrap_or_default();
        headers.insert(ByteString::from_static(Self::PARENT), parent);
        if self.state.is_empty() {
            headers.remove(Self::STATE);
        } else {
            headers.insert(ByteString::from_static(Self::STATE), self.state.clone());
        }
    }

    /// Returns the value of `traceparent`.
    #[must_use]
    pub fn parent(&self) -> String {
        // The bytes are ASCII.
        String::from_utf8(self.parent_text().to_vec()).unwrap_or_default()
    }

    /// Writes the value of `traceparent`, by hand: a trace without anyone who listens writes no
    /// other text.
    fn parent_text(&self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace.to_be_bytes());
        write_hex(&mut text[36..52], &self.span.to_be_bytes());
        write_hex(&mut text[53..], &[u8::from(self.is_sampled)]);
        text
    }

    /// Returns the trace id as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Returns the span id as 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// Returns whether the trace is sampled.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

/// Length of the fields that every version has, in bytes.
const LENGTH: usize = 55;

fn new_span_id() -> u64 {
    fastrand::u64(1..)
}

/// Writes bytes in lower-case hexadecimal digits.
fn write_hex(text: &mut [u8], bytes: &[u8]) {
    for (place, byte) in text.chunks_exact_mut(2).zip(bytes) {
        place.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The two digits of each byte.
static PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xF]];
        byte += 1;
    }
    pairs
};

/// Returns whether [`TraceContext::parse`] accepts a text. Parses no number, for a server without a
/// span asks for each request.
fn is_valid(parent: &str) -> bool {
    let Some((text, rest)) = parent.as_bytes().split_at_checked(LENGTH) else { return false };
    let (version, trace, span) = (&text[..2], &text[3..35], &text[36..52]);
    let are_digits = [version, trace, span, &text[53..]].into_iter().all(are_hex);
    let dashes = [2, 35, 52].iter().all(|at| text[*at] == b'-');
    let may_continue = version != b"00" && rest.first() == Some(&b'-');
    let is_zero = |digits: &[u8]| digits.iter().fold(true, |zero, digit| zero & (*digit == b'0'));
    let is_whole = rest.is_empty() || may_continue;
    dashes && are_digits && version != b"ff" && !is_zero(trace) && !is_zero(span) && is_whole
}

/// Returns whether all bytes are lower-case hexadecimal digits. Without a branch for each.
fn are_hex(digits: &[u8]) -> bool {
    digits.iter().fold(true, |all, digit| {
        all & ((digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'a') < 6))
    })
}

/// Parses version, trace id, span id and flags.
fn fields(text: &[u8]) -> Option<[u128; 4]> {
    let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
    let hex = |from: usize, to: usize| text.get(from..to).and_then(number);
    if dashes { Some([hex(0, 2)?, hex(3, 35)?, hex(36, 52)?, hex(53, 55)?]) } else { None }
}

/// Parses a number of at most 32 lower-case hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    let (high, low) = digits.split_at(digits.len().saturating_sub(16));
    Some(u128::from(short_number(high)?) << 64 | u128::from(short_number(low)?))
}

/// Parses a number of at most 16 digits.
fn short_number(digits: &[u8]) -> Option<u64> {
    let (mut number, mut all) = (0, 0);
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        (number, all) = (number << 4 | u64::from(value), all | value);
    }
    (all != NO_DIGIT).then_some(number)
}

/// The value of each digit.
static VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// All bits: more than any digit and any set of digits has.
const NO_DIGIT: u8 = 0xFF;

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn example_of_the_recommendation_is_parsed_and_written() {
        let trace = TraceContext::parse(VALID).unwrap();
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.span_id(), "00f067aa0ba902b7");
        assert!(trace.is_sampled());
        assert_eq!(trace.parent(), VALID);
        assert!(is_valid(VALID));
        assert!(!TraceContext::parse(&VALID.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn later_version_is_parsed_as_far_as_known() {
        for later in ["", "-", "-what-the-future-brings"] {
            let trace = TraceContext::parse(&format!("cc{}{later}", &VALID[2..])).unwrap();
            assert_eq!(trace.parent(), VALID);
            assert!(is_valid(&format!("cc{}{later}", &VALID[2..])));
        }
        // Unknown flags are not propagated.
        assert_eq!(TraceContext::parse(&VALID.replace("-01", "-ff")).unwrap().parent(), VALID);
    }

    #[test]
    fn malformed_parents_are_ignored() {
        let zero_trace = VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = VALID.replace("00f067aa0ba902b7", &"0".repeat(16));
        let spaced = format!(" {VALID}");
        for malformed in [
            "",
            "00",
            &VALID[..54],
            &VALID.to_uppercase(),
            &VALID.replacen("00-", "ff-", 1),
            &VALID.replacen("00-", "0g-", 1),
            &VALID.replacen('-', "_", 1),
            &VALID.replace("4bf9", "4bfé").replace("e0e4736", "e0e473"),
            &format!("{VALID}-"),
            &format!("{VALID}0"),
            &format!("cc{}x", &VALID[2..]),
            &zero_trace,
            &zero_span,
            &spaced,
        ] {
            assert_eq!(TraceContext::parse(malformed), None, "{malformed}");
            assert!(!is_valid(malformed), "{malformed}");
        }
    }

    #[test]
    fn invalid_state_is_dropped_and_a_valid_one_propagates() {
        let headers = |state| Headers::from_iter([("traceparent", VALID), ("tracestate", state)]);
        let good = TraceContext::of(&headers("rojo=1,congo=2")).unwrap();
        let mut propagated = Headers::new();
        good.child().inject(&mut propagated);
        assert_eq!(propagated.get("tracestate"), Some("rojo=1,congo=2"));
        TraceContext::of(&headers("rojo")).unwrap().inject(&mut propagated);
        assert_eq!(propagated.get("tracestate"), None);
        assert_eq!(TraceContext::of(&Headers::from_iter([("tracestate", "rojo=1")])), None);
    }

    #[tokio::test]
    async fn scope_applies_to_its_future() {
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
