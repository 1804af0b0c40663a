//! Settings of names: where we answer for them, which zone is the provider's, and which other server is told.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulut_dns::reverse::Classless;
use bulut_dns::update::Key;
use bulut_model::name::check_hostname;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where names that nobody has given a server of names for seem to be served; it is nowhere.
const NOWHERE: &str = "localhost";

/// Settings of names.
#[derive(Debug, Clone, confique::Config)]
pub struct Dns {
    /// Addresses and ports (UDP and TCP) where the cloud answers for the names of its servers and their addresses,
    /// for example 127.0.0.1:5353 or 192.0.2.53:53. None by default: it serves no names.
    #[config(env = "BULUT_DNS_LISTEN", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub listen: Vec<SocketAddr>,

    /// A zone of yours in which server 12 is called server-12, for example cloud.example.com; it should be for
    /// nothing else. None: servers have no names by default.
    #[config(env = "BULUT_DNS_ZONE")]
    pub zone: Option<String>,

    /// Names of the servers of names that are responsible for our zones, the first one being the primary; with
    /// their addresses where they lie in the zone: ns1.cloud.example.com=192.0.2.53+2001:db8::53.
    #[config(env = "BULUT_DNS_NAMESERVERS", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub nameservers: Vec<String>,

    /// E-mail address of whoever is responsible for the zones; by default hostmaster in the zone.
    #[config(env = "BULUT_DNS_CONTACT")]
    pub contact: Option<String>,

    /// Addresses that may transfer whole zones (AXFR). None by default.
    #[config(env = "BULUT_DNS_TRANSFERS", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub transfers: Vec<IpAddr>,

    /// How zones for parts of an IPv4 /24 are called (RFC 2317): slash (64/26), dash (64-26) or range (64-127).
    #[config(env = "BULUT_DNS_CLASSLESS", default = "slash")]
    pub classless: String,

    /// Address and port of another server of names, which is told every name by signed updates (RFC 2136).
    #[config(env = "BULUT_DNS_UPDATE_SERVER")]
    pub update_server: Option<SocketAddr>,

    /// Name of the TSIG key that signs the updates, as that server knows it.
    #[config(env = "BULUT_DNS_UPDATE_KEY_NAME")]
    pub update_key_name: Option<String>,

    /// File that holds the key's secret: in Base64, or as tsig-keygen prints it. It should be readable by this
    /// program alone.
    #[config(env = "BULUT_DNS_UPDATE_KEY_FILE")]
    pub update_key_file: Option<PathBuf>,

    /// Algorithm of the key: hmac-sha256, hmac-sha384 or hmac-sha512.
    #[config(env = "BULUT_DNS_UPDATE_ALGORITHM", default = "hmac-sha256")]
    pub update_algorithm: String,
}

impl Dns {
    /// Checks what can be checked without looking anywhere.
    ///
    /// Errors: a sentence that names the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_name = |setting: &str, name: &str| {
            check_hostname("name", name)
                .map_err(|_| anyhow::anyhow!("the setting {setting} holds '{name}', which is no name"))
        };
        if let Some(zone) = self.zone() {
            is_name("dns.zone", &zone)?;
        }
        for entry in &self.nameservers {
            let (name, addresses) = entry.split_once('=').unwrap_or((entry, ""));
            is_name("dns.nameservers", name.trim().trim_end_matches('.'))?;
            let mut addresses = addresses.split('+').map(str::trim).filter(|address| !address.is_empty());
            if let Some(bad) = addresses.find(|address| address.parse::<IpAddr>().is_err()) {
                bail!("the setting dns.nameservers gives {name} the address '{bad}', which is none");
            }
        }
        if let Some(contact) = &self.contact {
            bulut_model::name::check_email(contact).map_err(|_| {
                anyhow::anyhow!("the setting dns.contact holds '{contact}', which is no e-mail address")
            })?;
        }
        if Classless::from_word(&self.classless).is_none() {
            bail!(
                "the setting dns.classless is '{}', but must be one of: slash, dash, range",
                self.classless
            );
        }
        if self.update_server.is_some() && (self.update_key_name.is_none() || self.update_key_file.is_none())
        {
            bail!(
                "the setting dns.update_server needs dns.update_key_name and dns.update_key_file: updates are signed"
            );
        }
        Ok(())
    }

    /// The provider's zone for the names of servers, in small letters and without a dot at its end.
    pub fn zone(&self) -> Option<String> {
        let zone = self.zone.as_ref()?.trim_end_matches('.').to_ascii_lowercase();
        (!zone.is_empty()).then_some(zone)
    }

    /// The servers of names, each with the addresses that the settings give it. Without any it is one in the zone, with
    /// the addresses that we listen on.
    pub fn nameservers(&self) -> Vec<(String, Vec<IpAddr>)> {
        let read = |entry: &String| {
            let (name, addresses) = entry.split_once('=').unwrap_or((entry, ""));
            let addresses = addresses.split('+').filter_map(|address| address.trim().parse().ok()).collect();
            (name.trim().trim_end_matches('.').to_ascii_lowercase(), addresses)
        };
        if !self.nameservers.is_empty() {
            return self.nameservers.iter().map(read).collect();
        }
        match self.zone() {
            None => vec![(NOWHERE.to_owned(), Vec::new())],
            Some(zone) => {
                let mut addresses: Vec<IpAddr> = self.listen.iter().map(SocketAddr::ip).collect();
                addresses.retain(|address| !address.is_unspecified());
                addresses.dedup();
                vec![(format!("ns1.{zone}"), addresses)]
            }
        }
    }

    /// Who is responsible for the zones: an e-mail address.
    pub fn contact(&self) -> String {
        let place = || format!("hostmaster@{}", self.zone().unwrap_or_else(|| NOWHERE.to_owned()));
        self.contact.clone().unwrap_or_else(place)
    }

    /// How zones for parts of an IPv4 /24 are called.
    pub fn classless(&self) -> Classless {
        Classless::from_word(&self.classless).unwrap_or(Classless::Slash)
    }

    /// The key that signs updates, read from its file now, so that a new one holds without a restart.
    ///
    /// Errors: a sentence that says what is wrong, without the secret.
    pub fn update_key(&self) -> anyhow::Result<Key> {
        let name = self.update_key_name.as_ref().context("the setting dns.update_key_name is missing")?;
        let path = self.update_key_file.as_ref().context("the setting dns.update_key_file is missing")?;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the key's file {} cannot be read", path.display()))?;
        let secret = STANDARD
            .decode(secret_in(&text))
            .ok()
            .with_context(|| format!("the key's file {} holds no secret in Base64", path.display()))?;
        Key::new(name, &self.update_algorithm, secret).map_err(|why| anyhow::anyhow!("the key {name}: {why}"))
    }
}

/// The secret in a key's file: all of it, or what stands behind `secret` in what tsig-keygen prints.
fn secret_in(text: &str) -> &str {
    let quoted = text.split_once("secret").and_then(|(_, rest)| {
        let (_, rest) = rest.split_once('"')?;
        Some(rest.split_once('"')?.0)
    });
    quoted.unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use confique::Config as _;

    fn dns(toml: &str) -> Dns {
        let layer: <Dns as confique::Config>::Layer = toml::from_str(toml).unwrap();
        Dns::from_layer(confique::Layer::with_fallback(layer, confique::Layer::default_values())).unwrap()
    }

    #[test]
    fn servers_of_names_carry_their_addresses() {
        let settings = dns(
            "zone = \"Cloud.Example.\"\nnameservers = [\"ns1.cloud.example=192.0.2.53+2001:db8::53\", \"ns2.example.net.\"]",
        );
        settings.check().unwrap();
        assert_eq!(settings.zone().unwrap(), "cloud.example");
        let servers = settings.nameservers();
        assert_eq!(servers[0].1.len(), 2);
        assert_eq!(servers[1], ("ns2.example.net".to_owned(), vec![]));
        let alone = dns("zone = \"cloud.example\"\nlisten = [\"127.0.0.1:5353\", \"0.0.0.0:53\"]");
        assert_eq!(
            alone.nameservers(),
            [("ns1.cloud.example".to_owned(), vec![IpAddr::from([127, 0, 0, 1])])]
        );
        assert_eq!(alone.contact(), "hostmaster@cloud.example");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, word) in [
            ("zone = \"a..b\"", "dns.zone"),
            ("nameservers = [\"-\"]", "dns.nameservers"),
            ("nameservers = [\"ns1.example=here\"]", "'here'"),
            ("contact = \"nobody\"", "dns.contact"),
            ("classless = \"dot\"", "slash"),
            ("update_server = \"192.0.2.1:53\"", "dns.update_key_name"),
        ] {
            let why = dns(toml).check().unwrap_err().to_string();
            assert!(why.contains(word), "{toml}: {why}");
        }
    }

    #[test]
    fn a_secret_is_read_as_it_is_or_as_tsig_keygen_prints_it() {
        assert_eq!(secret_in("c2VjcmV0\n"), "c2VjcmV0");
        let printed = "key \"bulut\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        assert_eq!(secret_in(printed), "c2VjcmV0");
    }
}
