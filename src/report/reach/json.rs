//! Who can reach whom as JSON. The forms are stable; `version` changes if they do not stay.

use std::io::{self, Write};

use ringfence_core::policy::reach::{Answer, Connection, Diff, Nearest, Party, Place, PortSet, Side};
use serde::Serialize;

use super::Filter;
use crate::report::escaped;

const VERSION: u32 = 1;

#[derive(Serialize)]
struct AnswerOut<'a> {
    allowed: bool,
    egress: SideOut<'a>,
    ingress: SideOut<'a>,
}

#[derive(Serialize)]
struct SideOut<'a> {
    isolated: bool,
    allowed: bool,
    policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<PlaceOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<NearestOut<'a>>,
}

#[derive(Serialize)]
struct PlaceOut<'a> {
    policy: &'a str,
    path: &'a str,
}

#[derive(Serialize)]
struct NearestOut<'a> {
    policy: &'a str,
    path: &'a str,
    misses: Vec<String>,
}

#[derive(Serialize)]
struct ConnectionOut<'a> {
    from: PartyOut<'a>,
    to: PartyOut<'a>,
    ports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposure: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PartyOut<'a> {
    Workload { namespace: &'a str, kind: &'a str, name: &'a str },
    Outside { cidr: String },
}

fn side(side: &Side) -> SideOut<'_> {
    SideOut {
        isolated: side.isolated,
        allowed: side.allowed,
        policies: &side.policies,
        rule: side.rule.as_ref().map(|Place { policy, path }| PlaceOut { policy, path }),
        nearest: side.nearest.as_ref().map(|Nearest { place, misses }| NearestOut {
            policy: &place.policy,
            path: &place.path,
            misses: misses.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Writes whether a connection is let through.
///
/// # Errors
/// Where it can't be written.
pub fn answer(out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
    let answer = AnswerOut { allowed: answer.allowed, egress: side(&answer.egress), ingress: side(&answer.ingress) };
    escaped::to_writer(out, &answer)?;
    writeln!(out)
}

fn party<'a>(party: &Party<'a>) -> PartyOut<'a> {
    match party {
        Party::Workload(member) => {
            PartyOut::Workload { namespace: member.namespace, kind: &member.workload.kind, name: &member.workload.name }
        }
        Party::Outside(block) => PartyOut::Outside { cidr: block.to_string() },
    }
}

fn connection<'a>(from: &Party<'a>, to: &Party<'a>, ports: &PortSet, exposure: Option<bool>) -> ConnectionOut<'a> {
    ConnectionOut { from: party(from), to: party(to), ports: ports.list(), exposure }
}

/// Items of a list, one by one: all of them may be more than fits into memory.
#[derive(Default)]
struct Items(bool);

impl Items {
    fn add(&mut self, out: &mut dyn Write, item: &impl Serialize) -> io::Result<()> {
        out.write_all(if std::mem::replace(&mut self.0, true) { b",\n" } else { b"\n" })?;
        escaped::to_writer(out, item)
    }
}

/// Writes every connection.
///
/// # Errors
/// Where it can't be written.
pub fn matrix<'a>(
    out: &mut dyn Write,
    connections: impl Iterator<Item = Connection<'a>>,
    filter: &Filter,
) -> io::Result<()> {
    write!(out, "{{\"version\":{VERSION},\"connections\":[")?;
    let mut items = Items::default();
    for Connection { from, to, ports } in connections.filter(|connection| filter.wants(connection)) {
        items.add(out, &connection(&from, &to, &ports, None))?;
    }
    writeln!(out, "]}}")
}

/// Writes what appears and what disappears.
///
/// # Errors
/// Where it can't be written.
pub fn diff(out: &mut dyn Write, diff: &Diff<'_, '_>, filter: &Filter, exposure: bool) -> io::Result<()> {
    write!(out, "{{\"version\":{VERSION},\"exposure\":{exposure},\"appears\":[")?;
    let (mut items, mut appearing) = (Items::default(), true);
    for change in diff.changes().filter(|change| filter.takes(&change.from, &change.to)) {
        if appearing && !change.appears {
            write!(out, "],\"disappears\":[")?;
            (items, appearing) = (Items::default(), false);
        }
        let exposure = change.appears.then_some(change.exposure);
        items.add(out, &connection(&change.from, &change.to, &change.ports, exposure))?;
    }
    if appearing {
        write!(out, "],\"disappears\":[")?;
    }
    writeln!(out, "]}}")
}
