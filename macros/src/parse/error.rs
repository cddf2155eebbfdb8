//! An error type as data, and the checks that reject it.

use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, LitStr, PathArguments, Result,
    Variant,
};

use super::collected::all;
use super::conditions::cfgs;
use super::generics::check_not_generic;
use super::taken_names::TakenNames;

/// An enum or a struct that can be sent as a fault.
pub(crate) struct ErrorType {
    pub(crate) ident: Ident,
    pub(crate) is_enum: bool,
    pub(crate) cases: Vec<Case>,
}

/// A variant, or a struct as a whole.
pub(crate) struct Case {
    pub(crate) ident: Ident,
    /// Its `cfg` attributes.
    pub(crate) cfgs: Vec<Attribute>,
    /// Its variant of `polywire::Code`.
    pub(crate) code: Ident,
    /// Its kind on the wire.
    pub(crate) kind: String,
    /// True if its fields are not sent, so that a client cannot rebuild it.
    pub(crate) opaque: bool,
    /// True if another attempt is useless.
    pub(crate) permanent: bool,
    pub(crate) fields: Fields,
}

/// The options of `#[fault(…)]`.
///
/// The options of an enum hold for its variants, which add their own.
#[derive(Default)]
struct Said {
    code: Option<Ident>,
    kind: Option<LitStr>,
    opaque: bool,
    permanent: bool,
}

impl ErrorType {
    /// Parses the annotated type. The error lists every fault of the type, not only
    /// the first.
    pub(crate) fn parse(item: DeriveInput) -> Result<Self> {
        let DeriveInput { attrs, ident, generics, data, .. } = item;
        check_not_generic(
            &generics,
            "an error that crosses the wire cannot be generic, since a caller elsewhere cannot choose the types: name them",
        )?;
        let said = Said::parse(&attrs)?;
        let name = said.kind.as_ref().map_or_else(|| ident.unraw().to_string(), LitStr::value);
        let (is_enum, cases) = match data {
            Data::Enum(data) => (
                true,
                all(data.variants.into_iter().map(|variant| Case::parse(variant, &name, &said)))?,
            ),
            Data::Struct(data) => {
                (false, vec![Case::new(ident.clone(), Vec::new(), name, said, data.fields)])
            }
            Data::Union(data) => {
                return Err(Error::new_spanned(
                    data.union_token,
                    "a union cannot cross the wire: make it an enum",
                ));
            }
        };
        check_kinds(&cases)?;
        Ok(Self { ident, is_enum, cases })
    }
}

impl Case {
    /// The code of the variant wins over that of the enum. A variant without a `kind` of its own
    /// has the kind of the enum, a dot, and the name of the variant.
    fn parse(variant: Variant, enum_name: &str, of_all: &Said) -> Result<Self> {
        let Variant { attrs, ident, fields, .. } = variant;
        let mut said = Said::parse(&attrs)?;
        said.code = said.code.or_else(|| of_all.code.clone());
        said.opaque |= of_all.opaque;
        said.permanent |= of_all.permanent;
        let kind = match &said.kind {
            Some(kind) => kind.value(),
            None => format!("{enum_name}.{}", ident.unraw()),
        };
        let cfgs = cfgs(&attrs).cloned().collect();
        Ok(Self::new(ident, cfgs, kind, said, fields))
    }

    fn new(ident: Ident, cfgs: Vec<Attribute>, kind: String, said: Said, fields: Fields) -> Self {
        let code = said.code.unwrap_or_else(|| Ident::new("Application", ident.span()));
        let Said { opaque, permanent, .. } = said;
        Self { ident, cfgs, code, kind, opaque, permanent, fields }
    }
}

/// True if a field is skipped; the client fills in its default.
pub(crate) fn is_skipped(field: &Field) -> bool {
    field.attrs.iter().any(|attr| attr.path().is_ident("fault"))
}

fn check_fields(fields: &Fields) -> Result<()> {
    all(fields
        .iter()
        .flat_map(|field| &field.attrs)
        .filter(|attr| attr.path().is_ident("fault"))
        .map(|attr| {
            attr.parse_nested_meta(|meta| match meta.path.is_ident("skip") {
                true => Ok(()),
                false => Err(meta.error("unknown argument: on a field, `#[fault]` takes `skip`")),
            })
        }))
    .map(drop)
}

/// Rejects empty kinds, and two variants with one kind, unless both are under `cfg`.
fn check_kinds(cases: &[Case]) -> Result<()> {
    let mut taken = TakenNames::default();
    all(cases.iter().map(|case| {
        check_fields(&case.fields)?;
        match case.kind.as_str() {
            "" => Err(Error::new(
                case.ident.span(),
                "this has an empty kind: leave `kind` out, or write a name",
            )),
            kind if !taken.take(kind.to_owned(), !case.cfgs.is_empty()) => Err(Error::new(
                case.ident.span(),
                "another variant has this kind on the wire: choose one of its own",
            )),
            _ => Ok(()),
        }
    }))
    .map(drop)
}

impl Said {
    fn parse(attrs: &[Attribute]) -> Result<Self> {
        let mut said = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("fault")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("code") {
                    said.code = Some(code(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("kind") {
                    said.kind = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("opaque") {
                    said.opaque = true;
                } else if meta.path.is_ident("permanent") {
                    said.permanent = true;
                } else {
                    return Err(meta.error(
                        "unknown argument: `#[fault]` takes `code = …`, `kind = \"…\"`, `opaque` and `permanent`",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(said)
    }
}

/// The name of a code, from `Unavailable` or `Code::Unavailable`.
fn code(value: &Expr) -> Result<Ident> {
    let segment = match value {
        Expr::Path(path) => path.path.segments.last(),
        _ => None,
    };
    match segment {
        Some(segment) if matches!(segment.arguments, PathArguments::None) => {
            Ok(segment.ident.clone())
        }
        _ => Err(Error::new_spanned(
            value,
            "not a code: name a variant of `polywire::Code`, such as `Unavailable`",
        )),
    }
}
