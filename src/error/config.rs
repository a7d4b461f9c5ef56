//! What is wrong with a configuration.

use std::borrow::Cow;
use std::fmt;

/// A [`Config`](crate::Config) has a value that is not allowed. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    what: &'static str,
    value: String,
    rule: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(
        what: &'static str,
        value: impl ToString,
        rule: impl Into<Cow<'static, str>>,
    ) -> Self {
        ConfigError { what, value: value.to_string(), rule: rule.into() }
    }

    /// Returns the name of the setting: of the method of [`Config`](crate::Config), or of the
    /// environment variable that was used for it.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} cannot be used: {}", self.what, self.value, self.rule)
    }
}

impl std::error::Error for ConfigError {}
