//! Values of a configuration by the names of their keys, as `zone config` has them.

use super::Config;
use toml::{Table, Value};

/// What a zone was made with, and cannot be given afterwards.
const FIXED: [&str; 3] = ["number", "root", "origin"];

impl Config {
    /// The value of a key such as `users.map`, as TOML has it; `None` where nothing is configured.
    ///
    /// # Panics
    /// Never: a configuration can be written as TOML.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<String> {
        let table = Table::try_from(self).expect("a configuration is a table");
        let mut value = &Value::Table(table);
        for part in key.split('.') {
            value = value.get(part)?;
        }
        Some(match value {
            Value::String(text) => text.clone(),
            Value::Table(table) => table.to_string().trim_end().to_owned(),
            other => other.to_string(),
        })
    }

    /// The configuration with another value of a key; without it where the text is empty.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the key or the value.
    pub fn with(&self, key: &str, text: &str) -> Result<Self, String> {
        if FIXED.contains(&key) {
            return Err(format!("{key} is set when a zone is created"));
        }
        let mut table = Table::try_from(self).map_err(|error| error.to_string())?;
        let mut parts: Vec<&str> = key.split('.').collect();
        let last = parts.pop().unwrap_or(key);
        let mut at = &mut table;
        for part in parts {
            let below = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
            at = (below.as_table_mut()).ok_or_else(|| format!("there is no key {key}"))?;
        }
        match text {
            "" => drop(at.remove(last)),
            text => drop(at.insert(last.to_owned(), parse(text))),
        }
        let told = |error: toml::de::Error| error.message().to_owned();
        let config: Self = Value::Table(table).try_into().map_err(told)?;
        config.check()?;
        Ok(config)
    }
}

/// A value as TOML writes it, else a text.
fn parse(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed = document.parse::<Table>().ok();
    let value = parsed.and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}
