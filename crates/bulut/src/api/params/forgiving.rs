//! Requests of Cloud at Cost clients, which put their parameters anywhere and encode them by hand.
//!
//! Promises: nothing that such a client gets wrong about the encoding keeps its parameters from being found; on GET and
//! HEAD the query beats the body, on all other methods the body beats the query, and an empty value replaces none. Must
//! not know: calls.

use super::{Layer, Params, body, content_type, form, ignores_body};
use axum::body::to_bytes;
use axum::extract::Request;
use bulut_model::{Error, Result};

impl Params {
    /// Reads a request by the rules of the Cloud at Cost dialect.
    ///
    /// Errors: `Invalid` for a body that breaks off.
    pub async fn read_forgivingly(request: Request) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let query = form::read(parts.uri.query().unwrap_or_default().as_bytes()).forgiven();
        // How long it may be was settled before it came here.
        let bytes = to_bytes(body, usize::MAX).await.map_err(|error| {
            Error::invalid("body", "The body could not be read to its end.").with_internal(error)
        })?;
        // A body that is not what its type says was labelled wrongly; what nothing else fits is a form.
        let mut read = body::read(content_type(&parts.headers), &bytes).await;
        if read.is_err() {
            read = body::read("", &bytes).await;
        }
        let body: Layer = read.unwrap_or_else(|_| form::read(bytes.trim_ascii())).forgiven();
        let layers = if ignores_body(&parts.method) { vec![query, body] } else { vec![body, query] };
        Ok(Self::new(layers))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Param;
    use super::*;
    use axum::body::Body;
    use axum::http::header::CONTENT_TYPE;
    use proptest::prelude::*;

    const KEY: Param = Param::text(&["key"], "a key");
    const SID: Param = Param::text(&["sid"], "a server");

    async fn read(method: &str, uri: &str, content_type: &str, body: impl Into<Body>) -> Params {
        let mut request = Request::builder().method(method).uri(uri);
        if !content_type.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        Params::read_forgivingly(request.body(body.into()).unwrap()).await.unwrap()
    }

    fn found(params: &Params, param: &Param) -> Option<String> {
        params.optional(param).unwrap()
    }

    #[tokio::test]
    async fn on_a_get_the_query_beats_the_body_and_else_the_body_the_query() {
        for (method, winner) in [("GET", "q"), ("HEAD", "q"), ("POST", "b"), ("PUT", "b"), ("DELETE", "b")] {
            let params = read(method, "/?key=q&sid=", "", "key=b&sid=7").await;
            assert_eq!(found(&params, &KEY).as_deref(), Some(winner), "{method}");
            assert_eq!(found(&params, &SID).as_deref(), Some("7"), "{method}: empty replaces nothing");
            let only_query = read(method, "/?key=q&sid=7", "", "").await;
            assert_eq!(found(&only_query, &SID).as_deref(), Some("7"), "{method}");
            let other_way = read(method, "/?key=q&sid=7", "", "key=&sid=").await;
            assert_eq!(found(&other_way, &KEY).as_deref(), Some("q"), "{method}");
        }
    }

    #[tokio::test]
    async fn a_body_is_found_whatever_its_type_says() {
        let multipart = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nK\r\n--x--\r\n";
        for content_type in [
            "",
            "application/x-www-form-urlencoded",
            "application/json",
            "text/plain",
            "nonsense",
            "multipart/form-data",
            "multipart/form-data; boundary=other",
            "text/xml; charset=utf-8",
        ] {
            for body in [
                "key=K",
                "key=K\r\n",
                "\n key=K",
                "{\"key\":\"K\"}",
                " {\"key\":\"K\",\"sid\":null}",
                multipart,
            ] {
                let params = read("POST", "/", content_type, body).await;
                assert_eq!(found(&params, &KEY).as_deref(), Some("K"), "{content_type}: {body}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_glued_together_wrongly_is_found_all_the_same() {
        for uri in [
            "/?key=K&sid=7",
            "/??key=K&sid=7",
            "/?&key=K&&sid=7&",
            "/?key=K&amp;sid=7",
            "/?Key=K&SID=7",
            "/?%20key=K&sid%20=7",
            "/?sid=7&login=a&key=K&op=x",
        ] {
            let params = read("GET", uri, "", "").await;
            assert_eq!(found(&params, &KEY).as_deref(), Some("K"), "{uri}");
            assert_eq!(found(&params, &SID).as_deref(), Some("7"), "{uri}");
        }
        let exact = read("GET", "/?KEY=other&key=K", "", "").await;
        assert_eq!(found(&exact, &KEY).as_deref(), Some("K"), "what is written rightly counts first");
        let broken = read("POST", "/?key=K", "application/json", "{broken").await;
        assert_eq!(found(&broken, &KEY).as_deref(), Some("K"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(
            body in prop::collection::vec(any::<u8>(), 0..200),
            kind in prop::sample::select(vec!["", "application/json", "multipart/form-data; boundary=x", "a/b"]),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let params = runtime.block_on(read("POST", "/?sid=7", kind, body));
            let _ = (params.optional(&KEY), params.optional(&SID));
        }
    }
}
