//! Values as they are written into a text that is there.

use serde_json::Value;

/// The line break of a text.
pub(super) fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// A value inside of brackets, or on the line of its key; with quotes everywhere where the text around it is `json`.
pub(super) fn inline(value: &Value, json: bool) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| inline(item, json)).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| entry(key, value, json));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => scalar(text, json),
        other => other.to_string(),
    }
}

/// An entry of a map, inside of brackets.
pub(super) fn entry(key: &str, value: &Value, json: bool) -> String {
    format!("{}: {}", scalar(key, json), inline(value, json))
}

fn scalar(text: &str, json: bool) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c.is_ascii_digit() && text.contains('/'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain && !json { text.to_owned() } else { Value::from(text).to_string() }
}

/// A value as lines that are indented by so many columns, each with its line break; the first begins with `prefix`, as
/// wide as the indentation that the others have more.
pub(super) fn block(value: &Value, indent: usize, prefix: &str, newline: &str) -> Option<String> {
    let yaml = serde_saphyr::to_string(value).ok()?;
    let mut lines = String::new();
    for (number, line) in yaml.trim_end().lines().enumerate() {
        lines.push_str(&" ".repeat(indent));
        if number == 0 {
            lines.push_str(prefix);
        } else if !line.is_empty() {
            lines.push_str(&" ".repeat(prefix.len()));
        }
        lines.push_str(line);
        lines.push_str(newline);
    }
    Some(lines)
}
