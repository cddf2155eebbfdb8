//! A panic whose payload panics in turn.

use std::panic::resume_unwind;

/// The payload of a panic. It panics with another one when it is dropped.
struct PanickingPayload;

impl Drop for PanickingPayload {
    fn drop(&mut self) {
        resume_unwind(Box::new(Self));
    }
}

/// Panics with a payload that panics when it is dropped.
///
/// Unwinds as a panic does, but prints no backtrace into the report.
pub(super) fn panic_with_panicking_payload() -> ! {
    resume_unwind(Box::new(PanickingPayload))
}
