//! Clients of many languages and ages, each as it really sends its requests: the list, a label that really changes, and
//! an error that really is one.

use crate::{BINARY, LOGIN, key, read, shell};
use bulut_testkit::program::Program;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

/// A cloud with one server, and a key for it.
struct Scene {
    cloud: Program,
    key: String,
    sid: i64,
}

impl Scene {
    async fn new() -> Self {
        let settings = [("BULUT_DRIVER", "simulated")];
        let cloud = Program::start(BINARY, "tiny", None, &settings).await;
        let (sid, ordered) = cloud.order("tiny", &[]).await;
        cloud.succeeded(&ordered).await;
        let key = key(&cloud);
        Self { cloud, key, sid }
    }

    fn host(&self) -> String {
        self.cloud.url().trim_start_matches("http://").to_owned()
    }

    /// `key=…&login=…`, as clients write it by hand.
    fn said(&self) -> String {
        format!("key={}&login={LOGIN}", self.key)
    }

    async fn label(&self) -> Value {
        let line = format!("curl -sS '{}/api/v1/listservers.php?{}'", self.cloud.url(), self.said());
        read(&shell(&line, &self.cloud.state()).await)["data"][0]["label"].clone()
    }

    /// Writes exactly these bytes and answers status line and body of what comes back.
    fn raw(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        answer(stream)
    }
}

/// Status line and body of an answer, whose length its headers say.
fn answer(mut stream: TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.expect("a length") {
                return (head.lines().next().unwrap().to_owned(), body.to_owned());
            }
        }
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended early: {text}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// Requests as they go over the wire; `{said}` and `{more}` are parameters, `{length}` their length, `{host}` the host.
const WIRES: [(&str, &str); 12] = [
    (
        "PHP file_get_contents",
        "GET {path}?{said}&{more} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n",
    ),
    (
        "PHP stream, POST",
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\nContent-type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n\r\n{said}&{more}",
    ),
    ("from before hosts had names", "GET {path}?{said}&{more} HTTP/1.0\r\n\r\n"),
    (
        "HTTP/1.0 that stays",
        "POST {path}?{said}&{more} HTTP/1.0\r\nHost: {host}\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "Go net/http",
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\n{said}&{more}",
    ),
    (
        "Go net/http, a body of unknown length",
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\n{hex}\r\n{said}&{more}\r\n0\r\n\r\n",
    ),
    (
        "Java HttpURLConnection, no type",
        "POST {path} HTTP/1.1\r\nUser-Agent: Java/1.8.0_402\r\nHost: {host}\r\n\
         Accept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\nConnection: keep-alive\r\n\
         Content-Length: {length}\r\n\r\n{said}&{more}",
    ),
    (
        ".NET HttpClient, JSON type around a form",
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {length}\r\n\r\n{said}&{more}",
    ),
    (
        "Ruby Net::HTTP",
        "GET {path}?{said}&{more} HTTP/1.1\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nAccept: */*\r\n\
         User-Agent: Ruby\r\nHost: {host}\r\n\r\n",
    ),
    (
        "POST with everything in the query and no length",
        "POST {path}?{said}&{more} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    ),
    ("through a proxy", "GET http://{host}{path}?{said}&{more} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    (
        "credentials in the query, the rest in the body",
        "POST {path}?{said} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {rest}\r\n\r\n{more}",
    ),
];

#[tokio::test]
async fn clients_of_all_ages_are_understood_on_the_wire() {
    let scene = Scene::new().await;
    for (name, wire) in WIRES {
        let send = |path: &str, more: &str| {
            let said = scene.said();
            let length = said.len() + 1 + more.len();
            let request = wire
                .replace("{path}", path)
                .replace("{said}", &said)
                .replace("{length}", &length.to_string())
                .replace("{hex}", &format!("{length:x}"))
                .replace("{rest}", &more.len().to_string())
                .replace("{more}", more)
                .replace("{host}", &scene.host());
            scene.raw(&request)
        };
        let (status, body) = send("/api/v1/listservers.php", "op=list");
        assert!(status.ends_with(" 200 OK"), "{name}: {status} {body}");
        assert_eq!(read(&body)["data"][0]["sid"], scene.sid.to_string(), "{name}");
        let label = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let (status, body) = send("/api/v1/renameserver.php", &format!("sid={}&name={label}", scene.sid));
        assert!(status.ends_with(" 200 OK"), "{name}: {status} {body}");
        assert_eq!(scene.label().await, label, "{name}");
        let (status, body) = send("/api/v1/powerop.php", "sid=4711&action=reset");
        assert!(status.contains(" 412 "), "{name}: {status}");
        assert_eq!(read(&body)["error"], 109, "{name}");
        let (status, body) = send("/api/v1/nothing.php", "a=b");
        assert!(status.contains(" 400 "), "{name}: {status}");
        assert_eq!(read(&body)["error_description"], "invalid API URL", "{name}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let scene = Scene::new().await;
    let body = format!("{}&sid={}&name=continued", scene.said(), scene.sid);
    let mut stream = TcpStream::connect(scene.host()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST /api/v1/renameserver.php HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        scene.host(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let (status, answered) = answer(stream);
    assert!(status.ends_with(" 200 OK"), "{status} {answered}");
    assert_eq!(scene.label().await, "continued");
}

/// One line of a shell for each client: `$URL`, `$KEY`, `$LOGIN`, `$SID` and `$NAME` are set; it prints the answer.
const LINES: [(&str, &str); 14] = [
    ("curl -d", r#"curl -sS -d "key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#),
    ("curl -G", r#"curl -sS -G -d key=$KEY -d login=$LOGIN -d sid=$SID --data-urlencode name=$NAME $URL"#),
    ("curl -F", r#"curl -sS -F key=$KEY -F login=$LOGIN -F sid=$SID -F name=$NAME $URL"#),
    ("curl -X POST", r#"curl -sS -X POST "$URL?key=$KEY&login=$LOGIN&sid=$SID&name=$NAME""#),
    ("curl -X PUT", r#"curl -sS -X PUT -d "key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#),
    ("curl -X GET -d", r#"curl -sS -X GET -d "key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#),
    ("curl -X DELETE", r#"curl -sS -X DELETE "$URL?key=$KEY&login=$LOGIN&sid=$SID&name=$NAME""#),
    ("curl --http1.0", r#"curl -sS --http1.0 -d "key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#),
    (
        "curl --http2",
        r#"curl -sS --http2-prior-knowledge -d "key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#,
    ),
    (
        "curl Expect",
        r#"curl -sS -H 'Expect: 100-continue' -d "key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#,
    ),
    (
        "curl JSON",
        r#"curl -sS -H 'Content-Type: application/json' -d "{\"key\":\"$KEY\",\"login\":\"$LOGIN\",\"sid\":$SID,\"name\":\"$NAME\"}" $URL"#,
    ),
    ("wget", r#"wget -qO- --post-data="key=$KEY&login=$LOGIN&sid=$SID&name=$NAME" $URL"#),
    (
        "perl HTTP::Tiny",
        r#"perl -MHTTP::Tiny -e 'my $r = HTTP::Tiny->new->post_form($ENV{URL}, {key => $ENV{KEY}, login => $ENV{LOGIN}, sid => $ENV{SID}, name => $ENV{NAME}}); print $r->{content}'"#,
    ),
    (
        "node fetch",
        r#"node -e 'const e = process.env; fetch(e.URL, {method: "POST", body: new URLSearchParams({key: e.KEY, login: e.LOGIN, sid: e.SID, name: e.NAME})}).then(r => r.json()).then(j => process.stdout.write(JSON.stringify(j)))'"#,
    ),
];

/// Programs in Python: what the libraries of its clients are.
const PYTHON: [(&str, &str); 4] = [
    (
        "requests.post",
        "import os, requests; e = os.environ; r = requests.post(e['URL'], data={'key': e['KEY'], 'login': e['LOGIN'], \
         'sid': e['SID'], 'name': e['NAME']}); assert r.encoding == 'UTF-8'; r.json(); print(r.text, end='')",
    ),
    (
        "requests.get",
        "import os, requests; e = os.environ; r = requests.get(e['URL'], params={'key': e['KEY'], 'login': e['LOGIN'], \
         'sid': e['SID'], 'name': e['NAME']}, headers={'Content-Type': 'application/json'}); print(r.text, end='')",
    ),
    (
        "urllib",
        "import os, urllib.request, urllib.parse; e = os.environ; d = urllib.parse.urlencode({'key': e['KEY'], \
         'login': e['LOGIN'], 'sid': e['SID'], 'name': e['NAME']}).encode(); \
         print(urllib.request.urlopen(e['URL'], d).read().decode(), end='')",
    ),
    (
        "http.client",
        "import os, http.client, urllib.parse; e = os.environ; u = urllib.parse.urlsplit(e['URL']); \
         c = http.client.HTTPConnection(u.netloc); c.request('POST', u.path + '?key=' + e['KEY'] + '&login=' + e['LOGIN'] \
         + '&sid=' + e['SID'] + '&name=' + e['NAME']); print(c.getresponse().read().decode(), end='')",
    ),
];

#[tokio::test]
async fn clients_of_many_languages_rename_a_server() {
    let scene = Scene::new().await;
    let python = std::env::var_os("BULUT_TEST_PYTHON").map(PathBuf::from).expect(
        "BULUT_TEST_PYTHON names no Python with the packages of tests/contract/requirements.txt; `make test` makes one",
    );
    let dir = scene.cloud.state();
    let mut lines: Vec<(&str, String)> =
        LINES.iter().map(|(name, line)| (*name, (*line).to_owned())).collect();
    for (number, (name, program)) in PYTHON.iter().enumerate() {
        let file = dir.join(format!("client{number}.py"));
        std::fs::write(&file, program.replace("; ", "\n")).unwrap();
        lines.push((name, format!("{} {}", python.display(), file.display())));
    }
    for (name, line) in lines {
        let label = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let set = format!(
            "export URL={}/api/v1/renameserver.php KEY={} LOGIN={LOGIN} SID={} NAME={label}; ",
            scene.cloud.url(),
            scene.key,
            scene.sid
        );
        let answer: Value = serde_json::from_str(&shell(&format!("{set}{line}"), &dir).await).unwrap();
        assert_eq!(
            (&answer["status"], &answer["result"]),
            (&json!("ok"), &json!("successful")),
            "{name}: {answer}"
        );
        assert_eq!(scene.label().await, label, "{name}");
    }
}
