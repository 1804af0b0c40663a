//! Room: the command line. A running cloud as a client sees it: requests, envelopes, and a token that stays fresh.
//!
//! Promises: a stale token is renewed before or after a 401 without the person noticing; an answer that is not a
//! success becomes a [`Failure`] with the cloud's own sentence. Must not know: which command asks.

use super::failure::{Failure, Result};
use super::session::{self, Home, Session, Tokens};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Mutex;

/// The longest that an answer may take; the cloud answers at once and never waits for a machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A running cloud.
pub struct Cloud {
    http: reqwest::Client,
    url: String,
    signed_in: Option<SignedIn>,
}

struct SignedIn {
    session: Mutex<Session>,
    /// Where the session is kept; a session made from the environment lives as long as the command.
    home: Option<Home>,
}

impl Cloud {
    /// A cloud that nobody is signed in to.
    pub fn anonymous(url: &str) -> Result<Self> {
        let url = normal_url(url)?;
        Ok(Self { http: client(&url)?, url, signed_in: None })
    }

    /// A cloud with a session that is kept in `home`, or nowhere.
    pub fn signed_in(session: Session, home: Option<Home>) -> Result<Self> {
        let url = normal_url(&session.url)?;
        Ok(Self {
            http: client(&url)?,
            url,
            signed_in: Some(SignedIn { session: Mutex::new(session), home }),
        })
    }

    /// Signs in; the tokens are the caller's to keep.
    pub async fn login(&self, user: &str, password: &str) -> Result<Session> {
        let form = [("username", user), ("password", password)];
        let request = self.http.post(self.at("/v1/user/login")).form(&form);
        let tokens = parse(self.answer(request).await?)?;
        Ok(Session { url: self.url.clone(), user: user.to_owned(), tokens })
    }

    /// Reads `path` with these query parameters.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.send(|http| http.get(self.at(path)).query(query)).await
    }

    /// Reads `path` into a type.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        parse(self.get(path, &[]).await?)
    }

    /// Changes something: `method` on `path` with a form.
    pub async fn change(&self, method: Method, path: &str, form: &[(&str, String)]) -> Result<Value> {
        self.send(|http| {
            let request = http.request(method.clone(), self.at(path));
            // A body without parameters is no body: some proxies refuse an empty DELETE form.
            if form.is_empty() { request } else { request.form(form) }
        })
        .await
    }

    /// Changes something: `method` on `path` with a JSON body, for what a form cannot say.
    pub async fn change_json(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        self.send(|http| http.request(method.clone(), self.at(path)).json(body)).await
    }

    /// Reads `path` as bytes.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let response = self.request(|http| http.get(self.at(path))).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(|why| self.unreachable(&why))?;
        if status.is_success() { Ok(body.to_vec()) } else { Err(self.refusal(status, None, &body)) }
    }

    /// Asks `path` to become a websocket and returns the raw connection behind the handshake.
    pub async fn websocket(&self, path: &str) -> Result<reqwest::Upgraded> {
        let key = tokio_tungstenite::tungstenite::handshake::client::generate_key();
        let response = self
            .request(|http| {
                http.get(self.at(path))
                    .header("Connection", "Upgrade")
                    .header("Upgrade", "websocket")
                    .header("Sec-WebSocket-Version", "13")
                    .header("Sec-WebSocket-Key", &key)
            })
            .await?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = response.bytes().await.unwrap_or_default();
            return Err(self.refusal(status, None, &body));
        }
        let proof = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        if response
            .headers()
            .get("Sec-WebSocket-Accept")
            .is_none_or(|given| given.as_bytes() != proof.as_bytes())
        {
            return Err(Failure::broken(format!("{} answers a websocket with a wrong key", self.url)));
        }
        response.upgrade().await.map_err(|why| self.unreachable(&why))
    }

    /// The cloud's URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, build: impl Fn(&reqwest::Client) -> RequestBuilder) -> Result<Value> {
        let response = self.request(|http| build(http).timeout(ANSWER_LIMIT)).await?;
        self.open(response).await
    }

    /// Sends a request with a fresh token; renews the token once when the cloud does not take it.
    async fn request(&self, build: impl Fn(&reqwest::Client) -> RequestBuilder) -> Result<reqwest::Response> {
        let Some(signed_in) = &self.signed_in else {
            return build(&self.http).send().await.map_err(|why| self.unreachable(&why));
        };
        let mut token = signed_in.session.lock().await.tokens.token.clone();
        if !session::is_fresh(&token, session::now()) {
            token = self.renew(signed_in, &token).await?;
        }
        let response =
            build(&self.http).bearer_auth(&token).send().await.map_err(|why| self.unreachable(&why))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        token = self.renew(signed_in, &token).await?;
        build(&self.http).bearer_auth(&token).send().await.map_err(|why| self.unreachable(&why))
    }

    /// Trades the refresh token for a new pair, unless somebody else has done so meanwhile.
    ///
    /// A refresh token works once. So the trade is made under the lock, after another look at the file: who comes
    /// second finds the pair that the first one got.
    async fn renew(&self, signed_in: &SignedIn, stale: &str) -> Result<String> {
        let mut session = signed_in.session.lock().await;
        if session.tokens.token != stale && session::is_fresh(&session.tokens.token, session::now()) {
            return Ok(session.tokens.token.clone());
        }
        let Some(home) = &signed_in.home else {
            session.tokens = self.refresh(&session.tokens.refreshtoken).await?;
            return Ok(session.tokens.token.clone());
        };
        let _lock = home.lock().await?;
        let ended = || Failure::refused("the session has ended").hint("bulut login");
        let kept = home
            .load()?
            .filter(|kept| kept.url == session.url && kept.user == session.user)
            .ok_or_else(ended)?;
        *session = kept;
        if session.tokens.token == stale || !session::is_fresh(&session.tokens.token, session::now()) {
            session.tokens = self.refresh(&session.tokens.refreshtoken).await?;
            home.save(&session)?;
        }
        Ok(session.tokens.token.clone())
    }

    async fn refresh(&self, refresh_token: &str) -> Result<Tokens> {
        let form = [("refreshtoken", refresh_token)];
        let request = self.http.post(self.at("/v1/user/refreshtoken")).form(&form);
        match self.answer(request).await {
            Ok(answer) => parse(answer),
            Err(failure) if failure.exit_code() == 1 => {
                Err(Failure::refused(format!("the session has ended: {}", failure.message))
                    .hint("bulut login"))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value> {
        let response = request.timeout(ANSWER_LIMIT).send().await.map_err(|why| self.unreachable(&why))?;
        self.open(response).await
    }

    /// Takes an answer out of its envelope. The native API has none: there the body is the data.
    async fn open(&self, response: reqwest::Response) -> Result<Value> {
        let status = response.status();
        let retry = response.headers().get("Retry-After").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(|why| self.unreachable(&why))?;
        if !status.is_success() {
            return Err(self.refusal(status, retry, &body));
        }
        let mut answer: Value = serde_json::from_slice(&body).map_err(|_| self.no_cloud())?;
        let word = answer.get("status").and_then(Value::as_str);
        match (word, answer.get("data").is_some()) {
            (Some("success"), true) => Ok(answer["data"].take()),
            (Some("error"), true) => Err(self.refusal(StatusCode::BAD_REQUEST, None, &body)),
            _ => Ok(answer),
        }
    }

    /// What a status outside of 2xx means, in the cloud's own words where it has any.
    fn refusal(&self, status: StatusCode, retry: Option<String>, body: &[u8]) -> Failure {
        let sentence = serde_json::from_slice::<Value>(body).ok().and_then(|body| sentence(&body));
        if sentence.is_none() && !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
            return self.no_cloud();
        }
        let message = sentence.unwrap_or_else(|| format!("{} answers {status}", self.url));
        if status.is_server_error() {
            return Failure::broken(message).hint("the log of `bulut serve` says more");
        }
        let refused = Failure::refused(message);
        match (status, retry) {
            (StatusCode::UNAUTHORIZED, _) => refused.hint("bulut login"),
            (StatusCode::TOO_MANY_REQUESTS, Some(seconds)) => {
                refused.hint(format!("try again in {seconds} s"))
            }
            _ => refused,
        }
    }

    fn no_cloud(&self) -> Failure {
        Failure::broken(format!("what answers at {} is not a bulut cloud", self.url))
            .hint("check the URL; `bulut login URL` signs in to another cloud")
    }

    fn unreachable(&self, why: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = why;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let what = if why.is_timeout() { "does not answer in time" } else { "cannot be reached" };
        Failure::broken(format!("{} {what}: {cause}", self.url))
            .hint("is `bulut serve` running there? BULUT_URL or --url names another cloud")
    }
}

/// The sentence for a person in an error body: the Cloude envelope's, or a native problem's.
fn sentence(body: &Value) -> Option<String> {
    [
        &body["message"],
        &body["error"]["errorMessage"],
        &body["error"]["message"],
        &body["detail"],
        &body["title"],
    ]
    .into_iter()
    .filter_map(Value::as_str)
    .find(|text| !text.is_empty())
    .map(str::to_owned)
}

/// Reads data into a type; a mismatch is the cloud's fault, not the person's.
pub fn parse<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|why| {
        Failure::broken(format!("the cloud's answer has an unexpected shape: {why}"))
            .hint("is this command as new as the cloud? `bulut --version`")
    })
}

/// A URL of a cloud in the form in which it is kept and compared: with a scheme, without a slash at the end.
pub fn normal_url(text: &str) -> Result<String> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let wrong = |why: String| {
        Failure::refused(format!("{text:?} is not the URL of a cloud: {why}"))
            .hint("for example http://127.0.0.1:8080")
    };
    let url = Url::parse(&full).map_err(|why| wrong(why.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("it must begin with http:// or https:// and a host".into()));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("it must be a scheme, a host and a port only".into()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn client(url: &str) -> Result<reqwest::Client> {
    let url = Url::parse(url).map_err(|why| Failure::refused(why.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback =
        host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("bulut/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // The console's handshake is an upgrade, which only HTTP/1 has.
        .http1_only()
        // A token must not follow a redirect to who knows where.
        .redirect(reqwest::redirect::Policy::none());
    if loopback {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // A machine without any root certificate can still talk to a cloud without TLS.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|why| Failure::broken(format!("cannot make an HTTP client: {why}")))
}

#[cfg(test)]
#[path = "cloud_tests.rs"]
mod tests;
