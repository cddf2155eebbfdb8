//! Conversions between an error type and a fault.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Field, Fields, Index, Member};

use crate::parse::{ErrorType, FaultCase, is_skipped};

/// Generates both conversions.
///
/// ```text
/// const _: () = {
///     struct __Insufficient_details { missing: u64 }
///     impl Declared for BankError {
///         fn into_fault(self) -> Fault { … match self { … } }
///         fn from_fault<D: Dialect>(fault: &Received<'_, D>) -> Option<Self> { … }
///     }
/// };
/// ```
///
/// A kind without an arm is no variant of this type, and `from_fault` returns `None`. An opaque
/// variant has no arm there. `into_fault` writes the text of the error before the fields are moved.
pub(crate) fn expand(error: &ErrorType) -> TokenStream {
    let ident = &error.ident;
    let details = error.cases.iter().filter_map(details);
    // Out of scope of the names of fields.
    let fault = Ident::new("fault", Span::mixed_site());
    let to_faults = error.cases.iter().map(|case| to_fault(error, case, &fault));
    let from_faults =
        error.cases.iter().filter(|case| !case.opaque).map(|case| from_fault(error, case, &fault));
    quote! {
        #[automatically_derived]
        #[allow(deprecated, non_camel_case_types)]
        const _: () = {
            #(#details)*

            impl ::polywire::Declared for #ident {
                fn into_fault(self) -> ::polywire::Fault {
                    let mut #fault = ::polywire::Fault::of(::polywire::Code::Application, &self);
                    match self { #(#to_faults)* }
                }

                fn from_fault<D: ::polywire::Dialect>(
                    #fault: &::polywire::error::Received<'_, D>,
                ) -> ::std::option::Option<Self> {
                    match #fault.kind() {
                        #(#from_faults)*
                        _ => ::std::option::Option::None,
                    }
                }
            }
        };
    }
}

/// The struct of the fields that are sent, if there are any.
///
/// The fields keep their serde attributes, so renames and defaults work in the details.
fn details(case: &FaultCase) -> Option<TokenStream> {
    let name = details_name(case)?;
    let cfgs = &case.cfgs;
    let fields = traveling(case).map(|(_, field)| {
        let Field { ident, ty, attrs, .. } = field;
        let attrs = attrs.iter().filter(|attr| attr.path().is_ident("serde"));
        let colon = ident.as_ref().map(|_| quote!(:));
        quote!(#(#attrs)* #ident #colon #ty)
    });
    let body = match case.fields {
        Fields::Named(_) => quote!({ #(#fields),* }),
        _ => quote!((#(#fields),*);),
    };
    Some(quote! {
        #(#cfgs)*
        #[derive(::polywire::__private::serde::Serialize, ::polywire::__private::serde::Deserialize)]
        #[serde(crate = "::polywire::__private::serde")]
        struct #name #body
    })
}

/// The name of the struct for the details, such as `__Insufficient_details`.
///
/// `None` if no field is sent: the variant is opaque, or has no fields but skipped ones.
fn details_name(case: &FaultCase) -> Option<Ident> {
    let travels = !case.opaque && traveling(case).next().is_some();
    travels.then(|| format_ident!("__{}_details", case.ident))
}

/// The match arm that converts a variant into a fault.
///
/// ```text
/// Self::Insufficient { missing, .. } => {
///     fault.code = Code::Application;
///     fault.with_kind("BankError.Insufficient").with_value(__Insufficient_details { missing })
/// }
/// ```
fn to_fault(error: &ErrorType, case: &FaultCase, fault: &Ident) -> TokenStream {
    let FaultCase { cfgs, code, kind, permanent, .. } = case;
    let permanent = permanent.then(|| quote!(.permanent()));
    let path = path(error, case);
    let (pattern, value) = match details_name(case) {
        None => (quote!({ .. }), quote!()),
        Some(details) => {
            let bindings: Vec<_> =
                traveling(case).map(|(member, _)| in_variable(&member)).collect();
            let whole = whole(case, &details);
            (quote!({ #(#bindings,)* .. }), quote!(.with_value(#whole)))
        }
    };
    quote! {
        #(#cfgs)*
        #path #pattern => {
            #fault.code = ::polywire::Code::#code;
            #fault.with_kind(#kind) #value #permanent
        }
    }
}

/// The match arm that converts a fault into a variant.
///
/// Details that cannot be decoded end in `None`, as an unknown kind does:
///
/// ```text
/// "BankError.Insufficient" => {
///     let __Insufficient_details { missing } = fault.details().ok()?;
///     Some(Self::Insufficient { missing })
/// }
/// ```
fn from_fault(error: &ErrorType, case: &FaultCase, fault: &Ident) -> TokenStream {
    let FaultCase { cfgs, kind, .. } = case;
    let path = path(error, case);
    let read = details_name(case).map(|details| {
        let whole = whole(case, &details);
        quote!(let #whole = #fault.details().ok()?;)
    });
    let fields =
        case.fields.members().zip(&case.fields).map(|(member, field)| match is_skipped(field) {
            true => quote!(#member: ::std::default::Default::default()),
            false => in_variable(&member),
        });
    quote! {
        #(#cfgs)*
        #kind => {
            #read
            ::std::option::Option::Some(#path { #(#fields),* })
        }
    }
}

/// The path of a variant or of the struct, for a pattern and for an expression.
fn path(error: &ErrorType, case: &FaultCase) -> TokenStream {
    let ident = &case.ident;
    if error.is_enum { quote!(Self::#ident) } else { quote!(Self) }
}

/// The details with each field in a variable, as an expression or a pattern.
///
/// Unnamed fields are numbered anew in the details, and keep the variables of their places in the
/// variant.
fn whole(case: &FaultCase, details: &Ident) -> TokenStream {
    // Skipped fields are not in the details.
    let fields = traveling(case).enumerate().map(|(place, (member, _))| match member {
        Member::Named(_) => in_variable(&member),
        Member::Unnamed(_) => {
            let (place, name) = (Index::from(place), name(&member));
            quote!(#place: #name)
        }
    });
    quote!(#details { #(#fields),* })
}

/// The fields that are sent, with their names.
fn traveling(case: &FaultCase) -> impl Iterator<Item = (Member, &Field)> {
    case.fields.members().zip(&case.fields).filter(|(_, field)| !is_skipped(field))
}

/// A field and its variable.
///
/// For instance `missing`, or `0: field0`.
fn in_variable(member: &Member) -> TokenStream {
    match member {
        Member::Named(ident) => quote!(#ident),
        Member::Unnamed(index) => {
            let name = name(member);
            quote!(#index: #name)
        }
    }
}

/// The name of a field's variable.
fn name(member: &Member) -> Ident {
    match member {
        Member::Named(ident) => ident.clone(),
        Member::Unnamed(index) => format_ident!("field{}", index.index),
    }
}
