//! Call stacks: the chain of calls that led to a call.

use std::fmt;

use super::Context;

/// The chain of calls that led to a call, the first call first, each as `service.method.number`.
///
/// The header `call-id-stack` holds the calls, separated by commas. A message that is sent outside
/// of a handler has no such header. A stack holds at most 32 calls and 4,096 bytes, and drops the
/// oldest calls first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStack(Vec<String>);

impl CallStack {
    /// The name of the header, `call-id-stack`.
    pub const HEADER: &'static str = "call-id-stack";
    const DEPTH_MAX: usize = 32;
    const BYTES_MAX: usize = 4_096;

    /// Appends the call of this context to the stack in its headers.
    fn of(context: &Context) -> Self {
        let before = context.headers.get(Self::HEADER).unwrap_or_default();
        let mut calls: Vec<_> =
            before.split(',').filter(|call| !call.is_empty()).map(str::to_owned).collect();
        calls.push(context.to_call());
        let mut bytes = 0;
        let kept = calls.iter().rev().take(Self::DEPTH_MAX).take_while(|call| {
            bytes += call.len() + 1;
            bytes <= Self::BYTES_MAX
        });
        let kept = kept.count();
        calls.drain(..calls.len() - kept);
        Self(calls)
    }

    /// Iterates over the calls, the first call first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Writes the stack as the header holds it.
impl fmt::Display for CallStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Context {
    /// Returns the calls that led here, the first call first; this call is the last.
    #[must_use]
    pub fn call_stack(&self) -> CallStack {
        CallStack::of(self)
    }

    /// Formats this call as an element of a stack.
    fn to_call(&self) -> String {
        // Addresses may contain commas, and commas separate the elements of a stack.
        let names = [&self.service, &self.method, &self.topic].into_iter().flatten();
        let names: Vec<_> = names.map(|name| name.as_str().replace(',', "%2C")).collect();
        format!("{}.{:016x}", names.join("."), self.call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, CallId, Message, ReplyTo};

    fn call(id: u64, headers: &[(&str, &str)]) -> Context {
        let message = Message {
            method: Some(Address::new("create").unwrap()),
            id: Some(CallId(id)),
            reply_to: Some(ReplyTo::new("caller")),
            headers: headers.iter().copied().collect(),
            ..Message::default()
        };
        let call = message.call_number().unwrap();
        let service = Some(Address::new("orders").unwrap());
        Context { service, call, ..Context::of(&message, 1) }
    }

    #[test]
    fn stack_grows_by_the_call_that_is_processed() {
        let first = call(1, &[]).call_stack();
        let stack: Vec<_> = first.iter().collect();
        assert_eq!(stack.len(), 1);
        assert!(stack[0].starts_with("orders.create."), "{stack:?}");
        let second = call(2, &[(CallStack::HEADER, &first.to_string())]).call_stack();
        assert_eq!(second.iter().next(), Some(stack[0]));
        assert_eq!(second.iter().len(), 2);
    }

    #[test]
    fn every_attempt_has_the_number_of_its_call() {
        assert_eq!(call(1, &[]).call_stack(), call(1, &[]).call_stack());
        assert_ne!(call(1, &[]).call_stack(), call(2, &[]).call_stack());
    }

    #[test]
    fn endless_recursion_does_not_grow_the_stack_endlessly() {
        let mut stack = String::new();
        for id in 0..100 {
            stack = call(id, &[(CallStack::HEADER, &stack)]).call_stack().to_string();
        }
        assert_eq!(stack.split(',').count(), 32);
        assert!(stack.ends_with(&call(99, &[]).call_stack().to_string()));
    }
}
