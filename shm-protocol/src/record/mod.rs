//! Records as octets and back: every field is checked on the way in and on the way out.

pub(crate) mod policy;
pub(crate) mod sa;
mod selector;

/// A field with a value it cannot have; the caller adds which record it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadField {
    pub(crate) field: &'static str,
    pub(crate) value: u64,
}

/// Returns `Ok(read)` or names the field.
pub(crate) fn field<T>(field: &'static str, value: impl Into<u64>, read: Option<T>) -> Result<T, BadField> {
    read.ok_or(BadField { field, value: value.into() })
}
