//! How a client reached us: by which scheme and host, as it sees them itself.
//!
//! Promises: what a reverse proxy says of it is believed only of those that the settings trust. Must not know: who the
//! client is, or what it asks for.

use crate::app::App;
use crate::config::Config;
use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use std::convert::Infallible;
use std::net::SocketAddr;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Longest host that is repeated in an answer.
const HOST_MAX: usize = 255;

/// How a client reached us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Whether it came by https.
    pub is_secure: bool,
    /// The host, with a port where it named one; none where a client from before HTTP/1.1 said nothing.
    host: Option<String>,
}

impl Visitor {
    /// By what the request's parts say.
    pub fn of(config: &Config, parts: &Parts) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let trusted =
            peer.is_some_and(|peer| config.trusted_proxies.iter().any(|proxy| proxy.contains(peer)));
        let said = |name: HeaderName| if trusted { first(&parts.headers, &name) } else { None };
        let host = said(FORWARDED_HOST)
            .or_else(|| first(&parts.headers, &HOST))
            .or_else(|| parts.uri.authority().map(|authority| authority.as_str().to_owned()))
            .filter(|host| is_host(host));
        let is_secure = said(FORWARDED_PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        Self { is_secure, host }
    }

    /// Where the cloud is for this client, without a slash at the end: the beginning of a URL that it can use.
    pub fn base(&self, config: &Config) -> String {
        if let Some(url) = &config.public_url {
            return url.clone();
        }
        let scheme = if self.is_secure { "https" } else { "http" };
        match &self.host {
            Some(host) => format!("{scheme}://{host}"),
            None => format!("{scheme}://{}", config.listen),
        }
    }

    /// Whether a page of this origin (`https://cloud.example.com`) came from the host that the client reached now.
    pub fn is_at(&self, origin: &str) -> bool {
        let Some((scheme, host)) = origin.split_once("://") else { return false };
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return false,
        };
        let own = self.host.as_deref().map(|own| own.strip_suffix(port).unwrap_or(own));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host.strip_suffix(port).unwrap_or(host)))
    }
}

/// The first of a header's values; each proxy of a chain may have added one behind it.
fn first(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A name or an address, with or without a port: nothing that could change what the rest of a URL means.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    text.len() <= HOST_MAX && text.bytes().all(plain)
}

impl<S> FromRequestParts<S> for Visitor
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(App::from_ref(state).config(), parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use axum::http::Request;

    fn config() -> Config {
        let state = tempfile::tempdir().unwrap();
        let mut config =
            Config::load(None, Overrides { state: Some(state.path().into()), listen: None }).unwrap();
        config.public_url = None;
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        config
    }

    fn visitor(peer: &str, headers: &[(&str, &str)]) -> Visitor {
        let mut request = Request::builder().uri("/console/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
        Visitor::of(&config(), &parts)
    }

    const FORWARDED: [(&str, &str); 3] = [
        ("host", "127.0.0.1:8080"),
        ("x-forwarded-host", "cloud.example.com, inner"),
        ("x-forwarded-proto", "https"),
    ];

    #[test]
    fn a_proxy_is_believed_only_when_the_settings_name_it() {
        let trusted = visitor("10.1.2.3:999", &FORWARDED);
        assert!(trusted.is_secure);
        assert_eq!(trusted.base(&config()), "https://cloud.example.com");
        let stranger = visitor("192.0.2.1:999", &FORWARDED);
        assert!(!stranger.is_secure);
        assert_eq!(stranger.base(&config()), "http://127.0.0.1:8080");
    }

    #[test]
    fn the_public_url_is_the_base_of_all_urls() {
        let config = Config { public_url: Some("https://cloud.example.com/bulut".into()), ..config() };
        assert_eq!(visitor("192.0.2.1:9", &FORWARDED).base(&config), "https://cloud.example.com/bulut");
    }

    #[test]
    fn without_a_host_the_address_that_is_listened_on_has_to_do() {
        for headers in [&[][..], &[("host", "")], &[("host", "a/b")], &[("host", "me@there")]] {
            assert_eq!(
                visitor("192.0.2.1:9", headers).base(&config()),
                "http://127.0.0.1:8080",
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_page_is_ours_when_it_came_from_the_host_that_is_asked() {
        let direct = visitor("192.0.2.1:9", &[("host", "Cloud.example.com:8080")]);
        assert!(direct.is_at("http://cloud.example.com:8080"));
        for other in [
            "http://cloud.example.com",
            "http://evil.example.com:8080",
            "https://cloud.example.com:80801",
            "null",
            "",
            "ftp://cloud.example.com:8080",
            "http://cloud.example.com:8080.evil.example.com",
        ] {
            assert!(!direct.is_at(other), "{other}");
        }
        let proxied = visitor("10.1.2.3:9", &FORWARDED);
        assert!(proxied.is_at("https://cloud.example.com") && !proxied.is_at("http://127.0.0.1:8080"));
        assert!(visitor("192.0.2.1:9", &FORWARDED).is_at("http://127.0.0.1:8080"));
    }

    #[test]
    fn a_default_port_is_the_same_as_none() {
        let named = visitor("192.0.2.1:9", &[("host", "cloud.example.com:443")]);
        assert!(named.is_at("https://cloud.example.com") && !named.is_at("http://cloud.example.com"));
        assert!(!visitor("192.0.2.1:9", &[]).is_at("http://127.0.0.1:8080"));
    }
}
