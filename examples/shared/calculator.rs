//! The service that the calculator examples share: its definition, and one implementation.

use polywire::{Code, Fault, service};

/// A calculator.
#[service]
pub(crate) trait Calculator {
    /// Adds two numbers.
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;

    /// Divides one number by another.
    async fn divide(&self, a: f64, b: f64) -> Result<f64, Fault>;

    /// Returns the name of the server.
    async fn name(&self) -> Result<String, Fault>;
}

/// A calculator with a name.
#[derive(Debug)]
pub(crate) struct Abacus {
    /// Its name.
    pub(crate) name: String,
}

impl Calculator for Abacus {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault> {
        a.checked_add(b).ok_or_else(|| {
            Fault::new(Code::Application, "the sum is too large").with_kind("Overflow")
        })
    }

    async fn divide(&self, a: f64, b: f64) -> Result<f64, Fault> {
        if b == 0.0 {
            return Err(
                Fault::new(Code::Application, "cannot divide by zero").with_kind("DivisionByZero")
            );
        }
        Ok(a / b)
    }

    async fn name(&self) -> Result<String, Fault> {
        Ok(self.name.clone())
    }
}
