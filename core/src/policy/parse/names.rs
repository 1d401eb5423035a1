//! The forms of names: of objects, and in selectors and ports (`k8s.io/apimachinery/pkg/util/validation`).

const LABEL_LIMIT: usize = 63;
const SUBDOMAIN_LIMIT: usize = 253;
const PORT_NAME_LIMIT: usize = 15;

fn is_name_part(part: &str) -> bool {
    let alphanumeric_ends =
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.ends_with(|c: char| c.is_ascii_alphanumeric());
    part.len() <= LABEL_LIMIT
        && alphanumeric_ends
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_subdomain_part(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(inner) && part.ends_with(inner) && part.chars().all(|c| inner(c) || c == '-')
}

/// `IsDNS1123Label`: a namespace's name.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    name.len() <= LABEL_LIMIT && is_subdomain_part(name)
}

/// `IsDNS1123Subdomain`: the name of most objects, and the prefix of a label's key.
#[must_use]
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN_LIMIT && name.split('.').all(is_subdomain_part)
}

/// `IsQualifiedName`: a label's key.
#[must_use]
pub fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name_part(name),
        None => is_name_part(key),
    }
}

/// `IsValidLabelValue`.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name_part(value)
}

/// `IsValidPortName`.
pub(super) fn is_port_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= PORT_NAME_LIMIT
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.chars().any(|c| c.is_ascii_lowercase())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
}
