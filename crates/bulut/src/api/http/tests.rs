//! The plumbing around routes made for the purpose.

use super::*;
use crate::domain::limits::Class;
use axum::body::to_bytes;
use axum::routing::{get, post};
use bulut_model::Timestamp;
use serde_json::Value;
use tower::ServiceExt as _;

fn routes(cors: &[&str]) -> Router {
    routes_seen(cors, Box::new(|_, _, _, _| {}))
}

fn routes_seen(cors: &[&str], observe: Observer) -> Router {
    let length = async |body: Bytes| body.len().to_string();
    let routes = Router::new()
        .route("/v1/thing", get(async || "thing").post(length))
        .route("/v1/thing/{id}", get(async |uri: Uri| uri.to_string()))
        .route("/v1/panic", get(async || -> &'static str { panic!("at the {}", "disco") }))
        .route("/v2/panic", post(async || -> &'static str { panic!("at the disco") }));
    let gate = Box::new(|_: &Request| (Arrival::new(Timestamp(0), None, Class::Change), Ok(())));
    plumb(routes, Cors::new(cors.iter().map(|origin| (*origin).to_owned()).collect()), observe, gate)
}

async fn ask_of(routes: Router, request: axum::http::Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = routes.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask(method: &str, uri: &str, body: impl Into<Body>) -> (StatusCode, HeaderMap, String) {
    let request = axum::http::Request::builder().method(method).uri(uri).body(body.into()).unwrap();
    ask_of(routes(&[]), request).await
}

fn word(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], "error");
    assert_eq!(body["data"], Value::Null);
    assert_eq!(body["message"], body["error"]["errorMessage"]);
    body["error"]["errorDev"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn slashes_are_tolerated() {
    for path in ["/v1/thing", "/v1/thing/", "//v1//thing///"] {
        let (status, _, body) = ask("GET", path, "").await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "thing"), "{path}");
    }
    let (_, _, body) = ask("GET", "/v1//thing/a%2Fb/?c=//", "").await;
    assert_eq!(body, "/v1/thing/a%2Fb?c=//");
    let (status, ..) = ask("GET", "//", "").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn an_unknown_path_is_told_in_its_dialect() {
    for path in ["/", "/nothing", "/v1", "/v1/nothing", "/V2"] {
        let (status, _, body) = ask("GET", path, "").await;
        assert_eq!((status.as_u16(), word(&body).as_str()), (404, "not_found"), "{path}");
    }
    let (status, headers, _) = ask("GET", "/v2/nothing", "").await;
    assert_eq!(status, 404);
    assert_eq!(headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let (status, headers, body) = ask("DELETE", "/v1/thing", "").await;
    assert_eq!((status.as_u16(), word(&body).as_str()), (405, "method_not_allowed"));
    assert_eq!(headers[ALLOW], "GET,HEAD,POST,OPTIONS");
    let (status, headers, body) = ask("OPTIONS", "/v1/thing/", "").await;
    assert_eq!((status.as_u16(), body.as_str()), (204, ""));
    assert_eq!(headers[ALLOW], "GET,HEAD,POST,OPTIONS");
    let (status, headers, _) = ask("PUT", "/v2/panic", "").await;
    assert_eq!(status, 405);
    assert_eq!(headers[ALLOW], "POST,OPTIONS");
    let (status, headers, _) = ask("OPTIONS", "/v1/nothing", "").await;
    assert_eq!(status, 404);
    assert!(!headers.contains_key(ALLOW));
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let (status, headers, body) = ask("HEAD", "/v1/thing", "").await;
    assert_eq!((status.as_u16(), body.as_str()), (200, ""));
    assert_eq!(headers[CONTENT_LENGTH], "5");
    let (status, _, body) = ask("HEAD", "/v1/nothing", "").await;
    assert_eq!((status.as_u16(), body.as_str()), (404, ""));
}

#[tokio::test]
async fn a_body_may_have_a_mebibyte_and_not_a_byte_more() {
    let (status, _, body) = ask("POST", "/v1/thing", vec![b'x'; BODY_MAX]).await;
    assert_eq!((status.as_u16(), body), (200, BODY_MAX.to_string()));
    let (status, _, body) = ask("POST", "/v1/thing", vec![b'x'; BODY_MAX + 1]).await;
    assert_eq!((status.as_u16(), word(&body).as_str()), (413, "too_large"));
    let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 65_536]));
    let endless = Body::from_stream(futures_util::stream::repeat_with(chunk));
    let (status, ..) = ask("POST", "/v1/thing", endless).await;
    assert_eq!(status, 413);
    let (status, _, body) = ask("GET", "/v1/thing", vec![b'x'; BODY_MAX + 1]).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, "thing"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let broken =
        futures_util::stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("gone"))]);
    let (status, _, body) = ask("POST", "/v1/thing", Body::from_stream(broken)).await;
    assert_eq!((status.as_u16(), word(&body).as_str()), (400, "validation"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused() {
    let endless = || Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let post = axum::http::Request::post("/v1/thing").body(endless()).unwrap();
    let failure = with_body(post, false, Duration::from_millis(5)).await.unwrap_err();
    assert!(matches!(failure, Failure::TooSlow), "{failure:?}");
    let get = axum::http::Request::get("/v1/thing").body(endless()).unwrap();
    assert!(with_body(get, false, Duration::from_millis(5)).await.is_ok());
}

#[tokio::test]
async fn a_panic_is_a_fault_with_a_number_and_without_its_words() {
    let (status, headers, body) = ask("GET", "/v1/panic", "").await;
    assert_eq!((status.as_u16(), word(&body).as_str()), (500, "internal"));
    assert!(!body.contains("disco"), "{body}");
    assert!(headers.contains_key(REQUEST_ID));
    let (status, headers, _) = ask("POST", "/v2/panic", "").await;
    assert_eq!(status, 500);
    assert_eq!(headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_request_has_an_id_and_its_answer_the_security_headers() {
    let given =
        |id: &str| axum::http::Request::get("/v1/thing").header(REQUEST_ID, id).body(Body::empty()).unwrap();
    let (_, headers, _) = ask_of(routes(&[]), given("mine-1.2_3")).await;
    assert_eq!(headers[REQUEST_ID], "mine-1.2_3");
    assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    for harmful in ["a b", "<script>", &"x".repeat(65), ""] {
        let (_, headers, _) = ask_of(routes(&[]), given(harmful)).await;
        assert!(uuid::Uuid::parse_str(headers[REQUEST_ID].to_str().unwrap()).is_ok(), "{harmful}");
    }
}

#[tokio::test]
async fn answers_are_counted_by_the_pattern_of_their_route() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    for (method, uri) in [
        ("GET", "/v1/thing/7/"),
        ("GET", "/v1/panic"),
        ("PUT", "/v1/thing"),
        ("BREW", "/v1/nothing/secret"),
        ("GET", "/v1/thing?token=secret"),
    ] {
        let seen = Arc::clone(&seen);
        let observe = move |method: &str, route: &str, status, _| {
            seen.lock().unwrap().push(format!("{method} {route} {status}"));
        };
        let request = axum::http::Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        ask_of(routes_seen(&[], Box::new(observe)), request).await;
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "GET /v1/thing/{id} 200",
            "GET /v1/panic 500",
            "PUT /v1/thing 405",
            "other none 404",
            "GET /v1/thing 200",
        ]
    );
}

#[tokio::test]
async fn other_origins_may_call_only_when_the_setting_says_so() {
    let from = |method: &str, origin: &str| {
        let request = axum::http::Request::builder().method(method).uri("/v1/thing").header("origin", origin);
        request.header("access-control-request-method", "POST").body(Body::empty()).unwrap()
    };
    let allow = "access-control-allow-origin";
    let (_, headers, _) = ask_of(routes(&[]), from("GET", "https://a.example")).await;
    assert!(!headers.contains_key(allow) && !headers.contains_key("vary"));
    let (status, headers, _) =
        ask_of(routes(&["https://a.example"]), from("OPTIONS", "https://a.example")).await;
    assert_eq!(status, 204);
    assert_eq!(headers[allow], "https://a.example");
    assert!(headers["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    let (_, headers, _) = ask_of(routes(&["https://a.example"]), from("OPTIONS", "https://b.example")).await;
    assert!(!headers.contains_key(allow));
    assert_eq!(headers["vary"], "origin");
    let (_, headers, _) = ask_of(routes(&["*"]), from("GET", "https://b.example")).await;
    assert_eq!(headers[allow], "*");
}
