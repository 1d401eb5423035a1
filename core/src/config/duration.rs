//! Lengths of time as people write them: `90d`, `12h`, `1m 30s`.

use std::fmt;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

/// A length of time, printed as it was written. A day is 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duration {
    text: String,
    value: SignedDuration,
}

impl Duration {
    /// Of so many seconds.
    #[must_use]
    pub fn seconds(seconds: u32) -> Self {
        Self { text: format!("{seconds}s"), value: SignedDuration::from_secs(i64::from(seconds)) }
    }

    /// Of so many days of 24 hours.
    #[must_use]
    pub fn days(days: u32) -> Self {
        Self { text: format!("{days}d"), value: SignedDuration::from_hours(i64::from(days) * 24) }
    }

    /// The length.
    #[must_use]
    pub fn get(&self) -> SignedDuration {
        self.value
    }

    /// The length, for timers. It is never negative.
    #[must_use]
    pub fn to_std(&self) -> std::time::Duration {
        self.value.unsigned_abs()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// By its name the JSON schema knows it from other strings.
        #[derive(Deserialize)]
        #[serde(rename = "Duration")]
        struct Written(String);

        let Written(text) = Written::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format_args!("{text:?} is no length of time, such as 30d, 12h or 90s"));
        let span: Span = text.parse().map_err(|_| wrong())?;
        let value = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        if !value.is_positive() {
            return Err(D::Error::custom(format_args!("{text:?} is not longer than nothing")));
        }
        Ok(Self { text, value })
    }
}
