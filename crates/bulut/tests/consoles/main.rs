//! Consoles in a browser as far as no browser is needed: links, sessions, and the sockets behind the page.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

mod links;
mod sockets;

use bulut_testkit::http::{Answer, send};
use bulut_testkit::{Customer, TestCloud};
use serde_json::Value;

/// The path of a new link to the console of a server.
async fn link(owner: &Customer<'_>, server: i64) -> String {
    let answer = owner.send("POST", &format!("/v2/servers/{server}/console"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let url = answer.json()["url"].as_str().unwrap().to_owned();
    url[url.find("/console/").unwrap()..].to_owned()
}

/// A session as a browser has it: the directory of its pages and the cookie.
#[derive(Debug, Clone)]
struct Opened {
    base: String,
    cookie: String,
}

impl Opened {
    /// By the answer to a link that opened.
    fn by(path: &str, answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        let (base, _) = path.rsplit_once('/').unwrap();
        Self { base: base.into(), cookie: cookie.split(';').next().unwrap().into() }
    }

    /// A session on a new link.
    async fn new(cloud: &TestCloud, owner: &Customer<'_>, server: i64) -> Self {
        let path = link(owner, server).await;
        Self::by(&path, &cloud.send("GET", &path, &[], "").await)
    }

    /// What the page is told.
    async fn state(&self, router: axum::Router) -> Answer {
        let path = format!("{}/state", self.base);
        send(router, "GET", &path, &[("cookie", &self.cookie)], "").await
    }

    /// Why it is over, in the word for programs.
    async fn over(&self, cloud: &TestCloud) -> Value {
        let answer = self.state(cloud.router()).await;
        assert!([404, 410].contains(&answer.status.as_u16()), "{} {}", answer.status, answer.text);
        answer.json()["over"].clone()
    }
}
