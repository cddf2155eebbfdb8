//! The macros of [polywire](https://docs.rs/polywire), which re-exports them: `#[service]` and
//! `#[derive(Fault)]`.
//!
//! Each macro parses its item into data, which rejects the item or not, and then generates code
//! from the data. The generated code names everything by absolute paths, such as
//! `::polywire::Client` and `::std::sync::Arc`. So a program must have `polywire` among its
//! dependencies under this name.
//!
//! A rejected trait is replaced by its errors, so uses of the trait fail to compile as well. A type
//! whose derive is rejected remains.

mod expand;
mod parse;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use self::parse::{ErrorType, ServiceTrait};

#[doc = include_str!("service.md")]
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    match ServiceTrait::parse(&options.into(), item.into()) {
        Ok(service) => expand::expand(&service).into(),
        Err(error) => error.into_compile_error().into(),
    }
}

#[doc = include_str!("fault.md")]
#[proc_macro_derive(Fault, attributes(fault))]
pub fn fault(item: TokenStream) -> TokenStream {
    match ErrorType::parse(parse_macro_input!(item as DeriveInput)) {
        Ok(error) => expand::expand_fault(&error).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
