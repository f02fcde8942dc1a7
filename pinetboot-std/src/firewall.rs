//! The firewall of this machine: whether it drops packets by default and has no rule for a port of the server; and the rules that
//! open those ports.
//!
//! Two ways: [`packets`] tries a copy of the rules, which takes root; [`Firewall::read`] reads the rules.
//!
//! The rules that are read are those of nftables, in which ufw, firewalld and iptables-nft write theirs. A port that a rule names counts as open:
//! sources, interfaces and the order of rules are not looked at. Rules of the older iptables-legacy are not seen.

pub(crate) mod packets;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::config::{Config, NfsMode, Role};
use crate::router_config::Router;

/// A port: protocol and number.
pub(crate) type Port = (&'static str, u16);

/// What the rules are for a server's ports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Firewall {
    /// The rules cannot be read, for this reason.
    Unread(String),
    /// No rule closes the ports.
    Open,
    /// Ports are closed.
    Closed(Closed),
}

/// Closed ports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The program that writes the rules.
    pub(crate) manager: &'static str,
    /// The ports.
    pub(crate) ports: Vec<Port>,
    /// The commands that open the ports.
    pub(crate) commands: Vec<String>,
}

impl Firewall {
    /// Reads the rules about these ports.
    pub(crate) fn read(ports: &[Port]) -> Self {
        let ruleset = match ruleset() {
            Ok(ruleset) => ruleset,
            Err(why) => return Self::Unread(why),
        };
        let Some((chain, closed)) = Chain::that_closes(&ruleset, ports) else { return Self::Open };
        let (manager, commands) = match manager() {
            Some((name, router)) => (name, of_manager(router, &closed)),
            None => ("nftables", closed.iter().map(|port| chain.rule(*port)).collect()),
        };
        Self::Closed(Closed { manager, ports: closed, commands })
    }
}

/// The fault, in a sentence.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self.ports.iter().map(|(protocol, port)| format!("{port}/{protocol}")).collect();
        write!(
            f,
            "The firewall of this machine ({}) drops packets by default, and no rule names {}: Pis do not reach the server.",
            self.manager,
            named.join(", ")
        )
    }
}

/// The ports of a configuration.
pub(crate) fn ports(config: &Config) -> Vec<Port> {
    let tftp = config.listen.first().map_or(69, std::net::SocketAddrV4::port);
    let mut ports = vec![("udp", tftp)];
    match config.dhcp.as_ref().map(|dhcp| &dhcp.role) {
        Some(Role::Proxy | Role::Lease(_)) => ports.push(("udp", 67)),
        None => {}
    }
    if config.root.mode != NfsMode::Off {
        ports.extend([("udp", 111), ("tcp", 111), ("tcp", config.root.nfs_port)]);
    }
    #[cfg(feature = "disk")]
    if !config.disk_images().is_empty() {
        ports.push(("tcp", config.disk.port));
    }
    ports
}

/// The rules of nftables as JSON (libnftables-json(5)).
fn ruleset() -> Result<Value, String> {
    let done = Command::new("nft").args(["-j", "list", "ruleset"]).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("nft: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("nft: {}", said.lines().next().unwrap_or("ended without a reason")));
    }
    serde_json::from_slice(&done.stdout).map_err(|error| format!("nft: {error}"))
}

/// The program that writes the rules, if it is none of the owner's.
fn manager() -> Option<(&'static str, Router)> {
    let ufw = fs::read_to_string("/etc/ufw/ufw.conf").unwrap_or_default();
    if ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")) {
        return Some(("ufw", Router::Ufw));
    }
    let firewalld = Path::new("/run/firewalld.pid").exists() || Path::new("/run/firewalld").exists();
    firewalld.then_some(("firewalld", Router::Firewalld))
}

/// The lines of `router-config` about these ports.
fn of_manager(router: Router, closed: &[Port]) -> Vec<String> {
    let lines = router.lines(Ipv4Addr::UNSPECIFIED);
    let about = |line: &&str| {
        let names = |(protocol, port): &Port| line.contains(&format!("{port}/{protocol}"));
        !line.starts_with('#') && (closed.iter().any(names) || line.contains("--reload"))
    };
    lines.lines().filter(about).map(str::to_owned).collect()
}

/// A chain for packets to this machine.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    family: String,
    table: String,
    name: String,
}

impl Chain {
    /// The first chain that drops packets by default, and those of `ports` that no rule names.
    fn that_closes(ruleset: &Value, ports: &[Port]) -> Option<(Self, Vec<Port>)> {
        let objects = ruleset.get("nftables")?.as_array()?;
        let chains = objects.iter().filter_map(|object| object.get("chain"));
        let text = |object: &Value, key: &str| {
            object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let closing = chains.filter(|chain| text(chain, "hook") == "input").find(|chain| {
            let rules = objects.iter().filter_map(|object| object.get("rule"));
            let mut own = rules.filter(|rule| {
                text(rule, "table") == text(chain, "table") && text(rule, "chain") == text(chain, "name")
            });
            text(chain, "policy") == "drop" || own.next_back().is_some_and(drops_all)
        })?;
        let rules = objects.iter().filter_map(|object| object.get("rule"));
        let open: BTreeSet<u64> =
            rules.filter_map(|rule| rule.get("expr")).flat_map(destination_ports).collect();
        let closed: Vec<_> =
            ports.iter().copied().filter(|(_, port)| !open.contains(&u64::from(*port))).collect();
        let chain = Self {
            family: text(closing, "family"),
            table: text(closing, "table"),
            name: text(closing, "name"),
        };
        (!closed.is_empty()).then_some((chain, closed))
    }

    fn rule(&self, (protocol, port): Port) -> String {
        let Self { family, table, name } = self;
        format!("nft insert rule {family} {table} {name} {protocol} dport {port} accept")
    }
}

/// Whether a rule drops or rejects every packet.
fn drops_all(rule: &Value) -> bool {
    let is_end = |part: &Value| part.get("drop").is_some() || part.get("reject").is_some();
    let is_condition = |part: &Value| part.get("match").is_some();
    let parts = rule.get("expr").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    parts.iter().any(is_end) && !parts.iter().any(is_condition)
}

/// The destination ports that a rule's expressions name: numbers and sets; of a range its ends.
fn destination_ports(expressions: &Value) -> Vec<u64> {
    let matches = expressions.as_array().into_iter().flatten().filter_map(|part| part.get("match"));
    let of_port =
        matches.filter(|part| part.pointer("/left/payload/field").and_then(Value::as_str) == Some("dport"));
    let mut ports = Vec::new();
    for right in of_port.filter_map(|part| part.get("right")) {
        numbers(right, &mut ports);
    }
    ports
}

fn numbers(value: &Value, found: &mut Vec<u64>) {
    match value {
        Value::Number(number) => found.extend(number.as_u64()),
        Value::Array(values) => values.iter().for_each(|value| numbers(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ruleset(policy: &str, rules: &[Value]) -> Value {
        let chain = json!({"chain": {"family": "inet", "table": "filter", "name": "input", "hook": "input", "policy": policy}});
        let rule = |expr: &Value| json!({"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": expr}});
        let objects: Vec<_> = std::iter::once(chain).chain(rules.iter().map(rule)).collect();
        json!({ "nftables": objects })
    }

    fn dport(right: Value) -> Value {
        json!([{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": right}}, {"accept": null}])
    }

    const PORTS: [Port; 3] = [("udp", 69), ("tcp", 111), ("tcp", 2049)];

    #[test]
    fn a_chain_that_drops_closes_the_ports_that_no_rule_names() {
        let (chain, closed) = Chain::that_closes(&ruleset("drop", &[dport(json!(69))]), &PORTS).unwrap();
        assert_eq!(closed, [("tcp", 111), ("tcp", 2049)]);
        assert_eq!(chain.rule(closed[0]), "nft insert rule inet filter input tcp dport 111 accept");
        let all = dport(json!({"set": [69, 111, 2049]}));
        assert_eq!(Chain::that_closes(&ruleset("drop", &[all]), &PORTS), None);
    }

    #[test]
    fn a_chain_closes_by_its_policy_or_by_its_last_rule() {
        let closes =
            |policy: &str, last: Value| Chain::that_closes(&ruleset(policy, &[last]), &PORTS).is_some();
        assert!(closes("drop", json!([])));
        assert!(closes("accept", json!([{"counter": null}, {"reject": null}])));
        assert!(!closes("accept", json!([{"match": {"left": 1}}, {"drop": null}])));
        assert!(!closes("accept", json!([])));
        assert_eq!(Chain::that_closes(&json!({"nftables": []}), &PORTS), None);
    }

    /// What `serve` opens is in the list of 'router-config', whose commands are a manager's, and in the documentation; so is no more.
    #[test]
    fn the_lists_of_ports_are_those_of_the_code() {
        use crate::router_config::firewalls::PORTS;
        let text = "tree = '/x'\nnfs = '/y'\ndhcp = 'proxy'";
        let text =
            if cfg!(feature = "disk") { format!("{text}\n[pi.00000001]\ndisk = '/i'") } else { text.into() };
        let settings: crate::config::Settings = toml::from_str(&text).unwrap();
        let config = settings.resolve().unwrap();
        for port in ports(&config) {
            assert!(PORTS.iter().any(|(protocol, number, _)| (*protocol, *number) == port), "{port:?}");
            assert!(of_manager(Router::Ufw, &[port])[0].contains(&port.1.to_string()), "{port:?}");
        }
        let page = include_str!("../docs/serve.md").split("## Ports and firewalls").nth(1).unwrap();
        let (table, rest) = page.split_once("```nft").unwrap();
        let rules = rest.split("```").next().unwrap();
        for (protocol, port, _) in PORTS {
            assert!(table.contains(&format!("{port}/{protocol}")), "the table lacks {port}/{protocol}");
            let rule =
                rules.lines().find_map(|line| line.trim().strip_prefix(&format!("{protocol} dport {{ ")));
            let numbers: Vec<_> = rule.unwrap().split(" }").next().unwrap().split(", ").collect();
            assert!(numbers.contains(&&*port.to_string()), "the rules lack {port}/{protocol}");
        }
        let rows =
            table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.split_once('/'));
        for (port, protocol) in rows {
            let protocol = protocol.trim_end_matches(',');
            assert!(PORTS.iter().any(|known| known.0 == protocol && known.1.to_string() == port), "{port}");
        }
    }

    #[test]
    fn the_commands_of_a_manager_are_those_of_the_closed_ports() {
        let lines = of_manager(Router::Ufw, &[("udp", 69), ("tcp", 2049)]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("ufw allow ")), "{lines:?}");
        let lines = of_manager(Router::Firewalld, &[("udp", 69)]);
        assert!(lines.len() == 2 && lines[1] == "firewall-cmd --reload", "{lines:?}");
    }
}
