//! Rules for names, words, metadata and resources.

use std::collections::BTreeSet;

use super::limits::{
    MAX_FUNCTION_NAME, MAX_META, MAX_META_BYTES, MAX_NAME, MAX_RESOURCES, MAX_UNITS, MAX_WORD,
};
use crate::error::ConfigError;

/// Checks a name. Names appear in tables, logs and shell commands, so they must not garble these.
pub(crate) fn check_name(name: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if name.is_empty()
        || name.len() > MAX_NAME
        || name.contains(bad)
        || name.starts_with(['@', '-'])
        || name == "main"
    {
        let rule = format!(
            "an instance's name must have 1 to {MAX_NAME} bytes, no white space or control \
             characters, must not begin with @ or -, and must not be `main`"
        );
        return Err(ConfigError::new("name", name, rule));
    }
    Ok(())
}

pub(crate) fn check_meta(meta: &[(String, String)]) -> Result<(), ConfigError> {
    let bytes: usize = meta.iter().map(|(key, value)| key.len() + value.len()).sum();
    let bad_key = |key: &str| {
        key.is_empty() || key.contains(|c: char| c.is_control() || c.is_whitespace() || c == '=')
    };
    if let Some((key, _)) = meta.iter().find(|(key, _)| bad_key(key)) {
        return Err(ConfigError::new(
            "meta",
            key,
            "a key must not be empty, or contain white space, control characters or `=`",
        ));
    }
    if let Some((_, value)) = meta.iter().find(|(_, value)| value.contains(char::is_control)) {
        return Err(ConfigError::new("meta", value, "a value must not contain control characters"));
    }
    if meta.len() > MAX_META || bytes > MAX_META_BYTES {
        return Err(ConfigError::new(
            "meta",
            meta.len(),
            format!("at most {MAX_META} pairs, of {MAX_META_BYTES} bytes in all"),
        ));
    }
    Ok(())
}

pub(crate) fn check_function(name: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if name.is_empty()
        || name.len() > MAX_FUNCTION_NAME
        || name.contains(bad)
        || name.starts_with('-')
    {
        let rule = format!(
            "a function's name must have 1 to {MAX_FUNCTION_NAME} bytes, no white space or \
             control characters, and must not begin with -"
        );
        return Err(ConfigError::new("admin_function", name, rule));
    }
    Ok(())
}

/// Checks the name of a resource, the key of a setting, or the topic of a message.
pub(crate) fn check_word(what: &'static str, word: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if word.is_empty() || word.len() > MAX_WORD || word.contains(bad) || word.starts_with('-') {
        let rule = format!(
            "it must have 1 to {MAX_WORD} bytes, no white space or control characters, and must \
             not begin with -"
        );
        return Err(ConfigError::new(what, word, rule));
    }
    Ok(())
}

/// Checks what an instance declares: names, limits, and limits for one holder.
pub(crate) fn check_resources<'a>(
    declared: impl Iterator<Item = (&'a str, u64, Option<u64>)>,
) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (name, limit, per_holder) in declared {
        check_word("resource", name)?;
        if limit > MAX_UNITS || per_holder.is_some_and(|most| most > MAX_UNITS) {
            return Err(ConfigError::new(
                "resource",
                name,
                format!("a limit may be 0 to {MAX_UNITS}"),
            ));
        }
        if !names.insert(name) {
            return Err(ConfigError::new("resource", name, "it is declared twice"));
        }
    }
    if names.len() > MAX_RESOURCES {
        return Err(ConfigError::new(
            "resource",
            names.len(),
            format!("at most {MAX_RESOURCES} resources"),
        ));
    }
    Ok(())
}
