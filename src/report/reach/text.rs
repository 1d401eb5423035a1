//! Who can reach whom, for people.

use std::io::{self, Write};

use ringfence_core::policy::Direction;
use ringfence_core::policy::explain;
use ringfence_core::policy::reach::{Answer, Diff, Endpoint, Group, Nearest, Place, Side};
use ringfence_core::text::sanitised;

use super::table::{Alike, Classes, Table, alike};
use super::{Filter, Naming};

fn end(end: &Endpoint<'_>) -> String {
    sanitised(&match end {
        Endpoint::Workload(member) => member.to_string(),
        Endpoint::Address(address) => address.to_string(),
    })
}

/// Writes whether a connection is let through, and what decides.
///
/// # Errors
/// Where it can't be written.
pub fn answer(out: &mut dyn Write, from: &Endpoint<'_>, to: &Endpoint<'_>, answer: &Answer) -> io::Result<()> {
    let (source, destination) = (end(from), end(to));
    let (verdict, can) = if answer.allowed { ("allowed", "can reach") } else { ("denied", "can't reach") };
    let port = format!("{}/{}", answer.protocol, answer.number);
    writeln!(out, "{verdict}: {source} {can} {destination} on {port}")?;
    if answer.same_pod {
        return writeln!(out, "  a pod always reaches itself, whatever policies say");
    }
    for (direction, end, side) in [(Direction::Egress, from, &answer.egress), (Direction::Ingress, to, &answer.ingress)]
    {
        if matches!(end, Endpoint::Workload(_)) {
            self::side(out, direction, &self::end(end), side)?;
        }
    }
    if answer.egress.host_network && !answer.allowed {
        writeln!(out, "  not looked at: a node always reaches the pods that run on it")?;
    }
    Ok(())
}

fn side(out: &mut dyn Write, direction: Direction, pod: &str, side: &Side) -> io::Result<()> {
    write!(out, "  {direction} of {pod}: ")?;
    if side.host_network {
        return writeln!(out, "not isolated: it uses its node's network (hostNetwork), where no policy selects it");
    }
    if !side.isolated {
        let open = match direction {
            Direction::Ingress => "everybody may reach it",
            Direction::Egress => "it may reach everything",
        };
        return writeln!(out, "not isolated: no policy selects it for {direction}, so {open}");
    }
    let (named, others) = side.policies.split_at(side.policies.len().min(super::NAMED));
    let more = if others.is_empty() { String::new() } else { format!(" and {} more policies", others.len()) };
    writeln!(out, "isolated by {}{more}", sanitised(&explain::names(named)))?;
    match (&side.rule, &side.nearest) {
        (Some(place), _) => writeln!(out, "    allowed by {}", rule(place)),
        (None, Some(Nearest { place, misses })) => {
            let misses: Vec<String> = misses.iter().map(ToString::to_string).collect();
            writeln!(out, "    denied: no rule allows it")?;
            writeln!(out, "    nearest is {}, which misses: {}", rule(place), sanitised(&misses.join("; ")))
        }
        (None, None) => writeln!(out, "    denied: there is no rule that allows anything"),
    }
}

fn rule(Place { policy, path }: &Place) -> String {
    sanitised(&format!("{path} of {policy:?}"))
}

fn names(naming: &Naming<'_>, classes: &Classes<'_>, numbers: &[usize]) -> String {
    sanitised(&naming.names(&classes.get(numbers)).join(", "))
}

/// Writes who can reach whom, those that mean the same together.
///
/// # Errors
/// Where it can't be written.
pub fn matrix<'m, 'a: 'm>(
    out: &mut dyn Write,
    groups: impl Iterator<Item = Group<'m, 'a>>,
    filter: &Filter,
    naming: &Naming<'_>,
) -> io::Result<()> {
    let mut table = Table::new();
    for line in groups.flat_map(|group| filter.lines(&group)) {
        let ports = line.ports.clone();
        table.add(line, ports);
    }
    let (classes, rows) = table.rows();
    if rows.is_empty() {
        let nobody = naming.nobody(filter).unwrap_or_else(|| {
            if filter.0.is_empty() {
                "nobody can reach anybody".to_owned()
            } else {
                format!("no connection begins or ends in {}", filter.names())
            }
        });
        return writeln!(out, "{}", sanitised(&nobody));
    }
    for Alike { from, reach, .. } in alike(&classes, rows, naming) {
        writeln!(out, "{} can reach", names(naming, &classes, &from))?;
        for (ports, own, to) in reach {
            let own = if own { "each its own namespace" } else { "" };
            let others = names(naming, &classes, &to);
            let and = if own.is_empty() || others.is_empty() { "" } else { ", " };
            writeln!(out, "  on {}: {own}{and}{others}", super::ports(&ports))?;
        }
    }
    Ok(())
}

/// Writes what appears and what disappears, those that mean the same together.
///
/// # Errors
/// Where it can't be written.
pub fn diff(out: &mut dyn Write, diff: &Diff<'_, '_>, filter: &Filter, naming: &Naming<'_>) -> io::Result<()> {
    let mut table = Table::new();
    for group in diff.groups() {
        for line in filter.changed(&group) {
            let ports = line.ports.clone();
            // What is newly exposed comes first, what disappears last.
            table.add(line, (!group.appears, !group.exposure, ports));
        }
    }
    let (classes, said) = table.said();
    for ((disappears, harmless, ports), lines) in &said {
        let sign = if *disappears { '-' } else { '+' };
        let note = if *harmless { "" } else { "  (newly exposed)" };
        for (from, to) in lines {
            let (from, to) = (names(naming, &classes, from), names(naming, &classes, to));
            writeln!(out, "{sign} {from} can reach {to} on {}{note}", super::ports(ports))?;
        }
    }
    match said.keys().next() {
        None => match naming.nobody(filter) {
            Some(nobody) => writeln!(out, "{}, before or after", sanitised(&nobody)),
            None => writeln!(out, "the same connections before and after"),
        },
        Some((_, true, _)) => writeln!(out, "nothing is newly exposed"),
        Some(_) => Ok(()),
    }
}
