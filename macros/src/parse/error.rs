//! An error type as data, and the checks that reject it.

use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, LitStr, PathArguments, Result,
    Variant,
};

use super::collected::all;
use super::conditions::cfgs;
use super::generics::check_not_generic;
use super::given_options::GivenOptions;
use super::groups::expression_within;
use super::taken_names::TakenNames;

/// An enum or a struct that can be sent as a fault.
///
/// Two cases differ in their kinds, unless both are under `cfg`. So a kind on the wire selects one
/// case.
pub(crate) struct ErrorType {
    pub(crate) ident: Ident,
    /// `false` for a struct.
    pub(crate) is_enum: bool,
    /// The variants in the order of the source, or the struct as the only case.
    pub(crate) cases: Vec<FaultCase>,
}

/// A variant, or a struct as a whole.
pub(crate) struct FaultCase {
    pub(crate) ident: Ident,
    /// Its `cfg` attributes.
    ///
    /// Empty for a struct.
    pub(crate) cfgs: Vec<Attribute>,
    /// Its variant of `polywire::Code`.
    ///
    /// The default is `Application`. The compiler rejects a variant that does not exist.
    pub(crate) code: Ident,
    /// Its kind on the wire.
    ///
    /// Never empty. The default is the name of a struct, or `Enum.Variant`.
    pub(crate) kind: String,
    /// True if its fields are not sent, so that a client cannot rebuild it.
    pub(crate) opaque: bool,
    /// True if another attempt is useless.
    pub(crate) permanent: bool,
    /// All fields, the skipped ones included; see `is_skipped`.
    pub(crate) fields: Fields,
}

/// The options of `#[fault(…)]`.
///
/// The options of an enum hold for its variants, which add their own. The `kind` of an enum is the
/// prefix of the default kinds of its variants.
#[derive(Default)]
struct Said {
    code: Option<Ident>,
    /// Never empty.
    kind: Option<String>,
    opaque: bool,
    permanent: bool,
}

impl ErrorType {
    /// Parses the annotated type.
    ///
    /// # Errors
    ///
    /// The first mistake of each variant. A mistake in the generics, or in the options of the type
    /// itself, is reported alone. Kinds and the options of fields are checked only once the options
    /// of all variants are valid.
    pub(crate) fn parse(item: DeriveInput) -> Result<Self> {
        let DeriveInput { attrs, ident, generics, data, .. } = item;
        check_not_generic(
            &generics,
            "an error that crosses the wire cannot be generic, since a caller elsewhere cannot choose the types: name them",
        )?;
        let said = Said::parse(&attrs)?;
        let name = said.kind.clone().unwrap_or_else(|| ident.unraw().to_string());
        let (is_enum, cases) = match data {
            Data::Enum(data) => (
                true,
                all(data
                    .variants
                    .into_iter()
                    .map(|variant| FaultCase::parse(variant, &name, &said)))?,
            ),
            Data::Struct(data) => {
                (false, vec![FaultCase::new(ident.clone(), Vec::new(), name, said, data.fields)])
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

impl FaultCase {
    /// Parses a variant of an enum, with the options `of_all` of the enum.
    ///
    /// The code of the variant wins over that of the enum. A variant without a `kind` of its own
    /// has `enum_name`, a dot, and the name of the variant. `enum_name` is the `kind` of the enum,
    /// or the name of its type.
    fn parse(variant: Variant, enum_name: &str, of_all: &Said) -> Result<Self> {
        let Variant { attrs, ident, fields, .. } = variant;
        let mut said = Said::parse(&attrs)?;
        said.code = said.code.or_else(|| of_all.code.clone());
        said.opaque |= of_all.opaque;
        said.permanent |= of_all.permanent;
        let kind = said.kind.take().unwrap_or_else(|| format!("{enum_name}.{}", ident.unraw()));
        let cfgs = cfgs(&attrs).cloned().collect();
        Ok(Self::new(ident, cfgs, kind, said, fields))
    }

    /// Creates a case, with the default code if the options have none.
    ///
    /// The `kind` of the options is not read: the caller has completed it to `kind`.
    fn new(ident: Ident, cfgs: Vec<Attribute>, kind: String, said: Said, fields: Fields) -> Self {
        let code = said.code.unwrap_or_else(|| Ident::new("Application", ident.span()));
        let Said { opaque, permanent, .. } = said;
        Self { ident, cfgs, code, kind, opaque, permanent, fields }
    }
}

/// True if a field is skipped; the client fills in its default.
///
/// Looks for any option of `#[fault(…)]`, since `check_field` has rejected all but `skip`. An empty
/// `#[fault()]` has no effect.
pub(crate) fn is_skipped(field: &Field) -> bool {
    our_attributes(&field.attrs)
        .any(|attr| attr.meta.require_list().is_ok_and(|options| !options.tokens.is_empty()))
}

/// Rejects options of a field other than one `skip`.
fn check_field(field: &Field) -> Result<()> {
    let mut given = GivenOptions::default();
    for attr in our_attributes(&field.attrs) {
        attr.parse_nested_meta(|meta| match meta.path.is_ident("skip") {
            true => given.add(&meta),
            false => Err(meta.error("unknown argument: on a field, `#[fault]` takes `skip`")),
        })?;
    }
    Ok(())
}

/// Returns the `#[fault(…)]` among the attributes of a type, a variant or a field.
fn our_attributes(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("fault"))
}

/// Rejects two variants with one kind, unless both are under `cfg`.
///
/// Checks the options of fields as well. The kind of a variant is not checked while a field of the
/// variant has an invalid option.
fn check_kinds(cases: &[FaultCase]) -> Result<()> {
    let mut taken = TakenNames::default();
    all(cases.iter().map(|case| {
        all(case.fields.iter().map(check_field))?;
        match taken.take(case.kind.clone(), !case.cfgs.is_empty()) {
            true => Ok(()),
            false => Err(Error::new(
                case.ident.span(),
                "another variant has this kind on the wire: choose one of its own",
            )),
        }
    }))
    .map(drop)
}

impl Said {
    /// Parses the `#[fault(…)]` attributes of a type or a variant, up to the first mistake.
    ///
    /// Several attributes add up. Without an attribute, returns empty options.
    fn parse(attrs: &[Attribute]) -> Result<Self> {
        let (mut said, mut given) = (Self::default(), GivenOptions::default());
        for attr in our_attributes(attrs) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("code") {
                    said.code = Some(code(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("kind") {
                    said.kind = Some(kind(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("opaque") {
                    said.opaque = true;
                } else if meta.path.is_ident("permanent") {
                    said.permanent = true;
                } else {
                    return Err(meta.error(
                        "unknown argument: `#[fault]` takes `code = …`, `kind = \"…\"`, `opaque` and `permanent`",
                    ));
                }
                given.add(&meta)
            })?;
        }
        Ok(said)
    }
}

/// Returns the text of a kind or of a prefix of kinds, and rejects an empty one.
fn kind(text: &LitStr) -> Result<String> {
    let kind = text.value();
    match kind.is_empty() {
        true => Err(Error::new(
            text.span(),
            "a kind cannot be empty: leave `kind` out, or write a name",
        )),
        false => Ok(kind),
    }
}

/// The name of a code, from `Unavailable` or `Code::Unavailable`.
///
/// The last segment of the path counts. The name is not looked up: `expand` writes the name after
/// `::polywire::Code::`, where the compiler rejects an unknown one.
fn code(value: &Expr) -> Result<Ident> {
    let segment = match expression_within(value) {
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
