//! Scripts, styles and images of the pages, carried by the program and made by `ui/build.mjs`.
//!
//! Promises: a name says what is behind it (it holds a digest of the content), so that browsers keep it for good and a
//! new program is seen at once. Must not know: which page needs what.

use axum::extract::Path;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// A file of the pages.
struct Asset {
    name: &'static str,
    bytes: &'static [u8],
    /// The same, compressed.
    brotli: Option<&'static [u8]>,
}

/// A page, before what is different each time is put in.
struct Page {
    name: &'static str,
    text: &'static str,
}

mod built {
    use super::{Asset, Page};
    include!(concat!(env!("OUT_DIR"), "/ui.rs"));
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A page by its name; none where the program was built without them.
pub fn page(name: &str) -> Option<&'static str> {
    built::PAGES.iter().find(|page| page.name == name).map(|page| page.text)
}

/// `GET /assets/{name}`
pub async fn get(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = built::ASSETS.iter().find(|asset| asset.name == name) else {
        let text = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        return (StatusCode::NOT_FOUND, text, "There is no such file.\n").into_response();
    };
    let (bytes, encoding) = match asset.brotli {
        Some(brotli) if takes_brotli(&headers) => (brotli, Some("br")),
        _ => (asset.bytes, None),
    };
    let mut response = bytes.into_response();
    let said = response.headers_mut();
    said.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(asset.name)));
    said.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    said.insert(VARY, HeaderValue::from_static("accept-encoding"));
    said.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if let Some(encoding) = encoding {
        said.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Whether `Accept-Encoding` names Brotli, and not with a weight of nothing.
fn takes_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("br"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        named && weight.is_none_or(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    fn accepting(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn brotli_is_sent_to_who_takes_it() {
        for yes in ["br", "gzip, deflate, br, zstd", "gzip;q=0.5, BR;q=1.0"] {
            assert!(takes_brotli(&accepting(yes)), "{yes}");
        }
        for no in ["", "gzip", "br;q=0", "identity, br; q=0.0", "brotli"] {
            assert!(!takes_brotli(&accepting(no)), "{no}");
        }
        assert!(!takes_brotli(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn every_file_is_served_for_good_and_typed() {
        assert!(!built::ASSETS.is_empty(), "the program was built without its pages: is node installed?");
        for asset in built::ASSETS {
            let plain = get(Path(asset.name.into()), HeaderMap::new()).await;
            assert_eq!(plain.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
            assert_ne!(plain.headers()[CONTENT_TYPE], "application/octet-stream", "{}", asset.name);
            assert!(plain.headers().get(CONTENT_ENCODING).is_none());
            assert_eq!(to_bytes(plain.into_body(), usize::MAX).await.unwrap(), asset.bytes);
            let Some(brotli) = asset.brotli else { continue };
            let packed = get(Path(asset.name.into()), accepting("br")).await;
            assert_eq!(packed.headers()[CONTENT_ENCODING], "br");
            assert_eq!(to_bytes(packed.into_body(), usize::MAX).await.unwrap(), brotli);
            assert!(brotli.len() < asset.bytes.len());
        }
        assert_eq!(get(Path("console.js".into()), HeaderMap::new()).await.status(), 404);
    }

    #[test]
    fn the_packages_may_come_from_any_registry() {
        let locked = include_str!("../../ui/package-lock.json");
        assert!(locked.contains("\"integrity\"") && !locked.contains("://"), "the lock file names a host");
    }

    #[test]
    fn pages_name_only_files_that_are_there() {
        for page in built::PAGES {
            let names: Vec<_> = page.text.split("/assets/").skip(1).collect();
            assert!(!names.is_empty(), "{} names no file", page.name);
            for rest in names {
                let name = rest.split('"').next().unwrap();
                assert!(built::ASSETS.iter().any(|asset| asset.name == name), "{}: {name}", page.name);
            }
        }
    }
}
