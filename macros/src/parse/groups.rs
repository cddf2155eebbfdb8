//! Parts of an item that a macro_rules macro passes on, such as `$ty` or `$value`.
//!
//! The compiler puts such a part into a group without delimiters.

use syn::{Expr, Type};

/// Returns the type within such groups, or the type itself.
pub(super) fn type_within(mut ty: &Type) -> &Type {
    while let Type::Group(group) = ty {
        ty = &group.elem;
    }
    ty
}

/// Returns the expression within such groups, or the expression itself.
pub(super) fn expression_within(mut value: &Expr) -> &Expr {
    while let Expr::Group(group) = value {
        value = &group.expr;
    }
    value
}
