//! A server's firewall: a short list of rules in order, of which the first that fits decides. Pure.
//!
//! What no rule fits is allowed. Answers to what was allowed are allowed too, whatever the list says: a rule is about who
//! may begin.

use crate::name::excerpt;
use crate::network::Network;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Most rules of a server.
pub const RULES_MAX: usize = 100;

macro_rules! words {
    ($kind:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it, lower case, as in the database and in the interfaces.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The reverse, in any case; `None` for any other word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str().eq_ignore_ascii_case(word.trim()))
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Somebody speaks to the server.
    In,
    /// The server speaks to somebody.
    Out,
}

words!(Direction { In = "in", Out = "out" });

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passes.
    Allow,
    /// It vanishes without an answer.
    Deny,
}

words!(Action { Allow = "allow", Deny = "deny" });

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Everything.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, and ICMPv6 where the packet is IPv6. What neighbours need to find each other is never held up.
    Icmp,
}

words!(Protocol { Any = "any", Tcp = "tcp", Udp = "udp", Icmp = "icmp" });

impl Protocol {
    /// Whether it has ports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

/// A range of ports, both ends included; a single port is one with two same ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// From `first` to `last`.
    ///
    /// Errors: `Invalid` for `ports` when they are in the wrong order, or begin with 0.
    pub fn new(first: u16, last: u16) -> Result<Self> {
        if first == 0 || first > last {
            Err(refusal(&format!("{first}-{last}")))
        } else {
            Ok(Self { first, last })
        }
    }

    /// The lowest.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest.
    pub const fn last(self) -> u16 {
        self.last
    }
}

fn refusal(text: &str) -> Error {
    Error::invalid("ports", format!("The ports '{text}' must be like 80 or 8000-8100, from 1 to 65535."))
}

impl FromStr for Ports {
    type Err = Error;

    /// Reads `80` or `8000-8100`.
    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| {
            let text = text.trim();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(refusal(text)) };
        Self::new(first, last).map_err(|_| refusal(text))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl TryFrom<String> for Ports {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

/// One rule of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FirewallRule {
    /// Who begins.
    pub direction: Direction,
    /// What becomes of it.
    pub action: Action,
    /// What it speaks.
    pub protocol: Protocol,
    /// Ports of whoever is spoken to; `None` for all. Only with a protocol that has ports.
    pub ports: Option<Ports>,
    /// Where the other side is; `None` for anywhere, in both families.
    pub network: Option<Network>,
}

impl FirewallRule {
    /// Whether the rule says something that can be.
    ///
    /// Errors: `Invalid` for `ports` when the protocol has none.
    pub fn check(&self) -> Result<()> {
        if self.ports.is_some() && !self.protocol.has_ports() {
            let why = "Ports can be given with the protocols tcp and udp only.";
            return Err(Error::invalid("ports", why));
        }
        Ok(())
    }

    /// Whether the rule is about the beginning of this: `remote` is the other side, `port` the one that is spoken to, where
    /// there are ports.
    pub fn fits(&self, direction: Direction, protocol: Protocol, port: Option<u16>, remote: IpAddr) -> bool {
        self.direction == direction
            && (self.protocol == Protocol::Any || self.protocol == protocol)
            && self
                .ports
                .is_none_or(|ports| port.is_some_and(|port| (ports.first..=ports.last).contains(&port)))
            && self.network.is_none_or(|network| network.contains(remote))
    }
}

impl fmt::Display for FirewallRule {
    /// Five words: `in allow tcp 22 10.0.0.0/8`; `any` for all ports and for anywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = || "any".to_owned();
        let ports = self.ports.map_or_else(any, |ports| ports.to_string());
        let network = self.network.map_or_else(any, |network| network.to_string());
        write!(f, "{} {} {} {ports} {network}", self.direction, self.action, self.protocol)
    }
}

impl FromStr for FirewallRule {
    type Err = Error;

    /// Reads what is written, from which words may be missing at the end: `in deny`, `in allow tcp 22`.
    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let parts = Parts {
            direction: words.next().unwrap_or_default(),
            action: words.next().unwrap_or_default(),
            protocol: words.next(),
            ports: words.next(),
            network: words.next(),
        };
        if let Some(more) = words.next() {
            let why = format!(
                "A rule has five words at most, such as in allow tcp 22 10.0.0.0/8; '{more}' is one more."
            );
            return Err(Error::invalid("rule", why));
        }
        parts.read()
    }
}

/// A rule as somebody writes it, word by word; what is not said is `any`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// `in` or `out`.
    pub direction: &'a str,
    /// `allow` or `deny`.
    pub action: &'a str,
    /// `tcp`, `udp`, `icmp` or `any`.
    pub protocol: Option<&'a str>,
    /// `80`, `8000-8100` or `any`.
    pub ports: Option<&'a str>,
    /// `10.0.0.0/8`, `2001:db8::/32` or `any`.
    pub network: Option<&'a str>,
}

impl Parts<'_> {
    /// The rule.
    ///
    /// Errors: `Invalid` naming `direction`, `action`, `protocol`, `ports` or `network`.
    pub fn read(self) -> Result<FirewallRule> {
        let said = |text: Option<&'_ str>| text.map(str::trim).unwrap_or_default().to_ascii_lowercase();
        let unless_any =
            |text: Option<&'_ str>| Some(said(text)).filter(|text| !text.is_empty() && text != "any");
        let wrong = |field: &str, text: &str, accepted: &str| {
            Error::invalid(field, format!("The {field} '{}' must be {accepted}.", excerpt(text)))
        };
        let direction = Direction::from_word(self.direction)
            .ok_or_else(|| wrong("direction", self.direction, "in or out"))?;
        let action =
            Action::from_word(self.action).ok_or_else(|| wrong("action", self.action, "allow or deny"))?;
        let protocol = match unless_any(self.protocol) {
            None => Protocol::Any,
            Some(word) => {
                Protocol::from_word(&word).ok_or_else(|| wrong("protocol", &word, "tcp, udp, icmp or any"))?
            }
        };
        let ports = unless_any(self.ports).map(|text| read_ports(&text)).transpose()?;
        let network = unless_any(self.network).map(|text| text.parse::<Network>()).transpose();
        let network =
            network.map_err(|why| Error::invalid("network", format!("In network, {why}; or say any.")))?;
        let rule = FirewallRule { direction, action, protocol, ports, network };
        rule.check().map(|()| rule)
    }
}

/// Ports, where in a row of words a network may stand by mistake.
fn read_ports(text: &str) -> Result<Ports> {
    text.parse::<Ports>().map_err(|error| {
        if text.parse::<Network>().is_err() {
            return error;
        }
        let why = format!("'{text}' stands where ports belong, which come before the network: any {text}.");
        Error::invalid("ports", why)
    })
}

/// Whether all rules of a list can be.
///
/// Errors: `Invalid` for `rules` when there are too many, else as [`FirewallRule::check`].
pub fn check_all(rules: &[FirewallRule]) -> Result<()> {
    if rules.len() > RULES_MAX {
        let why = format!("A server can have at most {RULES_MAX} firewall rules.");
        return Err(Error::invalid("rules", why));
    }
    rules.iter().try_for_each(FirewallRule::check)
}

/// What becomes of a beginning: what the first rule that fits says, else it is allowed.
pub fn decide(
    rules: &[FirewallRule],
    direction: Direction,
    protocol: Protocol,
    port: Option<u16>,
    remote: IpAddr,
) -> Action {
    let first = rules.iter().find(|rule| rule.fits(direction, protocol, port, remote));
    first.map_or(Action::Allow, |rule| rule.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action, protocol: Protocol, ports: &str, network: &str) -> FirewallRule {
        FirewallRule {
            direction: Direction::In,
            action,
            protocol,
            ports: (!ports.is_empty()).then(|| ports.parse().unwrap()),
            network: (!network.is_empty()).then(|| network.parse().unwrap()),
        }
    }

    #[test]
    fn ports_are_read_as_they_are_written() {
        for text in ["1", "80", "8000-8100", "65535"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        assert_eq!(" 80 - 80 ".parse::<Ports>().unwrap().to_string(), "80");
        for bad in ["", "0", "0-5", "90-80", "65536", "+80", "-80", "80-", "80,443", "http"] {
            assert!(bad.parse::<Ports>().unwrap_err().public.contains("ports"), "{bad}");
        }
    }

    #[test]
    fn a_network_in_the_ports_place_is_shown_its_own() {
        for network in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32"] {
            let why = format!("in allow tcp {network}").parse::<FirewallRule>().unwrap_err().public;
            assert!(why.contains(&format!("any {network}.")), "{why}");
        }
        assert!("in allow tcp http".parse::<FirewallRule>().unwrap_err().public.contains("8000-8100"));
    }

    #[test]
    fn words_are_read_as_they_are_written_in_any_case() {
        for it in Protocol::ALL {
            assert_eq!(Protocol::from_word(&it.to_string().to_uppercase()), Some(*it));
        }
        for it in Action::ALL {
            assert_eq!(Action::from_word(it.as_str()), Some(*it));
        }
        for it in Direction::ALL {
            assert_eq!(Direction::from_word(it.as_str()), Some(*it));
        }
        assert_eq!(Protocol::from_word("sctp"), None);
    }

    #[test]
    fn ports_need_a_protocol_that_has_them_and_a_list_has_an_end() {
        assert!(rule(Action::Deny, Protocol::Tcp, "22", "").check().is_ok());
        for protocol in [Protocol::Any, Protocol::Icmp] {
            assert!(rule(Action::Deny, protocol, "22", "").check().is_err());
            assert!(rule(Action::Deny, protocol, "", "").check().is_ok());
        }
        let many = vec![rule(Action::Deny, Protocol::Any, "", ""); RULES_MAX + 1];
        assert!(check_all(&many[1..]).is_ok() && check_all(&many).is_err());
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_else_it_is_allowed() {
        let rules = [
            rule(Action::Deny, Protocol::Tcp, "22", "192.0.2.7"),
            rule(Action::Allow, Protocol::Tcp, "20-30", "192.0.2.0/24"),
            rule(Action::Deny, Protocol::Tcp, "", ""),
        ];
        let decide = |protocol, port, remote: &str| {
            super::decide(&rules, Direction::In, protocol, port, remote.parse().unwrap())
        };
        assert_eq!(decide(Protocol::Tcp, Some(22), "192.0.2.7"), Action::Deny);
        assert_eq!(decide(Protocol::Tcp, Some(22), "192.0.2.8"), Action::Allow);
        assert_eq!(decide(Protocol::Tcp, Some(30), "192.0.2.7"), Action::Allow);
        assert_eq!(decide(Protocol::Tcp, Some(31), "192.0.2.7"), Action::Deny);
        assert_eq!(decide(Protocol::Tcp, Some(22), "2001:db8::1"), Action::Deny);
        assert_eq!(decide(Protocol::Udp, Some(22), "192.0.2.7"), Action::Allow);
        let out =
            super::decide(&rules, Direction::Out, Protocol::Tcp, Some(31), "192.0.2.7".parse().unwrap());
        assert_eq!(out, Action::Allow);
    }

    #[test]
    fn a_rule_in_words_is_read_as_it_is_written() {
        for text in [
            "in deny any any any",
            "out allow udp 53 9.9.9.9/32",
            "in allow tcp 8000-8100 2001:db8::/32",
            "in allow icmp any 10.0.0.0/8",
        ] {
            assert_eq!(text.parse::<FirewallRule>().unwrap().to_string(), text);
        }
        for (short, long) in [
            ("in deny", "in deny any any any"),
            (" IN  Allow TCP 22 ", "in allow tcp 22 any"),
            ("in allow any any 10.0.0.1", "in allow any any 10.0.0.1/32"),
        ] {
            assert_eq!(short.parse::<FirewallRule>().unwrap().to_string(), long);
        }
        for (bad, named) in [
            ("", "direction"),
            ("deny in", "direction"),
            ("in", "action"),
            ("in block", "action"),
            ("in deny sctp", "protocol"),
            ("in deny tcp ssh", "ports"),
            ("in deny icmp 8", "Ports"),
            ("in deny tcp 22 10.0.0.1/8", "network"),
            ("in deny tcp 22 any any", "five words"),
        ] {
            let why = bad.parse::<FirewallRule>().unwrap_err().public;
            assert!(why.contains(named), "{bad}: {why}");
        }
    }

    #[test]
    fn a_rule_is_written_and_read_again() {
        let rule = rule(Action::Deny, Protocol::Tcp, "22", "10.0.0.0/8");
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(
            text,
            r#"{"direction":"in","action":"deny","protocol":"tcp","ports":"22","network":"10.0.0.0/8"}"#
        );
        assert_eq!(serde_json::from_str::<FirewallRule>(&text).unwrap(), rule);
    }
}
