//! The Cloude dialect over a real socket, byte by byte: what old, frugal and careless clients send, and the curl
//! lines of the Cloude document as they stand there.

#![expect(clippy::unwrap_used, reason = "a test's broken premise is best said at once")]

use bulut::domain::accounts;
use bulut_model::account::Standing;
use bulut_testkit::cloud::PASSWORD;
use bulut_testkit::http::escaped;
use bulut_testkit::{Customer, TestCloud};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any answer takes; a client that waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer as it came over the wire.
#[derive(Debug)]
struct Raw {
    line: String,
    head: String,
    body: String,
}

impl Raw {
    fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn data(&self) -> Value {
        assert_eq!(self.status(), 200, "{self:?}");
        let json: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(json["status"], "success", "{self:?}");
        json["data"].clone()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A connection that sends bytes and reads one answer after the other.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads on; false at the end of the stream.
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let length = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await.unwrap().unwrap();
        self.read.extend_from_slice(&chunk[..length]);
        length > 0
    }

    /// One answer: its head, and as much body as its head announces.
    async fn answer(&mut self, has_body: bool) -> Raw {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await, "no answer: {}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let (line, head) = head.split_once("\r\n").unwrap();
        let mut raw = Raw { line: line.to_owned(), head: head.to_owned(), body: String::new() };
        let announced = raw.header("content-length").map(|length| length.parse::<usize>().unwrap());
        let length = announced.filter(|_| has_body).unwrap_or(0);
        while self.read.len() < length {
            assert!(self.more().await, "the body broke off");
        }
        raw.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        raw
    }

    /// Whether the server closes the connection without another byte.
    async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }
}

/// One request on a connection of its own.
async fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Raw {
    let mut client = Client::connect(address).await;
    client.send(bytes).await;
    client.answer(true).await
}

fn authorized(customer: &Customer<'_>) -> String {
    format!("Host: api\r\nAuthorization: Bearer {}\r\n", customer.token)
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_and_let_go() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let address = cloud.serve().await;
    // It sends no Host, and tells the end of an answer by the end of the connection.
    let mut client = Client::connect(address).await;
    client.send("GET /v1/region/list HTTP/1.0\r\n\r\n").await;
    let answer = client.answer(true).await;
    assert_eq!(answer.data()[1]["slug"], "ist2");
    assert!(answer.header("transfer-encoding").is_none(), "{answer:?}");
    assert!(client.is_closed().await);
    let body = "name=web1&region=ist2&package=eos1&image=tiny";
    let request = format!(
        "POST /v1/server/create HTTP/1.0\r\nAuthorization: Bearer {}\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        alice.token,
        body.len()
    );
    assert!(ask(address, request).await.data()["event_id"].is_i64());
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let address = cloud.serve().await;
    let body = format!("username=alice&password={}", escaped(PASSWORD));
    let mut client = Client::connect(address).await;
    let length = body.len();
    client
        .send(format!(
            "POST /v1/user/login HTTP/1.1\r\nHost: api\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
    assert_eq!(client.answer(false).await.status(), 100);
    client.send(&body).await;
    assert!(client.answer(true).await.data()["token"].is_string());
    // What is too large by its own word is told so instead, and need not be sent.
    let mut client = Client::connect(address).await;
    client
        .send("POST /v1/user/login HTTP/1.1\r\nHost: api\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let answer = client.answer(true).await;
    assert_eq!(answer.status(), 413, "{answer:?}");
    assert!(answer.body.contains("too_large"), "{answer:?}");
}

#[tokio::test]
async fn a_chunked_body_is_a_body() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let address = cloud.serve().await;
    let mut client = Client::connect(address).await;
    let head = authorized(&alice);
    client.send(format!("POST /v1/server/create HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    for chunk in ["name=web1&reg", "ion=ist2&package=eos1", "&image=tiny"] {
        client.send(format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
        client.stream.flush().await.unwrap();
    }
    client.send("0\r\n\r\n").await;
    assert!(client.answer(true).await.data()["id"].is_i64());
    // Beyond a mebibyte it is refused although nothing announced its length; the client is heard out.
    client.send(format!("POST /v1/server/create HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    let chunk = "x".repeat(64 * 1024);
    for _ in 0..17 {
        client.send(format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer(true).await.status(), 413);
    assert_eq!(alice.servers().await.len(), 1);
    cloud.run_until_idle().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests_whatever_they_carry() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let address = cloud.serve().await;
    let head = authorized(&alice);
    let mut client = Client::connect(address).await;
    // A GET with a body: it is read and ignored, so that the next request is found behind it.
    for body in ["", "id=4711", "{\"broken\":", "\0\r\n\r\nGET / HTTP/1.1"] {
        let length = body.len();
        client
            .send(format!("GET /v1/server/list HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}"))
            .await;
        assert_eq!(client.answer(true).await.data(), json!([]), "{body:?}");
    }
    client.send(format!("HEAD /v1/server/list HTTP/1.1\r\n{head}\r\n")).await;
    assert_eq!(client.answer(false).await.status(), 200);
    client.send("GET /v1/nothing HTTP/1.1\r\nHost: api\r\n\r\n").await;
    assert_eq!(client.answer(true).await.status(), 404);
    // Two at once, without waiting for the first answer.
    let one = "GET /v1/region/list HTTP/1.1\r\nHost: api\r\n\r\n";
    client.send(format!("{one}{one}")).await;
    assert_eq!(client.answer(true).await.data(), client.answer(true).await.data());
}

#[tokio::test]
async fn header_names_and_types_are_read_as_clients_write_them() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let address = cloud.serve().await;
    let token = &alice.token;
    let form = "name=web1&region=ist2&package=eos1&image=tiny";
    let json = r#"{"name":"web1","region":"ist2","package":"eos1","image":"tiny"}"#;
    let multipart = "--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\nweb1\r\n--b\r\ncontent-disposition: \
                     form-data; name=\"region\"\r\n\r\nist2\r\n--b\r\ncontent-disposition: form-data; \
                     name=\"package\"\r\n\r\neos1\r\n--b\r\ncontent-disposition: form-data; \
                     name=\"image\"\r\n\r\ntiny\r\n--b--\r\n";
    for (headers, body) in [
        ("content-type: application/x-www-form-urlencoded\r\n", form),
        ("CONTENT-TYPE: APPLICATION/X-WWW-FORM-URLENCODED; Charset=UTF-8\r\n", form),
        ("Content-Type: text/plain\r\n", form),
        ("Content-Type: text/plain;charset=UTF-8\r\n", json),
        ("Content-Type: nonsense\r\n", form),
        ("", form),
        ("", json),
        ("Content-Type: application/json\r\n", json),
        ("Content-Type: application/x-www-form-urlencoded\r\n", json),
        ("Content-Type: multipart/form-data; boundary=b\r\n", multipart),
        ("Content-Type: multipart/form-data\r\n", multipart),
    ] {
        let length = body.len();
        let request = format!(
            "POST /v1/server/create HTTP/1.1\r\nhost: api\r\nauthorization: bearer {token}\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        let answer = ask(address, request).await;
        assert_eq!(answer.status(), 200, "{headers} {body}: {answer:?}");
        assert!(answer.data()["event_id"].is_i64());
    }
    cloud.run_until_idle().await;
    assert!(alice.servers().await.iter().all(|server| server["name"] == "web1"));
}

#[tokio::test]
async fn delete_carries_a_form_and_put_is_refused_politely() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let server = alice.running_server("web1").await;
    let address = cloud.serve().await;
    let head = authorized(&alice);
    let body = format!("id={server}");
    let length = body.len();
    let mut client = Client::connect(address).await;
    client
        .send(format!("PUT /v1/server/start HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}"))
        .await;
    let answer = client.answer(true).await;
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.header("allow"), Some("POST,OPTIONS"));
    client
        .send(format!("DELETE /v1/server/destroy HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}"))
        .await;
    assert_eq!(client.answer(true).await.data(), true);
    cloud.run_until_idle().await;
    assert!(alice.servers().await.is_empty());
}

#[tokio::test]
async fn what_is_no_request_harms_nobody() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let address = cloud.serve().await;
    for junk in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /v1/server/list HTTP/9.9\r\n\r\n",
        b"POST /v1/user/login HTTP/1.1\r\nHost: api\r\nContent-Length: abc\r\n\r\n",
        b"POST /v1/user/login HTTP/1.1\r\nHost: api\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/user/login HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut client = Client::connect(address).await;
        client.send(junk).await;
        client.stream.shutdown().await.unwrap();
        while client.more().await {}
        let said = String::from_utf8_lossy(&client.read).into_owned();
        assert!(said.is_empty() || said.contains(" 400 "), "{junk:?}: {said}");
    }
    let long =
        format!("GET /v1/server/list?x={} HTTP/1.1\r\n{}\r\n", "x".repeat(200_000), authorized(&alice));
    let mut client = Client::connect(address).await;
    // The server may hang up before all of it was sent.
    let _ = client.stream.write_all(long.as_bytes()).await;
    let alive = ask(address, "GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n").await;
    assert_eq!((alive.status(), alive.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn a_body_that_stops_half_way_does_nothing() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let address = cloud.serve().await;
    let mut client = Client::connect(address).await;
    let head = authorized(&alice);
    client
        .send(format!(
            "POST /v1/server/create HTTP/1.1\r\n{head}Content-Length: 1000\r\n\r\n\
             name=web1&region=ist2&package=eos1&image=tiny"
        ))
        .await;
    client.stream.shutdown().await.unwrap();
    while client.more().await {}
    assert!(!String::from_utf8_lossy(&client.read).contains(" 200 "));
    assert!(alice.servers().await.is_empty());
}

#[tokio::test]
async fn a_console_opens_for_the_owner_of_a_running_server_only() {
    let cloud = TestCloud::new().await;
    let alice = cloud.customer("alice").await;
    let mallory = cloud.customer("mallory").await;
    let server = alice.running_server("web1").await;
    let address = cloud.serve().await;
    let handshake = async |customer: &Customer<'_>| {
        let mut client = Client::connect(address).await;
        client
            .send(format!(
                "GET /v2/servers/{server}/console/serial HTTP/1.1\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                authorized(customer)
            ))
            .await;
        client.answer(true).await
    };
    assert_eq!(handshake(&mallory).await.status(), 404);
    let opened = handshake(&alice).await;
    assert_eq!(opened.status(), 101);
    // The example of RFC 6455, section 1.3.
    assert_eq!(opened.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    accounts::set_standing(cloud.app(), "alice", Standing::Suspended).await.unwrap();
    assert_eq!(handshake(&alice).await.status(), 403);
    accounts::set_standing(cloud.app(), "alice", Standing::Active).await.unwrap();
    alice.send("POST", &format!("/v1/server/{server}/stop"), "").await.data();
    cloud.run_until_idle().await;
    assert_eq!(handshake(&alice).await.status(), 409);
}

/// The key of the document's `sshkey/list` example, which has plus signs.
const DOCUMENTED_KEY: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAABJQAAAQEAjNDpbHYrC/lmboOnkeOPDzrdoLM0A44M+VpzZuc4I9778zlapZxJ5irdXwwH8E+Bq1VdvWZDTgEKKT5RBgw200zmKlgsrSLQpOb10qWW26EUpQu3gJgt/oJzMADoJuj5+F6b3v4/rwXs8EwRO5O3hT5+XuOWTsvRVQomLcOe7R2t3HT01eggyvswwAR7IEsynazCQr0FVM3UQ5dlk44Z+zjg9BMqPFMxFWHxFskiRMtQLEKEvJDLG8qDLc+mMV7P8kRAGeNnc7U5Zf4hC+o5ZUdCDqJMKQodkWiR57IB0oxu9PJz40zjlkApzABRQyhUVZnCVX78HgV8BKwmDjuFfw== rsa-key-20180621";

/// The document's lines, of the calls that exist, with the names of its own variables.
const CURL: [(&str, &str); 17] = [
    (
        "login",
        r#"curl --location --request POST "https://api.cloude.ro/v1/user/login" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "username={{test_user}}&password={{test_pass}}""#,
    ),
    (
        "key",
        r#"curl --location --request POST "https://api.cloude.ro/v1/sshkey/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "name=Test%20SSHKey&public_key={{public_key}}""#,
    ),
    (
        "keys",
        r#"curl --location --request GET "https://api.cloude.ro/v1/sshkey/list" \
  --header "Authorization: Bearer {{authToken}}" \
  --data """#,
    ),
    (
        "create",
        r#"curl --location --request POST "https://api.cloude.ro/v1/server/create" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "name=ubuntu-16-04-x64&region=ist2&package=eos2&image=ubuntu-16-04-x64&hostname=&ssh_keys=&user_data=""#,
    ),
    (
        "servers",
        r#"curl --location --request GET "https://api.cloude.ro/v1/server/list" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#,
    ),
    (
        "server",
        r#"curl --location --request GET "https://api.cloude.ro/v1/server/1515" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#,
    ),
    (
        "stop",
        r#"curl --location --request POST "https://api.cloude.ro/v1/server/stop" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "id=1""#,
    ),
    (
        "start",
        r#"curl --location --request POST "https://api.cloude.ro/v1/server/start" \
  --header "Authorization: Bearer {{authToken}}" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "id=1""#,
    ),
    (
        "reboot",
        r#"curl --location --request POST "https://api.cloud.ro/v1/server/reboot" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data "id=1""#,
    ),
    (
        "events",
        r#"curl --location --request GET "https://api.cloude.ro/v1/event/list" \
--header "Authorization: Bearer {{authToken}}" \
--data """#,
    ),
    (
        "event",
        r#"curl --location --request GET "https://api.cloude.ro/v1/event/%7Bevent_id%7D" \
  --header "Authorization: Bearer {{authToken}}" \
  --data """#,
    ),
    (
        "destroy",
        r#"curl --location --request DELETE "https://api.cloude.ro/v1/server/{{subscription_id}}/destroy" \
--header "Authorization: Bearer {{authToken}}" \
--header "Content-Type: application/x-www-form-urlencoded" \
--data """#,
    ),
    (
        "images",
        r#"curl --location --request GET "https://api.cloude.ro/v1/image/list?type=all,application" \
--data """#,
    ),
    (
        "applications",
        r#"curl --location --request GET "https://api.cloude.ro/v1/image/list?type=application" \
--data """#,
    ),
    (
        "packages",
        r#"curl --location --request GET "https://api.cloude.ro/v1/package/list" \
  --data """#,
    ),
    (
        "regions",
        r#"curl --location --request GET "https://api.cloude.ro/v1/region/list" \
--data """#,
    ),
    // Not in the document, which lost its request; the names are those of its answer.
    (
        "refresh",
        r#"curl --location --request POST "https://api.cloude.ro/v1/user/refreshtoken" \
  --header "Content-Type: application/x-www-form-urlencoded" \
  --data "refreshtoken={{refreshtoken}}""#,
    ),
];

/// A shell that runs the document's lines against a cloud.
struct Shell {
    address: SocketAddr,
    variables: Vec<(&'static str, String)>,
}

impl Shell {
    fn set(&mut self, name: &'static str, value: &Value) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value));
    }

    /// Runs a line by its name; answers the data of the envelope.
    async fn run(&self, name: &str) -> Value {
        let (_, line) = CURL.iter().find(|(other, _)| *other == name).unwrap();
        let base = format!("http://{}", self.address);
        let mut line = line.replace("https://api.cloude.ro", &base).replace("https://api.cloud.ro", &base);
        for (variable, value) in &self.variables {
            line = line.replace(variable, value);
        }
        assert!(!line.contains("{{"), "{line}");
        let line = line.replacen("curl ", "curl --silent --show-error --noproxy '*' ", 1);
        let output = tokio::process::Command::new("sh").arg("-c").arg(&line).output().await.unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let json: Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
        assert_eq!(json["status"], "success", "{line}: {said}");
        json["data"].clone()
    }
}

#[tokio::test]
async fn the_documents_curl_lines_work_as_they_stand() {
    let cloud = TestCloud::new().await;
    cloud.customer("alice").await;
    let address = cloud.serve().await;
    let key = DOCUMENTED_KEY;
    let mut shell = Shell {
        address,
        variables: vec![
            ("{{test_user}}", "alice@example.com".into()),
            ("{{test_pass}}", PASSWORD.into()),
            // As in the document, blanks are escaped and plus signs are not.
            ("{{public_key}}", key.replace(' ', "%20")),
            ("image=ubuntu-16-04-x64", "image=debian-12-x64".into()),
        ],
    };
    let tokens = shell.run("login").await;
    shell.set("{{authToken}}", &tokens["token"]);
    shell.set("{{refreshtoken}}", &tokens["refreshtoken"]);
    assert_eq!(shell.run("refresh").await["refresh"], true);
    assert_eq!(shell.run("key").await, true);
    assert_eq!(shell.run("keys").await["Test SSHKey"]["public_key"], key);
    let ordered = shell.run("create").await;
    let (id, event) = (&ordered["id"], &ordered["event_id"]);
    shell.set("/1515", &format!("/{id}").into());
    shell.set("\"id=1\"", &format!("\"id={id}\"").into());
    shell.set("{{subscription_id}}", id);
    shell.set("%7Bevent_id%7D", event);
    assert_eq!(shell.run("event").await["status"], 0);
    cloud.run_until_idle().await;
    assert_eq!(shell.run("event").await["status"], 1);
    assert_eq!(shell.run("servers").await[0]["name"], "ubuntu-16-04-x64");
    for (verb, state) in [("stop", "Stopped"), ("start", "Running"), ("reboot", "Running")] {
        assert_eq!(shell.run(verb).await, true);
        cloud.run_until_idle().await;
        assert_eq!(shell.run("server").await[0]["state"], state);
    }
    assert_eq!(shell.run("destroy").await, true);
    cloud.run_until_idle().await;
    assert_eq!(shell.run("servers").await, json!([]));
    let kinds = shell.run("events").await;
    let kinds: Vec<&Value> = kinds.as_array().unwrap().iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["VM.CREATE", "VM.STOP", "VM.START", "VM.REBOOT", "VM.DESTROY"]);
    let applications = shell.run("applications").await.as_array().unwrap().len();
    assert_eq!(shell.run("images").await.as_array().unwrap().len(), 2 + applications);
    assert_eq!(shell.run("packages").await[1]["slug"], "eos2");
    assert_eq!(shell.run("regions").await[1]["slug"], "ist2");
}
