//! The client against small clouds of its own: wire fixtures over real HTTP, no part of the server.

use super::*;
use crate::cli::session::tests::token;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex as BlockingMutex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

/// A cloud that rotates refresh tokens, and ends the session when a used one comes back.
#[derive(Clone, Default)]
struct Fixture(Arc<BlockingMutex<Issued>>);

#[derive(Default)]
struct Issued {
    access: String,
    refresh: String,
    refreshes: u32,
    revoked: bool,
}

impl Fixture {
    /// Hands out a new pair that ends `lifetime` seconds from now.
    fn issue(&self, lifetime: i64) -> Tokens {
        let mut issued = self.0.lock().unwrap();
        issued.refreshes += 1;
        issued.access = token(session::now() + lifetime, &format!("access-{}", issued.refreshes));
        issued.refresh = format!("refresh-{}", issued.refreshes);
        Tokens { token: issued.access.clone(), refreshtoken: issued.refresh.clone() }
    }

    fn refreshes(&self) -> u32 {
        self.0.lock().unwrap().refreshes
    }

    async fn serve(&self) -> String {
        let router = Router::new()
            .route("/v1/user/login", post(login))
            .route("/v1/user/refreshtoken", post(refresh))
            .route("/v1/server/list", get(list))
            .route("/v1/server/create", post(create))
            .route("/v1/teapot", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "oops") }))
            .route("/v1/busy", get(|| async { (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "7")], "") }))
            .route("/v2/servers/1/console/serial", get(console))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn takes(&self, headers: &HeaderMap) -> bool {
        let issued = self.0.lock().unwrap();
        let bearer = headers.get("Authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        !issued.revoked && bearer == format!("Bearer {}", issued.access)
    }
}

fn pair(tokens: &Tokens, refresh: bool) -> Json<Value> {
    let data = json!({"token": tokens.token, "refreshtoken": tokens.refreshtoken, "refresh": refresh});
    Json(json!({"status": "success", "data": data, "message": null}))
}

fn refuse(status: StatusCode, message: &str) -> axum::response::Response {
    let error = json!({"errorMessage": message, "errorDev": "x"});
    (status, Json(json!({"status": "error", "data": null, "message": message, "error": error})))
        .into_response()
}

async fn login(
    State(fixture): State<Fixture>,
    Form(form): Form<HashMap<String, String>>,
) -> axum::response::Response {
    if form["username"] == "alice" && form["password"] == "s3cret & ü" {
        pair(&fixture.issue(2_700), false).into_response()
    } else {
        refuse(StatusCode::UNAUTHORIZED, "The user name or the password is wrong.")
    }
}

async fn refresh(
    State(fixture): State<Fixture>,
    Form(form): Form<HashMap<String, String>>,
) -> axum::response::Response {
    {
        let mut issued = fixture.0.lock().unwrap();
        if issued.revoked || form["refreshtoken"] != issued.refresh {
            issued.revoked = true;
            return refuse(StatusCode::UNAUTHORIZED, "This refresh token was used before.");
        }
    }
    pair(&fixture.issue(2_700), true).into_response()
}

async fn list(State(fixture): State<Fixture>, headers: HeaderMap) -> axum::response::Response {
    if fixture.takes(&headers) {
        Json(json!({"status": "success", "data": [], "message": null})).into_response()
    } else {
        refuse(StatusCode::UNAUTHORIZED, "The token is not valid.")
    }
}

async fn create(Form(form): Form<Vec<(String, String)>>) -> axum::response::Response {
    let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["name", "tags[]", "tags[]"]);
    refuse(StatusCode::PAYMENT_REQUIRED, "The balance does not cover it.")
}

async fn console(
    State(fixture): State<Fixture>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    if !fixture.takes(&headers) {
        return refuse(StatusCode::UNAUTHORIZED, "The token is not valid.");
    }
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

/// A session kept in a directory of its own, whose access token ends `lifetime` seconds from now.
async fn kept(fixture: &Fixture, lifetime: i64) -> (tempfile::TempDir, Home, String) {
    let url = fixture.serve().await;
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    home.save(&Session { url: url.clone(), user: "alice".into(), tokens: fixture.issue(lifetime) }).unwrap();
    (dir, home, url)
}

fn open(home: &Home) -> Cloud {
    Cloud::signed_in(home.load().unwrap().unwrap(), Some(home.clone())).unwrap()
}

#[tokio::test]
async fn a_login_gives_a_session_that_opens_the_doors() {
    let fixture = Fixture::default();
    let url = fixture.serve().await;
    let session = Cloud::anonymous(&url).unwrap().login("alice", "s3cret & ü").await.unwrap();
    let cloud = Cloud::signed_in(session, None).unwrap();
    assert_eq!(cloud.get("/v1/server/list", &[]).await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_the_clouds_words() {
    let url = Fixture::default().serve().await;
    let failure = Cloud::anonymous(&url).unwrap().login("alice", "guess").await.unwrap_err();
    assert_eq!(failure.message, "The user name or the password is wrong.");
    assert_eq!(failure.exit_code(), 1);
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_before_the_request_and_kept() {
    let fixture = Fixture::default();
    let (_dir, home, _) = kept(&fixture, 5).await;
    open(&home).get("/v1/server/list", &[]).await.unwrap();
    assert_eq!(fixture.refreshes(), 2);
    assert_eq!(home.load().unwrap().unwrap().tokens.refreshtoken, "refresh-2");
}

#[tokio::test]
async fn a_401_renews_a_token_that_looked_fresh() {
    let fixture = Fixture::default();
    let (_dir, home, _) = kept(&fixture, 2_700).await;
    fixture.0.lock().unwrap().access = "signed with another key by now".into();
    let cloud = open(&home);
    cloud.get("/v1/server/list", &[]).await.unwrap();
    cloud.get("/v1/server/list", &[]).await.unwrap();
    assert_eq!(fixture.refreshes(), 2, "once is enough");
}

#[tokio::test]
async fn many_commands_at_once_use_a_refresh_token_once() {
    let fixture = Fixture::default();
    let (_dir, home, _) = kept(&fixture, 5).await;
    // Each command has read the file before any of them has renewed the token.
    let clouds: Vec<_> = (0..8).map(|_| open(&home)).collect();
    let calls =
        clouds.into_iter().map(|cloud| tokio::spawn(async move { cloud.get("/v1/server/list", &[]).await }));
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(fixture.refreshes(), 2, "the one at the start and the one of whoever came first");
}

#[tokio::test]
async fn an_ended_session_says_so_and_how_to_begin_another() {
    let fixture = Fixture::default();
    let (_dir, home, _) = kept(&fixture, 5).await;
    fixture.0.lock().unwrap().revoked = true;
    let failure = open(&home).get("/v1/server/list", &[]).await.unwrap_err();
    assert!(failure.message.starts_with("the session has ended"), "{failure}");
    assert_eq!((failure.exit_code(), failure.hint.as_deref()), (1, Some("bulut login")));
    let cloud = open(&home);
    home.remove().unwrap();
    assert_eq!(cloud.get("/v1/server/list", &[]).await.unwrap_err().message, "the session has ended");
}

#[tokio::test]
async fn refusals_faults_and_strangers_are_told_apart() {
    let url = Fixture::default().serve().await;
    let cloud = Cloud::anonymous(&url).unwrap();
    let form = [("name", "a".to_owned()), ("tags[]", "x".to_owned()), ("tags[]", "y".to_owned())];
    let refused = cloud.change(Method::POST, "/v1/server/create", &form).await.unwrap_err();
    assert_eq!((refused.message.as_str(), refused.exit_code()), ("The balance does not cover it.", 1));
    assert_eq!(cloud.get("/v1/teapot", &[]).await.unwrap_err().exit_code(), 2);
    let busy = cloud.get("/v1/busy", &[]).await.unwrap_err();
    assert_eq!((busy.exit_code(), busy.hint.as_deref()), (1, Some("try again in 7 s")));
    let stranger = cloud.get("/not/there", &[]).await.unwrap_err();
    assert!(stranger.message.contains("is not a bulut cloud"), "{stranger}");
}

#[tokio::test]
async fn an_unreachable_cloud_is_broken_and_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = Cloud::anonymous(&url).unwrap().get("/v1/region/list", &[]).await.unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.message.contains(&url) && failure.message.contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_console_is_a_websocket_with_the_bearer_in_its_handshake() {
    let fixture = Fixture::default();
    let (_dir, home, url) = kept(&fixture, 5).await;
    let connection = open(&home).websocket("/v2/servers/1/console/serial").await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
    socket.send(Message::binary(b"login: \xff".to_vec())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data().as_ref(), b"login: \xff");
    let refused =
        Cloud::anonymous(&url).unwrap().websocket("/v2/servers/1/console/serial").await.unwrap_err();
    assert_eq!(refused.message, "The token is not valid.");
}

#[test]
fn urls_are_kept_in_one_form() {
    assert_eq!(normal_url("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
    assert_eq!(normal_url(" cloud.example.org ").unwrap(), "http://cloud.example.org");
    assert_eq!(normal_url("https://Cloud.example.org/api//").unwrap(), "https://cloud.example.org/api");
    for wrong in ["", "ftp://x", "http://", "http://a/?q=1", "http://u@a/"] {
        assert_eq!(normal_url(wrong).unwrap_err().exit_code(), 1, "{wrong}");
    }
}

#[test]
fn native_problems_have_a_sentence_too() {
    assert_eq!(
        sentence(&json!({"title": "Conflict", "detail": "It is being made."})).unwrap(),
        "It is being made."
    );
    assert_eq!(sentence(&json!({"error": {"errorMessage": "no"}, "message": null})).unwrap(), "no");
    assert_eq!(sentence(&json!([])), None);
}
