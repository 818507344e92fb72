//! The permission taxonomy: `category.action` names, legacy aliases, and the stored form.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Categories with their actions, both sorted.
pub const TAXONOMY: &[(&str, &[&str])] = &[
    ("communication", &["comment_on_pr", "notify_operator"]),
    ("context", &["fetch_issues", "fetch_prs", "spawn_reviewer"]),
    ("repo", &["merge_green_pr", "open_pr", "push_branch"]),
    ("verification", &["run_cargo", "run_playwright", "run_pytest", "run_xcodebuild"]),
    ("worker_session", &["clear", "compact", "interrupt", "stop"]),
];

/// The canonical permissions a name stands for. A name that is no alias stands for itself.
#[must_use]
pub fn expand(name: &str) -> Vec<String> {
    let canonical: &[&str] = match name {
        "allow_pr" | "create_pr" => &["repo.open_pr"],
        "allow_merge_green" | "merge_green_pr" => &["repo.merge_green_pr"],
        "allow_worker_compact_clear" | "worker_compact_clear" => {
            &["worker_session.compact", "worker_session.clear"]
        }
        _ => return vec![name.to_owned()],
    };
    canonical.iter().map(|&permission| permission.to_owned()).collect()
}

/// Whether a canonical `category.action` is in the taxonomy.
#[must_use]
pub fn is_canonical(permission: &str) -> bool {
    permission.split_once('.').is_some_and(|(category, action)| {
        TAXONOMY.iter().any(|(name, actions)| *name == category && actions.contains(&action))
    })
}

/// The first canonical name behind `name` that the taxonomy does not have, if any.
#[must_use]
pub fn unknown_part(name: &str) -> Option<String> {
    expand(name).into_iter().find(|permission| !is_canonical(permission))
}

/// The actions of a category; `None` for what is no category.
#[must_use]
pub fn actions(category: &str) -> Option<&'static [&'static str]> {
    TAXONOMY.iter().find(|(name, _)| *name == category).map(|(_, actions)| *actions)
}

/// The fields of an object that says which permissions to grant and to revoke, in their order: a
/// later one may take back what an earlier one said. Of a field that stands there twice the last
/// value holds, at the first place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides(Vec<(String, Value)>);

impl Overrides {
    /// Adds a field, or gives it another value.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, present)) => *present = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
}

impl<'de> Deserialize<'de> for Overrides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Overrides;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Overrides, A::Error> {
                let mut overrides = Overrides::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    overrides.set(&key, value);
                }
                Ok(overrides)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// What is wrong with overrides, in their order. None of it stops [`Permissions::override_with`]; it
/// is passed over.
#[must_use]
pub fn complaints(overrides: &Overrides) -> Vec<String> {
    let mut complaints = Vec::new();
    for (key, value) in &overrides.0 {
        match (actions(key), value) {
            (Some(known), Value::Array(items)) => {
                let unknown = items.iter().filter(|item| !item.as_str().is_some_and(|a| known.contains(&a)));
                complaints.extend(unknown.map(|item| {
                    let action = item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned);
                    format!("unknown permission {key}.{action}")
                }));
            }
            (Some(_), _) => complaints.push(format!("permission category {key:?} must be a list")),
            (None, _) if unknown_part(key).is_some() => {
                complaints.push(format!("unknown permission key {key:?}"));
            }
            (None, _) => {}
        }
    }
    complaints
}

/// A set of granted permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(BTreeSet<String>);

impl Permissions {
    /// Normalises a stored object of any age: today's category lists, and flat legacy flags.
    /// Unknown names are ignored.
    #[must_use]
    pub fn from_stored(stored: &Map<String, Value>) -> Self {
        let mut granted = BTreeSet::new();
        for (key, value) in stored {
            let category = TAXONOMY.iter().find(|(name, _)| name == key);
            match (category, value) {
                (Some((name, actions)), Value::Array(items)) => {
                    let known = items.iter().filter_map(Value::as_str).filter(|a| actions.contains(a));
                    granted.extend(known.map(|action| format!("{name}.{action}")));
                }
                _ if is_truthy(value) => {
                    granted.extend(expand(key).into_iter().filter(|p| is_canonical(p)));
                }
                _ => {}
            }
        }
        Self(granted)
    }

    /// Whether every permission that `name` stands for is granted.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        expand(name).iter().all(|permission| self.0.contains(permission))
    }

    /// Those of the permissions that `name` stands for that are granted.
    #[must_use]
    pub fn part_of(&self, name: &str) -> Vec<String> {
        expand(name).into_iter().filter(|permission| self.0.contains(permission)).collect()
    }

    /// Grants what `name` stands for; an unknown name grants nothing. Gives whether it is known.
    pub fn grant(&mut self, name: &str) -> bool {
        let known = unknown_part(name).is_none();
        if known {
            self.0.extend(expand(name));
        }
        known
    }

    /// Applies overrides key by key: a category with a list is replaced by the known actions of the
    /// list; any other known key grants what it stands for if its value is truthy, else revokes it.
    pub fn override_with(&mut self, overrides: &Overrides) {
        for (key, value) in &overrides.0 {
            match (actions(key), value) {
                (Some(known), Value::Array(items)) => {
                    self.0.retain(|granted| !granted.starts_with(&format!("{key}.")));
                    let wanted = items.iter().filter_map(Value::as_str).filter(|a| known.contains(a));
                    self.0.extend(wanted.map(|action| format!("{key}.{action}")));
                }
                (Some(_), _) => {}
                (None, value) if is_truthy(value) => {
                    self.grant(key);
                }
                (None, _) => {
                    for permission in expand(key) {
                        self.0.remove(&permission);
                    }
                }
            }
        }
    }

    /// The granted actions of a category, sorted.
    #[must_use]
    pub fn of_category(&self, category: &str) -> Vec<&'static str> {
        let is_granted = |action: &&&str| self.0.contains(&format!("{category}.{action}"));
        actions(category).unwrap_or_default().iter().filter(is_granted).copied().collect()
    }

    /// The set in its stored form: every category with its granted actions, sorted.
    #[must_use]
    pub fn to_stored(&self) -> Map<String, Value> {
        let granted = |category: &str| Value::from_iter(self.of_category(category));
        TAXONOMY.iter().map(|(name, _)| ((*name).to_owned(), granted(name))).collect()
    }
}

/// Whether a JSON value counts as yes: everything but `false`, `null`, `0` and `""`.
#[must_use]
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(json: &str) -> Permissions {
        Permissions::from_stored(&crate::json::object(json))
    }

    #[test]
    fn an_alias_needs_every_permission_it_stands_for() {
        let only_compact = stored(r#"{"worker_session":["compact"]}"#);
        assert!(only_compact.allows("worker_session.compact"));
        assert!(!only_compact.allows("worker_compact_clear"));
        assert!(stored(r#"{"worker_session":["clear","compact"]}"#).allows("worker_compact_clear"));
    }

    #[test]
    fn flat_legacy_flags_count_when_truthy() {
        assert!(stored(r#"{"allow_pr":true}"#).allows("repo.open_pr"));
        assert!(!stored(r#"{"allow_pr":0}"#).allows("repo.open_pr"));
        assert!(stored(r#"{"repo.push_branch":1,"nonsense":true}"#).allows("repo.push_branch"));
        assert!(!stored(r#"{"repo":["fly"]}"#).allows("repo.fly"));
    }

    #[test]
    fn the_stored_form_has_every_category() {
        let stored = stored(r#"{"allow_pr":true,"worker_session":["compact","clear"]}"#).to_stored();
        assert_eq!(
            Value::Object(stored).to_string(),
            r#"{"communication":[],"context":[],"repo":["open_pr"],"verification":[],"worker_session":["clear","compact"]}"#
        );
    }

    #[test]
    fn unknown_names_are_named() {
        assert_eq!(unknown_part("allow_pr"), None);
        assert_eq!(unknown_part("repo.fly"), Some("repo.fly".into()));
    }

    #[test]
    fn overrides_replace_categories_and_grant_or_revoke_names() {
        let mut set = stored(r#"{"repo":["open_pr","push_branch"],"worker_session":["clear","compact"]}"#);
        assert!(!set.grant("notify") && set.grant("communication.notify_operator"));
        let overrides: Overrides = serde_json::from_str(
            r#"{"repo":["merge_green_pr","fly",3],"worker_compact_clear":0,"context":true,"context.fetch_prs":1,"x":1}"#,
        )
        .unwrap();
        set.override_with(&overrides);
        assert_eq!(
            Value::Object(set.to_stored()).to_string(),
            r#"{"communication":["notify_operator"],"context":["fetch_prs"],"repo":["merge_green_pr"],"verification":[],"worker_session":[]}"#
        );
        assert_eq!(
            complaints(&overrides),
            [
                "unknown permission repo.fly",
                "unknown permission repo.3",
                "permission category \"context\" must be a list",
                "unknown permission key \"x\"",
            ]
        );
    }

    #[test]
    fn overrides_are_applied_in_their_order() {
        let granted = |text: &str| {
            let mut set = stored(r#"{"repo":["push_branch"]}"#);
            set.override_with(&serde_json::from_str(text).unwrap());
            set.of_category("repo")
        };
        assert_eq!(granted(r#"{"repo":[],"allow_pr":true}"#), ["open_pr"]);
        assert!(granted(r#"{"allow_pr":true,"repo":[]}"#).is_empty());
        assert_eq!(granted(r#"{"allow_pr":true,"repo":[],"allow_pr":1}"#), Vec::<&str>::new());
        assert!(serde_json::from_str::<Overrides>("[]").is_err());
    }
}
