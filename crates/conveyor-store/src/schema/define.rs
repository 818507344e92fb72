//! How a table, column or index is described, and how each engine writes it down. A table has one
//! description; both engines' DDL, the columns an upgrade adds and the lists that `db-doctor`
//! demands are made from it.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text; JSON and times too.
    Text,
    /// A whole number or a boolean.
    Integer,
    /// A fractional number.
    Real,
}

/// Whether a column identifies its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// It does not.
    No,
    /// The writer provides the key.
    Given,
    /// The database counts 1, 2, … and never uses a number again.
    Counted,
}

/// Which values a column accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Any of its type.
    Any,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Valid JSON.
    Json,
    /// 0 or 1.
    Flag,
    /// 0 or more.
    NotNegative,
    /// More than 0.
    Positive,
    /// From 0 to what another column of the row holds.
    UpTo(&'static str),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: &'static str,
    kind: Kind,
    key: Key,
    nullable: bool,
    unique: bool,
    default: Option<&'static str>,
    parent: Option<&'static str>,
    check: Check,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    let (key, check) = (Key::No, Check::Any);
    Column { name, kind, key, nullable: false, unique: false, default: None, parent: None, check }
}

/// A text column, not null.
pub(crate) const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

/// A whole-number column, not null.
pub(crate) const fn integer(name: &'static str) -> Column {
    column(name, Kind::Integer)
}

/// A fractional-number column, not null.
pub(crate) const fn real(name: &'static str) -> Column {
    column(name, Kind::Real)
}

/// A text that is the primary key.
pub(crate) const fn key(name: &'static str) -> Column {
    text(name).primary()
}

/// The column `id`, counted by the database.
pub(crate) const fn serial() -> Column {
    let mut id = integer("id");
    id.key = Key::Counted;
    id
}

impl Column {
    /// Makes it the primary key.
    pub(crate) const fn primary(mut self) -> Self {
        self.key = Key::Given;
        self
    }

    /// Allows null.
    pub(crate) const fn null(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Forbids two rows with the same value.
    pub(crate) const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// The value, as an SQL literal, of rows that name none.
    pub(crate) const fn default(mut self, literal: &'static str) -> Self {
        self.default = Some(literal);
        self
    }

    /// Makes it a foreign key to the `id` of `table`.
    pub(crate) const fn refs(mut self, table: &'static str) -> Self {
        self.parent = Some(table);
        self
    }

    const fn checked(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Accepts only these texts.
    pub(crate) const fn one_of(self, texts: &'static [&'static str]) -> Self {
        self.checked(Check::OneOf(texts))
    }

    /// Accepts only valid JSON.
    pub(crate) const fn json(self) -> Self {
        self.checked(Check::Json)
    }

    /// A boolean, 0 unless given.
    pub(crate) const fn flag(self) -> Self {
        self.default("0").checked(Check::Flag)
    }

    /// Accepts no negative number.
    pub(crate) const fn not_negative(self) -> Self {
        self.checked(Check::NotNegative)
    }

    /// Accepts only numbers above 0.
    pub(crate) const fn positive(self) -> Self {
        self.checked(Check::Positive)
    }

    /// Accepts no negative number and none above the column `limit` of the same row.
    pub(crate) const fn up_to(self, limit: &'static str) -> Self {
        self.checked(Check::UpTo(limit))
    }

    /// Whether it refers to `table`.
    pub(crate) fn refers_to(&self, table: &str) -> bool {
        self.parent == Some(table)
    }

    /// The definition for SQLite.
    pub(crate) fn sqlite(&self) -> String {
        let mut sql = format!(
            "{} {}",
            self.name,
            match self.kind {
                Kind::Text => "text",
                Kind::Integer => "integer",
                Kind::Real => "real",
            }
        );
        match self.key {
            Key::No => {}
            Key::Given => sql.push_str(" primary key"),
            Key::Counted => sql.push_str(" primary key autoincrement"),
        }
        self.push_common(&mut sql);
        if let Some(parent) = self.parent {
            sql.push_str(&format!(" references {parent}(id)"));
        }
        self.push_check(&mut sql, &format!("json_valid({})", self.name));
        sql
    }

    /// The definition for PostgreSQL, without its foreign key: tables refer to each other in
    /// circles, and a server wants the parent to exist first.
    pub(crate) fn postgres(&self) -> String {
        let mut sql = format!(
            "{} {}",
            self.name,
            match self.kind {
                Kind::Text => "text collate \"C\"",
                Kind::Integer => "bigint",
                Kind::Real => "double precision",
            }
        );
        match self.key {
            Key::No => {}
            Key::Given => sql.push_str(" primary key"),
            Key::Counted => sql.push_str(" generated by default as identity primary key"),
        }
        self.push_common(&mut sql);
        let name = self.name;
        // `json`, not `jsonb`: the latter refuses texts that SQLite takes (escaped NUL).
        self.push_check(&mut sql, &format!("{name}::json is not null"));
        sql
    }

    fn push_common(&self, sql: &mut String) {
        if !self.nullable {
            sql.push_str(" not null");
        }
        if self.unique {
            sql.push_str(" unique");
        }
        if let Some(literal) = self.default {
            sql.push_str(&format!(" default {literal}"));
        }
    }

    fn push_check(&self, sql: &mut String, json: &str) {
        let name = self.name;
        let condition = match self.check {
            Check::Any => return,
            Check::OneOf(texts) => format!("{name} in ('{}')", texts.join("', '")),
            // Of nothing, older versions of SQLite say that it is no valid JSON.
            Check::Json if self.nullable => format!("{name} is null or {json}"),
            Check::Json => json.to_owned(),
            Check::Flag => format!("{name} in (0, 1)"),
            Check::NotNegative => format!("{name} >= 0"),
            Check::Positive => format!("{name} > 0"),
            Check::UpTo(limit) => format!("{name} >= 0 and {name} <= {limit}"),
        };
        sql.push_str(&format!(" check ({condition})"));
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its columns, in the order of a fresh file.
    pub(crate) columns: &'static [Column],
}

impl Table {
    /// Whether a row's key is a text. The order in which such rows came is then kept by the
    /// number `rowid`: SQLite has it by itself, PostgreSQL gets a column of that name.
    pub(crate) fn has_text_key(&self) -> bool {
        self.columns.iter().any(|column| column.key == Key::Given && column.kind == Kind::Text)
    }

    /// The statement that creates it in SQLite, with further column definitions at the end.
    pub(crate) fn create_sqlite(&self, further: &[String]) -> String {
        let mut parts: Vec<String> = self.columns.iter().map(Column::sqlite).collect();
        parts.extend_from_slice(further);
        self.create(&parts)
    }

    /// The statement that creates it in PostgreSQL.
    pub(crate) fn create_postgres(&self) -> String {
        let mut parts: Vec<String> = self.columns.iter().map(Column::postgres).collect();
        if self.has_text_key() {
            parts.push("rowid bigint not null generated by default as identity".to_owned());
        }
        self.create(&parts)
    }

    fn create(&self, parts: &[String]) -> String {
        format!("create table {} (\n  {}\n)", self.name, parts.join(",\n  "))
    }

    /// The statement that adds the foreign keys in PostgreSQL, if there are any.
    pub(crate) fn foreign_keys_postgres(&self) -> Option<String> {
        let keys: Vec<String> = self
            .columns
            .iter()
            .filter_map(|column| {
                let parent = column.parent?;
                Some(format!("add foreign key ({}) references {parent}(id)", column.name))
            })
            .collect();
        (!keys.is_empty()).then(|| format!("alter table {} {}", self.name, keys.join(", ")))
    }
}

/// An index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index {
    /// Its name.
    pub(crate) name: &'static str,
    /// The table it is on.
    pub(crate) table: &'static str,
    unique: bool,
    sqlite: &'static str,
    postgres: &'static str,
    filter: Option<&'static str>,
    postgres_filter: Option<&'static str>,
}

/// An index over the same columns on both engines.
pub(crate) const fn index(name: &'static str, table: &'static str, columns: &'static str) -> Index {
    Index {
        name,
        table,
        unique: false,
        sqlite: columns,
        postgres: columns,
        filter: None,
        postgres_filter: None,
    }
}

impl Index {
    /// Forbids two rows with the same values.
    pub(crate) const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Holds only the rows that fulfil this condition.
    pub(crate) const fn only(mut self, filter: &'static str) -> Self {
        self.filter = Some(filter);
        self.postgres_filter = Some(filter);
        self
    }

    /// What PostgreSQL calls that condition.
    pub(crate) const fn only_on_postgres(mut self, filter: &'static str) -> Self {
        self.postgres_filter = Some(filter);
        self
    }

    /// What PostgreSQL indexes instead.
    pub(crate) const fn on_postgres(mut self, columns: &'static str) -> Self {
        self.postgres = columns;
        self
    }

    /// The statement that creates it in SQLite when it is missing.
    pub(crate) fn create_sqlite(&self) -> String {
        self.create(self.sqlite, self.filter)
    }

    /// The statement that creates it in PostgreSQL when it is missing.
    pub(crate) fn create_postgres(&self) -> String {
        self.create(self.postgres, self.postgres_filter)
    }

    fn create(&self, columns: &str, filter: Option<&str>) -> String {
        let unique = if self.unique { "unique " } else { "" };
        let filter = filter.map(|filter| format!(" where {filter}")).unwrap_or_default();
        format!("create {unique}index if not exists {} on {} ({columns}){filter}", self.name, self.table)
    }
}
