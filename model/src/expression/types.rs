//! The types that expressions compute with: fewer than a model declares, because constraints don't matter here.

use std::fmt;

use indexmap::IndexMap;

use crate::declaration::{Field, Type};

/// The type of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ty {
    /// Only `null`.
    Null,
    /// The item of an empty list literal: fits everything.
    Never,
    /// A part with a fault that was reported already: fits everything, so that one fault gives one message.
    Faulty,
    Boolean,
    Integer,
    Decimal,
    Text,
    /// Text that is one of the names.
    Enum(Vec<String>),
    Timestamp,
    Date,
    Duration,
    /// UUIDs and references.
    Uuid,
    List(Box<Slot>),
    Object(IndexMap<String, Slot>),
    Json,
}

/// A type with its nullability: what a field, an item or an expression may hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) ty: Ty,
    pub(crate) nullable: bool,
}

impl Slot {
    /// A value that is always there.
    pub(crate) fn of(ty: Ty) -> Slot {
        Slot { ty, nullable: false }
    }

    pub(crate) fn of_field(field: &Field) -> Slot {
        Slot { ty: Ty::of(&field.ty), nullable: field.optional }
    }

    /// The narrowest type that both fit, if there is one.
    pub(crate) fn unify(&self, other: &Slot) -> Option<Slot> {
        let ty = self.ty.unify(&other.ty)?;
        let nullable = self.nullable || other.nullable || self.ty == Ty::Null || other.ty == Ty::Null;
        Some(Slot { ty, nullable })
    }
}

impl Ty {
    pub(crate) fn of(ty: &Type) -> Ty {
        match ty {
            Type::Text { .. } | Type::Email | Type::Url => Ty::Text,
            Type::Integer { .. } => Ty::Integer,
            Type::Decimal { .. } => Ty::Decimal,
            Type::Boolean => Ty::Boolean,
            Type::Timestamp => Ty::Timestamp,
            Type::Date => Ty::Date,
            Type::Duration => Ty::Duration,
            Type::Uuid | Type::Ref { .. } => Ty::Uuid,
            Type::Enum(values) => Ty::Enum(values.clone()),
            Type::List { of, .. } => Ty::List(Box::new(Slot::of_field(of))),
            Type::Object(fields) => Ty::Object(object_slots(fields)),
            Type::Json => Ty::Json,
        }
    }

    /// The narrowest type that both fit, if there is one: integers widen to decimals, enum names to text.
    pub(crate) fn unify(&self, other: &Ty) -> Option<Ty> {
        match (self, other) {
            (Ty::Faulty, _) | (_, Ty::Faulty) => Some(Ty::Faulty),
            (Ty::Never | Ty::Null, ty) | (ty, Ty::Never | Ty::Null) => Some(ty.clone()),
            (Ty::Integer, Ty::Decimal) | (Ty::Decimal, Ty::Integer) => Some(Ty::Decimal),
            (Ty::Text, Ty::Enum(_)) | (Ty::Enum(_), Ty::Text) => Some(Ty::Text),
            (Ty::Enum(a), Ty::Enum(b)) => {
                let more = b.iter().filter(|value| !a.contains(value));
                Some(Ty::Enum(a.iter().chain(more).cloned().collect()))
            }
            (Ty::List(a), Ty::List(b)) => Some(Ty::List(Box::new(a.unify(b)?))),
            (Ty::Object(a), Ty::Object(b)) => {
                if a.len() != b.len() {
                    return None;
                }
                let slots = a.iter().map(|(name, slot)| Some((name.clone(), slot.unify(b.get(name)?)?)));
                Some(Ty::Object(slots.collect::<Option<_>>()?))
            }
            (a, b) if a == b => Some(a.clone()),
            _ => None,
        }
    }

    /// The name of many of them.
    pub(crate) fn plural(&self) -> String {
        match self {
            Ty::Null => "nulls".to_owned(),
            Ty::Never | Ty::Faulty | Ty::Json => self.to_string(),
            Ty::Enum(_) => "enum values".to_owned(),
            Ty::List(item) => format!("lists of {}", item.ty.plural()),
            _ => format!("{self}s"),
        }
    }

    /// Text, with the names of an enum among it.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Ty::Text | Ty::Enum(_) | Ty::Faulty)
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Ty::Integer | Ty::Decimal | Ty::Faulty)
    }

    pub(crate) fn is_boolean(&self) -> bool {
        matches!(self, Ty::Boolean)
    }

    /// Whether a value costs next to nothing to copy and compare, however long it is.
    pub(crate) fn is_small(&self) -> bool {
        match self {
            Ty::Text | Ty::List(_) | Ty::Object(_) | Ty::Json | Ty::Faulty => false,
            Ty::Null | Ty::Never | Ty::Boolean | Ty::Integer | Ty::Decimal | Ty::Enum(_) => true,
            Ty::Timestamp | Ty::Date | Ty::Duration | Ty::Uuid => true,
        }
    }

    /// Has `<`, `min` and `max`.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(
            self,
            Ty::Integer | Ty::Decimal | Ty::Text | Ty::Timestamp | Ty::Date | Ty::Duration | Ty::Faulty
        )
    }
}

/// The slots of declared fields.
pub(crate) fn object_slots(fields: &IndexMap<String, Field>) -> IndexMap<String, Slot> {
    fields.iter().map(|(name, field)| (name.clone(), Slot::of_field(field))).collect()
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ty::Null => f.write_str("null"),
            Ty::Never | Ty::Faulty => f.write_str("anything"),
            Ty::Boolean => f.write_str("boolean"),
            Ty::Integer => f.write_str("integer"),
            Ty::Decimal => f.write_str("decimal"),
            Ty::Text => f.write_str("text"),
            Ty::Enum(_) => f.write_str("enum"),
            Ty::Timestamp => f.write_str("timestamp"),
            Ty::Date => f.write_str("date"),
            Ty::Duration => f.write_str("duration"),
            Ty::Uuid => f.write_str("uuid"),
            Ty::List(item) if item.ty == Ty::Never => f.write_str("empty list"),
            Ty::List(item) => write!(f, "list of {}", item.ty.plural()),
            Ty::Object(_) => f.write_str("object"),
            Ty::Json => f.write_str("json"),
        }
    }
}
