//! A Cloud at Cost client in process, and what it checks about every answer.

use bulut::domain::access::Caller;
use bulut::domain::api_keys::{self, NewKey};
use bulut::domain::pools::{self, NewTotal};
use bulut_testkit::http::{Answer, form};
use bulut_testkit::{Customer, TestCloud};
use serde_json::Value;

/// Somebody with a key.
pub struct Client<'a> {
    pub cloud: &'a TestCloud,
    pub key: String,
    pub login: String,
}

/// A key of this customer that may be used from everywhere.
pub async fn client<'a>(cloud: &'a TestCloud, customer: &Customer<'_>) -> Client<'a> {
    let new = NewKey { name: "test".into(), addresses: Some(vec!["any".into()]), expires_at: None };
    let made = api_keys::create(cloud.app(), &Caller::new(customer.account.clone()), new).await.unwrap();
    Client { cloud, key: made.secret, login: customer.account.email.clone() }
}

/// Gives a customer a pool.
pub async fn give_pool(cloud: &TestCloud, customer: &Customer<'_>, cpu: u64, ram: u64, storage: u64) {
    let total = NewTotal { cpu: Some(cpu), memory_mib: Some(ram), disk_gib: Some(storage) };
    pools::set(cloud.app(), &customer.account.email, total).await.unwrap();
}

impl Client<'_> {
    /// Key and login, and what else is to be said.
    pub fn said(&self, more: &[(&str, &str)]) -> String {
        let mut pairs = vec![("key", self.key.as_str()), ("login", self.login.as_str())];
        pairs.extend(more);
        form(&pairs)
    }

    /// A call by GET.
    pub async fn get(&self, call: &str, more: &[(&str, &str)]) -> Answer {
        let path = format!("/api/v1/{call}?{}", self.said(more));
        checked(self.cloud.send("GET", &path, &[], "").await)
    }

    /// A call by POST with a form.
    pub async fn post(&self, call: &str, more: &[(&str, &str)]) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        checked(self.cloud.send("POST", &format!("/api/v1/{call}"), &headers, &self.said(more)).await)
    }

    /// What a call that succeeds answers.
    pub async fn ok(&self, call: &str, more: &[(&str, &str)]) -> Value {
        let answer = self.post(call, more).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.text);
        answer.json()
    }

    /// The account's servers.
    pub async fn servers(&self) -> Vec<Value> {
        self.get("listservers.php", &[]).await.json()["data"].as_array().unwrap().clone()
    }

    /// One of them.
    pub async fn server(&self, sid: i64) -> Value {
        let (servers, wanted) = (self.servers().await, sid.to_string());
        let found = servers.iter().find(|server| server["sid"].as_str() == Some(&wanted));
        found.unwrap_or_else(|| panic!("no server {sid} in {servers:?}")).clone()
    }

    /// The last day's tasks.
    pub async fn tasks(&self) -> Vec<Value> {
        self.get("listtasks.php", &[]).await.json()["data"].as_array().unwrap().clone()
    }

    /// Builds a server of the smallest size and waits until it runs.
    pub async fn built(&self) -> i64 {
        let answer = self.ok("cloudpro/build.php", &SMALL).await;
        self.cloud.run_until_idle().await;
        answer["serverid"].as_str().unwrap().parse().unwrap()
    }
}

/// The smallest build.
pub const SMALL: [(&str, &str); 4] = [("cpu", "1"), ("ram", "512"), ("storage", "10"), ("os", "7")];

/// What holds of every answer of the dialect.
pub fn checked(answer: Answer) -> Answer {
    let text = &answer.text;
    assert_eq!(answer.headers["content-type"], "text/html; charset=UTF-8", "{text}");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert!(answer.headers["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
    assert!(text.is_ascii() && !text.contains(['\n', '\r', '<', '>', '&']), "{text}");
    let json = answer.json();
    let is_ok = answer.status.is_success();
    assert_eq!(json["status"], if is_ok { "ok" } else { "error" }, "{text}");
    assert!(json["time"].is_i64(), "{text}");
    let begin = if is_ok { "{\"status\": \"ok\",\"time\": " } else { "{\"status\": \"error\",\"time\": " };
    assert!(text.starts_with(begin), "{text}");
    if is_ok {
        assert_eq!(json["api"], "v1");
        assert_texts(&json, "");
    } else {
        assert_eq!(json.as_object().unwrap().len(), 4, "{text}");
        assert!(json["error_description"].is_string(), "{text}");
    }
    answer
}

/// Everything is a text, but for times and the numbers of tasks; null stands in three places only.
fn assert_texts(value: &Value, name: &str) {
    match value {
        Value::String(_) => {}
        Value::Number(_) => assert!(["time", "taskid"].contains(&name), "{name} is a number"),
        Value::Null => assert!(["label", "lable", "panel_note"].contains(&name), "{name} is null"),
        Value::Array(values) => values.iter().for_each(|value| assert_texts(value, name)),
        Value::Object(members) => members.iter().for_each(|(name, value)| assert_texts(value, name)),
        Value::Bool(_) => panic!("{name} is a truth value"),
    }
}

/// Checks an error: its status, number and sentence.
#[track_caller]
pub fn assert_error(answer: &Answer, status: u16, error: impl Into<Value>, description: &str) {
    let json = answer.json();
    let told = (answer.status.as_u16(), &json["error"], json["error_description"].as_str().unwrap());
    assert_eq!(told, (status, &error.into(), description), "{}", answer.text);
}
