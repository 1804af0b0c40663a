//! From which address a request comes.
//!
//! Promises: whoever connects is believed to be there; what is said of other addresses in a header counts only when a
//! proxy says it that the settings trust, and then the last one counts that no such proxy has. Must not know: what an
//! address may do.

use crate::config::Config;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use std::net::{IpAddr, SocketAddr};

/// The client's address; none where nobody connected, as in a test that calls the routes by themselves.
pub fn of(config: &Config, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
    let said = headers.get_all(config.proxy_header.as_str());
    let said: Vec<&str> = said.iter().map(|value| value.to_str().unwrap_or_default()).collect();
    Some(behind_proxies(peer, &said, |address| {
        config.trusted_proxies.iter().any(|proxy| proxy.contains(address))
    }))
}

/// The address behind trusted proxies: each of them has added, at the end, the address that it was connected from.
fn behind_proxies(peer: IpAddr, said: &[&str], is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut address = peer;
    for hop in said.iter().rev().flat_map(|value| value.rsplit(',')) {
        if !is_trusted(address) {
            break;
        }
        // Who says something that is no address does not say for whom it forwards: then it is asking itself.
        let Some(next) = parsed(hop) else { break };
        address = next;
    }
    address
}

/// An address as proxies write it: bare, in brackets, with a port, in quotes.
fn parsed(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(peer: &str, said: &[&str]) -> String {
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.") || address.is_loopback();
        behind_proxies(peer.parse().unwrap(), said, is_trusted).to_string()
    }

    #[test]
    fn a_stranger_is_where_it_connects_from_whatever_it_says() {
        assert_eq!(behind("192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(behind("192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        assert_eq!(behind("192.0.2.1", &["127.0.0.1, 203.0.113.9"]), "192.0.2.1");
    }

    #[test]
    fn behind_trusted_proxies_the_last_untrusted_address_counts() {
        assert_eq!(behind("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(behind("10.0.0.1", &["203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(
            behind("10.0.0.1", &["127.0.0.1, 203.0.113.9 ,10.0.0.2"]),
            "203.0.113.9",
            "what it claims itself"
        );
        assert_eq!(behind("10.0.0.1", &["1.1.1.1, 203.0.113.9", "10.0.0.3,10.0.0.2"]), "203.0.113.9");
        assert_eq!(behind("127.0.0.1", &["2001:db8::7"]), "2001:db8::7");
        for form in ["[2001:db8::7]", "[2001:db8::7]:4711", "\"2001:db8::7\"", "2001:DB8:0::7"] {
            assert_eq!(behind("10.0.0.1", &[form]), "2001:db8::7", "{form}");
        }
        assert_eq!(behind("10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(behind("10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn a_proxy_that_names_nobody_asks_for_itself() {
        assert_eq!(behind("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(behind("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
        for nonsense in ["", "unknown", "203.0.113.9, _hidden", "203.0.113.9, ", "1.2.3"] {
            assert_eq!(behind("10.0.0.1", &[nonsense]), "10.0.0.1", "{nonsense}");
        }
        assert_eq!(behind("10.0.0.1", &["203.0.113.9, nonsense, 10.0.0.2"]), "10.0.0.2");
    }
}
