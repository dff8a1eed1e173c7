//! The binary datum. Writes what [`super::schema`] describes; reads what any earlier such schema described.

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, RecordSchema, UuidSchema};
use indexmap::IndexMap;
use num_bigint::BigInt;
use uuid::Uuid;

use crate::declaration::{Field, Type};
use crate::value::{Decimal, Object, Timestamp, Value, date_from_days, days_since_epoch, fit_decimal};

/// Longest decimal that is read, in bytes: 77 digits, where no declaration has more than 38. Its text is short enough to be
/// read again from a stored state.
const MAX_DECIMAL: usize = 32;
/// Most digits after the point: no declaration has more. A larger number would be the length of a text.
const MAX_SCALE: usize = 38;
/// Items for which room is made before any of them was read.
const MAX_RESERVE: usize = 256;

/// Two's complement, big-endian, as short as it can be.
pub(super) fn decimal_bytes(value: &Decimal, precision: u32, scale: u32) -> Result<Vec<u8>, String> {
    let value = fit_decimal(value, precision, scale).map_err(|fault| {
        format!("{} {fault} for decimal({precision}, {scale})", value.to_scientific_notation())
    })?;
    Ok(value.into_bigint_and_scale().0.to_signed_bytes_be())
}

pub(super) fn write_record(
    fields: &IndexMap<String, Field>,
    object: &Object,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    fields.iter().try_for_each(|(name, field)| {
        write_nullable(field, object.get(name).unwrap_or(&Value::Null), out)
            .map_err(|detail| format!("{name}: {detail}"))
    })
}

fn write_nullable(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match (field.optional, value) {
        (true, Value::Null) => write_long(0, out),
        (false, Value::Null) => return Err("has no value, but is not optional".to_owned()),
        (true, value) => {
            write_long(1, out);
            write_value(&field.ty, value, out)?;
        }
        (false, value) => write_value(&field.ty, value, out)?,
    }
    Ok(())
}

fn write_value(ty: &Type, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match (ty, value) {
        (Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_), Value::Text(text)) => {
            write_bytes(text.as_bytes(), out);
        }
        (Type::Json, Value::Json(json)) => write_bytes(json.to_string().as_bytes(), out),
        (Type::Integer { .. }, Value::Integer(value)) => write_long(*value, out),
        (Type::Decimal { precision, scale, .. }, Value::Decimal(value)) => {
            write_bytes(&decimal_bytes(value, *precision, *scale)?, out);
        }
        (Type::Boolean, Value::Boolean(value)) => out.push(u8::from(*value)),
        (Type::Timestamp, Value::Timestamp(instant)) if instant.is_in_range() => write_long(instant.0, out),
        (Type::Date, Value::Date(day)) if day.year() >= 1 => {
            write_long(i64::from(days_since_epoch(*day)), out)
        }
        (Type::Duration, Value::Duration(millis)) => write_long(*millis, out),
        (Type::Uuid | Type::Ref { .. }, Value::Uuid(id)) => {
            write_bytes(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(), out);
        }
        (Type::List { of, .. }, Value::List(items)) => {
            if !items.is_empty() {
                write_long(i64::try_from(items.len()).map_err(|_| "has too many items")?, out);
                for item in items {
                    write_nullable(of, item, out)?;
                }
            }
            write_long(0, out);
        }
        (Type::Object(fields), Value::Object(object)) => write_record(fields, object, out)?,
        _ => return Err("is no value of the declared type".to_owned()),
    }
    Ok(())
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(i64::try_from(bytes.len()).expect("invariant: memory is smaller than i64::MAX"), out);
    out.extend_from_slice(bytes);
}

/// Zigzag, then seven bits a byte.
fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A whole datum.
pub(super) fn read_event(
    writer: &Schema,
    fields: &IndexMap<String, Field>,
    datum: &[u8],
) -> Result<Object, String> {
    let Schema::Record(record) = writer else {
        return Err("the writer's schema is no record".to_owned());
    };
    let mut reader = Reader { rest: datum, items: datum.len() };
    let object = reader.record(record, Some(fields))?;
    match reader.rest.len() {
        0 => Ok(object),
        left => Err(format!("{left} bytes are left after the datum")),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Items that all lists together may still have. Every item that events have takes a byte at least, so a datum with
    /// more items than bytes lies, and one whose schema has items without bytes can't make us read for ever.
    items: usize,
}

impl<'a> Reader<'a> {
    /// `fields`: what to keep; `None` skips the record.
    fn record(
        &mut self,
        writer: &RecordSchema,
        fields: Option<&IndexMap<String, Field>>,
    ) -> Result<Object, String> {
        let mut read = Object::new();
        for member in &writer.fields {
            let field = fields.and_then(|fields| by_wire_name(fields, &member.name));
            let value = self
                .nullable(&member.schema, field)
                .map_err(|detail| format!("{}: {detail}", member.name))?;
            if let Some(field) = field {
                read.insert(field.name.clone(), value);
            }
        }
        let Some(fields) = fields else { return Ok(read) };
        let mut object = Object::with_capacity(fields.len());
        for (name, field) in fields {
            let value = match (read.swap_remove(name), &field.default) {
                (Some(value), _) => value,
                (None, _) if field.optional => Value::Null,
                (None, Some(default)) => default.clone(),
                (None, None) => {
                    return Err(format!("{name}: the event was written without it, and it has no default"));
                }
            };
            object.insert(name.clone(), value);
        }
        Ok(object)
    }

    /// A value or null. `field`: what it is today; `None` skips it.
    fn nullable(&mut self, writer: &Schema, field: Option<&Field>) -> Result<Value, String> {
        let writer = match writer {
            Schema::Union(union) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|index| union.variants().get(index));
                branch.ok_or("names a branch that the union doesn't have")?
            }
            writer => writer,
        };
        match (writer, field) {
            (Schema::Null, Some(field)) if !field.optional => match &field.default {
                Some(default) => Ok(default.clone()),
                None => Err("is null, but is not optional today".to_owned()),
            },
            (Schema::Null, _) => Ok(Value::Null),
            (writer, field) => self.value(writer, field.map(|field| &field.ty)),
        }
    }

    fn value(&mut self, writer: &Schema, ty: Option<&Type>) -> Result<Value, String> {
        let changed = || "was written as another type than it has today".to_owned();
        match writer {
            Schema::String => {
                let text = self.text()?;
                match ty {
                    Some(Type::Json) => serde_json::from_str(text)
                        .map(Value::Json)
                        .map_err(|error| format!("holds no JSON: {error}")),
                    Some(Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_)) | None => {
                        Ok(Value::Text(text.to_owned()))
                    }
                    Some(_) => Err(changed()),
                }
            }
            Schema::Uuid(UuidSchema::String) => {
                let id = Uuid::try_parse(self.text()?).map_err(|error| format!("is no UUID: {error}"))?;
                kept(ty, |ty| matches!(ty, Type::Uuid | Type::Ref { .. }), Value::Uuid(id))
                    .ok_or_else(changed)
            }
            Schema::Long => match (ty, self.long()?) {
                (Some(Type::Integer { .. }) | None, value) => Ok(Value::Integer(value)),
                (Some(Type::Duration), value) => Ok(Value::Duration(value)),
                (Some(_), _) => Err(changed()),
            },
            Schema::Boolean => {
                let value = match self.take(1)? {
                    [0] => false,
                    [1] => true,
                    _ => return Err("is neither true nor false".to_owned()),
                };
                kept(ty, |ty| matches!(ty, Type::Boolean), Value::Boolean(value)).ok_or_else(changed)
            }
            Schema::TimestampMillis => {
                let instant = Timestamp(self.long()?);
                if !instant.is_in_range() {
                    return Err("is a time outside the years 0001 to 9999".to_owned());
                }
                kept(ty, |ty| matches!(ty, Type::Timestamp), Value::Timestamp(instant)).ok_or_else(changed)
            }
            Schema::Date => {
                let day = i32::try_from(self.long()?).ok().and_then(date_from_days);
                let day = day.ok_or("is a date outside the years 0001 to 9999")?;
                kept(ty, |ty| matches!(ty, Type::Date), Value::Date(day)).ok_or_else(changed)
            }
            Schema::Decimal(decimal) => self.decimal(decimal, ty)?.ok_or_else(changed),
            Schema::Array(array) => match ty {
                Some(Type::List { of, .. }) => self.list(&array.items, Some(of)),
                None => self.list(&array.items, None),
                Some(_) => Err(changed()),
            },
            Schema::Record(record) => match ty {
                Some(Type::Object(fields)) => self.record(record, Some(fields)).map(Value::Object),
                None => self.record(record, None).map(Value::Object),
                Some(_) => Err(changed()),
            },
            _ => Err("was written as a type that no event has".to_owned()),
        }
    }

    fn decimal(&mut self, writer: &DecimalSchema, ty: Option<&Type>) -> Result<Option<Value>, String> {
        let InnerDecimalSchema::Bytes = writer.inner else {
            return Err("was written as a type that no event has".to_owned());
        };
        let bytes = self.bytes()?;
        if bytes.is_empty() || bytes.len() > MAX_DECIMAL {
            return Err(format!("is a decimal of {} bytes", bytes.len()));
        }
        let scale = i64::try_from(writer.scale).ok().filter(|_| writer.scale <= MAX_SCALE);
        let scale =
            scale.ok_or_else(|| format!("is a decimal of {} digits after the point", writer.scale))?;
        let value = Decimal::new(BigInt::from_signed_bytes_be(bytes), scale);
        Ok(match ty {
            Some(Type::Decimal { precision, scale, .. }) => {
                Some(Value::Decimal(fit_decimal(&value, *precision, *scale).unwrap_or(value)))
            }
            None => Some(Value::Decimal(value)),
            Some(_) => None,
        })
    }

    /// Blocks of items.
    fn list(&mut self, items: &Schema, of: Option<&Field>) -> Result<Value, String> {
        let mut list = Vec::new();
        loop {
            let count = match self.long()? {
                0 => return Ok(Value::List(list)),
                count if count < 0 => {
                    self.long()?;
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
            let count = count.ok_or("has more items than bytes")?;
            self.items = self.items.checked_sub(count).ok_or("has more items than bytes")?;
            list.reserve(count.min(MAX_RESERVE));
            for index in 0..count {
                let item = self.nullable(items, of).map_err(|detail| format!("{index}: {detail}"))?;
                if of.is_some() {
                    list.push(item);
                }
            }
        }
    }

    fn text(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|error| format!("is no UTF-8: {error}"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| "has an impossible length")?)
    }

    fn long(&mut self) -> Result<i64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("is a number of more than 64 bits".to_owned())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the datum ends too early")?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The field that is written under this name.
fn by_wire_name<'f>(fields: &'f IndexMap<String, Field>, name: &str) -> Option<&'f Field> {
    match fields.get(name) {
        Some(field) if field.renamed_from.is_empty() => Some(field),
        _ => fields.values().find(|field| field.wire_name() == name),
    }
}

/// The value, if it fits today's type or is skipped.
fn kept(ty: Option<&Type>, fits: impl Fn(&Type) -> bool, value: Value) -> Option<Value> {
    ty.is_none_or(fits).then_some(value)
}
