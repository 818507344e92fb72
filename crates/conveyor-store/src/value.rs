//! Values on their way into and out of statements: the four scalar types that both engines share.

use std::borrow::Cow;

use conveyor_model::json;

use crate::StoreError;

/// A statement parameter.
#[derive(Clone, Debug)]
pub enum Param<'a> {
    /// SQL null.
    Null,
    /// Any whole number and booleans (0/1).
    Int(i64),
    /// A fractional number.
    Real(f64),
    /// Text; NUL characters are replaced, because PostgreSQL cannot hold them.
    Text(Cow<'a, str>),
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(json::without_nul(text))
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Param<'_> {
    fn from(text: String) -> Self {
        if text.contains('\0') {
            Self::Text(text.replace('\0', "\u{fffd}").into())
        } else {
            Self::Text(text.into())
        }
    }
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Param<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<f64> for Param<'_> {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl<'a, T: Into<Param<'a>>> From<Option<T>> for Param<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a Option<String>> for Param<'a> {
    fn from(value: &'a Option<String>) -> Self {
        value.as_deref().into()
    }
}

/// The parameters of a statement, in order: `params![id, 3, maybe_text]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::Param::from($value)),*] };
}

impl rusqlite::ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl postgres::types::ToSql for Param<'_> {
    fn to_sql(
        &self,
        ty: &postgres::types::Type,
        out: &mut postgres::types::private::BytesMut,
    ) -> Result<postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        use postgres::types::{ToSql, Type};
        match self {
            Self::Null => Ok(postgres::types::IsNull::Yes),
            Self::Int(value) if *ty == Type::INT4 => ToSql::to_sql(&i32::try_from(*value)?, ty, out),
            #[allow(clippy::cast_precision_loss, reason = "a whole number given for a REAL column")]
            Self::Int(value) if *ty == Type::FLOAT8 => ToSql::to_sql(&(*value as f64), ty, out),
            Self::Int(value) => ToSql::to_sql(value, ty, out),
            Self::Real(value) => ToSql::to_sql(value, ty, out),
            Self::Text(text) => ToSql::to_sql(&text.as_ref(), ty, out),
        }
    }

    fn accepts(_: &postgres::types::Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

/// One result row of either engine, read by column position.
pub struct Row<'a>(pub(crate) RowSource<'a>);

pub(crate) enum RowSource<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a postgres::Row),
}

impl Row<'_> {
    /// A text that may be null. SQLite's loose typing may hold a number in a text column of an
    /// old file; it reads as its digits.
    ///
    /// # Errors
    /// [`StoreError::Type`] when the column holds something that is no text.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        let wrong = || StoreError::Type { column, expected: "text" };
        match &self.0 {
            RowSource::Sqlite(row) => match row.get_ref(column).map_err(|_| wrong())? {
                rusqlite::types::ValueRef::Null => Ok(None),
                rusqlite::types::ValueRef::Text(bytes) => {
                    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
                }
                rusqlite::types::ValueRef::Integer(value) => Ok(Some(value.to_string())),
                rusqlite::types::ValueRef::Real(value) => Ok(Some(value.to_string())),
                rusqlite::types::ValueRef::Blob(bytes) => {
                    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
                }
            },
            RowSource::Postgres(row) => row.try_get(column).map_err(|_| wrong()),
        }
    }

    /// A text that cannot be null.
    ///
    /// # Errors
    /// [`StoreError::Type`] when the column is null or no text.
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or(StoreError::Type { column, expected: "text" })
    }

    /// A whole number that may be null; a REAL without fraction counts.
    ///
    /// # Errors
    /// [`StoreError::Type`] when the column holds something else.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        let wrong = || StoreError::Type { column, expected: "integer" };
        match &self.0 {
            RowSource::Sqlite(row) => match row.get_ref(column).map_err(|_| wrong())? {
                rusqlite::types::ValueRef::Null => Ok(None),
                rusqlite::types::ValueRef::Integer(value) => Ok(Some(value)),
                #[allow(clippy::cast_possible_truncation, reason = "checked to be whole")]
                rusqlite::types::ValueRef::Real(value) if value.fract() == 0.0 => Ok(Some(value as i64)),
                _ => Err(wrong()),
            },
            RowSource::Postgres(row) => row.try_get(column).map_err(|_| wrong()),
        }
    }

    /// A whole number that cannot be null.
    ///
    /// # Errors
    /// [`StoreError::Type`] when the column is null or something else.
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or(StoreError::Type { column, expected: "integer" })
    }

    /// A stored boolean (0/1).
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn boolean(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// A stored JSON object; anything else reads as empty.
    ///
    /// # Errors
    /// As [`Row::opt_text`].
    pub fn object(&self, column: usize) -> Result<conveyor_model::records::Object, StoreError> {
        Ok(json::object(&self.opt_text(column)?.unwrap_or_default()))
    }
}
